"""What devinterp is measured on: its own fourteen test cases, rebuilt, and a deep linear net."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks._models import linear_net, mean_squared_error, squared_error
from llckit.toys import Planar, Toy, deep_linear_llc, deepest_point, monomial_llc, random_widths

SOURCE = "devinterp 1.3.2, tests/slt/rrr_test.py and tests/slt/sampler_accuracy_test.py"
SEED, SAMPLES = 42, 1000  # those of devinterp's tests
REGRESSIONS = ((5, 3, 5), (5, 4, 5), (4, 3, 8), (8, 3, 4), (3, 8, 4))  # inputs, hidden, outputs
POWERS = ((0, 1), (1, 1), (0, 2), (1, 2), (2, 2), (0, 3), (1, 3), (2, 3), (3, 3))
NET_SEED, NET_SAMPLES = 0, 10_000  # of `deep_net`


class Published(NamedTuple):
    """SGLD as devinterp's own test runs it, without burn-in."""

    step_size: float
    localization: float
    chains: int
    draws: int


PUBLISHED = {
    "reduced rank regression": Published(6e-5, 1.0, 3, 2000),
    "normal crossing": Published(4e-4, 0.0, 10, 5000),
}


class NormalCrossing(nn.Module):
    """y = x w₁^a w₂^b, at w = 0."""

    def __init__(self, powers: tuple[int, int]) -> None:
        super().__init__()
        self.powers = powers
        self.w = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        """The prediction."""
        return x * self.w[0] ** self.powers[0] * self.w[1] ** self.powers[1]


def own_cases() -> dict[str, Callable[[], Toy]]:
    """The accuracy tests that devinterp comes with: five regressions on pure noise and nine normal crossings.

    Data and initial weights come from devinterp's seeds in its order; the regressions are trained as it trains them,
    and the loss is its `evaluate_mse`.

    Returns:
        What makes them, by name; the normal crossings have their exact energy, one quadrature.
    """
    regressions = {f"regression {'-'.join(map(str, shape))}": partial(_regression, shape) for shape in REGRESSIONS}
    crossings = {f"x w1^{a} w2^{b}": partial(_normal_crossing, (a, b)) for a, b in POWERS}
    return regressions | crossings


def _regression(shape: tuple[int, int, int]) -> Toy:
    inputs, hidden, outputs = shape
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        x, y = torch.randn(SAMPLES, inputs), torch.randn(SAMPLES, outputs)
        model = nn.Sequential(nn.Linear(inputs, hidden, bias=False), nn.Linear(hidden, outputs, bias=False))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(5000):
        optimizer.zero_grad()
        mean_squared_error(model, (x, y)).backward()
        optimizer.step()
    model.zero_grad()
    llc, multiplicity = deep_linear_llc(shape, 0)
    name = f"regression {inputs}-{hidden}-{outputs}"
    return Toy(name, "reduced rank regression", model, (x, y), mean_squared_error, llc, multiplicity, None, SOURCE)


def _normal_crossing(powers: tuple[int, int]) -> Toy:
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        x = torch.normal(0, 2, size=(SAMPLES,))
        y = 0.25 * torch.normal(0, 1, size=(SAMPLES,))
    square, tilt = float(x.double().square().mean()), float((x.double() * y.double()).mean())
    llc, multiplicity = monomial_llc([k for k in powers if k])

    def excess(first: Any, second: Any) -> Any:  # (L(w) − L(0)) / mean x²
        product = first ** powers[0] * second ** powers[1]
        return product**2 - 2 * tilt / square * product

    def exact(n_beta: float, localization: float) -> float:
        return Planar(excess, (llc, multiplicity)).energy(n_beta * square, localization)

    name = f"x w1^{powers[0]} w2^{powers[1]}"
    model = NormalCrossing(powers)
    return Toy(name, "normal crossing", model, (x, y), mean_squared_error, llc, multiplicity, exact, SOURCE)


def deep_net() -> Toy:
    """A deep linear net at its deepest point, without label noise, of the shape that the first seed gives.

    Returns:
        52-60-30-6-20-36 of rank 4, with 5940 weights and 10 000 samples.
    """
    widths, rank = random_widths(NET_SEED, most_layers=6, widest=60)
    weights = deepest_point(widths, rank, NET_SEED)
    x = torch.randn(NET_SAMPLES, widths[0], generator=torch.Generator().manual_seed(NET_SEED))
    y = x @ torch.linalg.multi_dot(weights[::-1]).T
    llc, multiplicity = deep_linear_llc(widths, rank)
    name = f"net {'-'.join(map(str, widths))}, rank {rank}"
    return Toy(name, "deep linear net", linear_net(weights), (x, y), _mean_of_rows, llc, multiplicity, None, "")


def _mean_of_rows(model: nn.Module, batch: Any) -> Tensor:
    return squared_error(model, batch).mean()
