"""The conformance table: one row per sampler. Tests of all samplers take their cases from here, and from nowhere else.

A test with an argument `row` runs for every row, with `exact_row` or `rejecting_row` for those that say so, and with
`law` for each law of each row.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_lyapunov
from scipy.optimize import brentq

from llckit.sampling import SAMPLERS, Sampler
from llckit.sampling.chain_group import OneByOne
from llckit.sampling.jumps import Jumps
from llckit.sampling.potentials import FullPotential, MinibatchPotential, PairedMinibatches

T, GAMMA = 2.0, 2.0
H = np.array([4.0, 2.0, 1.0, 0.5])
K = T * H + GAMMA
SIZE, MOVES = 0.3, 40

Settings = Mapping[str, Any]


class Law(NamedTuple):
    """The variance of every direction of U = ½ Σ k w², with k = T h + GAMMA."""

    settings: Settings
    variance: np.ndarray
    num_burnin: int
    source: str  # of variance and tolerance
    is_exact: bool = False  # whether it is the posterior's, 1/k
    tolerance: float = 0.0  # what it may be off by, beside four standard errors, relative
    h: np.ndarray = H
    noise: float = 0.0  # variance of the gradient's noise
    num_draws: int = 3000


class Free(NamedTuple):
    """The variance of a weight after so many steps without a force."""

    settings: Settings
    steps: int  # a sampler that reports where a step began has made one move less
    variance: float


class Rejections(NamedTuple):
    """Settings with which steps are rejected, or taken back."""

    too_long: Settings  # at curvature 10⁶
    not_finite: Settings  # beyond |w| = 1, at a curvature of 4
    wall: Settings  # at |w| = 1


class Row(NamedTuple):
    """What is known of a sampler."""

    name: str
    accepts: set[type]
    step_size: float  # fixed, stable at a curvature of 20.5
    first_step: Callable[[float], float]  # the ε it takes by itself, by the largest curvature, for three weights
    laws: list[Law]
    free: Free
    is_exact: bool = False
    finds_step: bool = False
    rejections: Rejections | None = None
    box: tuple[Settings, int] | None = None  # settings and steps that cross [−1, 1]²; exact samplers only
    wrong: Mapping[str, list[Any]] = {}  # settings that are refused
    burnin: int = 100  # steps until an estimate is settled

    def make(self, **settings: Any) -> Sampler:
        return SAMPLERS[self.name](**settings)


def sgld_law(size, noise=0.0):
    return (1 + size * noise / 4) / (K * (1 - size * K / 4))


def rmsprop_law(size, eps):
    return 1 / (K * (1 - size / (np.sqrt(K / K.max()) + eps) * K / 4))


def rmsprop_law_of_one_direction(eps):
    c = math.sqrt(2 / math.pi)
    return (eps + 2 * c) / (eps + c)


def sgnht_law(size, a, k=K, noise=0.0):
    def heat(xi):
        return (a + size**2 * noise / 2) / xi / (1 - xi / 2 - size**2 * k / 4)

    xi = brentq(lambda xi: heat(xi).mean() - 1, 1e-3 * a, 0.9)
    return (1 - xi / 2) * heat(xi) / k


def baoab_law(size, friction, noise):
    """From the linear map of (w, p before the last half kick), solved numerically."""
    c = math.exp(-friction * size)
    drift = np.array([[1, size * (1 + c) / 2], [0, c]])
    kick, fresh = drift @ np.array([0, -size]), math.sqrt(1 - c**2) * np.array([size / 2, 1])
    cause = noise * np.outer(kick, kick) + np.outer(fresh, fresh)
    return np.array([solve_discrete_lyapunov(drift @ np.array([[1, 0], [-size * k, 1]]), cause)[0, 0] for k in K])


def free_baoab():
    c = math.exp(-0.1)
    pp = wp = ww = 0.0
    for _ in range(MOVES):
        ww += SIZE * (1 + c) * wp + SIZE**2 / 4 * ((1 + c) ** 2 * pp + 1 - c**2)
        wp = c * wp + SIZE / 2 * (c * (1 + c) * pp + 1 - c**2)
        pp = c**2 * pp + 1 - c**2
    return ww


def free_sgnht(a=0.05):
    pp = wp = ww = 0.0
    xi = a
    for _ in range(MOVES):
        pp = (1 - xi) ** 2 * pp + 2 * a
        ww += 2 * SIZE * (1 - xi) * wp + SIZE**2 * pp
        wp = (1 - xi) * wp + SIZE * pp
        xi += a**2 * (pp - 1)
    return ww


def free_rmsprop(b=0.9, eps=0.5):
    return sum(SIZE / (math.sqrt(b**t / (1 - b**t)) + eps) for t in range(1, MOVES + 1))


TABLE = [
    Row(
        "hmc",
        accepts={FullPotential, Jumps},
        is_exact=True,
        finds_step=True,
        step_size=0.2,
        first_step=lambda k: k**-0.5,
        laws=[Law({}, 1 / K, 150, "Metropolis test", is_exact=True)],
        free=Free({"step_size": SIZE, "max_leapfrogs": 1}, MOVES, MOVES * SIZE**2),
        rejections=Rejections({"step_size": 0.05, "max_leapfrogs": 1}, {"step_size": 1.5}, {}),
        box=({"step_size": 0.04, "max_leapfrogs": 20}, 2000),
        wrong={"max_leapfrogs": [0, -3, 2.5, "ten"]},
    ),
    Row(
        "mala",
        accepts={FullPotential},
        is_exact=True,
        finds_step=True,
        step_size=0.05,
        first_step=lambda k: 1 / k,
        laws=[Law({}, 1 / K, 300, "Metropolis test", is_exact=True)],
        free=Free({"step_size": SIZE}, MOVES, MOVES * SIZE),
        rejections=Rejections({"step_size": 0.0025}, {"step_size": 0.5}, {}),
        box=({"step_size": 0.002}, 6000),
    ),
    Row(
        "baoab",
        accepts={FullPotential, MinibatchPotential, PairedMinibatches},
        finds_step=True,
        step_size=0.1,
        first_step=lambda k: (0.3 / k) ** 0.5,
        laws=[
            Law({"step_size": 0.3}, 1 / K, 200, "Leimkuhler & Matthews: exact on quadratics", is_exact=True),
            Law({}, 1 / K, 500, "the same at the step it finds", is_exact=True),
            *(
                Law(
                    {"step_size": 0.3, "friction": friction},
                    baoab_law(0.3, friction, noise),
                    200,
                    "its linear map",
                    is_exact=not noise,
                    noise=noise,
                )
                for friction in (0.5, 3.0)
                for noise in (0.0, 4.0)
            ),
        ],
        free=Free({"step_size": SIZE}, MOVES, free_baoab()),
        rejections=Rejections({"step_size": 1.0}, {"step_size": 1.5, "friction": 1.0}, {"step_size": 0.1}),
        wrong={"friction": [0, -1.0, math.inf, "1"]},
    ),
    Row(
        "sgld",
        accepts={FullPotential, MinibatchPotential, OneByOne},
        step_size=0.02,
        first_step=lambda k: 0.2 / k,
        laws=[
            Law({"step_size": 0.1}, sgld_law(0.1), 200, "its linear map"),
            Law({"step_size": 0.05}, sgld_law(0.05, noise=20.0), 200, "its linear map", noise=20.0),
        ],
        free=Free({"step_size": SIZE}, MOVES + 1, MOVES * SIZE),
    ),
    Row(
        "rmsprop_sgld",
        accepts={FullPotential, MinibatchPotential, OneByOne},
        step_size=0.005,
        first_step=lambda k: 0.2 / k,
        laws=[
            Law(
                {"step_size": 0.04, "decay": 0.999},
                rmsprop_law(0.04, 0.1),
                4000,
                "steady statistics; over the 1000 steps that they remember they fluctuate with the weights' squares",
                tolerance=0.02,
            ),
            *(
                Law(
                    {"step_size": 0.006, "decay": 0.0, "eps": eps},
                    np.full(40, rmsprop_law_of_one_direction(eps) / 4),
                    500,
                    "statistics that follow the weight; an error of order ε remains",
                    tolerance=0.01,
                    h=np.ones(40),
                    num_draws=6000,
                )
                for eps in (0.3, 1.0)
            ),
        ],
        free=Free({"step_size": SIZE, "decay": 0.9, "eps": 0.5}, MOVES + 1, free_rmsprop()),
        wrong={"decay": [1, -0.1, math.nan, "0.9"], "eps": [0, -1, math.inf, None]},
    ),
    Row(
        "sgnht",
        accepts={FullPotential, MinibatchPotential, OneByOne},
        step_size=0.05,
        first_step=lambda k: (0.1 / k) ** 0.5,
        laws=[
            Law(
                {"step_size": 0.2, "diffusion": 0.1},
                sgnht_law(0.2, 0.1),
                500,
                "steady friction; it fluctuates, by less in more dimensions",
                tolerance=0.01,
            ),
            Law(
                {"step_size": 0.1, "diffusion": 0.05},
                sgnht_law(0.1, 0.05, np.full(50, 4.0), noise=8.0),
                500,
                "steady friction, which takes isotropic noise away",
                h=np.ones(50),
                noise=8.0,
            ),
        ],
        free=Free({"step_size": SIZE, "diffusion": 0.05}, MOVES + 1, free_sgnht()),
        wrong={"diffusion": [0, 1, -0.1, math.nan, "0.1"]},
        burnin=600,  # friction takes hundreds of steps to settle
    ),
]
ROWS = {
    "row": TABLE,
    "exact_row": [row for row in TABLE if row.is_exact],
    "rejecting_row": [row for row in TABLE if row.rejections],
}


def pytest_generate_tests(metafunc):
    for argument, rows in ROWS.items():
        if argument in metafunc.fixturenames:
            metafunc.parametrize(argument, rows, ids=[row.name for row in rows])
    if "law" in metafunc.fixturenames:
        cases = [pytest.param(row, law, id=f"{row.name}-{i}") for row in TABLE for i, law in enumerate(row.laws)]
        metafunc.parametrize(("lawful", "law"), cases)


@pytest.fixture
def rows():
    """The whole table."""
    return TABLE


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
