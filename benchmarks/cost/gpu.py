"""What one accelerator does: chain-steps a second at four sizes, its utilisation, and a curve of 200 checkpoints.

    python -m benchmarks.cost.gpu [--device cuda]

The models of `step_cost.py`, their chains in one batch, on the full loss: `sgld` and `hmc` with a fixed step, as
`sample` runs them, with all that it does around its draws, as they are and compiled (`compile=True`). A chain-step is
one gradient of one chain. The first run of each, which records or compiles gradients, is left out. Utilisation is the
mean of what `nvidia-smi` says five times a second meanwhile; null if there is none. The curve is that of
`curves/shared_warmup.py`: the modular-addition net, four chains, the same nβ, γ and draws. It needs a GPU; with
`--device cpu` the same runs on the processor.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch

import llckit as lk
from benchmarks._grokking import SKETCH, recorded
from benchmarks._harness import Document, begin
from benchmarks._models import Case, four_sizes, posterior_of
from benchmarks._tables import percent, table
from benchmarks._timing import ENDLESS
from llckit.posterior import LocalPosterior
from llckit.sampling import FixedDraws, Sampler, sample

LOOK_EVERY = 0.2  # seconds
UTILISATION = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
CURVE = "curve"


@contextmanager
def watched() -> Iterator[list[float]]:
    """Utilisation in percent, as `nvidia-smi` reports it meanwhile."""
    percents: list[float] = []
    done = threading.Event()

    def look() -> None:
        while not done.wait(LOOK_EVERY):
            answer = subprocess.run(UTILISATION, capture_output=True, text=True, check=True).stdout
            percents.append(float(answer.splitlines()[0]))

    looking = threading.Thread(target=look)
    if shutil.which(UTILISATION[0]):
        looking.start()
    try:
        yield percents
    finally:
        done.set()
        if looking.is_alive():
            looking.join()


def chain_steps(posterior: LocalPosterior, sampler: Sampler, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Gradients of all chains a second, the median over runs of some draws each."""
    speeds: list[float] = []

    def run(draws: int) -> None:
        start = time.perf_counter()
        trace = sample(posterior, sampler, num_burnin=0, stopping=FixedDraws(draws, ENDLESS))
        speeds.append(posterior.rows * trace.grad_evals / (time.perf_counter() - start))

    run(4 * sizes["draws"])
    speeds.clear()
    with watched() as percents:
        end = time.perf_counter() + sizes["seconds"]
        while time.perf_counter() < end or not speeds:
            run(sizes["draws"])
    return {"chain_steps_a_second": statistics.median(speeds), "utilisation": _mean(percents)}


def measure_model(make: Callable[[], Case], device: str, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """All samplers, compiled and not."""
    case = make()
    found: dict[str, Any] = {"parameters": sum(weight.numel() for weight in case.model.parameters())}
    for mark in sizes["compile"]:
        posterior = posterior_of(case, sizes["chains"], device=device, compile=mark == "compiled")
        for name, sampler in {"sgld": lk.sgld(step_size=1e-8), "hmc": lk.hmc(step_size=1e-4)}.items():
            found[f"{name}, {mark}"] = chain_steps(posterior, sampler, sizes)
    return found


def measure_curve(device: str, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Seconds of the curve, and its errors."""
    with recorded(sizes["checkpoints"], sizes["last_step"]) as (own, store):
        task = lk.Task(own.model, own.samples.first(own.n), own.loss_fn, device=device)
        start = time.perf_counter()
        with watched() as percents:
            curve = lk.estimate_curve(store, task, progress=False, **SKETCH | sizes["sketch"])
        seconds = time.perf_counter() - start
    error = float(np.sqrt(np.mean((curve.mcse / curve.llc) ** 2)))
    return {"checkpoints": len(curve), "seconds": seconds, "relative_error": error, "utilisation": _mean(percents)}


def _mean(values: list[float]) -> float | None:
    return statistics.fmean(values) if values else None


def report(document: Document) -> str:
    """A row a model and sampler; the curve in a sentence."""
    cases = dict(document["cases"])
    curve = cases.pop(CURVE, None)
    rows = [
        [name, case["parameters"], way, f"{found['chain_steps_a_second']:.0f}", _busy(found)]
        for name, case in cases.items()
        for way, found in case.items()
        if way != "parameters"
    ]
    text = f"On {document['environment'].get('device')}, {document['settings']['chains']} chains.\n\n"
    text += table(["model", "parameters", "sampler", "chain-steps a second", "busy"], rows)
    if curve is not None:
        error, seconds = percent(curve["relative_error"]), f"{curve['seconds']:.1f} s"
        text += f"\n\nA curve of {curve['checkpoints']} checkpoints takes {seconds}, with errors of {error}."
    return text


def _busy(found: Mapping[str, Any]) -> str | None:
    return None if found["utilisation"] is None else f"{found['utilisation']:.0f} %"


def main() -> None:
    """Time all models, then the curve."""
    sizes = {
        "chains": (64, 4),
        "draws": (30, 5),
        "seconds": (10.0, 0.05),  # a model, sampler and way
        "models": (4, 1),
        "compile": (["as it is", "compiled"], ["as it is"]),
        "checkpoints": (200, 2),
        "last_step": (None, 20),
        "sketch": ({}, {"num_draws": 10, "num_burnin": 5}),
    }
    options = {"--device": {"metavar": "NAME", "help": "default cuda; cpu runs the same on the processor"}}
    run = begin(__file__, __doc__, report, sizes=sizes, options=options)
    asked = run.arguments.device or ("cpu" if run.quick and not torch.cuda.is_available() else "cuda")
    device = torch.device(asked)
    if device.type == "cuda" and not torch.cuda.is_available():
        run.refuse(f"--device is {asked}; expected a GPU and a torch built for it, which finds none, or --device cpu")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    run.document["environment"]["device"] = name
    torch.manual_seed(0)
    models = [*four_sizes().items()][: run.sizes["models"]]
    cases = {name: partial(measure_model, make, asked, run.sizes) for name, make in models}
    run.measure(cases | {CURVE: partial(measure_curve, asked, run.sizes)}, lambda measure: measure())


if __name__ == "__main__":
    main()
