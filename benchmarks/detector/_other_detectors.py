"""Three other ways to find transitions in a curve of λ̂, from what others have published.

* The published rule (Hoogland et al., arXiv 2402.02364): a Gaussian process with a squared-exponential kernel over
  ln t; boundaries are its plateaus, where |dλ̂/d ln t| is below 0.25, and its extrema.
* PELT (Killick et al. 2012; ruptures): levels by least squares at the penalty 2 σ² ln n, moves from the middle of a
  level to that of the next; levels of less than a twentieth of the run within a move are part of it.
* Dynamic programming (ruptures): the best levels by least squares, as many as Schwarz's criterion asks for, of at most
  9, with the same rule for short ones; and once more with the number of steps that were planted, which nobody knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import ruptures  # pyright: ignore[reportMissingImports]
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel

from llckit.transitions.synthetic import Planted, SyntheticCurve

PLATEAU = 0.25
GRID = 1000
MOST_STEPS = 8

Level = tuple[int, int, float]  # first checkpoint, the one after the last, and the mean of λ̂


class Move(NamedTuple):
    """What these ways find, with the names of a `Transition`."""

    start: float
    end: float
    delta_llc: float
    delta_loss: float
    location: float

    @property
    def location_interval(self) -> tuple[float, float]:
        """They have none."""
        return (np.nan, np.nan)

    @property
    def kind(self) -> str:
        """By the sign of Δλ̂, as published."""
        return "A" if self.delta_llc > 0 else "B"


def published_rule(curve: SyntheticCurve) -> list[Move]:
    """Moves between the plateaus of a Gaussian process."""
    x = np.log1p(curve.step)
    spread = curve.llc.std() or 1.0
    kernel = RBF(x[-1] / 10, (x[-1] / 200, 10 * x[-1])) + WhiteKernel(0.1, (1e-6, 10))
    fit = GaussianProcessRegressor(kernel, normalize_y=True).fit(x[:, None], curve.llc)
    grid = np.linspace(0, x[-1], GRID)
    smooth = np.asarray(fit.predict(grid[:, None]))
    slope = np.gradient(smooth, grid)
    still = np.abs(slope) < PLATEAU
    edges = np.flatnonzero(np.diff(np.concatenate([[False], still, [False]]).astype(int)))
    cuts = [first + int(np.abs(slope[first:last]).argmin()) for first, last in edges.reshape(-1, 2)]
    extrema = np.flatnonzero(np.sign(slope[:-1]) * np.sign(slope[1:]) < 0)
    cuts = sorted({0, GRID - 1, *cuts, *extrema.tolist()})
    moves = []
    for first, last in pairwise(cuts):
        inside = slice(first, last + 1)
        if np.abs(slope[inside]).max() >= PLATEAU and abs(smooth[last] - smooth[first]) > 1e-3 * spread:
            steepest = first + int(np.abs(slope[inside]).argmax())
            change = float(smooth[last] - smooth[first])
            moves.append(_move(curve, float(grid[first]), float(grid[last]), change, float(grid[steepest])))
    return moves


def pelt(curve: SyntheticCurve) -> list[Move]:
    """Moves between the levels of PELT."""
    count = len(curve.step)
    sigma = np.median(np.abs(np.diff(curve.llc))) / 0.954  # of normal differences
    search = ruptures.Pelt(model="l2", min_size=2, jump=1).fit(curve.llc)
    ends = search.predict(pen=2 * sigma**2 * np.log(count) + 1e-12)
    return _between(curve, _without_short(_levels(curve, ends), count))


def dynamic_programming(curve: SyntheticCurve) -> list[Move]:
    """Moves between the levels of the best segmentation, with as many steps as Schwarz's criterion asks for."""
    count, search = len(curve.step), ruptures.Dynp(model="l2", min_size=2, jump=1).fit(curve.llc)
    found = [_levels(curve, search.predict(n_bkps=steps) if steps else [count]) for steps in range(MOST_STEPS, -1, -1)]

    def information(levels: list[Level]) -> float:
        squares = sum(((curve.llc[first:last] - mean) ** 2).sum() for first, last, mean in levels)
        return count * np.log(squares + 1e-12) + 2 * len(levels) * np.log(count)  # a level and a place each

    return _between(curve, _without_short(min(found, key=information), count))


def with_known_count(truth: Planted) -> list[Move]:
    """Moves between the levels of the best segmentation with as many steps as were planted."""
    search = ruptures.Dynp(model="l2", min_size=2, jump=1).fit(truth.curve.llc)
    return _between(truth.curve, _levels(truth.curve, search.predict(n_bkps=len(truth.location))))


def _levels(curve: SyntheticCurve, ends: Sequence[int]) -> list[Level]:
    return [(first, last, curve.llc[first:last].mean()) for first, last in zip([0, *ends], ends, strict=False)]


def _without_short(levels: list[Level], count: int) -> list[Level]:
    """Without the levels that are steps on the way from one to another."""
    remaining = levels[:1]
    for index, level in enumerate(levels[1:], 1):
        following = levels[index + 1][2] - level[2] if index + 1 < len(levels) else 0.0
        between = (level[2] - remaining[-1][2]) * following > 0
        if not (between and level[1] - level[0] < count / 20):
            remaining.append(level)
    return remaining


def _between(curve: SyntheticCurve, levels: Sequence[Level]) -> list[Move]:
    x, moves = np.log1p(curve.step), []
    for before, after in pairwise(levels):
        start, end = (float(x[(first + last - 1) // 2]) for first, last, _ in (before, after))
        middle = float(x[before[1] - 1] + x[after[0]]) / 2
        moves.append(_move(curve, start, end, after[2] - before[2], middle))
    return moves


def _move(curve: SyntheticCurve, start: float, end: float, change: float, middle: float) -> Move:
    loss = np.interp(np.expm1([start, end]), curve.step, curve.loss)
    return Move(np.expm1(start), np.expm1(end), change, loss[1] - loss[0], np.expm1(middle))
