"""1e5 samples, gradients of 64 and of 512: estimates without tuning against the long-run value of the full loss.

    python -m benchmarks.estimator.minibatches

Deep linear nets at their deepest point, without label noise and with noise of variance 1. The linear part of the noise
is taken off, so that w* is the minimum on these samples. The mean square error depends on second moments alone, so the
reference is a long run on as many samples as there are columns, with the same moments.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

import llckit as lk
from benchmarks._estimates import SHORT_RUN, TINY, spread, timed_estimate
from benchmarks._harness import Document, begin
from benchmarks._models import condensed, linear_net, squared_error
from benchmarks._tables import digits, spread_text, table
from llckit.toys import deep_linear_llc, deepest_point

NETS = (((10, 8, 12), 3), ((6, 10, 8, 6), 2), ((5, 4, 5), 1), ((4, 8, 3, 6, 8), 2))
LONG_RUN = {"rel_tol": 0.003, "max_grad_evals": 100_000, "seed": 1_000_003, "progress": False}
KEPT = ("sampler", "gradients", "num_draws", "num_burnin", "acceptance")


def made(widths: tuple[int, ...], rank: int, noise: float, n: int) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """A net at its deepest point and samples of which it is a minimum."""
    generator = torch.Generator().manual_seed(0)
    model = linear_net(deepest_point(widths, rank))
    inputs = torch.randn(n, widths[0], generator=generator)
    errors = noise * torch.randn(n, widths[-1], generator=generator)
    errors -= inputs @ torch.linalg.lstsq(inputs.double(), errors.double()).solution.float()
    with torch.no_grad():
        return model, (inputs, model(inputs) + errors)


def measure(case: tuple[tuple[tuple[int, ...], int], float], sizes: Mapping[str, Any]) -> dict[str, Any]:
    """One net, by both sizes of minibatch."""
    (widths, rank), noise = case
    n, rows = sizes["samples"], []
    model, data = made(widths, rank, noise, n)
    scale = {"n_beta": n / math.log(n)}
    reference = None
    for size in sizes["batches"]:
        found, row = timed_estimate(model, data, squared_error, batch_size=size, **scale, **sizes["estimate"])
        if reference is None:
            scale["localization"] = found.localization
            reference = lk.estimate_llc(model, condensed(*data), squared_error, **scale, **sizes["long_run"])
        row |= {"batch_size": size, "error": found.llc / reference.llc - 1, "virial": found.virial}
        rows.append(
            row | {key: getattr(found.how_found, key) for key in KEPT} | {"gradients": str(found.how_found.gradients)}
        )
    assert reference is not None
    known = {"lambda": deep_linear_llc(widths, rank)[0], "reference": reference.llc, "reference_mcse": reference.mcse}
    return {"widths": widths, "rank": rank, "noise": noise, **known, "estimates": rows}


def summarize(cases: Mapping[str, Any]) -> dict[str, Any]:
    """Errors of all estimates."""
    errors = [row["error"] for case in cases.values() for row in case["estimates"]]
    return {"estimates": len(errors), **spread(errors)}


def report(document: Document) -> str:
    """A row an estimate."""
    found = document["summary"]
    rows = []
    for name, case in document["cases"].items():
        for row in case["estimates"]:
            value, seconds = f"{digits(row['llc'], 4)} ± {digits(row['mcse'], 2)}", f"{row['seconds']:.0f}"
            numbers = [value, f"{row['error']:+.1%}", row["grad_evals"], seconds]
            rows.append([name, row["batch_size"], digits(case["reference"], 4), *numbers, row["outcome"]])
    header = ["net", "minibatch", "long run", "LLC ± error", "difference", "gradients a chain", "seconds", "outcome"]
    samples = document["settings"]["samples"]
    return f"{samples} samples: the error of {found['estimates']} estimates is {spread_text(found)}.\n\n" + table(
        header, rows
    )


def main() -> None:
    """Estimate all nets by both sizes."""
    sizes = {
        "samples": (100_000, 5000),
        "nets": (NETS, NETS[2:3]),
        "noises": ([0.0, 1.0], [1.0]),
        "batches": ([64, 512], [64]),
        "estimate": ({}, TINY),
        "long_run": (LONG_RUN, SHORT_RUN),
    }
    run = begin(__file__, __doc__, report, sizes=sizes)
    both = product(run.sizes["nets"], run.sizes["noises"])
    cases = {f"{'-'.join(map(str, net[0]))}, rank {net[1]}, noise {noise:g}": (net, noise) for net, noise in both}
    run.measure(cases, lambda case: measure(case, run.sizes), summarize)


if __name__ == "__main__":
    main()
