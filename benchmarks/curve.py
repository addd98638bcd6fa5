"""What a curve costs beside separate estimates of its checkpoints, with as many draws.

    python benchmarks/curve.py [--checkpoints K] [--every J] [--out benchmarks/results/curve.json]

The modular-addition net of `llckit demo`, K checkpoints spread evenly over its 4000 steps, four chains, the same nβ, γ
and number of draws for both: `estimate_curve` for all, and `estimate_llc` for every J-th checkpoint. Warm-ups of a
curve go on from those of a few anchors. Times are of the processor, by checkpoint. Errors are root mean squares of
mcse/llc; z is the difference of both at a checkpoint over its error, which is 0 at anchors.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import llckit as lk
from llckit.cli.commands import environment
from llckit.toys import modular_addition, train

RESULTS = Path(__file__).parent / "results" / "curve.json"
SAME = {"n_beta": 284.0, "localization": 10.0, "num_chains": 4, "num_draws": 60, "max_grad_evals": 10_000}


def relative_error(llc: np.ndarray, mcse: np.ndarray) -> float:
    """Root mean square of mcse/llc."""
    return float(np.sqrt(np.mean((mcse / llc) ** 2)))


def main() -> None:
    """Train, estimate both ways, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=int, default=200, metavar="K")
    parser.add_argument("--every", type=int, default=4, metavar="J")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FILE.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    run = modular_addition()
    with tempfile.TemporaryDirectory() as folder:
        store = lk.CheckpointStore(Path(folder) / "run.ckpts")
        steps = np.linspace(0, run.last_step, arguments.checkpoints).astype(int).tolist()
        train(run, lk.Recorder(store, steps), progress=True)
        start = time.process_time()
        curve = lk.estimate_curve(store, run.task, **SAME)
        together = (time.process_time() - start) / len(curve)
        data, loss_fn = run.task.samples.first(run.task.samples.n), run.task.loss_fn
        some, separate = range(0, len(curve), arguments.every), []
        start = time.process_time()
        for index in tqdm(some, desc="separate estimates"):
            run.task.model.load_state_dict(store.load(steps[index]))
            separate.append(lk.estimate_llc(run.task.model, data, loss_fn, progress=False, **SAME))
        apart = (time.process_time() - start) / len(separate)
    llc, mcse = (np.array([getattr(estimate, name) for estimate in separate]) for name in ("llc", "mcse"))
    z = (curve.llc[some] - llc) / np.hypot(curve.mcse[some], mcse)
    found = {
        "checkpoints": len(curve),
        "separate": len(separate),
        "cost": together / apart,
        "seconds": [together, apart],
        "errors": [relative_error(curve.llc[some], curve.mcse[some]), relative_error(llc, mcse)],
        "mean_difference": float(np.mean(curve.llc[some] / llc - 1)),
        "rms_z": float(np.sqrt(np.mean(z[z != 0] ** 2))),
    }
    print(json.dumps(found, indent=1))
    curves = {"step": curve.step, "llc": curve.llc, "mcse": curve.mcse, "separate_llc": llc, "separate_mcse": mcse}
    document = {"environment": environment(), "settings": SAME, "summary": found}
    document |= {name: np.asarray(values).tolist() for name, values in curves.items()}
    arguments.out.write_text(json.dumps(document) + "\n")


if __name__ == "__main__":
    main()
