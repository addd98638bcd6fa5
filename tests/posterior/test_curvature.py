import pytest
import torch
from torch import nn

from llckit.posterior import LocalPosterior, Task
from llckit.posterior import curvature as curvature_module


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 100.0])
def test_all_eigenvalues_of_a_small_quadratic(potential, dtype, scale):
    generator = torch.Generator().manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(30, 30, generator=generator, dtype=torch.float64))[0]
    values = torch.cat([torch.zeros(10, dtype=torch.float64), torch.logspace(-2, 2, 20, dtype=torch.float64)])
    center = (scale * torch.randn(30, generator=generator)).to(dtype)
    hessian = (rotation * values) @ rotation.T
    posterior = potential(lambda w: 0.5 * (w - center) @ (hessian.to(dtype) @ (w - center)), center)
    spectrum = posterior.checkpoint.curvature()
    tolerance = 1e-9 if dtype == torch.float64 else 1e-4
    torch.testing.assert_close(spectrum.values, values, rtol=0, atol=100 * tolerance)
    assert spectrum.weights.tolist() == [1] * 30
    assert spectrum.largest == pytest.approx(100, rel=10 * tolerance)


@pytest.mark.parametrize(
    "h",
    [
        torch.linspace(0, 1, 3000),
        torch.logspace(-6, 1, 3000),
        torch.cat([torch.zeros(2990), torch.linspace(5, 50, 10)]),
        torch.cat([torch.linspace(0, 1, 2999), torch.tensor([200.0])]),
    ],
    ids=["uniform", "log", "rank 10", "outlier"],
)
@pytest.mark.parametrize("probes", [4, 1])
def test_lanczos_finds_largest_eigenvalue_and_trace(potential, h, probes, monkeypatch):
    if probes == 1:
        monkeypatch.setattr(curvature_module, "BASIS_BYTES", 0)
    center = torch.ones(3000)
    spectrum = potential(lambda w: 0.5 * (h * (w - center).square()).sum(), center).checkpoint.curvature()
    assert spectrum.largest == pytest.approx(float(h.max()), rel=0.01)
    assert float(spectrum.weights.sum()) == pytest.approx(3000, rel=1e-6)
    assert len(spectrum.values) == 16 * probes
    # Hutchinson's error with Gaussian probes, normalised: Var ≈ 2 (dim Σh² − (Σh)²) / (dim · probes)
    h = h.double()
    deviation = float((2 * (h.square().sum() - h.sum().square() / 3000) / probes).sqrt())
    assert float((spectrum.values * spectrum.weights).sum()) == pytest.approx(float(h.sum()), abs=4 * deviation)


@pytest.mark.parametrize("kept", [2**31, 0])
def test_lanczos_of_a_flat_loss(potential, kept, monkeypatch):
    monkeypatch.setattr(curvature_module, "BASIS_BYTES", kept)
    spectrum = potential(lambda w: 0 * w.sum() + 1, torch.ones(2000)).checkpoint.curvature()
    assert spectrum.largest == 0


def test_lanczos_of_rank_one_has_one_positive_node_a_probe(potential):
    direction = torch.ones(2000) / 2000**0.5
    spectrum = potential(lambda w: 1.5 * (w @ direction - 1).square(), 0 * direction).checkpoint.curvature()
    assert spectrum.largest == pytest.approx(3, rel=1e-3)
    carrying = spectrum.values[spectrum.weights > 1e-9 * 2000]
    assert int((carrying > 0.3).sum()) == 4


@pytest.mark.parametrize("width", [8, 150])
def test_kinked_losses_have_a_curvature(width):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 2))
    x, y = torch.randn(50, 6), torch.randn(50, 2)
    task = Task(model, (x, y), lambda m, batch: (m(batch[0]) - batch[1]).square().sum(1))
    posterior = LocalPosterior(task.checkpoint(), n_beta=1.0, localization=1.0, rows=1)
    spectrum = posterior.checkpoint.curvature()
    assert (task.dim > 1024) == (width > 100)
    assert torch.isfinite(spectrum.values).all()
    assert spectrum.largest > 0
