import numpy as np
import pytest
import torch
from torch import nn

import llckit as lk
from llckit.llc.scale_profile import find_plateau

LADDER = np.geomspace(10, 1e6, 11)


class Bowl(nn.Module):
    def __init__(self, curvatures, at=0.0):
        super().__init__()
        self.w = nn.Parameter(torch.full((len(curvatures),), at))
        self.curvatures = torch.tensor(curvatures)

    def forward(self, batch):
        return 0.5 * (self.curvatures * self.w.square()).sum()


def bowl(curvatures, at=0.0):
    return Bowl(curvatures, at), torch.zeros(1000, 1), lambda model, batch: model(batch)


QUICK = {"num_draws": 100, "num_chains": 16, "num_burnin": 50, "progress": False}


@pytest.mark.slow
def test_a_quadratic_is_flat_where_the_localizer_does_nothing():
    profile = lk.scale_profile(*bowl([1.0, 1.0, 1.0, 1.0]), n_beta=LADDER, localization=30.0, **QUICK)
    exact = 2 * LADDER / (LADDER + 30)
    assert (np.abs(profile.llc - exact) <= 4.5 * profile.mcse).all()
    assert profile.plateau is not None
    low, high = profile.plateau
    assert 100 < low < 3000  # λ̂ still rises by 3 % per e-fold at nβ = 30/0.03
    assert high == LADDER[-1]
    assert profile.llc_plateau == pytest.approx(2, rel=0.03)
    inside = np.flatnonzero((low <= LADDER) & (high >= LADDER))
    upper = inside[len(inside) // 2 :]
    assert len(upper) > 1
    assert profile.llc_plateau == pytest.approx(np.average(profile.llc[upper], weights=profile.mcse[upper] ** -2))
    assert profile.is_minimum.all()
    assert profile.localization == 30
    assert "plateau from" in profile.summary()


@pytest.mark.slow
def test_far_from_the_minimum_there_is_no_plateau():
    profile = lk.scale_profile(*bowl([1.0, 1.0], at=1.0), n_beta=[10, 100, 1000], localization=0.01, **QUICK)
    assert not profile.is_minimum.any()  # E[L] - L(w*) = 1/nβ - 1
    assert profile.plateau is None
    assert profile.llc_plateau is None
    assert "no plateau" in profile.summary()


@pytest.mark.slow
def test_the_default_ladder_holds_n_over_ln_n():
    profile = lk.scale_profile(*bowl([1.0]), num_draws=4, num_chains=2, num_burnin=2, progress=False)
    assert len(profile.n_beta) == len(profile.llc) == len(profile.estimates) == 9
    assert np.isclose(profile.n_beta, 1000 / np.log(1000)).sum() == 1


@pytest.mark.parametrize(
    ("llc", "usable", "expected"),
    [
        (np.full(6, 5.0), np.ones(6), slice(0, 6)),
        (5 * LADDER[:6] ** 0.05, np.ones(6), None),  # 5 % per e-fold everywhere
        (5 * LADDER[:6] ** 0.02, np.ones(6), slice(0, 6)),
        (np.array([1, 2, 4, 5, 5, 5.0]), np.ones(6), slice(3, 6)),
        (np.full(6, 5.0), np.array([1, 1, 0, 1, 1, 1]), slice(3, 6)),
        (np.full(6, 5.0), np.array([1, 1, 0, 1, 1, 0]), None),
        (np.full(6, -5.0), np.ones(6), None),
        (np.array([5, 5, 5, 9, 9, 9, 9.0]), np.ones(7), slice(3, 7)),
    ],
)
def test_plateaus_of_known_profiles(llc, usable, expected):
    found = find_plateau(LADDER[: len(llc)], llc, 1e-3 * np.abs(llc), usable.astype(bool))
    assert found == expected


@pytest.mark.parametrize("wrong", [[], [0.0, 1.0], [3.0, 2.0], [1.0, 1.0], ["a"], 5.0, [1.0, float("nan")]])
def test_wrong_ladders(wrong):
    with pytest.raises(lk.InputError, match="n_beta is"):
        lk.scale_profile(*bowl([1.0]), n_beta=wrong, progress=False)
