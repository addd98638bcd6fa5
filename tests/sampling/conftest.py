import pytest
import torch


@pytest.fixture
def potential(potential):
    """As everywhere, but in float64 and with 8 rows unless told."""

    def make(function, center, *, rows=8, **settings):
        return potential(function, center.double(), rows=rows, **settings)

    return make


@pytest.fixture
def quadratic(potential):
    """Makes the posterior of L(w) = ½ Σ h w² around 0, in float64."""

    def make(h, **settings):
        h = torch.as_tensor(h, dtype=torch.float64)
        return potential(lambda w: 0.5 * (h * w.square()).sum(), torch.zeros(len(h)), **settings)

    return make
