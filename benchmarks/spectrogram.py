"""The complexity spectrogram of grokking: λ̂ over training step and scale of loss, of the training loss and behavioral.

    python benchmarks/spectrogram.py [--out benchmarks/results]

Addition modulo 43, γ = 10, two processes: one for each of the two. Sketches: 4 chains of 60 + 60 draws a cell. Writes
spectrogram.json and two pictures.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import llckit as lk
from llckit.environment import environment
from llckit.plotting import plot_spectrogram, save_figure
from llckit.toys import modular_addition, train

STEPS = [0, 30, 100, 200, 300, 400, 500, 600, 750, 1000, 1500, 2000, 4000]
SCALES = [10.0, 30.0, 135.0, 1e3, 1e4, 1e5]
QUICK = {"num_chains": 4, "num_burnin": 60, "num_draws": 60, "localization": 10.0, "progress": False}


def measure(store: Path, out: Path, behavioral: bool) -> dict[str, Any]:
    """One of the two spectrograms, drawn and as a table."""
    torch.set_num_threads(1)
    task = modular_addition().task
    if behavioral:
        task = lk.behavioral_task(task)
    start = time.perf_counter()
    found = lk.estimate_curve(lk.CheckpointStore(store, create=False), task, n_beta=SCALES, **QUICK)
    assert isinstance(found, lk.Spectrogram)
    name = "behavioral" if behavioral else "training loss"
    picture = out / f"spectrogram_{'behavioral' if behavioral else 'loss'}.png"
    picture.unlink(missing_ok=True)
    save_figure(plot_spectrogram(found, title=f"Grokking: addition modulo 43 ({name})"), picture)
    assert found.mcse is not None  # it was estimated here
    assert found.llc_variance is not None
    return {
        "loss": name,
        "step": found.step.tolist(),
        "n_beta": found.n_beta.tolist(),
        "llc": np.round(found.llc, 2).tolist(),
        "mcse": np.round(found.mcse, 2).tolist(),
        "variance": np.round(found.llc_variance, 2).tolist(),
        "is_minimum": found.is_minimum.tolist(),
        "minutes": (time.perf_counter() - start) / 60,
    }


def main() -> None:
    """Train, measure both at once, write."""
    parser = argparse.ArgumentParser(description="spectrogram of grokking")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "run.ckpts"
        train(modular_addition(), lk.Recorder(lk.CheckpointStore(store), STEPS))
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            found = pool.starmap(measure, [(store, out, False), (store, out, True)])
    document = {"environment": environment(), "localization": QUICK["localization"], "spectrograms": found}
    (out / "spectrogram.json").write_text(json.dumps(document) + "\n")
    for one in found:
        print(f"{one['loss']}, {one['minutes']:.1f} min; columns nβ = {one['n_beta']}")
        for step, row in zip(one["step"], one["llc"], strict=True):
            print(f"{step:6d} " + " ".join(f"{x:9.1f}" for x in row))


if __name__ == "__main__":
    main()
