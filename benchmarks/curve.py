"""What a curve costs beside separate estimates of its checkpoints, with as many draws.

    python benchmarks/curve.py [--checkpoints K] [--every J] [--seeds S] [--out benchmarks/results/curve.json]

The modular-addition net of `llckit demo`, K checkpoints spread evenly over its 4000 steps, four chains, the same nβ, γ
and number of draws for both: `estimate_curve` for all, and `estimate_llc` for every J-th checkpoint. Warm-ups of a
curve go on from those of a few anchors. Times are of the processor, by checkpoint. Errors are root mean squares of
mcse/llc; z is the difference of both at a checkpoint over its error, which is 0 at anchors. All checkpoints of a curve
see the same noise, so that one seed tells little about costs and errors: they are means over seeds, which are shown.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

import llckit as lk
from llckit.environment import environment
from llckit.toys import modular_addition, train

RESULTS = Path(__file__).parent / "results" / "curve.json"
SAME = {"n_beta": 284.0, "localization": 10.0, "num_chains": 4, "num_draws": 60, "max_grad_evals": 10_000}
SHOWN = ("cost", "cost_at_equal_error", "seconds", "errors", "mean_difference", "rms_z")


def relative_error(llc: np.ndarray, mcse: np.ndarray) -> float:
    """Root mean square of mcse/llc."""
    return float(np.sqrt(np.mean((mcse / llc) ** 2)))


def compare(store: lk.CheckpointStore, run: Any, data: Any, loss_fn: Any, every: int, seed: int) -> dict[str, Any]:
    """Both ways with one seed: seconds a checkpoint, errors, and the cost at equal errors: they fall with √draws."""
    start = time.process_time()
    curve = lk.estimate_curve(store, run.task, seed=seed, **SAME)
    together = (time.process_time() - start) / len(curve)
    some, separate = range(0, len(curve), every), []
    start = time.process_time()
    for index in tqdm(some, desc="separate estimates"):
        run.task.model.load_state_dict(store.load(store.steps[index]))
        separate.append(lk.estimate_llc(run.task.model, data, loss_fn, progress=False, seed=seed, **SAME))
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
        "rms_z": float(np.sqrt(np.mean(z[z != 0] ** 2))),
        **{name: np.asarray(values).tolist() for name, values in curves.items()},
    }


def main() -> None:
    """Train, estimate both ways, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=int, default=200, metavar="K")
    parser.add_argument("--every", type=int, default=8, metavar="J")
    parser.add_argument("--seeds", type=int, default=3, metavar="S")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FILE.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    run = modular_addition()
    with tempfile.TemporaryDirectory() as folder:
        store = lk.CheckpointStore(Path(folder) / "run.ckpts")
        steps = np.linspace(0, run.last_step, arguments.checkpoints).astype(int).tolist()
        train(run, lk.Recorder(store, steps), progress=True)
        data, loss_fn = run.task.samples.first(run.task.samples.n), run.task.loss_fn
        found = [compare(store, run, data, loss_fn, arguments.every, seed) for seed in range(arguments.seeds)]
    summary = {
        name: float(np.mean([one[name] for one in found]))
        for name in ("cost", "cost_at_equal_error", "mean_difference")
    }
    summary |= {"checkpoints": arguments.checkpoints, "separate": len(found[0]["separate_llc"]), "seeds": len(found)}
    print(json.dumps(summary | {"by_seed": [{name: one[name] for name in SHOWN} for one in found]}, indent=1))
    document = {"environment": environment(), "settings": SAME, "summary": summary, "by_seed": found}
    arguments.out.write_text(json.dumps(document) + "\n")


if __name__ == "__main__":
    main()
