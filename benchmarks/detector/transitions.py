"""The detector on curves whose transitions are known, and on curves without any, beside other ways.

    python -m benchmarks.detector.transitions

False alarms: one trend and no transition (`random_trend`). Any transition in a constant curve is one, and any boundary
between two moves; where a single move starts and ends is none, and counted beside. Planted transitions
(`random_planted`): precision, recall and F1 as `scores` counts them, accuracy of the type, error of the location in
widths, and coverage of its 90 % intervals. Beside it, on the same curves, are a published rule, PELT and dynamic
programming (see `_other_detectors.py`).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks._harness import Document, begin
from benchmarks._tables import percent, table
from benchmarks.detector._other_detectors import dynamic_programming, pelt, published_rule, with_known_count
from llckit import detect_transitions
from llckit.transitions.scores import scores
from llckit.transitions.synthetic import SyntheticCurve, random_planted, random_trend

OURS, KNOWN_COUNT = "llckit", "dynamic programming, count known"
RANGES = {"below 5": (0, 5), "from 5": (5, 100), "from 10": (10, 100)}
DETECTORS: dict[str, Callable[[SyntheticCurve], Sequence[Any]]] = {
    OURS: detect_transitions,
    "published rule": published_rule,
    "PELT": pelt,
    "dynamic programming": dynamic_programming,
}


def false_alarms(curves: int) -> dict[str, Any]:
    """Share of trends with an alarm, by detector and kind of trend; for llckit also those with a trimmed end."""
    alarms, totals, trimmed = {name: Counter() for name in DETECTORS}, Counter(), 0
    for seed in tqdm(range(curves), desc="trends", leave=False, disable=None):
        kind, curve = random_trend(seed)
        totals[kind] += 1
        for name, detect in DETECTORS.items():
            found = detect(curve)
            alarms[name][kind] += len(found) > (kind != "constant")
            if name == OURS:
                trimmed += any(t.start > 0 or t.end < curve.step[-1] for t in found)
    shares = {
        name: {kind: counts[kind] / total for kind, total in totals.items()} | {"all": counts.total() / curves}
        for name, counts in alarms.items()
    }
    return {"curves": curves, "detectors": shares, "single moves that start or end inside the run": trimmed / curves}


def planted(curves: int) -> dict[str, Any]:
    """Scores by detector and signal-to-noise."""
    results: dict[str, list[tuple[Any, Any]]] = {name: [] for name in [*DETECTORS, KNOWN_COUNT]}
    for seed in tqdm(range(curves), desc="planted", leave=False, disable=None):
        truth = random_planted(seed)
        for name, detect in DETECTORS.items():
            results[name].append((detect(truth.curve), truth))
        results[KNOWN_COUNT].append((with_known_count(truth), truth))
    found = {
        name: {
            label: asdict(scores(chosen))
            for label, (low, high) in RANGES.items()
            if (chosen := [one for one in pairs if low <= one[1].signal_to_noise < high])
        }
        for name, pairs in results.items()
    }
    return {"curves": curves, "detectors": found}


def speed(checkpoints: int) -> dict[str, Any]:
    """Seconds of a curve with 8 chains."""
    rng, step = np.random.default_rng(0), np.arange(float(checkpoints)) * 50
    llc = 50 / (1 + np.exp(-(np.log1p(step) - 7) / 0.3)) + rng.standard_normal(checkpoints)
    chains = llc[:, None] + rng.standard_normal((checkpoints, 8))
    start = time.perf_counter()
    detect_transitions(step=step, loss=3 - llc / 50, llc=llc, llc_per_chain=chains)
    return {"checkpoints": checkpoints, "chains": 8, "seconds": time.perf_counter() - start}


def hundredths(value: float | None) -> str | None:
    """A score as a table shows it; None if there was nothing to count."""
    return None if value is None else f"{value:.2f}"


def report(document: Document) -> str:
    """Alarms and scores by detector."""
    cases, parts = document["cases"], []
    if "false alarms" in cases:
        case = cases["false alarms"]
        kinds = [*next(iter(case["detectors"].values()))]
        rows = [[name, *(percent(row[kind]) for kind in kinds)] for name, row in case["detectors"].items()]
        header = [f"false alarms in {case['curves']} trends", *kinds]
        trimmed = percent(case["single moves that start or end inside the run"])
        parts += [table(header, rows), f"Single moves whose ends llckit puts inside the run: {trimmed}."]
    if "planted" in cases:
        case = cases["planted"]
        rows = []
        for name, ranges in case["detectors"].items():
            for label, row in ranges.items():
                scored = [hundredths(row[key]) for key in ("f1", "precision", "recall")]
                scored += [
                    percent(row["kind_accuracy"], 0),
                    hundredths(row["location_error"]),
                    percent(row["coverage"], 0),
                ]
                rows.append([name, label, *scored])
        header = [f"{case['curves']} curves with 1 to 4 transitions", "signal to noise", "F1", "precision", "recall"]
        parts.append(table([*header, "types right", "error of the place in widths", "90 % intervals hold it"], rows))
    if "speed" in cases:
        case = cases["speed"]
        parts.append(f"A curve of {case['checkpoints']} checkpoints of 8 chains takes {case['seconds']:.1f} s.")
    return "\n\n".join(parts)


def main() -> None:
    """Measure all parts."""
    run = begin(__file__, __doc__, report, sizes={"curves": (1000, 2), "checkpoints": (1000, 30)})
    curves = run.sizes["curves"]
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "false alarms": partial(false_alarms, curves),
        "planted": partial(planted, curves),
        "speed": partial(speed, run.sizes["checkpoints"]),
    }
    run.measure(parts, lambda part: part())


if __name__ == "__main__":
    main()
