"""Superposition: the loss against a sum over magnitudes, and the published polygons."""

import pytest
import torch

import llckit as lk
from llckit.toys import Superposition


@pytest.mark.parametrize("features", [5, 8])
def test_superposition_integrates_the_magnitude_exactly(features):
    model = Superposition(features).double()
    magnitudes = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            model.weight.copy_(torch.randn(2, features, generator=generator))
            model.bias.copy_(0.5 * torch.randn(features, generator=generator))
        x = magnitudes[:, None, None] * torch.eye(features, dtype=torch.float64)  # magnitude, feature, entry
        y = torch.relu(x @ (model.weight.T @ model.weight) + model.bias)
        assert model().item() == pytest.approx((x - y).square().sum(2).mean().item(), rel=1e-6)


def test_polygons_are_where_publication_says():
    for features, length in ((5, 1.17046), (6, 1.32053), (7, 1.44839), (8, 1.55045)):
        model = Superposition(features)
        assert torch.allclose(model.weight.norm(dim=0), torch.tensor(length), atol=1e-5)


def test_other_polygons_are_refused():
    with pytest.raises(lk.InputError, match="features is 4"):
        Superposition(4)
