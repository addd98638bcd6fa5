"""How many gradients an error of 3 % takes, from a thousand weights to a hundred million.

    python -m benchmarks.cost.dimension

* *linear*: nets of three square layers at their deepest point, with 4000 samples and without label noise, at
  nβ = n/ln n and the γ at which κ = (nβh + γ)/γ is 100, h being the largest curvature; so only the dimension differs.
  Another seed is asked for 1 %, up to a million weights. The slope is that of ln gradients against ln weights.
* *language*: GPT-2's shape at random weights, sequences of 64 tokens, nβ = 30 and γ = 100, the distance from its own
  outputs (`behavioral=True`), where every weight is a minimum: the time and the memory of a number, each in a process
  of its own with two threads.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

import llckit as lk
from benchmarks._estimates import TINY, numbers_of
from benchmarks._harness import Document, begin, in_own_process, module_of
from benchmarks._models import cross_entropy, linear_net, squared_error
from benchmarks._tables import digits, percent, table
from benchmarks.cost._langevin import make_net
from benchmarks.cost.memory import GPT2, peak
from llckit.posterior import largest_eigenvalue

KAPPA = 100.0
REL_TOL, SHARPER = 0.03, 0.01
SAMPLES, CURVATURE, STEPS = 4000, 512, 12  # n; samples and steps of Lanczos that give h
COMPARED = 1_500_000  # weights up to which another seed is asked for more
LANGUAGE_SCALE: dict[str, Any] = {"n_beta": 30.0, "localization": 100.0, "behavioral": True}


def measure_linear(width: int, budget: Mapping[str, Any]) -> dict[str, Any]:
    """One linear net: what 3 % takes."""
    net = make_net(0, [width] * 4, max(1, width // 4), SAMPLES, noise=False)
    task = lk.Task(linear_net(net.weights), (net.x, net.x @ net.target.T), squared_error)
    n_beta = SAMPLES / math.log(SAMPLES)
    few = task.checkpoint().thinned(CURVATURE)
    largest = largest_eigenvalue(lambda rows: few.loss_and_grad(rows)[1], few.weights, STEPS)
    scale: dict[str, Any] = {"n_beta": n_beta, "localization": n_beta * largest / (KAPPA - 1)}
    began = time.process_time()
    found = lk.estimate_llc(task, rel_tol=REL_TOL, progress=False, **scale, **budget)
    row = numbers_of(found) | {
        "weights": task.dim,
        "cpu_seconds": time.process_time() - began,
        "gradients": str(found.how_found.gradients),
        "batch": found.how_found.gradients.batch_size or found.how_found.gradients.subset or SAMPLES,
        "sampler": found.how_found.sampler,
    }
    if task.dim > COMPARED:
        return row
    other = lk.estimate_llc(task, rel_tol=SHARPER, seed=1, progress=False, **scale, **budget)
    return row | {"error": found.llc / other.llc - 1, "doubt": math.hypot(found.mcse, other.mcse) / other.llc}


def language(
    vocabulary: int, width: int, blocks: int, sequences: int, threads: int, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """A number for one language model, to be called in a process of its own."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = GPT2(vocabulary, width, blocks)
    tokens = torch.randint(vocabulary, (sequences, 65))
    began = time.perf_counter()
    found = lk.estimate_llc(
        model, (tokens[:, :-1], tokens[:, 1:]), cross_entropy, progress=False, **LANGUAGE_SCALE, **settings
    )
    return numbers_of(found) | {
        "weights": sum(weight.numel() for weight in model.parameters()),
        "chains": len(found.llc_per_chain),
        "batch": found.how_found.gradients.batch_size,
        "seconds": time.perf_counter() - began,
        "peak": peak(),
    }


def measure(case: tuple[str, Any], sizes: Mapping[str, Any]) -> dict[str, Any]:
    """One net."""
    kind, shape = case
    if kind == "linear":
        return measure_linear(shape, sizes["linear"])
    return in_own_process(f"{module_of(__file__)}:language", *shape, sizes["cores"], sizes["language"])


def summarize(cases: Mapping[str, Any]) -> dict[str, Any]:
    """The slope of the number of gradients, with its error, and the errors beside sharper runs."""
    rows = [row for name, row in cases.items() if name.startswith("linear")]
    compared = [row for row in rows if "error" in row]
    summary: dict[str, Any] = {"worst": max((abs(row["error"]) for row in compared), default=None)}
    if len(rows) > 2:
        x, y = (np.log([row[name] for row in rows]) for name in ("weights", "grad_evals"))
        (slope, _), covariance = np.polyfit(x, y, 1, cov=True)
        summary |= {"slope": float(slope), "slope_error": float(np.sqrt(covariance[0, 0]))}
    return summary


def report(document: Document) -> str:
    """A row a net, and the slope."""
    summary, rows = document["summary"], []
    for name, row in document["cases"].items():
        seconds = row["seconds"] if "seconds" in row else row["cpu_seconds"]
        memory = f"{row['peak'] / 1e9:.1f} GB" if "peak" in row else None
        value = f"{digits(row['llc'], 4)} ± {digits(row['mcse'], 2)}"
        error = percent(row["error"]) if "error" in row else None
        cells = [name, f"{row['weights']:,}".replace(",", " "), row["grad_evals"], row["batch"], value, error]
        rows.append([*cells, f"{seconds:.0f} s", memory, row["outcome"]])
    header = ["net", "weights", "gradients", "batch", "LLC ± error", "against 1 %", "time", "memory", "outcome"]
    slope = summary.get("slope")
    text = (
        ""
        if slope is None
        else f"Gradients grow as d^({slope:+.3f} ± {summary['slope_error']:.3f}) at κ = {KAPPA:g}.\n\n"
    )
    return text + table(header, rows)


def figures(document: Document) -> dict[str, Any]:
    """Gradients against weights."""
    from matplotlib.figure import Figure

    rows = [row for name, row in document["cases"].items() if name.startswith("linear")]
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([row["weights"] for row in rows], [row["grad_evals"] for row in rows], "o-", color="#0072B2")
    axes.set(xscale="log", yscale="log", xlabel="weights", ylabel="gradients per chain to 3 %")
    axes.set_ylim(10, 10 * max(row["grad_evals"] for row in rows))
    axes.grid(color="0.9", linewidth=0.6)
    return {"dimension": figure}


def main() -> None:
    """All nets."""
    sizes = {
        "widths": ([18, 58, 183, 577, 1826], [8]),
        "linear": ({"max_grad_evals": 20_000}, TINY),
        "cores": (2, 1),
        "shapes": ({"10 M": (8192, 320, 6, 1024), "124 M": (50257, 768, 12, 1024)}, {"tiny": (100, 32, 1, 64)}),
        "language": ({}, {"num_chains": 2, "max_grad_evals": 20}),
    }
    run = begin(__file__, __doc__, report, sizes=sizes, settings={"kappa": KAPPA, "samples": SAMPLES})
    cases: dict[str, tuple[str, Any]] = {f"linear, width {width}": ("linear", width) for width in run.sizes["widths"]}
    cases |= {f"language, {name}": ("language", shape) for name, shape in run.sizes["shapes"].items()}
    run.measure(cases, lambda case: measure(case, run.sizes), summarize)


if __name__ == "__main__":
    main()
