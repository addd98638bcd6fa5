"""What an estimate says beside its value: how it leans on nβ and γ, and the observables it was asked for."""

import numpy as np
import pytest
import torch
from torch import nn

import llckit as lk
from llckit.sampling import mcse_mean


class Bowl(nn.Module):
    def __init__(self, curvatures):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(len(curvatures)))
        self.register_buffer("curvatures", torch.tensor(curvatures))

    def forward(self, batch):
        return 0.5 * (self.curvatures * self.w.square()).sum()


def estimate(curvatures, **settings):
    model = Bowl(curvatures)
    return lk.estimate_llc(model, torch.zeros(1000, 1), lambda m, b: m(b), num_chains=64, progress=False, **settings)


@pytest.mark.slow
def test_sensitivities_are_the_closed_form_ones():
    found = estimate([0.1, 1.0, 10.0], n_beta=100.0, localization=20.0, num_draws=400)
    k = 100 * np.array([0.1, 1.0, 10.0])
    exact = float((k * 20 / (k + 20) ** 2).sum() / 2)  # ∂λ̂/∂ln nβ = -∂λ̂/∂ln γ
    assert found.trace is not None
    deviation = found.trace.excess - found.llc
    assert abs(found.sensitivity_n_beta - exact) <= 4 * found.sensitivity_n_beta_mcse <= exact
    assert abs(found.sensitivity_localization + exact) <= 4 * found.sensitivity_localization_mcse <= exact
    assert found.sensitivity_n_beta_mcse == pytest.approx(mcse_mean(deviation**2 - found.trace.excess), rel=1e-6)
    assert "localization by -" in found.summary()


@pytest.mark.slow
def test_sensitivities_survive_the_round_trip():
    found = estimate([1.0], num_draws=50, observe={"norm": lambda model: model.w.norm()})
    again = lk.LLCEstimate.from_dict(found.to_dict())
    assert again.sensitivity_localization == found.sensitivity_localization
    assert again.observed == found.observed


@pytest.mark.slow
def test_observables_have_their_posterior_mean():
    found = estimate(
        [1.0, 4.0],
        n_beta=100.0,
        localization=0.0,
        num_draws=200,
        observe={"first": lambda model: model.w[0] ** 2, "sum": lambda model: model.curvatures.sum()},
    )
    assert found.trace is not None
    assert found.trace.observed["first"].shape == found.trace.excess.shape
    mean, error = found.observed["first"]
    assert abs(mean - 1 / 100) <= 4 * error
    assert (found.trace.observed["sum"] == 5).all()


@pytest.mark.parametrize(
    ("observe", "message"),
    [
        ([1], "expected functions of the model by name"),
        ({"a": 3}, "expected functions of the model by name"),
        ({"a": lambda model: model.absent}, "a failed at the checkpoint: AttributeError"),
        ({"a": lambda model: model.w}, "a failed at the checkpoint"),
        ({"a": lambda model: float("nan")}, "a is nan at the checkpoint"),
    ],
)
def test_wrong_observables_are_refused_before_sampling(observe, message):
    with pytest.raises(lk.InputError, match=message):
        estimate([1.0, 2.0], observe=observe)
