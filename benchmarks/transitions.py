"""The detector on curves whose transitions are known, and on curves without any, beside two other ways.

    pip install ruptures
    python benchmarks/transitions.py [--curves N] [--only PART ...] [--out benchmarks/results/transitions.json]

Each part replaces its own entry of the JSON: "false alarms", "planted" and "seconds".

False alarms: one trend and no transition (`random_trend`). Any transition in a constant curve is one, and any boundary
between two moves; where a single move starts and ends is none, and counted beside. Planted transitions
(`random_planted`): precision, recall and F1 as `scores` counts them, accuracy of the type, error of the location in
widths, and coverage of its 90 % intervals. Beside it, on the same curves:

* the published rule (Hoogland et al., arXiv 2402.02364): a Gaussian process with a squared-exponential kernel over
  ln t; boundaries are its plateaus, where |dλ̂/d ln t| is below 0.25, and its extrema;
* PELT (Killick et al. 2012; ruptures): levels by least squares at the penalty 2 σ² ln n, moves from the middle of a
  level to that of the next; levels of less than a twentieth of the run within a move are part of it;
* dynamic programming (ruptures): the best levels by least squares, as many as Schwarz's criterion asks for, of at most
  9, with the same rule for short ones; and once more told how many steps were planted, which nobody knows.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import ruptures  # pyright: ignore[reportMissingImports]
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from tqdm import tqdm

from llckit import detect_transitions
from llckit.environment import environment
from llckit.transitions.scores import scores
from llckit.transitions.synthetic import Planted, SyntheticCurve, random_planted, random_trend

RESULTS = Path(__file__).parent / "results" / "transitions.json"
PLATEAU = 0.25
GRID = 1000
MOST_STEPS = 8
PARTS = ("false alarms", "planted", "seconds")
TOLD = "dynamic programming, told how many"


class Move(NamedTuple):
    """What the other ways find, with the names of a `Transition`."""

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


def published(curve: SyntheticCurve) -> list[Move]:
    """Between the plateaus of a Gaussian process."""
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
    turns = np.flatnonzero(np.sign(slope[:-1]) * np.sign(slope[1:]) < 0)
    cuts = sorted({0, GRID - 1, *cuts, *turns.tolist()})
    moves = []
    for first, last in pairwise(cuts):
        inside = slice(first, last + 1)
        if np.abs(slope[inside]).max() >= PLATEAU and abs(smooth[last] - smooth[first]) > 1e-3 * spread:
            steepest = first + int(np.abs(slope[inside]).argmax())
            change = float(smooth[last] - smooth[first])
            moves.append(_move(curve, float(grid[first]), float(grid[last]), change, float(grid[steepest])))
    return moves


def pelt(curve: SyntheticCurve) -> list[Move]:
    """Between the levels of PELT."""
    count = len(curve.step)
    sigma = np.median(np.abs(np.diff(curve.llc))) / 0.954  # of normal differences
    ends = (
        ruptures.Pelt(model="l2", min_size=2, jump=1).fit(curve.llc).predict(pen=2 * sigma**2 * np.log(count) + 1e-12)
    )
    return _between(curve, _without_short(_levels(curve, ends), count))


def _levels(curve: SyntheticCurve, ends: Sequence[int]) -> list[tuple[int, int, float]]:
    return [(first, last, curve.llc[first:last].mean()) for first, last in zip([0, *ends], ends, strict=False)]


def _without_short(levels: list[tuple[int, int, float]], count: int) -> list[tuple[int, int, float]]:
    """Without the levels that are steps on the way from one to another."""
    kept = levels[:1]
    for index, level in enumerate(levels[1:], 1):
        following = levels[index + 1][2] - level[2] if index + 1 < len(levels) else 0.0
        between = (level[2] - kept[-1][2]) * following > 0
        if not (between and level[1] - level[0] < count / 20):
            kept.append(level)
    return kept


def dynamic_programming(curve: SyntheticCurve) -> list[Move]:
    """Between the levels of the best segmentation, with as many steps as Schwarz's criterion asks for."""
    count, search = len(curve.step), ruptures.Dynp(model="l2", min_size=2, jump=1).fit(curve.llc)
    found = [_levels(curve, search.predict(n_bkps=steps) if steps else [count]) for steps in range(MOST_STEPS, -1, -1)]

    def information(levels: list[tuple[int, int, float]]) -> float:
        squares = sum(((curve.llc[first:last] - mean) ** 2).sum() for first, last, mean in levels)
        return count * np.log(squares + 1e-12) + 2 * len(levels) * np.log(count)  # a level and a place each

    return _between(curve, _without_short(min(found, key=information), count))


def told_how_many(truth: Planted) -> list[Move]:
    """Between the levels of the best segmentation with as many steps as were planted."""
    search = ruptures.Dynp(model="l2", min_size=2, jump=1).fit(truth.curve.llc)
    return _between(truth.curve, _levels(truth.curve, search.predict(n_bkps=len(truth.location))))


def _between(curve: SyntheticCurve, levels: Sequence[tuple[int, int, float]]) -> list[Move]:
    x, moves = np.log1p(curve.step), []
    for before, after in pairwise(levels):
        start, end = (float(x[(first + last - 1) // 2]) for first, last, _ in (before, after))
        middle = float(x[before[1] - 1] + x[after[0]]) / 2
        moves.append(_move(curve, start, end, after[2] - before[2], middle))
    return moves


def _move(curve: SyntheticCurve, start: float, end: float, change: float, middle: float) -> Move:
    loss = np.interp(np.expm1([start, end]), curve.step, curve.loss)
    return Move(np.expm1(start), np.expm1(end), change, loss[1] - loss[0], np.expm1(middle))


DETECTORS: dict[str, Callable[[SyntheticCurve], Sequence[Any]]] = {
    "llckit": detect_transitions,
    "published rule": published,
    "PELT": pelt,
    "dynamic programming": dynamic_programming,
}


def false_alarms(curves: int) -> dict[str, Any]:
    """Share of trends with an alarm, by detector and kind of trend; for llckit also those with a trimmed end."""
    alarms, totals, trimmed = {name: Counter() for name in DETECTORS}, Counter(), 0
    for seed in tqdm(range(curves), desc="trends", disable=None):
        kind, curve = random_trend(seed)
        totals[kind] += 1
        for name, detect in DETECTORS.items():
            found = detect(curve)
            alarms[name][kind] += len(found) > (kind != "constant")
            if name == "llckit":
                trimmed += any(t.start > 0 or t.end < curve.step[-1] for t in found)
    found = {
        name: {kind: counts[kind] / total for kind, total in totals.items()} | {"all": counts.total() / curves}
        for name, counts in alarms.items()
    }
    return found | {"single moves that start or end inside the run": trimmed / curves}


def planted(curves: int) -> dict[str, Any]:
    """Scores by detector and signal-to-noise."""
    results: dict[str, list[tuple[Any, Any]]] = {name: [] for name in [*DETECTORS, TOLD]}
    for seed in tqdm(range(curves), desc="planted", disable=None):
        truth = random_planted(seed)
        for name, detect in DETECTORS.items():
            results[name].append((detect(truth.curve), truth))
        results[TOLD].append((told_how_many(truth), truth))
    ranges = {"below 5": (0, 5), "from 5": (5, 100), "from 10": (10, 100)}
    return {
        name: {
            label: asdict(scores([one for one in found if low <= one[1].signal_to_noise < high]))
            for label, (low, high) in ranges.items()
        }
        for name, found in results.items()
    }


def seconds() -> float:
    """Of a curve of 1000 checkpoints and 8 chains."""
    rng, step = np.random.default_rng(0), np.arange(1000.0) * 50
    llc = 50 / (1 + np.exp(-(np.log1p(step) - 7) / 0.3)) + rng.standard_normal(1000)
    chains = llc[:, None] + rng.standard_normal((1000, 8))
    start = time.perf_counter()
    detect_transitions(step=step, loss=3 - llc / 50, llc=llc, llc_per_chain=chains)
    return time.perf_counter() - start


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=int, default=1000)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    result: dict[str, Any] = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    result["environment"] = environment()
    if "false alarms" in arguments.only:
        result["false alarms"] = {"curves": arguments.curves} | false_alarms(arguments.curves)
        for name, found in result["false alarms"].items():
            print(f"false alarms, {name}: {found}")
    if "planted" in arguments.only:
        found = planted(arguments.curves)
        result["planted"] = {"curves": arguments.curves} | found
        for name, labels in found.items():
            for label, values in labels.items():
                told = ", ".join(f"{key} {value:.3f}" for key, value in values.items())
                print(f"{name}, signal-to-noise {label}: {told}")
    if "seconds" in arguments.only:
        result["seconds for 1000 checkpoints of 8 chains"] = seconds()
        print(f"1000 checkpoints of 8 chains: {result['seconds for 1000 checkpoints of 8 chains']:.1f} s")
    arguments.out.write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
