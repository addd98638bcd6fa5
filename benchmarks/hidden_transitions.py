"""The detector on runs that are trained for real: a staircase with known times, and grokking from five seeds.

    python benchmarks/hidden_transitions.py [--curves DIR] [--out benchmarks/results/hidden_transitions.json]

Staircase: a deep linear net that learns four modes one after another, 150 checkpoints, behavioral LLC; where each rise
is found beside its known time, and what λ̂ rests at beside the rank-k values. Grokking: addition modulo 43 from five
seeds, with the settings of `llckit demo`; what is found in the whole curve, and from which step on a transition of type
B is told of if the curve is followed checkpoint by checkpoint, beside the step at which the test accuracy passes 90 %.
Curves are kept in the folder DIR, and a second start goes on from there. One to two hours on one core.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import llckit as lk
from llckit.cli.commands import environment
from llckit.plotting import plot_curve, save_figure
from llckit.toys import TrainingRun, deep_linear_llc, modular_addition, staircase, staircase_rise, train
from llckit.toys.training import STAIRCASE_MODES, STAIRCASE_WIDTHS

RESULTS = Path(__file__).parent / "results" / "hidden_transitions.json"
SEEDS = range(5)
CHECKPOINTS = 150  # of the staircase
ACCURATE = 0.9


def curve_of(name: str, run: TrainingRun, steps: list[int], folder: Path, behavioral: bool, **settings: Any) -> Any:
    """Train and estimate, unless that has been done."""
    path = folder / f"{name}.csv"
    if not path.exists():
        task = lk.behavioral_task(run.task) if behavioral else run.task
        store = lk.CheckpointStore(folder / f"{name}.ckpts")
        if store.steps != steps:
            train(run, lk.Recorder(store, steps), progress=True)
        curve = lk.estimate_curve(store, task, **settings)
        assert isinstance(curve, lk.LLCCurve)
        curve.to_csv(path)
    return lk.LLCCurve.from_csv(path)


def until(curve: lk.LLCCurve, count: int) -> lk.LLCCurve:
    """The first checkpoints of a curve."""

    def head(column: Any) -> Any:
        return None if column is None else column[:count]

    return replace(
        curve,
        step=curve.step[:count],
        loss=curve.loss[:count],
        llc=curve.llc[:count],
        mcse=head(curve.mcse),
        llc_per_chain=head(curve.llc_per_chain),
        outcome=head(curve.outcome),
        details={name: column[:count] for name, column in curve.details.items()},
        recorded={name: column[:count] for name, column in curve.recorded.items()},
    )


def score_staircase(curve: lk.LLCCurve) -> dict[str, Any]:
    """Rises beside their times, in checkpoint spacings; rests beside rank-k values."""
    found = list(lk.detect_transitions(curve))
    times = [staircase_rise(mode) for mode in range(len(STAIRCASE_MODES))]
    known = [deep_linear_llc(STAIRCASE_WIDTHS, rank)[0] for rank in range(1, len(STAIRCASE_MODES) + 1)]
    rows = []
    for rank, (time, llc) in enumerate(zip(times, known, strict=True), 1):
        nearest = min(found, key=lambda t: abs(np.log(t.location / time)), default=None)
        gap = int(np.searchsorted(curve.step, time))
        spacing = float(curve.step[min(gap, len(curve) - 1)] - curve.step[gap - 1])
        next_time = times[rank] if rank < len(times) else 1.5 * curve.step[-1]
        # half-way, in ln t, between this rise and the next
        rests = np.abs(np.log(curve.step / np.sqrt(time * min(next_time, curve.step[-1])))) < 0.05
        rows.append(
            {
                "mode": rank,
                "known step": time,
                "found": None if nearest is None else nearest.location,
                "interval": None if nearest is None else nearest.location_interval,
                "kind": None if nearest is None else nearest.kind,
                "spacings off": None if nearest is None else (nearest.location - time) / spacing,
                "llc": llc,
                "rests at": float(np.nanmean(curve.llc[rests])) if rests.any() else None,
            }
        )
    return {"rises": rows, "transitions": [asdict(t) for t in found], "checkpoints": len(curve)}


def score_grokking(curve: lk.LLCCurve) -> dict[str, Any]:
    """What is found, and when the fall is told of, followed checkpoint by checkpoint."""
    found = list(lk.detect_transitions(curve))
    falls = [t for t in found if t.kind == "B"]
    told = None
    if falls:
        fall = max(falls, key=lambda t: -t.delta_llc)
        for count in range(len(curve), 7, -1):
            early = lk.detect_transitions(until(curve, count))
            if not any(t.kind == "B" and t.start < fall.end and fall.start < t.end for t in early):
                break
            told = int(curve.step[count - 1])
    accuracy = curve.recorded["test_accuracy"]
    accurate = curve.step[np.flatnonzero(accuracy > ACCURATE)]
    return {
        "transitions": [asdict(t) for t in found],
        "stages": " ".join(t.kind for t in found),
        "hidden B": any(t.hidden for t in falls),
        "told at step": told,
        "accuracy above 90 % at step": int(accurate[0]) if len(accurate) else None,
    }


def main() -> None:
    """Make the curves, score, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, default=Path("hidden-transitions"), metavar="DIR")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    arguments.curves.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    result: dict[str, Any] = {"environment": environment()}
    run = staircase()
    steps = sorted({round(step) for step in np.geomspace(run.last_step / 50, run.last_step, CHECKPOINTS)})
    curve = curve_of("staircase", run, steps, arguments.curves, True, num_chains=24, num_draws=150)
    result["staircase"] = score_staircase(curve)
    for row in result["staircase"]["rises"]:
        print(", ".join(f"{name} {value}" for name, value in row.items()))
    picture = arguments.out.with_name("staircase.png")
    picture.unlink(missing_ok=True)
    save_figure(plot_curve(curve, lk.detect_transitions(curve), title="A net that learns four modes"), picture)
    result["grokking"] = []
    for seed in SEEDS:
        run = modular_addition(seed=seed)
        steps = lk.mixed_schedule(run.last_step, 40)
        curve = curve_of(f"grokking_{seed}", run, steps, arguments.curves, False, num_chains=4, num_draws=200)
        result["grokking"].append({"seed": seed} | score_grokking(curve))
        print({name: value for name, value in result["grokking"][-1].items() if name != "transitions"})
    arguments.out.write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
