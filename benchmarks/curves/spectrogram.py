"""The complexity spectrogram of grokking: λ̂ over training step and scale of loss, of the training loss and behavioral.

    python -m benchmarks.curves.spectrogram

Addition modulo 43, γ = 10, a process for each of the two losses. Sketches: 4 chains of 60 + 60 draws a cell.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import llckit as lk
from benchmarks._curves import columns_of, curve_from
from benchmarks._grokking import grokking_task, recorded
from benchmarks._harness import Document, begin
from benchmarks._tables import digits, table
from llckit.plotting import plot_spectrogram

STEPS = [0, 30, 100, 200, 300, 400, 500, 600, 750, 1000, 1500, 2000, 4000]
SCALES = [10.0, 30.0, 135.0, 1e3, 1e4, 1e5]
SKETCH = {"num_chains": 4, "num_burnin": 60, "num_draws": 60, "localization": 10.0}
LOSSES = {"training loss": False, "behavioral": True}


def measure(loss: str, store: Path, scales: list[float], settings: Mapping[str, Any]) -> dict[str, Any]:
    """One of the two spectrograms."""
    task = grokking_task()
    if LOSSES[loss]:
        task = lk.behavioral_task(task)
    start = time.perf_counter()
    opened = lk.CheckpointStore(store, create=False)
    found = lk.estimate_curve(opened, task, n_beta=scales, progress=False, **settings)
    assert isinstance(found, lk.Spectrogram)
    assert found.mcse is not None  # it was estimated here
    assert found.llc_variance is not None
    return {
        "step": found.step,
        "n_beta": found.n_beta,
        "llc": np.round(found.llc, 2),
        "mcse": np.round(found.mcse, 2),
        "variance": np.round(found.llc_variance, 2),
        "is_minimum": found.is_minimum,
        "columns": columns_of(found),
        "minutes": (time.perf_counter() - start) / 60,
    }


def report(document: Document) -> str:
    """λ̂ by step and scale of both losses."""
    parts = []
    for name, case in document["cases"].items():
        header = [f"{name}: step", *(f"nβ = {digits(scale)}" for scale in case["n_beta"])]
        rows = [
            [step, *(digits(llc) if here else None for llc, here in zip(values, minima, strict=True))]
            for step, values, minima in zip(case["step"], case["llc"], case["is_minimum"], strict=True)
        ]
        parts.append(table(header, rows))
    minutes = " and ".join(f"{case['minutes']:.0f}" for case in document["cases"].values())
    parts.append(f"A dash: w* is no minimum of the loss at that scale. Minutes: {minutes}, side by side.")
    return "\n\n".join(parts)


def figures(document: Document) -> dict[str, Any]:
    """Both spectrograms, if their columns were kept."""
    found = {}
    for name, case in document["cases"].items():
        if "columns" in case:
            spectrogram = curve_from(case["columns"])
            assert isinstance(spectrogram, lk.Spectrogram)
            title = f"Grokking: addition modulo 43 ({name})"
            found[f"spectrogram_{name.replace(' ', '_')}"] = plot_spectrogram(spectrogram, title=title)
    return found


def main() -> None:
    """Train, then measure both at once."""
    few = SKETCH | {"num_burnin": 5, "num_draws": 8}
    sizes = {
        "steps": (STEPS, [0, 20]),
        "scales": (SCALES, [10.0, 100.0]),
        "estimate": (SKETCH, few),
        "losses": ([*LOSSES], ["behavioral"]),
        "processes": (2, 1),
    }
    run = begin(__file__, __doc__, report, sizes=sizes)
    with recorded(run.sizes["steps"], run.sizes["steps"][-1]) as (_, store):
        how = {"store": store.path, "scales": run.sizes["scales"], "settings": run.sizes["estimate"]}
        cases = {loss: loss for loss in run.sizes["losses"]}
        run.measure(cases, partial(measure, **how), processes=run.sizes["processes"])


if __name__ == "__main__":
    main()
