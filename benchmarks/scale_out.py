"""How much sooner a curve is done with more worker processes, one thread each, and whether it is the same.

    python benchmarks/scale_out.py [--checkpoints K] [--workers N] [--out benchmarks/results/scale_out.json]

The modular-addition net of `llckit demo`, K checkpoints spread evenly over its 4000 steps, by one worker process and
by N, start of the processes included.
"""

from __future__ import annotations

import argparse
import inspect
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from llckit.llc.execution import WorkerPool

import llckit as lk
from llckit.cli.demo import grokking_task
from llckit.environment import environment
from llckit.toys import modular_addition, train

RESULTS = Path(__file__).parent / "results" / "scale_out.json"
SETTINGS = {"n_beta": 284.0, "localization": 10.0, "num_chains": 4, "num_draws": 60}


def main() -> None:
    """Train, estimate twice, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=int, default=40, metavar="K")
    parser.add_argument("--workers", type=int, default=2, metavar="N")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FILE.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    run, task = modular_addition(), lk.load_task(f"{inspect.getfile(grokking_task)}:grokking_task")
    steps = np.linspace(0, run.last_step, arguments.checkpoints).astype(int).tolist()
    curves, seconds = [], []
    with tempfile.TemporaryDirectory() as folder:
        first = lk.CheckpointStore(Path(folder) / "1.ckpts")
        train(run, lk.Recorder(first, steps), progress=True)
        second = lk.CheckpointStore(Path(folder) / "2.ckpts")
        for step in steps:
            second.save(step, first.load(step))
        for store, workers in ((first, 1), (second, arguments.workers)):
            start = time.perf_counter()
            with WorkerPool(workers) as pool:
                curves.append(lk.estimate_curve(store, task, executor=pool, **SETTINGS))
            seconds.append(time.perf_counter() - start)
    alone, together = curves
    found = {
        "checkpoints": len(alone),
        "workers": arguments.workers,
        "seconds": seconds,
        "speedup": seconds[0] / seconds[1],
        "identical": bool((alone.llc_per_chain == together.llc_per_chain).all()),
    }
    print(json.dumps(found, indent=1))
    document = {"environment": environment(), "settings": SETTINGS, "summary": found}
    arguments.out.write_text(json.dumps(document) + "\n")


if __name__ == "__main__":
    main()
