"""What one accelerator does: chain-steps a second at four sizes, its utilisation, and a curve of 200 checkpoints.

    python benchmarks/gpu.py [--device cuda] [--chains K] [--seconds S] [--models K] [--checkpoints K]
        [--out benchmarks/results/gpu.json]

The models of `step_cost.py`, their chains in one batch, on the full loss: `sgld` and `hmc` with a fixed step, as
`sample` runs them, with all that it does around its draws, as they are and compiled (`compile=True`). A chain-step is
one gradient of one chain. The first run of each, which records or compiles gradients, is left out. Utilisation is the
mean of what `nvidia-smi` says five times a second meanwhile; null where there is none. The curve is that of `curve.py`:
the modular-addition net, four chains, the same nβ, γ and draws. Results are written after each part.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from curve import SAME
from step_cost import Case, cases
from tqdm import tqdm

import llckit as lk
from llckit.environment import environment
from llckit.posterior import LocalPosterior
from llckit.sampling import FixedDraws, Sampler, sample
from llckit.toys import modular_addition, train

RESULTS = Path(__file__).parent / "results" / "gpu.json"
DRAWS, DRAWS_FIRST = 30, 120
LOOK_EVERY = 0.2  # seconds
UTILISATION = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
SAMPLERS = {"sgld": lk.sgld(step_size=1e-8), "hmc": lk.hmc(step_size=1e-4)}


@contextmanager
def watched() -> Iterator[list[float]]:
    """Utilisation in percent, as it is told meanwhile."""
    seen: list[float] = []
    done = threading.Event()

    def look() -> None:
        while not done.wait(LOOK_EVERY):
            told = subprocess.run(UTILISATION, capture_output=True, text=True, check=True).stdout
            seen.append(float(told.splitlines()[0]))

    looking = threading.Thread(target=look)
    if shutil.which(UTILISATION[0]):
        looking.start()
    try:
        yield seen
    finally:
        done.set()
        if looking.is_alive():
            looking.join()


def chain_steps(posterior: LocalPosterior, sampler: Sampler, seconds: float) -> dict[str, Any]:
    """Gradients of all chains a second, the median over runs of some draws each."""
    speeds: list[float] = []

    def run(draws: int = DRAWS) -> None:
        start = time.perf_counter()
        trace = sample(posterior, sampler, num_burnin=0, stopping=FixedDraws(draws, 10**6))
        speeds.append(posterior.rows * trace.grad_evals / (time.perf_counter() - start))

    run(DRAWS_FIRST)
    speeds.clear()
    with watched() as seen:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or not speeds:
            run()
    return {"chain_steps_a_second": statistics.median(speeds), "utilisation": statistics.fmean(seen) if seen else None}


def run_model(case: Case, device: str, chains: int, seconds: float) -> dict[str, Any]:
    """All samplers, compiled and not."""
    found: dict[str, Any] = {"parameters": sum(weight.numel() for weight in case.model.parameters())}
    for mark, compiles in (("", False), (", compiled", True)):
        task = lk.Task(case.model, case.data, case.loss_fn, device=device, compile=compiles)
        posterior = LocalPosterior(task.checkpoint(), n_beta=100.0, localization=1.0, rows=chains)
        for name, sampler in SAMPLERS.items():
            found[name + mark] = chain_steps(posterior, sampler, seconds)
    return found


def run_curve(device: str, checkpoints: int) -> dict[str, Any]:
    """Seconds of the curve, and its errors."""
    run = modular_addition()
    with tempfile.TemporaryDirectory() as folder:
        store = lk.CheckpointStore(Path(folder) / "run.ckpts")
        train(run, lk.Recorder(store, np.linspace(0, run.last_step, checkpoints).astype(int).tolist()), progress=True)
        task = lk.Task(run.task.model, run.task.samples.first(run.task.n), run.task.loss_fn, device=device)
        start = time.perf_counter()
        with watched() as seen:
            curve = lk.estimate_curve(store, task, **SAME)
        seconds = time.perf_counter() - start
    errors = float(np.sqrt(np.mean((curve.mcse / curve.llc) ** 2)))
    utilisation = statistics.fmean(seen) if seen else None
    return {"checkpoints": len(curve), "seconds": seconds, "relative_error": errors, "utilisation": utilisation}


def main() -> None:
    """Time all models, then the curve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--chains", type=int, default=64, metavar="K")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="a model, sampler and way")
    parser.add_argument("--models", type=int, default=4, metavar="K", help="the first K only")
    parser.add_argument("--checkpoints", type=int, default=200, metavar="K")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FILE.json")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no such device; --device cpu runs the same on the processor")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    torch.manual_seed(0)
    document: dict[str, Any] = {"environment": environment() | {"device": name}, "chains": arguments.chains}
    document["models"] = []
    for case in tqdm(cases()[: arguments.models], desc="models"):
        row = run_model(case, arguments.device, arguments.chains, arguments.seconds)
        document["models"].append(row)
        arguments.out.write_text(json.dumps(document) + "\n")
        for way, found in row.items():
            if way != "parameters":
                busy = found["utilisation"]
                shown = "" if busy is None else f", {busy:.0f} % busy"
                speed = f"{found['chain_steps_a_second']:12.0f} chain-steps a second"
                tqdm.write(f"{row['parameters']:8} parameters, {way:14s}: {speed}{shown}")
    document["curve"] = run_curve(arguments.device, arguments.checkpoints)
    arguments.out.write_text(json.dumps(document) + "\n")
    print(json.dumps(document["curve"], indent=1))


if __name__ == "__main__":
    main()
