"""How the cost of sampling grows with chains, checkpoints and parameters: seconds, and slopes on logarithmic axes.

    python benchmarks/growth.py [--out benchmarks/results/growth.json]

One thread, processor time, `hmc` (the default sampler) with a fixed step and trajectories of 1 to 4 leapfrogs, and as
many draws everywhere. The seed decides the lengths for all chains, so that every run of a panel computes as many
gradients a chain; left to itself the sampler finds other lengths at every size, and would do other work. Chains: an MLP
of 12 448 parameters, whose rows are evaluated one after the other, and one of 944, whose rows are evaluated in one call
of which a single chain pays the fixed cost. Checkpoints: an MLP of 58 parameters, eight chains, by `estimate_curve`
without an executor, from stores in a temporary folder; saving is not timed. Parameters: one chain of a square MLP of
three layers of width w, 3w (w + 1) of them, on 2000 samples.

Sizes take turns, three times; a turn is repeated until it has lasted for 0.3 s, and figures are medians over turns. A
slope is that of least squares through ln seconds against ln size, ± its standard error. `local` are slopes between
neighbours: below 1 where fixed costs are shared or larger matrix products are faster, above 1 where a size no longer
fits a cache. The picture lies beside the JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from step_cost import Case, mlp
from tqdm import tqdm

import llckit as lk
from llckit.environment import environment
from llckit.plotting import save_figure
from llckit.plotting.style import COLORS, MARKERS, TEXT, WIDTH, new_figure
from llckit.posterior import LocalPosterior
from llckit.sampling import FixedDraws, sample

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESULTS = Path(__file__).parent / "results" / "growth.json"
CHAINS = [1, 2, 4, 8, 16, 32, 64]
CHECKPOINTS = [10, 30, 100, 300, 1000]
WIDTHS = [18, 57, 182, 577, 1825]  # 1e3, 1e4 … 1e7 parameters
SAMPLER = lk.hmc(step_size=1e-4, max_leapfrogs=4)
SCALE: dict[str, Any] = {"n_beta": 100.0, "localization": 1.0}
DRAWS: dict[str, Any] = {"num_burnin": 0, "num_draws": 8, "max_grad_evals": 10**6}
TURNS, LEAST = 3, 0.3  # seconds
GOAL = 1.05
PANELS = {"chains": ("chains", "chains, one call"), "checkpoints": ("checkpoints",), "parameters": ("parameters",)}
LOOKS = {  # colour and marker, and what a legend says before the slope
    "chains": ("A", "12 448 parameters: "),
    "chains, one call": ("B", "944 parameters: "),
    "checkpoints": ("A", ""),
    "parameters": ("A", ""),
}

Run = Callable[[], None]


def posterior(case: Case, chains: int) -> LocalPosterior:
    """All its samples."""
    task = lk.Task(case.model, case.data, case.loss_fn)
    return LocalPosterior(task.checkpoint(), rows=chains, **SCALE)


@contextmanager
def many_chains(*widths: int) -> Iterator[dict[int, Run]]:
    """Draws of one net, by the number of chains."""
    case = mlp(*widths)
    yield {chains: drawing(posterior(case, chains)) for chains in CHAINS}


@contextmanager
def many_parameters() -> Iterator[dict[int, Run]]:
    """Draws of one chain, by the number of parameters."""
    locals_ = [posterior(mlp(*[width] * 4, samples=2000), 1) for width in WIDTHS]
    yield {local.dim: drawing(local) for local in locals_}


def drawing(local: LocalPosterior) -> Run:
    """All draws, as `estimate_llc` has them made."""

    def run() -> None:
        sample(local, SAMPLER, num_burnin=0, stopping=FixedDraws(DRAWS["num_draws"], DRAWS["max_grad_evals"]))

    return run


@contextmanager
def many_checkpoints() -> Iterator[dict[int, Run]]:
    """A curve of eight chains, by the number of checkpoints."""
    case = mlp(4, 6, 4, samples=100)
    task = lk.Task(case.model, case.data, case.loss_fn)
    with tempfile.TemporaryDirectory() as folder:

        def estimating(store: lk.CheckpointStore) -> Run:
            def run() -> None:
                lk.estimate_curve(store, task, sampler=SAMPLER, num_chains=8, progress=False, **SCALE, **DRAWS)
                shutil.rmtree(store.path / "estimates")  # else the next turn would find them

            return run

        runs = {}
        for count in CHECKPOINTS:
            store = lk.CheckpointStore(Path(folder) / f"{count}.ckpts")
            for step in tqdm(range(count), desc=f"saving {count}", leave=False):
                weights = case.model.state_dict()
                store.save(step, {name: value + 0.01 * torch.randn_like(value) for name, value in weights.items()})
            runs[count] = estimating(store)
        yield runs


def medians(runs: Mapping[int, Run], name: str) -> tuple[list[float], list[list[float]]]:
    """Seconds of a run by size, and of all its turns."""
    times: dict[int, list[float]] = {size: [] for size in runs}
    for _ in range(3):
        runs[min(runs)]()  # with what torch does once
    for size, run in tqdm([*runs.items()] * TURNS, desc=name):
        start, count = time.process_time(), 0
        while count == 0 or time.process_time() < start + LEAST:
            run()
            count += 1
        times[size].append((time.process_time() - start) / count)
    return [statistics.median(values) for values in times.values()], [*times.values()]


def fitted(sizes: list[int], seconds: list[float]) -> dict[str, Any]:
    """The straight line through the logarithms, and slopes between neighbours."""
    x, y = np.log(sizes), np.log(seconds)
    (slope, at_one), covariance = np.polyfit(x, y, 1, cov=True)
    error = float(np.sqrt(covariance[0, 0]))
    return {"slope": float(slope), "error": error, "at_one": float(at_one), "local": (np.diff(y) / np.diff(x)).tolist()}


def figure(found: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Seconds against size, one panel for chains, checkpoints and parameters."""
    drawn = new_figure()
    drawn.set_size_inches(2 * WIDTH, 0.75 * WIDTH)
    for axes, (size, names) in zip(drawn.subplots(1, 3), PANELS.items(), strict=True):
        for name in names:
            row, (look, detail) = found[name], LOOKS[name]
            x = np.array(row["sizes"], dtype=float)
            line = np.exp(row["at_one"]) * x ** row["slope"]
            label = f"{detail}slope {row['slope']:.2f} ± {row['error']:.2f}"
            axes.plot(x, line, "-" if look == "A" else "--", color=COLORS[look], label=label)
            axes.plot(x, row["seconds"], MARKERS[look], color=COLORS[look], markersize=7)
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
    return drawn


def main() -> None:
    """Time all sizes, fit, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FILE.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sides = {
        "chains": many_chains(64, 96, 64),
        "chains, one call": many_chains(16, 24, 16, 8),
        "checkpoints": many_checkpoints(),
        "parameters": many_parameters(),
    }
    found: dict[str, dict[str, Any]] = {}
    for name, side in sides.items():
        with side as runs:
            seconds, turns = medians(runs, name)
            found[name] = {"sizes": [*runs], "seconds": seconds, "turns": turns} | fitted([*runs], seconds)
    settings = {"scale": SCALE, "draws": DRAWS, "sampler": [SAMPLER.name, SAMPLER.settings], "turns": TURNS}
    document = {"environment": environment(), "settings": settings, "growth": found}
    arguments.out.write_text(json.dumps(document) + "\n")
    print("growth with          slope            seconds at the smallest and largest, local slopes")
    for name, row in found.items():
        verdict = "" if row["slope"] <= GOAL else f"  above {GOAL}"
        ends = f"{row['seconds'][0]:9.3g} {row['seconds'][-1]:9.3g}"
        local = " ".join(f"{slope:5.2f}" for slope in row["local"])
        print(f"{name:20} {row['slope']:5.3f} ± {row['error']:5.3f} {ends}   {local}{verdict}")
    picture = arguments.out.with_suffix(".png")
    picture.unlink(missing_ok=True)
    save_figure(figure(found), picture)


if __name__ == "__main__":
    main()
