import itertools
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

import llckit as lk
from llckit.errors import InputError
from llckit.geometry import Symmetry, View, conserved, conserved_drift, find_symmetries
from llckit.posterior import observing
from tests.geometry.nets import named, named_gradient, normal, two_layers


def gradients(case, model, weights):
    """∂L/∂w by name."""
    own = named(model)
    with torch.no_grad():
        for name, value in weights.items():
            own[name].copy_(value)
    return named_gradient(case.loss(model), model)


class Regression(NamedTuple):
    inputs: torch.Tensor
    targets: torch.Tensor

    def loss(self, model):
        return (model(self.inputs) - self.targets).square().mean()


def line(x, y, errors=None):
    """Slope of a straight line and its standard error, from `errors` of y or from what is left over."""
    (slope, _), covariance = np.polyfit(
        x, y, 1, w=None if errors is None else 1 / np.asarray(errors), cov=True if errors is None else "unscaled"
    )
    return slope, covariance[0, 0] ** 0.5


def plus(weights, step, direction):
    return {name: value + step * direction[name] for name, value in weights.items()}


def sizes(weights, symmetries):
    """The sum of the terms whose difference is conserved; of shifts, the terms of the sum."""
    found = {}
    for s in symmetries:
        made, taken = (sum(float(v.read(weights).square().sum()) for v in side) for side in (s.producers, s.out))
        found[str(s)] = made + taken if s.out else made**0.5
    return found


def flow(case, model, time, steps, start=None):
    """ẇ = −∇L by classical Runge-Kutta: the weights at the start, and at the end."""
    start = {name: p.detach().clone() for name, p in model.named_parameters()} if start is None else start
    h, weights = time / steps, start
    for _ in range(steps):
        k1 = gradients(case, model, weights)
        k2 = gradients(case, model, plus(weights, -h / 2, k1))
        k3 = gradients(case, model, plus(weights, -h / 2, k2))
        k4 = gradients(case, model, plus(weights, -h, k3))
        weights = {
            name: value - h / 6 * (k1[name] + 2 * k2[name] + 2 * k3[name] + k4[name]) for name, value in weights.items()
        }
    return start, weights


def continuous(case, model):
    known = find_symmetries(model, cross_entropy=case.cross_entropy)
    return [s for s in known if s.kind in {"linear", "homogeneous", "softmax", "free"}]


@pytest.mark.slow
def test_gradient_flow_conserves(case):
    model = case.model.double()
    symmetries = continuous(case, model)
    # Where a sample crosses a kink of ReLU the integrator errs by O(h²), elsewhere by O(h⁴).
    kinks = any(isinstance(module, (nn.ReLU, nn.LeakyReLU)) for module in model.modules())
    start, end = flow(case, model, time=0.3, steps=400) if kinks else flow(case, model, time=1.0, steps=150)
    before, after, size = conserved(start, symmetries), conserved(end, symmetries), sizes(start, symmetries)
    for s in symmetries:
        assert (after[str(s)] - before[str(s)]).norm() <= 1e-6 * size[str(s)], str(s)
    moved = {s.kind: sum(float((v.read(end) - v.read(start)).norm()) for v in s.into) for s in symmetries}
    assert all(moved[kind] > 1e-2 for kind in {*moved} - {"free"}), "else nothing is tested"


@pytest.mark.slow
def test_a_step_of_gradient_descent_changes_them_by_those_of_the_gradient(case):
    model = case.model.double()
    symmetries = continuous(case, model)
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    gradient = gradients(case, model, weights)
    before, change, size = conserved(weights, symmetries), conserved(gradient, symmetries), sizes(weights, symmetries)
    for rate in (0.1, 1.0):
        after = conserved(plus(weights, -rate, gradient), symmetries)
        for s in symmetries:
            name = str(s)
            expected = before[name] if s.kind in {"softmax", "free"} else before[name] + rate**2 * change[name]
            assert (after[name] - expected).norm() <= 1e-13 * (size[name] + rate**2 * float(change[name].norm()))
    quadratic = [s for s in symmetries if s.kind in {"linear", "homogeneous"}]
    assert all(float(change[str(s)].norm()) > 1e-12 * size[str(s)] for s in quadratic)


@pytest.mark.slow
def test_drift_under_gradient_descent_is_linear_in_the_learning_rate():
    """Over a fixed time ηT: η ∫ C(∇L) dt + O(η²), the integral being that along gradient flow."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3), nn.Linear(3, 2)).double(), torch.randn(30, 4)
    case = Regression(x.double(), torch.randn(30, 2).double())
    (_, linear), time = find_symmetries(model), 2.0
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    drift, name = conserved_drift(start, [linear]), str(linear)

    fine = 200
    integral, weights = 0.0, start
    for _ in range(fine):  # midpoints of gradient flow
        _, middle = flow(case, model, time / fine / 2, 1, weights)
        integral = integral + conserved(gradients(case, model, middle), [linear])[name] * time / fine
        _, weights = flow(case, model, time / fine, 1, weights)

    rates = 0.01 / 2 ** np.arange(5)
    changes, drifts = [], []
    for rate in rates:
        weights = start
        for _ in range(round(time / rate)):
            weights = plus(weights, -rate, gradients(case, model, weights))
        changes.append((conserved(weights, [linear])[name] - conserved(start, [linear])[name]) / rate)
        drifts.append(drift(weights))
    errors = [float((change - integral).norm() / integral.norm()) for change in changes]
    assert errors[-1] < 1e-2
    for coarse, finer in itertools.pairwise(errors):
        assert coarse / finer == pytest.approx(2, rel=0.15)  # what is left is of second order
    slope, error = line(np.log(rates), np.log(drifts))
    assert abs(slope - 1) <= errors[0] + 4 * error  # the drift is ηI(1 + cη), |cη| at most errors[0]
    assert errors[0] + 4 * error < 0.02


class NoisyRegression:
    """Two linear layers at the least-squares optimum of noisy targets, trained by many runs of SGD at once."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)

        def normal(*shape):
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.x = normal(40, 4)
        self.y = self.x @ normal(4, 2) + normal(40, 2)
        optimum = torch.linalg.lstsq(self.x, self.y).solution.T  # (2, 4)
        u, values, v = torch.linalg.svd(optimum, full_matrices=False)
        self.first = torch.cat([1.5 * values.sqrt()[:, None] * v, torch.zeros(1, 4, dtype=torch.float64)])
        self.second = torch.cat([u * values.sqrt() / 1.5, torch.zeros(2, 1, dtype=torch.float64)], 1)
        self.symmetry = Symmetry("linear", (View("first"),), (View("second", 1),))

    def gradients(self, first, second, chosen):
        """Mean over a minibatch of the gradients of ½(y − W₂W₁x)², for runs (runs, ...), chosen (runs, batch)."""
        x, y = self.x[chosen], self.y[chosen]
        residual = (x @ first.mT @ second.mT - y) / chosen.shape[1]
        error = residual.mT @ x
        return second.mT @ error, error @ first.mT

    def change(self, first, second):
        """What is conserved, of each run."""
        weights = [{"first": a, "second": b} for a, b in zip(first, second, strict=True)]
        return torch.stack([next(iter(conserved(w, [self.symmetry]).values())) for w in weights])

    def noise(self):
        """S of the law η²S/B: the mean over samples of what is conserved, of the gradients of single samples."""
        runs = len(self.x)
        alone = torch.arange(runs)[:, None]
        grads = self.gradients(self.first.expand(runs, -1, -1), self.second.expand(runs, -1, -1), alone)
        return self.change(*grads).mean(0)

    def drift(self, rate, batch, steps, runs, seed):
        """What SGD changes, projected on S/‖S‖: mean over runs and standard error."""
        generator = torch.Generator().manual_seed(seed)
        first, second = self.first.expand(runs, -1, -1), self.second.expand(runs, -1, -1)
        before = self.change(first, second)
        for _ in range(steps):
            chosen = torch.randint(len(self.x), (runs, batch), generator=generator)
            g1, g2 = self.gradients(first, second, chosen)
            first, second = first - rate * g1, second - rate * g2
        direction = self.noise() / self.noise().norm()
        along = ((self.change(first, second) - before) * direction).sum((1, 2))
        return float(along.mean()), float(along.std() / runs**0.5)


@pytest.mark.slow
def test_drift_from_gradient_noise_is_that_of_single_samples_divided_by_the_batch_size():
    """One step from a minimum: E[C] − C₀ = η² S/B exactly."""
    problem, rate = NoisyRegression(), 0.1
    batches = [1, 2, 4, 8, 16, 32]
    means, errors = zip(*(problem.drift(rate, b, steps=1, runs=2000, seed=b) for b in batches), strict=True)
    slope, error = line(1 / np.array(batches), means, errors)
    expected = rate**2 * float(problem.noise().norm())
    assert abs(slope - expected) < 4 * error
    assert error < 0.05 * expected


@pytest.mark.slow
def test_drift_over_a_fixed_time_goes_as_learning_rate_over_batch_size():
    problem, time = NoisyRegression(), 0.025  # short enough that S stays what it is
    for rates, batches in ((np.full(5, 0.00025), [1, 2, 4, 8, 16]), (0.001 / 2 ** np.arange(5), [4] * 5)):
        found = [
            problem.drift(rate, batch, steps=round(time / rate), runs=1500, seed=i)
            for i, (rate, batch) in enumerate(zip(rates, batches, strict=True))
        ]
        means, errors = (np.array(column) for column in zip(*found, strict=True))
        slope, error = line(np.log(rates / np.array(batches)), np.log(means), errors / means)
        assert abs(slope - 1) < 4 * error
        assert error < 0.01
        predicted = time * float(problem.noise().norm()) * rates / np.array(batches)
        assert (np.abs(means - predicted) < 4 * errors).all()


@pytest.mark.slow
def test_the_drift_of_a_recorded_run_is_an_observable_of_its_transitions(tmp_path):
    torch.manual_seed(0)
    model, teacher = (nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 8, bias=False)) for _ in range(2))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.02 * torch.randn(p.shape))
        teacher[0].weight.copy_(torch.eye(2))
        teacher[1].weight.copy_(torch.eye(8)[:, :2])
        x = torch.randn(60, 2)
        data = x, teacher(x)

    def squared_error(model, batch):
        return (model(batch[0]) - batch[1]).square().sum(1)

    drift = conserved_drift(model)
    store = lk.CheckpointStore(tmp_path / "run")
    recorder = lk.Recorder(store, schedule=lk.linear_schedule(60, 21))
    for step in range(61):
        loss = squared_error(model, data).mean()
        recorder(step, model, loss=loss.item(), drift=drift(model))
        grads = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for p, g in zip(model.parameters(), grads, strict=True):
                p -= 0.05 * g

    task = lk.behavioral_task(lk.Task(model, data, squared_error))
    settings = {"n_beta": 1000.0, "localization": 1.0, "num_chains": 4, "num_burnin": 15, "num_draws": 15}
    curve = lk.estimate_curve(store, task, sampler=lk.hmc(max_leapfrogs=4), progress=False, **settings)
    afterwards = [drift(store.load(step)) for step in curve.step.tolist()]
    np.testing.assert_allclose(curve.recorded["drift"], afterwards, rtol=1e-12)
    for found in (
        lk.detect_transitions(curve, axis="linear"),
        lk.detect_transitions(curve, axis="linear", observables={"drift": afterwards}),
    ):
        (only,) = found  # rank 0, λ = 2, to rank 2, λ = 8
        assert only.kind == "A"
        moves = {move.name: move.delta for move in only.moves}
        assert moves["drift"] == pytest.approx(afterwards[-1], rel=0.05)
    point = task.checkpoint(store.load(30))
    on_draws = observing(task, point, {"drift": drift})
    assert on_draws(point.weights[None])["drift"] == pytest.approx(curve.recorded["drift"][10], rel=1e-12)


def test_what_is_conserved_between_layers_and_in_heads():
    torch.manual_seed(0)
    model = normal(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)).double())
    (w1, b1, w2, b2, w3, _), found = (p.detach() for p in model.parameters()), conserved(model)
    assert list(found) == ["linear: 0.weight -> 1.weight", "homogeneous: 1.weight -> 3.weight"]
    linear, units = found.values()
    torch.testing.assert_close(linear, w2.T @ w2 - w1 @ w1.T - torch.outer(b1, b1))
    torch.testing.assert_close(units, w2.square().sum(1) + b2**2 - w3.square().sum(0))

    attention = normal(nn.MultiheadAttention(6, 2).double())
    found, head = conserved(attention), slice(3, 6)  # the second head
    q, k, v = (w[head] for w in attention.in_proj_weight.detach().chunk(3))
    bq, bk, bv = (b[head] for b in attention.in_proj_bias.detach().chunk(3))
    out = attention.out_proj.weight.detach()[:, head]
    symmetries = [s for s in find_symmetries(attention) if s.kind != "heads"]
    assert list(found) == [str(s) for s in symmetries]
    _, _, _, scores, key_bias, values = found.values()
    torch.testing.assert_close(scores, q @ q.T + torch.outer(bq, bq) - k @ k.T)
    torch.testing.assert_close(key_bias, bk)
    torch.testing.assert_close(values, out.T @ out - v @ v.T - torch.outer(bv, bv))


def test_drift_is_relative_to_the_size_of_the_weights_at_the_start():
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    start, other = ({"0.weight": torch.tensor([[a]]), "1.weight": torch.tensor([[b]])} for a, b in ((3, 1), (3, 2)))
    drift = conserved_drift(start, find_symmetries(model))
    assert drift(start) == 0
    assert drift(other) == pytest.approx(((4 - 9) - (1 - 9)) / 10)
    start["1.weight"] += 1  # the drift keeps its own copy
    assert drift(other) == pytest.approx(0.3)


@pytest.mark.slow
def test_weight_decay_shrinks_them_exponentially():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    (linear, _), decay, time = find_symmetries(model), 0.7, 1.0

    class Decayed(Regression):
        def loss(self, model):
            return super().loss(model) + decay / 2 * sum(p.square().sum() for p in model.parameters())

    start, end = flow(Decayed(torch.randn(30, 4).double(), torch.randn(30, 2).double()), model, time, 100)
    before, after = (conserved(weights, [linear])[str(linear)] for weights in (start, end))
    torch.testing.assert_close(after, before * np.exp(-2 * decay * time), rtol=1e-7, atol=1e-8)


def test_wrong_weights_are_refused():
    model = two_layers()
    with pytest.raises(InputError, match="symmetries is None"):
        conserved(model.state_dict())
    with pytest.raises(InputError, match=r"act on 0\.weight; expected"):
        conserved({"w": torch.ones(2, 2)}, find_symmetries(model))
    with pytest.raises(InputError, match="symmetries conserve nothing"):
        conserved_drift(two_layers(activation=nn.Tanh))
    for p in model.parameters():
        nn.init.zeros_(p)
    with pytest.raises(InputError, match="symmetries conserve nothing"):
        conserved_drift(model)
    assert conserved(two_layers(activation=nn.Tanh)) == {}
