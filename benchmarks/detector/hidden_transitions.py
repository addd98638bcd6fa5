"""The detector on runs that are trained for real: a staircase with known times, and grokking from five seeds.

    python -m benchmarks.detector.hidden_transitions

Staircase: a deep linear net that learns four modes one after another, 150 checkpoints, behavioral LLC. It shows where
each rise is found beside its known time, and what λ̂ rests at beside the rank-k values. Two times are known: when the
mode stands half-way, in closed form, and when λ̂ at the nβ and γ of the curve is steepest (see `_staircase_law.py`). The
second is earlier, since λ̂ rises as soon as a mode shows above the scale 1/nβ.

Grokking: addition modulo 43 from five seeds, with the settings of `llckit demo`. It shows what is found in the whole
curve, and from which step on a transition of type B is found if the curve is followed checkpoint by checkpoint, beside
the step at which the test accuracy passes 90 %. One to two hours on one core.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import llckit as lk
from benchmarks._curves import columns_of, curve_from
from benchmarks._harness import Document, begin
from benchmarks._tables import digits, either, table
from benchmarks.detector._staircase_law import Staircase
from llckit.plotting import plot_curve
from llckit.toys import TrainingRun, deep_linear_llc, modular_addition, staircase, train

ACCURATE = 0.9
FEWEST = 8  # checkpoints that a detection takes
STAIRCASE = "staircase"


def curve_of(run: TrainingRun, steps: list[int], settings: Mapping[str, Any], *, behavioral: bool) -> lk.LLCCurve:
    """Train and estimate."""
    task = lk.behavioral_task(run.task) if behavioral else run.task
    with TemporaryDirectory() as folder:
        store = lk.CheckpointStore(Path(folder) / "run.ckpts")
        train(run, lk.Recorder(store, steps), progress=True)
        return lk.estimate_curve(store, task, **settings)


def until(curve: lk.LLCCurve, count: int) -> lk.LLCCurve:
    """The first checkpoints of a curve."""

    def head(column: Any) -> Any:
        return None if column is None else column[:count]

    columns = {name: head(getattr(curve, name)) for name in ("step", "loss", "llc", "mcse", "llc_per_chain", "outcome")}
    tables = {
        name: {key: column[:count] for key, column in getattr(curve, name).items()} for name in ("details", "recorded")
    }
    return replace(curve, **columns, **tables)


def measure_staircase(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Rises beside their times, in checkpoint spacings; rests beside rank-k values."""
    run = staircase()
    last = sizes["staircase_last_step"] or run.last_step
    steps = sorted({round(step) for step in np.geomspace(last / 50, last, sizes["checkpoints"])})
    law = Staircase.of(run)
    curve = curve_of(run._replace(last_step=last), steps, sizes["staircase_sketch"], behavioral=True)
    found = list(lk.detect_transitions(curve))
    n_beta, localization = (float(curve.details[name][0]) for name in ("n_beta", "localization"))
    half_way = law.half_way()
    known = law.known_rises(n_beta, localization, sizes["sweeps"], sizes["times"])
    rows = []
    for mode, (middle, rise) in enumerate(zip(half_way, known, strict=True), 1):
        following = half_way[mode] if mode < len(half_way) else 1.5 * curve.step[-1]
        # half-way, in ln t, between this rise and the next
        rests = np.abs(np.log(curve.step / np.sqrt(middle * min(following, curve.step[-1])))) < 0.05
        rows.append(
            {"mode": mode, "half-way step": middle, "known step": rise}
            | nearest_rise(found, curve.step, middle, rise)
            | {"llc": deep_linear_llc(law.widths, mode)[0]}
            | {"rests at": float(np.nanmean(curve.llc[rests])) if rests.any() else None}
        )
    at_scale = {"n_beta": n_beta, "localization": localization, "checkpoints": len(curve)}
    return at_scale | {"rises": rows, "transitions": [asdict(t) for t in found], "curve": columns_of(curve)}


def nearest_rise(found: list[lk.Transition], step: np.ndarray, middle: float, rise: float) -> dict[str, Any]:
    """The transition closest to a known rise, and by how many spacings of checkpoints it is off."""
    nearest = min(found, key=lambda t: abs(np.log(t.location / rise)), default=None)
    if nearest is None:
        return dict.fromkeys(("found", "interval", "kind", "spacings off", "spacings off half-way"))
    gap = int(np.clip(np.searchsorted(step, rise), 1, len(step) - 1))
    spacing = float(step[gap] - step[gap - 1])
    return {
        "found": nearest.location,
        "interval": nearest.location_interval,
        "kind": nearest.kind,
        "spacings off": (nearest.location - rise) / spacing,
        "spacings off half-way": (nearest.location - middle) / spacing,
    }


def measure_grokking(seed: int, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """What is found, and when the fall is found if the curve is followed checkpoint by checkpoint."""
    run = modular_addition(seed=seed)
    run = run._replace(last_step=sizes["grokking_last_step"] or run.last_step)
    steps = lk.mixed_schedule(run.last_step, sizes["grokking_checkpoints"])
    curve = curve_of(run, steps, sizes["grokking_sketch"], behavioral=False)
    found = list(lk.detect_transitions(curve))
    falls = [t for t in found if t.kind == "B"]
    earliest = None
    if falls:
        fall = max(falls, key=lambda t: -t.delta_llc)
        for count in range(len(curve), FEWEST - 1, -1):
            early = lk.detect_transitions(until(curve, count))
            if not any(t.kind == "B" and t.start < fall.end and fall.start < t.end for t in early):
                break
            earliest = int(curve.step[count - 1])
    accurate = curve.step[np.flatnonzero(curve.recorded["test_accuracy"] > ACCURATE)]
    return {
        "seed": seed,
        "transitions": [asdict(t) for t in found],
        "stages": " ".join(t.kind for t in found),
        "hidden B": any(t.hidden for t in falls),
        "B found from step": earliest,
        "accuracy above 90 % at step": int(accurate[0]) if len(accurate) else None,
        "curve": columns_of(curve),
    }


def report(document: Document) -> str:
    """Rises of the staircase, and the falls of grokking."""
    cases = dict(document["cases"])
    stairs, parts = cases.pop(STAIRCASE, None), []
    if stairs is not None:
        header = ["mode", "steepest by the closed form", "found at", "kind", "spacings off", "off half-way"]
        rows = []
        for row in stairs["rises"]:
            off = (digits(row[key], 2) for key in ("spacings off", "spacings off half-way"))
            rests = (digits(row[key], 4) for key in ("llc", "rests at"))
            rows.append([row["mode"], f"{row['known step']:.0f}", _step(row["found"]), row["kind"], *off, *rests])
        parts.append(f"The staircase, {stairs['checkpoints']} checkpoints:")
        parts.append(table([*header, "λ of that rank", "λ̂ rests at"], rows))
    header = [
        "grokking",
        "stages",
        "hidden B",
        "B found from step",
        "test accuracy above 90 % at step",
        "steps earlier",
    ]
    rows = []
    for name, case in cases.items():
        found, accurate = case["B found from step"], case["accuracy above 90 % at step"]
        earlier = None if found is None or accurate is None else accurate - found
        rows.append([name, case["stages"], either(case["hidden B"]), found, accurate, earlier])
    return "\n\n".join([*parts, table(header, rows)])


def _step(value: float | None) -> str | None:
    return None if value is None else f"{value:.0f}"


def figures(document: Document) -> dict[str, Any]:
    """The staircase and the first run that groks, if their curves were kept."""
    titles = {STAIRCASE: "A net that learns four modes", "grokking, seed 0": "Grokking: addition modulo 43"}
    found = {}
    for name, title in titles.items():
        columns = document["cases"].get(name, {}).get("curve")
        if columns is not None:
            curve = curve_from(columns)
            assert isinstance(curve, lk.LLCCurve)
            stem = f"hidden_transitions_{name.split(',')[0]}"
            found[stem] = plot_curve(curve, lk.detect_transitions(curve), title=title)
    return found


def main() -> None:
    """Make the curves and score them."""
    sizes = {
        "seeds": (5, 1),
        "checkpoints": (150, 10),
        "staircase_last_step": (None, 500),
        "staircase_sketch": ({"num_chains": 24, "num_draws": 150}, {"num_chains": 2, "num_draws": 5, "num_burnin": 3}),
        "sweeps": (600, 5),
        "times": (300, 40),
        "grokking_checkpoints": (40, 10),
        "grokking_last_step": (None, 30),
        "grokking_sketch": ({"num_chains": 4, "num_draws": 200}, {"num_chains": 2, "num_draws": 5, "num_burnin": 3}),
    }
    run = begin(__file__, __doc__, report, sizes=sizes)
    cases: dict[str, Callable[[], dict[str, Any]]] = {STAIRCASE: partial(measure_staircase, run.sizes)}
    cases |= {
        f"grokking, seed {seed}": partial(measure_grokking, seed, run.sizes) for seed in range(run.sizes["seeds"])
    }
    run.measure(cases, lambda measure: measure())


if __name__ == "__main__":
    main()
