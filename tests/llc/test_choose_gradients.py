"""Which samples gradients take: all, a fixed subset where it is safe, or minibatches."""

import math
import sys

import pytest
import torch
from torch import nn

import llckit as lk
from llckit.llc import Scale, scale_of_run
from llckit.llc.choose_gradients import COOL, GUIDES, SHIFT, SMALLEST_SUBSET, choose_gradients
from llckit.llc.cost import MODEST, Cost
from llckit.llc.estimate_checkpoint import estimate_checkpoint
from llckit.llc.gradients import AllSamples, Cause, FixedSubset, Guided, Minibatches
from llckit.llc.scale_reason import LocalizationRule, NBetaRule, ScaleReason
from llckit.llc.settings import Settings
from llckit.posterior.flat_loss import ELEMENT
from llckit.toys import Quadratic, potential_loss
from tests.cases import cross_entropy, squared_error

N, DIM = 6000, 5
SCALE = Scale(N / math.log(N), 0.1, ScaleReason(NBetaRule.GIVEN, LocalizationRule.GIVEN))


def regression(noise, n=N, dim=DIM, outputs=1):
    """Linear regression at the least-squares solution, whose Hessian is 2 XᵀX/n by output: λ = dim outputs/2."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(n, dim, generator=generator)
    model = nn.Linear(dim, outputs, bias=False)
    targets = inputs @ model.weight.detach().T + noise * torch.randn(n, outputs, generator=generator)
    solution = torch.linalg.lstsq(inputs.double(), targets.double()).solution
    with torch.no_grad():
        model.weight.copy_(solution.T)
    if not noise:
        targets = inputs @ model.weight.detach().T
    return model, (inputs, targets), squared_error


def chosen(model, data, loss_fn, **settings):
    task = lk.Task(model, data, loss_fn)
    return choose_gradients(task, task.checkpoint(), SCALE, Settings(**settings))


@pytest.fixture
def costly(monkeypatch):
    """A model so large that 4096 samples are the most that Hamiltonian trajectories can take in each gradient."""
    monkeypatch.setattr(Cost, "hmc", lambda self, size: MODEST * size / 4096)
    monkeypatch.setattr(Cost, "langevin", lambda self, size: MODEST * (0.01 + size / 1e5))


def test_what_is_affordable_does_not_depend_on_the_number_of_samples():
    # 6000 samples of 5 numbers: a call costs more than its arithmetic
    gradients = chosen(*regression(1.0))
    assert isinstance(gradients, AllSamples)
    assert str(gradients) == "all samples, which is affordable"


def test_a_loss_that_does_not_look_at_the_data_is_taken_whole():
    gradients = chosen(Quadratic(torch.ones(3)), (torch.zeros(N, 1),), potential_loss)
    assert isinstance(gradients, AllSamples)


def test_costs_grow_with_what_they_are_made_of():
    model, data, loss_fn = regression(0.0)
    checkpoint = lk.Task(model, data, loss_fn).checkpoint()
    cost = Cost.at(checkpoint, SCALE.n_beta, SCALE.localization, chains=8)
    largest = float(torch.linalg.eigvalsh(2 * data[0][:32].T @ data[0][:32] / 32)[-1])
    assert 1 < cost.condition < 3 * SCALE.n_beta * largest / SCALE.localization
    elements, rest = divmod(checkpoint.price.sample - 4 * DIM, ELEMENT)  # a product and a sum for each weight, and back
    assert rest == 0
    assert 5 <= elements <= 12  # output, difference, square and its mean, and likewise back
    assert cost.gradient(2 * N) - cost.gradient(N) == 8 * N * checkpoint.price.sample
    assert cost.hmc(N) / cost.hmc(1) == pytest.approx(cost.gradient(N) / cost.gradient(1))
    assert cost.warm_up == math.ceil(6 * cost.relaxation)
    hotter = Cost.at(checkpoint, 100 * SCALE.n_beta, SCALE.localization, chains=8)
    assert hotter.relaxation / cost.relaxation == pytest.approx(10, rel=0.01)
    assert hotter.langevin(64) / cost.langevin(64) == pytest.approx(10, rel=0.01)


@pytest.mark.slow
def test_what_does_not_grow_with_the_samples_has_its_price_too():
    class Product(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Parameter(torch.ones(30, 20)), nn.Parameter(torch.ones(20, 30))

        def forward(self):
            return (self.a @ self.b).square().mean()

    price = lk.Task(Product(), (torch.zeros(10, 1),), potential_loss).checkpoint().price
    assert price.sample == 0
    products = 3 * 2 * 30 * 20 * 30  # forward, and back to each factor
    assert products < price.row < products + 20 * ELEMENT * 30 * 30


@pytest.mark.slow
@pytest.mark.usefixtures("costly")
def test_without_residuals_a_subset_is_safe():
    gradients = chosen(*regression(0.0))
    assert isinstance(gradients, FixedSubset)
    assert gradients.size == SMALLEST_SUBSET
    assert str(gradients) == "fixed subset: it has its minimum at w*"
    found = lk.estimate_llc(*regression(0.0), n_beta=SCALE.n_beta, rel_tol=0.02, progress=False)
    assert found.how_found.gradients.subset == SMALLEST_SUBSET
    assert found.how_found.sampler == "hmc"
    exact = 0.5 * sum(
        found.n_beta * h / (found.n_beta * h + found.localization)
        for h in torch.linalg.eigvalsh(2 * regression(0.0)[1][0][:512].T @ regression(0.0)[1][0][:512] / 512).tolist()
    )
    assert abs(found.llc - exact) <= 4 * found.mcse
    assert found.loss < 1e-12


@pytest.mark.slow
@pytest.mark.usefixtures("costly")
def test_with_label_noise_minibatches_guide_and_the_reason_is_told():
    gradients = chosen(*regression(1.0))
    assert isinstance(gradients, Guided)
    assert gradients.size == N * GUIDES
    # ½ nβ gᵀH⁻¹g of a random subset of m is about nβ σ² DIM/m (1 − m/n), for the mean square error: about 6 here
    assert gradients.reason.cause is Cause.OTHER_MINIMUM
    assert 1 < gradients.reason.shift < 25
    assert str(gradients) == (
        "minibatches guide and all samples decide, since the minimum of a fixed subset lies "
        f"{gradients.reason.shift:.3g} below w*"
    )


@pytest.mark.slow
@pytest.mark.usefixtures("costly")
def test_with_label_noise_the_estimate_is_that_of_all_samples():
    model, data, loss_fn = regression(1.0)
    settings = {"n_beta": SCALE.n_beta, "num_chains": 32, "rel_tol": 0.013, "max_grad_evals": 30_000}
    found = lk.estimate_llc(model, data, loss_fn, progress=False, **settings)
    curvatures = found.n_beta * torch.linalg.eigvalsh(2 * data[0].T @ data[0] / N).double()
    exact = float(0.5 * (curvatures / (curvatures + found.localization)).sum())
    assert found.how_found.sampler == "hmc"
    assert found.how_found.gradients.batch_size == N * GUIDES
    assert found.outcome is lk.Outcome.CONVERGED
    assert abs(found.llc - exact) < 4 * found.mcse < 0.06 * exact


@pytest.mark.slow
@pytest.mark.usefixtures("costly")
def test_where_guides_stray_langevin_dynamics_takes_minibatches():
    # For dim · outputs = 1600 weights in the loss a minibatch of m errs by about √(outputs dim²/m)/2 = 4.6 in units of
    # U, and trajectories that follow it end that far from where all samples would have led.
    model, data, loss_fn = regression(1.0, dim=40, outputs=40)
    gradients = chosen(model, data, loss_fn)
    assert isinstance(gradients, Minibatches)
    assert str(gradients).startswith("minibatches, since the minimum of a fixed subset lies")
    scale = {"n_beta": SCALE.n_beta, "localization": 50.0}
    found = lk.estimate_llc(model, data, loss_fn, rel_tol=0.02, progress=False, **scale)
    curvatures = found.n_beta * torch.linalg.eigvalsh(2 * data[0].T @ data[0] / N).double()
    exact = float(0.5 * 40 * (curvatures / (curvatures + found.localization)).sum())
    assert found.how_found.sampler == "baoab"
    assert found.outcome is lk.Outcome.CONVERGED
    assert found.how_found.heat < 3 * COOL * exact
    assert abs(found.llc - exact) < 4 * found.mcse < 0.1 * exact


@pytest.mark.slow
@pytest.mark.usefixtures("costly")
def test_a_loss_whose_outputs_cannot_be_seen_is_not_guided():
    model, data, _ = regression(1.0)
    gradients = chosen(model, data, lambda m, batch: (batch[0] @ m.weight.T - batch[1]).square().mean(1))
    assert isinstance(gradients, Minibatches)
    assert str(gradients).startswith("minibatches, since the minimum of a fixed subset lies")
    assert gradients.default_sampler().name == "baoab"


@pytest.mark.slow
@pytest.mark.usefixtures("costly")
def test_a_subset_whose_rank_is_too_small_is_doubled_until_it_is_not():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.zeros(20_000, 300)
    rows = torch.arange(len(inputs))
    inputs[rows, torch.randint(300, (len(inputs),), generator=generator)] = 1  # one-hot: 512 samples miss many
    model = nn.Linear(300, 1, bias=False)
    data = inputs, inputs @ model.weight.detach().T
    gradients = chosen(model, data, squared_error)
    assert isinstance(gradients, FixedSubset)
    assert gradients.size >= 2 * SMALLEST_SUBSET


def test_what_the_user_gives_stays():
    assert chosen(*regression(0.0), batch_size=64).batch_size == 64
    assert str(chosen(*regression(0.0), batch_size=64, sampler=lk.baoab())) == "minibatches"
    given = chosen(*regression(0.0), sampler=lk.hmc())
    assert isinstance(given, AllSamples)
    assert str(given) == "all samples"
    assert chosen(*regression(0.0), subset=700).subset == 700


def test_a_subset_that_misleads_is_refused():
    with pytest.raises(lk.InputError, match=rf"minimum .* below w\* .*{SHIFT} is allowed.*use batch_size"):
        lk.estimate_llc(*regression(1.0), subset=500, progress=False)
    with pytest.raises(lk.InputError, match=r"subset is 6000; expected fewer than the 6000"):
        lk.estimate_llc(*regression(0.0), subset=N, progress=False)
    with pytest.raises(lk.InputError, match=r"subset is 500 and batch_size 64; expected one"):
        lk.estimate_llc(*regression(0.0), subset=500, batch_size=64, progress=False)
    with pytest.raises(lk.InputError, match=r"subset is 0; expected an integer"):
        lk.estimate_llc(*regression(0.0), subset=0, progress=False)


def test_a_larger_subset_holds_a_smaller_one():
    task = lk.Task(*regression(0.0))
    checkpoint = task.checkpoint()
    small, large = (checkpoint.thinned(size, seed=3).samples.first(size)[0] for size in (10, 30))
    assert torch.equal(large[:10], small)
    assert checkpoint.thinned(N) is checkpoint
    other = checkpoint.thinned(10, seed=4).samples.first(10)[0]
    assert not torch.equal(other, small)


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "kind"), [(0.0, FixedSubset), (1.0, Guided)])
@pytest.mark.usefixtures("costly")
def test_a_curve_keeps_the_choice_it_made_first(tmp_path, monkeypatch, noise, kind):
    model, data, loss_fn = regression(noise)
    store = lk.CheckpointStore(tmp_path / "run.ckpts")
    store.save(0, model)
    made, used = [], []

    def choose(*arguments):
        made.append(1)
        return choose_gradients(*arguments)

    def estimate(task, checkpoint, scale, gradients, settings, **rest):
        used.append(gradients)
        return estimate_checkpoint(task, checkpoint, scale, gradients, settings, **rest)

    monkeypatch.setattr(scale_of_run, "choose_gradients", choose)
    monkeypatch.setattr(sys.modules["llckit.llc.estimate_curve"], "estimate_checkpoint", estimate)
    task = lk.Task(model, data, loss_fn)
    quick = {"n_beta": 100.0, "num_draws": 20, "num_burnin": 10, "progress": False}
    lk.estimate_curve(store, task, **quick)
    store.save(1, {"weight": model.weight.detach() + 0.01})
    lk.estimate_curve(store, task, **quick)
    assert len(made) == 1
    assert type(used[0]) is kind
    assert len(used) == 2
    assert used[0] == used[1]


@pytest.mark.slow
def test_the_heat_of_minibatches_is_taken_off():
    # Without residuals and with the control variate the noise is (H_B − H)(w − w*), strong at small batches.
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(5000, 20, generator=generator)
    model = nn.Linear(20, 1, bias=False)
    data = inputs, inputs @ model.weight.detach().T
    n_beta, gamma = 100.0, 1.0
    found = lk.estimate_llc(
        model,
        data,
        squared_error,
        batch_size=256,
        sampler=lk.baoab(),
        n_beta=n_beta,
        localization=gamma,
        num_chains=64,
        num_draws=500,
        progress=False,
    )
    curvatures = n_beta * torch.linalg.eigvalsh(2 * inputs.T @ inputs / len(inputs)).double()
    exact = float(0.5 * (curvatures / (curvatures + gamma)).sum())
    heat, raw = found.how_found.heat, float(found.trace.excess.mean())
    assert found.llc == pytest.approx(raw - heat, rel=1e-9)
    assert heat > 0.03 * exact
    assert raw - exact == pytest.approx(heat, rel=0.3)  # first order
    assert abs(found.llc - exact) < 4 * found.mcse


@pytest.mark.slow
def test_there_is_no_heat_on_the_full_loss():
    model, data, loss_fn = regression(0.0, n=100)
    for sampler in (lk.hmc(), lk.baoab()):
        found = lk.estimate_llc(
            model, data, loss_fn, sampler=sampler, n_beta=20.0, num_draws=10, num_burnin=5, progress=False
        )
        assert found.how_found.heat == 0
        assert not found.trace.heat.any()


def test_a_sample_that_is_not_finite_is_refused_before_the_curvature():
    inputs, labels = torch.randn(24, 3), torch.randint(3, (24,))
    inputs[-1] = torch.nan  # not among the first samples, on which the loss is tried
    with pytest.raises(lk.InputError, match="the loss over all samples is nan"):
        lk.estimate_llc(nn.Linear(3, 3), (inputs, labels), cross_entropy, n_beta=8.0, localization=1.0, progress=False)
