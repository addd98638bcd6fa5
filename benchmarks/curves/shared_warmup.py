"""What a curve costs beside separate estimates of its checkpoints, with as many draws.

    python -m benchmarks.curves.shared_warmup

The modular-addition net of `llckit demo`, 200 checkpoints spread evenly over its 4000 steps, four chains, the same nβ,
γ and number of draws for both: `estimate_curve` for all, and `estimate_llc` for every eighth checkpoint. Warm-ups of a
curve go on from those of a few anchors. Times are processor time, by checkpoint. Errors are root mean squares of
mcse/llc; z is the difference of both at a checkpoint over its error, which is 0 at anchors. All checkpoints of a curve
see the same noise, so that one seed says little about costs and errors: figures are means over seeds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from tqdm import tqdm

import llckit as lk
from benchmarks._grokking import SKETCH, recorded
from benchmarks._harness import Document, begin
from benchmarks._tables import digits, percent, table

SETTINGS = SKETCH | {"max_grad_evals": 10_000}
MEANS = ("cost", "cost_at_equal_error", "mean_difference")


def relative_error(llc: np.ndarray, mcse: np.ndarray) -> float:
    """Root mean square of mcse/llc."""
    return float(np.sqrt(np.mean((mcse / llc) ** 2)))


def compare(
    task: lk.Task, store: lk.CheckpointStore, seed: int, every: int, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Both ways with one seed.

    Args:
        task: The run's.
        store: Its checkpoints.
        seed: Of both ways.
        every: Of so many checkpoints one is estimated separately.
        settings: Arguments of both.

    Returns:
        Seconds a checkpoint, errors, their cost as it is and at equal errors, which fall with √draws, and the curves.
    """
    start = time.process_time()
    curve = lk.estimate_curve(store, task, seed=seed, progress=False, **settings)
    together = (time.process_time() - start) / len(curve)
    some, separate = range(0, len(curve), every), []
    data = task.samples.first(task.samples.n)
    start = time.process_time()
    for index in tqdm(some, desc="separate estimates", leave=False, disable=None):
        task.model.load_state_dict(store.load(store.steps[index]))
        separate.append(lk.estimate_llc(task.model, data, task.loss_fn, progress=False, seed=seed, **settings))
    apart = (time.process_time() - start) / len(separate)
    llc, mcse = (np.array([getattr(estimate, name) for estimate in separate]) for name in ("llc", "mcse"))
    z = (curve.llc[some] - llc) / np.hypot(curve.mcse[some], mcse)
    errors = [relative_error(curve.llc[some], curve.mcse[some]), relative_error(llc, mcse)]
    curves = {"step": curve.step, "llc": curve.llc, "mcse": curve.mcse, "separate_llc": llc, "separate_mcse": mcse}
    return {
        "cost": together / apart,
        "cost_at_equal_error": together / apart * (errors[0] / errors[1]) ** 2,
        "seconds": [together, apart],
        "errors": errors,
        "mean_difference": float(np.mean(curve.llc[some] / llc - 1)),
        "rms_z": float(np.sqrt(np.mean(z[z != 0] ** 2))) if (z != 0).any() else None,
        **curves,
    }


def summarize(seeds: Mapping[str, Any]) -> dict[str, Any]:
    """Means over seeds."""
    found = {name: float(np.mean([one[name] for one in seeds.values()])) for name in MEANS}
    first = next(iter(seeds.values()))
    return found | {"checkpoints": len(first["llc"]), "separate": len(first["separate_llc"]), "seeds": len(seeds)}


def report(document: Document) -> str:
    """The means in a sentence, and a row a seed."""
    found = document["summary"]
    rows = []
    for name, one in document["cases"].items():
        costs = (digits(one[key], 2) for key in ("cost", "cost_at_equal_error"))
        errors = (percent(error, 2) for error in one["errors"])
        rows.append([name, *costs, *errors, f"{one['mean_difference']:+.2%}", digits(one["rms_z"], 2)])
    header = ["seed", "cost", "at equal errors", "error of the curve", "of separate estimates", "difference", "rms z"]
    return (
        f"{found['checkpoints']} checkpoints as one curve take {found['cost']:.2f} of the time of separate estimates "
        f"with as many draws, and {found['cost_at_equal_error']:.2f} at equal errors. These are means over "
        f"{found['seeds']} seeds.\n\n"
    ) + table(header, rows)


def main() -> None:
    """Train, estimate both ways, compare."""
    few = SETTINGS | {"num_draws": 10, "num_burnin": 5}
    sizes = {
        "seeds": (3, 1),
        "checkpoints": (200, 4),
        "every": (8, 2),
        "last_step": (None, 20),
        "estimate": (SETTINGS, few),
    }
    run = begin(__file__, __doc__, report, sizes=sizes)
    seeds = {f"seed {seed}": seed for seed in range(run.sizes["seeds"])}
    every, settings = run.sizes["every"], run.sizes["estimate"]
    with recorded(run.sizes["checkpoints"], run.sizes["last_step"]) as (task, store):
        run.measure(seeds, lambda seed: compare(task, store, seed, every, settings), summarize)


if __name__ == "__main__":
    main()
