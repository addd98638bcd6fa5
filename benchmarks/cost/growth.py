"""How the cost of sampling grows with chains, checkpoints and parameters: seconds, and slopes on logarithmic axes.

    python -m benchmarks.cost.growth

One thread, processor time, `hmc` (the default sampler) with a fixed step and trajectories of 1 to 4 leapfrogs, and as
many draws everywhere. The seed decides the lengths for all chains, so that every run of a panel computes as many
gradients a chain; left to itself the sampler finds other lengths at every size, and would do other work.

* chains: an MLP of 12 448 parameters, whose rows are evaluated one after the other;
* chains, one call: an MLP of 944, whose rows are evaluated in one call of which a single chain pays the fixed cost;
* checkpoints: an MLP of 58 parameters, eight chains, by `estimate_curve` without an executor, from stores in a
  temporary folder; saving is not timed;
* parameters: one chain of a square MLP of three layers of width w, 3w (w + 1) of them, on 2000 samples.

The sizes of a case take turns, three times; a turn is repeated until it has lasted for 0.3 s, and figures are medians
over turns. A slope is that of least squares through ln seconds against ln size, ± its standard error. `local` are
slopes between neighbours: below 1 where fixed costs are shared or larger matrix products are faster, above 1 where a
size no longer fits a cache.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

import llckit as lk
from benchmarks._harness import Document, begin
from benchmarks._models import mlp, posterior_of
from benchmarks._tables import digits, table
from llckit.sampling import FixedDraws, sample

SAMPLER = {"step_size": 1e-4, "max_leapfrogs": 4}
SCALE: dict[str, Any] = {"n_beta": 100.0, "localization": 1.0}
DRAWS: dict[str, Any] = {"num_burnin": 0, "num_draws": 8, "max_grad_evals": 10**6}
RUN: dict[str, Any] = {"num_burnin": 0, "stopping": FixedDraws(8, 10**6)}  # the same for `sample`
TURNS = 3
PANELS = {"chains": ("chains", "chains, one call"), "checkpoints": ("checkpoints",), "parameters": ("parameters",)}
BLUE, VERMILION = "#0072B2", "#D55E00"
LOOKS = {  # colour, marker and line, and what a legend says before the slope
    "chains": (BLUE, "^", "-", "12 448 parameters: "),
    "chains, one call": (VERMILION, "v", "--", "944 parameters: "),
    "checkpoints": (BLUE, "^", "-", ""),
    "parameters": (BLUE, "^", "-", ""),
}
TEXT = 11

Runs = dict[int, Callable[[], object]]


@contextmanager
def many_chains(widths: tuple[int, ...], counts: list[int]) -> Iterator[Runs]:
    """Draws of one net, by the number of chains."""
    case = mlp(widths)
    sampler = lk.hmc(**SAMPLER)
    yield {chains: partial(sample, posterior_of(case, chains), sampler, **RUN) for chains in counts}


@contextmanager
def many_parameters(widths: list[int]) -> Iterator[Runs]:
    """Draws of one chain, by the number of parameters."""
    posteriors = [posterior_of(mlp([width] * 4, samples=2000), 1) for width in widths]
    yield {each.dim: partial(sample, each, lk.hmc(**SAMPLER), **RUN) for each in posteriors}


@contextmanager
def many_checkpoints(counts: list[int]) -> Iterator[Runs]:
    """A curve of eight chains, by the number of checkpoints."""
    case = mlp((4, 6, 4), samples=100)
    task, settings = lk.Task(case.model, case.data, case.loss_fn), {"num_chains": 8, "progress": False} | SCALE | DRAWS

    def estimate(store: lk.CheckpointStore) -> None:
        lk.estimate_curve(store, task, sampler=lk.hmc(**SAMPLER), **settings)
        shutil.rmtree(store.path / "estimates")  # else the next turn would find them

    with tempfile.TemporaryDirectory() as folder:
        runs: Runs = {}
        for count in counts:
            store = lk.CheckpointStore(Path(folder) / f"{count}.ckpts")
            for step in tqdm(range(count), desc=f"saving {count}", leave=False, disable=None):
                weights = case.model.state_dict()
                store.save(step, {name: value + 0.01 * torch.randn_like(value) for name, value in weights.items()})
            runs[count] = partial(estimate, store)
        yield runs


def measure(side: AbstractContextManager[Runs], least: float) -> dict[str, Any]:
    """Seconds of a run by size, of all its turns, and the straight line through their logarithms.

    Args:
        side: Gives the runs by size.
        least: Seconds that a turn lasts at least.

    Returns:
        sizes, seconds, turns, slope, error, at_one and local.
    """
    with side as runs:
        times: dict[int, list[float]] = {size: [] for size in runs}
        for _ in range(TURNS):
            runs[min(runs)]()  # with what torch does once
        for size, run in tqdm([*runs.items()] * TURNS, desc="turns", leave=False, disable=None):
            start, count = time.process_time(), 0
            while count == 0 or time.process_time() < start + least:
                run()
                count += 1
            times[size].append((time.process_time() - start) / count)
    sizes, seconds = [*times], [statistics.median(values) for values in times.values()]
    return {"sizes": sizes, "seconds": seconds, "turns": [*times.values()]} | line_through(sizes, seconds)


def line_through(sizes: list[int], seconds: list[float]) -> dict[str, Any]:
    """The straight line through the logarithms, and slopes between neighbours."""
    x, y = np.log(sizes), np.log(seconds)
    (slope, at_one), covariance = np.polyfit(x, y, 1, cov=True)
    return {
        "slope": slope,
        "error": np.sqrt(covariance[0, 0]),
        "at_one": at_one,
        "local": np.diff(y) / np.diff(x),
    }


def report(document: Document) -> str:
    """A row a case."""
    rows = []
    for name, row in document["cases"].items():
        ends, seconds = (f"{digits(row[key][0], 2)} … {digits(row[key][-1], 2)}" for key in ("sizes", "seconds"))
        local = " ".join(f"{slope:.2f}" for slope in row["local"])
        rows.append([name, ends, f"{row['slope']:.2f} ± {row['error']:.2f}", f"{seconds} s", local])
    return table(["growth with", "sizes", "slope", "seconds", "local slopes"], rows)


def figures(document: Document) -> dict[str, Any]:
    """Seconds against size, one panel for chains, checkpoints and parameters."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.6, 4.35), layout="constrained")
    for axes, (size, names) in zip(figure.subplots(1, 3), PANELS.items(), strict=True):
        for name in names:
            row, (color, marker, style, detail) = document["cases"][name], LOOKS[name]
            x = np.array(row["sizes"], dtype=float)
            label = f"{detail}slope {row['slope']:.2f} ± {row['error']:.2f}"
            axes.plot(x, np.exp(row["at_one"]) * x ** row["slope"], style, color=color, label=label)
            axes.plot(x, row["seconds"], marker, color=color, markersize=7)
        axes.set(xscale="log", yscale="log")
        axes.set_xlabel(size, fontsize=TEXT)
        axes.tick_params(labelsize=TEXT - 2)
        axes.grid(color="0.9", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="upper left", fontsize=TEXT - 2, frameon=False, borderaxespad=0)
        low, high = axes.get_ylim()
        axes.set_ylim(low, high * (high / low) ** 0.15)  # room for the legend
        if size == "chains":
            axes.set_ylabel("seconds of one thread", fontsize=TEXT)
    return {"growth": figure}


def main() -> None:
    """Time all sizes."""
    sizes = {
        "chains": ([1, 2, 4, 8, 16, 32, 64], [1, 2, 4]),
        "checkpoints": ([10, 30, 100, 300, 1000], [1, 2, 4]),
        "widths": ([18, 57, 182, 577, 1825], [4, 8, 16]),  # 1e3, 1e4 … 1e7 parameters
        "least": (0.3, 0.0),
    }
    run = begin(__file__, __doc__, report, sizes=sizes, settings={"scale": SCALE, "draws": DRAWS, "sampler": SAMPLER})
    torch.manual_seed(0)
    chains = run.sizes["chains"]
    sides = {
        "chains": many_chains((64, 96, 64), chains),
        "chains, one call": many_chains((16, 24, 16, 8), chains),
        "checkpoints": many_checkpoints(run.sizes["checkpoints"]),
        "parameters": many_parameters(run.sizes["widths"]),
    }
    run.measure(sides, lambda side: measure(side, run.sizes["least"]))


if __name__ == "__main__":
    main()
