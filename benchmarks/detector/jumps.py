"""The detector on curves that jump between two checkpoints, beside smooth stages and without any.

    python -m benchmarks.detector.jumps

A curve has one to three jumps of λ̂ of random direction, in half of the curves a smooth stage among them, 30 to 300
checkpoints that are even in the step or in ln(step + 1), and noise of 1/5 to 1/200 of a jump. Where λ̂ rises, the loss
falls at the same place. Where λ̂ falls, the loss rests in half of the cases: only there may a transition be hidden.

A finding is right if it goes the way of what was planted, contains it, and begins and ends on the flat intervals around
it. Counted are precision, recall and F1 over all transitions; curves with a hidden transition that was not planted; and
over the jumps that were found the bias of ΔLLC, the coverage of its 90 % interval, and how often the interval of the
location is the gap between the two checkpoints.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks._harness import Document, begin
from benchmarks._tables import percent, table
from llckit import Transition, detect_transitions
from llckit.transitions.synthetic import SyntheticCurve

Array = NDArray[np.float64]

AXES: tuple[Literal["linear", "log"], ...] = ("linear", "log")
FLAT_FROM = 1.5  # widths from a logistic step's centre, as in `llckit.transitions.scores`
SMOOTH_LENGTH = (8, 12)  # of the place that a smooth stage has, in its widths
LEAST_PLACE = 7  # checkpoints, of a jump
SMOOTH_PLACE = 3  # places of a jump that a smooth stage has
NINETY = 1.645  # standard deviations
COUNTED = (
    "curves",
    "planted",
    "found",
    "right",
    "curves with a false hidden transition",
    "jumps",
    "relative errors of ΔLLC",
    "intervals that hold ΔLLC",
    "locations that are the gap",
    "CPU seconds",
)


class Event(NamedTuple):
    """What was planted, in checkpoints: a jump lies in the middle between two, and has no width.

    Attributes:
        centre: Where λ̂ is steepest.
        width: Scale of the logistic step; 0 for a jump.
        delta_llc: Change of λ̂.
        delta_loss: Change of the loss.
    """

    centre: float
    width: float
    delta_llc: float
    delta_loss: float

    def done(self, index: Array) -> Array:
        """The share that is done at each checkpoint."""
        if self.width == 0:
            return (index > self.centre).astype(np.float64)
        return 1 / (1 + np.exp(-(index - self.centre) / self.width))


class Case(NamedTuple):
    """A curve and the truth about it."""

    curve: SyntheticCurve
    axis: Literal["linear", "log"]
    events: tuple[Event, ...]
    signal_to_noise: float


def random_jumps(seed: int) -> Case:
    """One curve; the seed's parity chooses the axis, and that of its half whether there is a smooth stage."""
    rng = np.random.default_rng([31, seed])
    axis, with_smooth = AXES[seed % 2], seed // 2 % 2 == 1
    count = int(np.exp(rng.uniform(np.log(30), np.log(300))))
    step = np.arange(0.0, 10.0 * count, 10.0)
    if axis == "log":
        end = float(np.log1p(10 ** rng.uniform(3, 5.7)))
        step = np.unique(np.expm1(end * np.linspace(0.0, 1.0, count)).round())
    index = np.arange(float(len(step)))
    ratio = float(np.exp(rng.uniform(np.log(5), np.log(200))))
    # Each event has a place of its own, of at least LEAST_PLACE checkpoints.
    jumps = max(1, min(int(rng.integers(1, 4)), len(step) // LEAST_PLACE - SMOOTH_PLACE * with_smooth))
    is_smooth = np.array([False] * jumps + [True] * with_smooth)
    rng.shuffle(is_smooth)
    lengths = np.where(is_smooth, SMOOTH_PLACE, 1) * len(step) / (jumps + SMOOTH_PLACE * with_smooth)
    places = np.cumsum(lengths) - lengths
    events = []
    for smooth, place, length in zip(is_smooth, places, lengths, strict=True):
        rises = rng.random() < 0.5
        fall = 0.0 if not rises and rng.random() < 0.5 else 2.0 if smooth else 1.0
        delta_llc = ratio if rises else -ratio
        if smooth:
            centre, width = place + length * rng.uniform(0.45, 0.55), length / rng.uniform(*SMOOTH_LENGTH)
        else:
            centre, width = np.floor(place + length * rng.uniform(0.25, 0.75)) + 0.5, 0.0
        events.append(Event(float(centre), float(width), delta_llc, -fall))
    llc = np.sum([event.delta_llc * event.done(index) for event in events], axis=0)
    loss = np.sum([event.delta_loss * event.done(index) for event in events], axis=0)
    llc = llc - llc.min() + ratio * rng.uniform(0.5, 3) + rng.standard_normal(len(step))
    loss = loss - loss.min() + rng.uniform(0, 1) + 0.01 * rng.standard_normal(len(step))
    return Case(SyntheticCurve(np.asarray(step, dtype=np.float64), loss, llc), axis, tuple(events), ratio)


def pairs(found: Sequence[Transition], case: Case) -> list[tuple[Event, Transition]]:
    """What was planted, with what was found there."""
    matched, index = [], np.arange(float(len(case.curve.step)))
    margins = [FLAT_FROM * event.width if event.width else 0.5 for event in case.events]
    after = [event.centre - margin for event, margin in zip(case.events[1:], margins[1:], strict=True)]
    before = [event.centre + margin for event, margin in zip(case.events[:-1], margins[:-1], strict=True)]
    flats = zip([-np.inf, *before], [*after, np.inf], strict=True)
    for event, margin, (low, high) in zip(case.events, margins, flats, strict=True):
        for one in found:
            start, end = np.interp([one.start, one.end], case.curve.step, index)
            on_flats = low <= start <= event.centre - margin and event.centre + margin <= end <= high
            if on_flats and one.delta_llc * event.delta_llc > 0:
                matched.append((event, one))
    return matched


def counts(seeds: Sequence[int]) -> dict[str, float]:
    """What is counted, and what is summed, over the curves of these seeds."""
    total: dict[str, float] = dict.fromkeys(COUNTED, 0.0)
    for seed in tqdm(seeds, desc="jumps", leave=False, disable=None):
        case = random_jumps(seed)
        step, loss, llc = case.curve
        start = time.process_time()
        found = detect_transitions(step=step, loss=loss, llc=llc, axis=case.axis)
        total["CPU seconds"] += time.process_time() - start
        right = pairs(found, case)
        may_be_hidden = [one for event, one in right if event.delta_loss == 0]
        total["curves"] += 1
        total["planted"] += len(case.events)
        total["found"] += len(found)
        total["right"] += len(right)
        total["curves with a false hidden transition"] += any(one.hidden and one not in may_be_hidden for one in found)
        for event, one in right:
            if event.width == 0:
                total["jumps"] += 1
                total["relative errors of ΔLLC"] += one.delta_llc / event.delta_llc - 1
                total["intervals that hold ΔLLC"] += abs(one.delta_llc - event.delta_llc) <= NINETY * one.delta_llc_se
                gap = step[int(event.centre)], step[int(event.centre) + 1]
                total["locations that are the gap"] += one.location_interval == gap
    return total


def shares(count: Mapping[str, float]) -> dict[str, float]:
    """The scores that the counts mean."""
    jumps = count["jumps"]
    return {
        "precision": count["right"] / count["found"],
        "recall": count["right"] / count["planted"],
        "f1": 2 * count["right"] / (count["found"] + count["planted"]),
        "false hidden": count["curves with a false hidden transition"] / count["curves"],
        "bias": count["relative errors of ΔLLC"] / jumps,
        "coverage": count["intervals that hold ΔLLC"] / jumps,
        "in gap": count["locations that are the gap"] / jumps,
        "seconds": count["CPU seconds"] / count["curves"],
    }


def summarize(cases: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The scores of all curves."""
    return shares({name: sum(case[name] for case in cases.values()) for name in COUNTED})


def kind_of(seed: int) -> str:
    """The kind of curve that a seed gives."""
    return f"{AXES[seed % 2]}, {'with' if seed // 2 % 2 else 'without'} a smooth stage"


def report(document: Document) -> str:
    """Scores by kind of curve."""
    rows = {name: (case["curves"], shares(case)) for name, case in document["cases"].items()}
    rows["all"] = (sum(curves for curves, _ in rows.values()), document["summary"])
    header = ["spacing", "curves", "F1", "precision", "recall", "curves with a false hidden transition"]
    header += ["bias of ΔLLC", "90 % intervals hold it", "located in its gap", "CPU seconds a curve"]
    return table(
        header,
        [
            [name, int(curves)]
            + [f"{score[key]:.3f}" for key in ("f1", "precision", "recall")]
            + [percent(score[key]) for key in ("false hidden", "bias", "coverage", "in gap")]
            + [f"{score['seconds']:.2f}"]
            for name, (curves, score) in rows.items()
        ],
    )


def main() -> None:
    """Measure each kind of curve."""
    run = begin(__file__, __doc__, report, sizes={"curves": (1000, 4)})
    seeds = range(run.sizes["curves"])
    kinds = {kind: [seed for seed in seeds if kind_of(seed) == kind] for kind in map(kind_of, range(4))}
    run.measure(kinds, counts, summarize)


if __name__ == "__main__":
    main()
