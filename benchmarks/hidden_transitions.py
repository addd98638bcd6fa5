"""The detector on runs that are trained for real: a staircase with known times, and grokking from five seeds.

    python benchmarks/hidden_transitions.py [--curves DIR] [--out benchmarks/results/hidden_transitions.json]

Staircase: a deep linear net that learns four modes one after another, 150 checkpoints, behavioral LLC; where each rise
is found beside its known time, and what λ̂ rests at beside the rank-k values. Two times are known: when the mode stands
half-way, in closed form, and when λ̂ at the nβ and γ of the curve is steepest, which is earlier, since λ̂ rises as soon
as a mode shows above the scale 1/nβ. The second comes from the closed form of the weights and an exact Gibbs sampler,
without training, checkpoints or any of our samplers. Grokking: addition modulo 43 from five
seeds, with the settings of `llckit demo`; what is found in the whole curve, and from which step on a transition of type
B is told of if the curve is followed checkpoint by checkpoint, beside the step at which the test accuracy passes 90 %.
Curves are kept in the folder DIR, and a second start goes on from there. One to two hours on one core.
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import llckit as lk
from llckit.environment import environment
from llckit.plotting import plot_curve, save_figure
from llckit.toys import (
    STAIRCASE_MODES,
    STAIRCASE_START,
    STAIRCASE_WIDTHS,
    TrainingRun,
    deep_linear_llc,
    modular_addition,
    staircase,
    staircase_rise,
    train,
)

RESULTS = Path(__file__).parent / "results" / "hidden_transitions.json"
SEEDS = range(5)
CHECKPOINTS = 150  # of the staircase
ACCURATE = 0.9
SWEEPS, SWEEP_CHAINS = 600, 64

Array = NDArray[np.float64]


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


def weights_at(times: Array) -> tuple[Array, Array]:
    """The two layers along the closed form, up to rotations, shapes (times, 1, 5, 5) and (times, 1, 7, 5)."""
    strengths, rate = np.array(STAIRCASE_MODES), 4 * 2e-3  # as in `staircase_rise`
    grown = np.exp(rate * np.outer(times, strengths))
    roots = np.sqrt(strengths * grown / (grown - 1 + strengths / STAIRCASE_START))
    n, h, m = STAIRCASE_WIDTHS
    first, second = np.zeros((len(times), 1, h, n)), np.zeros((len(times), 1, m, h))
    for mode in range(len(strengths)):
        first[:, 0, mode, mode] = second[:, 0, mode, mode] = roots[:, mode]
    return first, second


def exact_llc(times: Array, n_beta: float, localization: float) -> tuple[Array, Array]:
    """nβ E‖BA − B₀A₀‖² under exp(−nβ ‖BA − B₀A₀‖² − γ/2 ‖A − A₀‖² − γ/2 ‖B − B₀‖²).

    Given A, B is Gaussian, and the other way round: both are drawn exactly in turn, and the energy is averaged over B
    in closed form. All times see the same random numbers, so that λ̂ is smooth in time.

    Args:
        times: Steps, shape (times,).
        n_beta: nβ.
        localization: γ.

    Returns:
        λ̂ and its standard error, shape (times,) each.
    """
    random = np.random.default_rng(0)
    first_0, second_0 = weights_at(times)
    product, hidden = second_0 @ first_0, np.eye(first_0.shape[-2])

    def drawn(mean: Array, precision: Array) -> Array:
        """Rows with this precision."""
        noise = random.standard_normal((SWEEP_CHAINS, *mean.shape[-2:]))
        return mean + noise @ np.linalg.inv(np.linalg.cholesky(precision))

    first, energies = np.repeat(first_0, SWEEP_CHAINS, axis=1), []
    for sweep in range(SWEEPS):
        precision = 2 * n_beta * first @ first.swapaxes(-1, -2) + localization * hidden
        covariance = np.linalg.inv(precision)
        mean = (2 * n_beta * product @ first.swapaxes(-1, -2) + localization * second_0) @ covariance
        if sweep >= SWEEPS // 5:
            spread = mean.shape[-2] * (first * (covariance @ first)).sum((-1, -2))
            energies.append(n_beta * (((mean @ first - product) ** 2).sum((-1, -2)) + spread))
        second = drawn(mean, precision)
        precision = 2 * n_beta * second.swapaxes(-1, -2) @ second + localization * hidden
        mean = np.linalg.inv(precision) @ (2 * n_beta * second.swapaxes(-1, -2) @ product + localization * first_0)
        first = drawn(mean.swapaxes(-1, -2), precision).swapaxes(-1, -2)
    chains = np.stack(energies).mean(axis=0)
    return chains.mean(axis=1), chains.std(axis=1, ddof=1) / np.sqrt(SWEEP_CHAINS)


def known_rises(n_beta: float, localization: float) -> list[float]:
    """The step before each half-way time, and after the last rise, at which λ̂ is steepest in ln(step + 1)."""
    half_way = [staircase_rise(mode) for mode in range(len(STAIRCASE_MODES))]
    times = np.geomspace(half_way[0] / 3, half_way[-1], 300)
    slopes = np.gradient(exact_llc(times, n_beta, localization)[0], np.log1p(times))
    slopes = np.convolve(slopes, np.full(5, 0.2), "same")  # less than a spacing of checkpoints
    ends = [times[0], *half_way]
    inside = [np.flatnonzero((times > low) & (times < high)) for low, high in itertools.pairwise(ends)]
    return [float(times[here[slopes[here].argmax()]]) for here in inside]


def score_staircase(curve: lk.LLCCurve) -> dict[str, Any]:
    """Rises beside their times, in checkpoint spacings; rests beside rank-k values."""
    found = list(lk.detect_transitions(curve))
    times = [staircase_rise(mode) for mode in range(len(STAIRCASE_MODES))]
    n_beta, localization = (float(curve.details[name][0]) for name in ("n_beta", "localization"))
    rises = known_rises(n_beta, localization)
    known = [deep_linear_llc(STAIRCASE_WIDTHS, rank)[0] for rank in range(1, len(STAIRCASE_MODES) + 1)]
    rows = []
    for rank, (time, rise, llc) in enumerate(zip(times, rises, known, strict=True), 1):
        nearest = min(found, key=lambda t: abs(np.log(t.location / rise)), default=None)
        gap = int(np.searchsorted(curve.step, rise))
        spacing = float(curve.step[min(gap, len(curve) - 1)] - curve.step[gap - 1])
        next_time = times[rank] if rank < len(times) else 1.5 * curve.step[-1]
        # half-way, in ln t, between this rise and the next
        rests = np.abs(np.log(curve.step / np.sqrt(time * min(next_time, curve.step[-1])))) < 0.05
        rows.append(
            {
                "mode": rank,
                "half-way step": time,
                "known step": rise,
                "found": None if nearest is None else nearest.location,
                "interval": None if nearest is None else nearest.location_interval,
                "kind": None if nearest is None else nearest.kind,
                "spacings off": None if nearest is None else (nearest.location - rise) / spacing,
                "spacings off half-way": None if nearest is None else (nearest.location - time) / spacing,
                "llc": llc,
                "rests at": float(np.nanmean(curve.llc[rests])) if rests.any() else None,
            }
        )
    at_scale = {"n_beta": n_beta, "localization": localization, "checkpoints": len(curve)}
    return at_scale | {"rises": rows, "transitions": [asdict(t) for t in found]}


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
