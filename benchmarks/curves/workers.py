"""How much sooner a curve is done with more worker processes, one thread each, and whether it is the same.

    python -m benchmarks.curves.workers

The modular-addition net of `llckit demo`, 40 checkpoints spread evenly over its 4000 steps, by one worker process and
by several, start of the processes included.
"""

from __future__ import annotations

import multiprocessing
import shutil
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import torch

import llckit as lk
from benchmarks import _grokking
from benchmarks._grokking import SKETCH, recorded
from benchmarks._harness import Document, begin
from benchmarks._tables import either


def measure(store: lk.CheckpointStore, workers: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The curve by so many workers."""
    task = lk.load_task(f"{_grokking.__file__}:grokking_task")
    shutil.rmtree(store.path / "estimates", ignore_errors=True)  # else the second curve would find those of the first
    start, context = time.perf_counter(), multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        curve = lk.estimate_curve(store, task, executor=pool, progress=False, **settings)
    seconds = time.perf_counter() - start
    return {"workers": workers, "seconds": seconds, "checkpoints": len(curve), "llc_per_chain": curve.llc_per_chain}


def summarize(cases: Mapping[str, Any]) -> dict[str, Any]:
    """Speedup of the last case over the first, and whether all curves are the same."""
    first, *_, last = [*cases.values()] * (1 if len(cases) > 1 else 2)
    return {
        "checkpoints": first["checkpoints"],
        "workers": last["workers"],
        "seconds": [first["seconds"], last["seconds"]],
        "speedup": first["seconds"] / last["seconds"],
        "identical": all(case["llc_per_chain"] == first["llc_per_chain"] for case in cases.values()),
    }


def report(document: Document) -> str:
    """The summary in a sentence."""
    found = document["summary"]
    return (
        f"{found['workers']} worker processes do a curve of {found['checkpoints']} checkpoints {found['speedup']:.2f} "
        f"times as fast as one. The same bit for bit: {either(found['identical'])}."
    )


def main() -> None:
    """Train, estimate by one worker and by several, compare."""
    few = SKETCH | {"num_draws": 8, "num_burnin": 4}
    sizes = {"checkpoints": (40, 2), "workers": (2, 1), "last_step": (None, 20), "estimate": (SKETCH, few)}
    run = begin(__file__, __doc__, report, sizes=sizes)
    counts = sorted({1, run.sizes["workers"]})
    cases = {f"{count} worker{'s' if count > 1 else ''}": count for count in counts}
    with recorded(run.sizes["checkpoints"], run.sizes["last_step"]) as (_, store):
        run.measure(cases, lambda count: measure(store, count, run.sizes["estimate"]), summarize)


if __name__ == "__main__":
    main()
