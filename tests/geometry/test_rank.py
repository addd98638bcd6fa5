"""The Hessian's rank, counted from all eigenvalues and by block Lanczos, against what is known and each other."""

import math
import random
import sys

import pytest
import torch
from torch import nn

from llckit.errors import InputError
from llckit.geometry import bracket
from llckit.geometry.rank import AllEigenvalues, PartialSearch, RitzValues, counted, find_rank, hessian_rank, make_task
from llckit.toys import LinearNet, matrix_loss, two_layer_point
from tests.geometry.nets import NO_DATA, Vector, own_teacher, two_layers


def quadratic(curvatures):
    return Vector(torch.zeros(len(curvatures))), NO_DATA, lambda m, b: 0.5 * (curvatures.to(m.w) * m.w.square()).sum()


def teacher(widths, n, activation=nn.ReLU, seed=0):
    """A net as its own teacher on n inputs: a minimum whose Hessian has a rank of n times its outputs at most."""
    torch.manual_seed(seed)
    model = two_layers(widths, activation)
    return own_teacher(model, torch.randn(n, widths[0]))


def matrix_free(case, double=True, **settings):
    task = make_task(*case, double=double)
    return find_rank(task, task.checkpoint(), **settings)


def random_net(seed):
    """500 to 1500 parameters: a two-layer linear net at a solution of given ranks, a ReLU or a tanh net on few data."""
    chosen = random.Random(seed)
    if seed % 3 == 0:
        n, m = chosen.randint(10, 20), chosen.randint(10, 20)
        h = chosen.randint(math.ceil(500 / (n + m)), 1500 // (n + m))
        r = chosen.randint(0, 3)
        a, b = (min(h // 2, chosen.randint(r, 6)) for _ in range(2))
        return LinearNet(two_layer_point((n, h, m), (a, b, min(r, a, b)))), NO_DATA, matrix_loss
    inputs, outputs = chosen.randint(3, 12), chosen.randint(1, 3)
    hidden = chosen.randint(math.ceil(500 / (inputs + outputs + 1)), 1400 // (inputs + outputs + 1))
    widths, n = (inputs, hidden, outputs), chosen.randint(5, 25)
    return teacher(widths, n, nn.ReLU if seed % 3 == 1 else nn.Tanh, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_matrix_free_equals_dense(seed):
    case = random_net(seed)
    dense, free = hessian_rank(*case), matrix_free(case, seed=seed)
    assert 500 <= len(dense.eigenvalues) <= 3000
    assert dense.is_exact
    assert free.is_exact
    assert free.rank == dense.rank > 0
    assert dense.method == AllEigenvalues()
    assert isinstance(free.method, RitzValues)
    assert free.method.missed <= free.tolerance * float(dense.eigenvalues[-1])
    # What is left is below the tolerance, and so is the error of every eigenvalue.
    kept = slice(-dense.rank, None)
    error = (free.eigenvalues[kept] - dense.eigenvalues[kept]).abs().max()
    assert error <= 1e-6 * float(dense.eigenvalues[-1])


@pytest.mark.parametrize("rank", [1, 3, 40, 150])
def test_equal_eigenvalues_are_all_counted(rank):
    # A Krylov space of one vector holds a single copy of an eigenvalue.
    curvatures = torch.cat([torch.ones(rank), torch.zeros(200 - rank)]).double()
    free = matrix_free(quadratic(curvatures))
    assert (free.rank, free.is_exact) == (rank, True)
    torch.testing.assert_close(free.eigenvalues[-rank:], torch.ones(rank).double(), rtol=1e-12, atol=0)


@pytest.mark.slow
def test_little_memory_gives_a_lower_bound_that_says_so():
    case = quadratic(torch.linspace(0.1, 1, 300, dtype=torch.float64))
    free = matrix_free(case, max_bytes=8 * 300 * 80)
    assert free.rank == len(free.eigenvalues) == 80 - 3 * 5  # five vectors a block, of which three are at work
    assert not free.is_exact
    assert free.method == PartialSearch(65)
    assert "a lower bound" in free.note
    # Cauchy's interlacing: the i-th largest Ritz value never exceeds the i-th largest eigenvalue.
    exact = torch.linspace(0.1, 1, 300, dtype=torch.float64).flip(0)[: free.rank]
    assert bool((free.eigenvalues.flip(0) <= exact * (1 + 1e-12)).all())
    assert matrix_free(case, max_bytes=8 * 300 * 400).rank == 300


def test_a_spectrum_without_a_gap_has_no_exact_rank():
    curvatures = torch.logspace(-12, 0, 121, dtype=torch.float64)
    for found in (hessian_rank(*quadratic(curvatures)), matrix_free(quadratic(curvatures))):
        assert not found.is_exact
        assert found.gap < 10
        assert found.rank == pytest.approx(60, abs=1)  # ten a decade, six decades above the tolerance


@pytest.mark.parametrize(("step", "is_exact"), [(9.0, False), (11.0, True)])
def test_a_gap_is_a_factor_of_ten(step, is_exact):
    tolerance = 1e-6
    found = counted(torch.tensor([2 * tolerance / step, 2 * tolerance, 1.0], dtype=torch.float64), tolerance)
    assert (found.rank, found.is_exact) == (2, is_exact)
    assert found.gap == pytest.approx(step)


def test_negative_eigenvalues_set_the_size_of_errors():
    values = torch.tensor([-0.01, 0.05, 0.2, 1.0], dtype=torch.float64)
    assert counted(values, 1e-6).rank == 2  # 0.05 is within ten times 0.01


def test_no_curvature():
    for found in (
        hessian_rank(Vector([1.0, 2.0]), NO_DATA, lambda m, b: m.w.sum()),
        matrix_free((Vector([1.0, 2.0]), NO_DATA, lambda m, b: m.w.sum())),
    ):
        assert (found.rank, found.is_exact) == (0, True)
        assert math.isnan(found.gap)


def test_full_rank():
    found = matrix_free(quadratic(torch.ones(30).double()))
    assert (found.rank, found.is_exact, len(found.eigenvalues)) == (30, True, 30)


@pytest.mark.parametrize("n", [3, 8])
def test_gauss_newton_is_the_hessian_of_the_distance_from_the_own_outputs(n):
    model, (x, y), loss_fn = teacher((4, 10, 2), n, nn.Tanh)
    at_the_minimum = hessian_rank(model, (x, y), loss_fn)
    gauss_newton = hessian_rank(model, (x, y + 1), loss_fn, gauss_newton=True)  # which does not see the residuals
    assert at_the_minimum.rank == gauss_newton.rank == 2 * n
    torch.testing.assert_close(gauss_newton.eigenvalues[-2 * n :], at_the_minimum.eigenvalues[-2 * n :])
    assert hessian_rank(model, (x, y + 1), loss_fn).eigenvalues[0] < -1e-3  # the Hessian does


def test_gauss_newton_of_a_softmax_loses_the_constant():
    torch.manual_seed(0)
    model, x = nn.Linear(3, 5, bias=False), torch.randn(50, 3)
    loss_fn = lambda m, b: nn.functional.cross_entropy(m(b[0]), b[1])  # noqa: E731
    found = hessian_rank(model, (x, torch.randint(5, (50,))), loss_fn, gauss_newton=True)
    assert found.rank == 3 * (5 - 1)


@pytest.mark.parametrize("double", [None, True])
def test_large_models_in_their_own_precision_or_in_float64(double):
    case = teacher((20, 200, 2), 10)
    found = hessian_rank(*case, double=double)
    assert (found.rank, found.is_exact) == (20, True)
    assert found.tolerance == (1e-6 if double else 1e-4)
    box = bracket(*case, n_beta=100.0, localization=1.0, double=double)
    assert (box.lower, box.rank_is_exact, box.dim) == (10.0, True, 20 * 200 + 200 + 200 * 2 + 2)
    assert box.orbit_dim == 200
    assert box.upper == (box.dim - 200) / 2
    assert box.lower_finite is not None
    assert 0 < box.lower_finite < box.lower


@pytest.mark.slow
def test_float32_sums_over_many_weights_leave_zero_eigenvalues_at_zero():
    """At zero residual none is negative; inner products summed in float32 gave some of 5e-6 of the largest."""
    found = matrix_free(teacher((800, 300, 3), 10), double=False)
    assert found.rank == 30
    assert found.is_exact
    assert found.eigenvalues[0].abs() < 1e-8 * found.eigenvalues[-1]


@pytest.mark.slow
def test_large_linear_net_at_any_solution():
    shape, (a, b, r) = (30, 60, 40), (7, 4, 3)
    net = LinearNet(two_layer_point(shape, (a, b, r)))
    box = bracket(net, NO_DATA, matrix_loss, double=True)
    assert box.dim == 4200 > 3000
    assert box.rank == 40 * a + 30 * b - a * b
    assert box.orbit_dim == 60 * (a + b) - a * b
    assert box.rank_is_exact


def test_the_bar_is_for_terminals_only(capsys):
    matrix_free(quadratic(torch.ones(20).double()), progress=True)
    assert capsys.readouterr().err == ""


def test_the_bar_is_shown_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    matrix_free(quadratic(torch.ones(20).double()), progress=True)
    assert "rank" in capsys.readouterr().err


def test_wrong_input_is_refused():
    with pytest.raises(InputError, match=r"expected a torch\.nn\.Module"):
        hessian_rank("model", NO_DATA, matrix_loss)
    with pytest.raises(InputError, match="max_bytes is '1 GiB'; expected an integer"):
        hessian_rank(Vector([1.0]), NO_DATA, lambda m, b: m.w.square().sum(), max_bytes="1 GiB")
    with pytest.raises(InputError, match="double is 'yes'; expected True or False"):
        hessian_rank(Vector([1.0]), NO_DATA, lambda m, b: m.w.square().sum(), double="yes")
    case = teacher((20, 200, 2), 10)
    with pytest.raises(InputError, match=r"expected room for four vectors of 4602 weights, 73632 bytes"):
        hessian_rank(*case, max_bytes=73631)
    assert not hessian_rank(*case, max_bytes=73632).is_exact


@pytest.mark.parametrize(("size", "rank"), [(0.2, 4), (1e-2, 2), (1e-3, 1), (1e-5, 1)])
def test_features_of_other_scales_are_not_called_flat(size, rank):
    """Eigenvalues 1, size², size⁴, size⁶ of a float64 model: those that do not count are known not to be zero."""
    x = torch.randn(50, 4, dtype=torch.float64) * size ** torch.arange(4.0, dtype=torch.float64)
    model = nn.Linear(4, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    data = x, torch.zeros(50, 1, dtype=torch.float64)
    dense, free = hessian_rank(model, data, squared_loss), matrix_free((model, data, squared_loss))
    box = bracket(model, data, squared_loss)
    assert abs(dense.rank - rank) <= (size == 1e-3), "there the second eigenvalue lies at the tolerance"
    assert free.rank == box.rank == dense.rank
    assert dense.is_exact == box.rank_is_exact == (rank == 4)
    assert ("features may have different scales" in box.note) == (rank < 4)


def squared_loss(model, batch):
    return (model(batch[0]) - batch[1]).square().mean()


def test_zeros_of_a_float64_model_are_zeros():
    x = torch.randn(50, 4, dtype=torch.float64) @ torch.diag(torch.tensor([1, 1e-2, 0, 0], dtype=torch.float64))
    model = nn.Linear(4, 1, bias=False).double()
    found = hessian_rank(model, (x, model(x).detach()), squared_loss)
    assert (found.rank, found.is_exact, found.num_small) == (2, True, 0)


def test_float32_weights_leave_small_eigenvalues_in_place_of_zeros():
    values = torch.tensor([1e-9, 1e-7, 0.5, 1.0], dtype=torch.float64)
    assert counted(values, 1e-6).is_exact
    assert not counted(values, 1e-6, resolution=1e-12).is_exact
    assert counted(values * torch.tensor([-100, 1, 1, 1]), 1e-6, resolution=1e-12).is_exact, "errors are as large"
