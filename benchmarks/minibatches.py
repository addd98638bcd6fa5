"""1e5 samples, gradients of 64 and of 512: estimates without tuning against the long-run value of the full loss.

    python benchmarks/minibatches.py [--out benchmarks/results/minibatches.json]

Deep linear nets at their deepest point, without label noise and with noise of variance 1; there the noise is freed of
its linear part, so that w* is the minimum on these samples. The mean square error depends on second moments alone, so
the reference is a long run on as many samples as there are columns, with the same moments.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import torch
from accuracy import condensed
from torch import Tensor, nn
from tqdm import tqdm

import llckit as lk
from llckit.environment import environment
from llckit.toys import deep_linear_llc, deepest_point, squared_error

RESULTS = Path(__file__).parent / "results" / "minibatches.json"
SAMPLES = 100_000
NETS = (((10, 8, 12), 3), ((6, 10, 8, 6), 2), ((5, 4, 5), 1), ((4, 8, 3, 6, 8), 2))
LONG_RUN = {"rel_tol": 0.003, "max_grad_evals": 100_000, "seed": 1_000_003, "progress": False}


def made(widths: tuple[int, ...], rank: int, noise: float, n: int = SAMPLES) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """A net at its deepest point and samples of which it is a minimum."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(*(nn.Linear(a, b, bias=False) for a, b in pairwise(widths)))
    for layer, weight in zip(model, deepest_point(widths, rank), strict=True):
        layer.weight.data = weight
    inputs = torch.randn(n, widths[0], generator=generator)
    errors = noise * torch.randn(n, widths[-1], generator=generator)
    errors -= inputs @ torch.linalg.lstsq(inputs.double(), errors.double()).solution.float()
    with torch.no_grad():
        return model, (inputs, model(inputs) + errors)


def main() -> None:
    """Run all estimates, write them with their summary."""
    parser = argparse.ArgumentParser(description="minibatches of many samples")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows, summary = [], {}
    n_beta = SAMPLES / math.log(SAMPLES)
    for (widths, rank), noise in tqdm(list(product(NETS, (0.0, 1.0))), desc="nets"):
        model, data = made(widths, rank, noise)
        reference = None
        for size in (64, 512):
            start = time.perf_counter()
            found = lk.estimate_llc(model, data, squared_error, n_beta=n_beta, batch_size=size, progress=False)
            seconds = time.perf_counter() - start
            if reference is None:
                where = {"n_beta": n_beta, "localization": found.localization}
                reference = lk.estimate_llc(model, condensed(*data), squared_error, **where, **LONG_RUN)
            row = {"widths": widths, "rank": rank, "noise": noise, "batch_size": size, "seconds": seconds}
            row |= {"lambda": deep_linear_llc(widths, rank)[0], "llc": found.llc, "mcse": found.mcse}
            row |= {"reference": reference.llc, "reference_mcse": reference.mcse}
            row |= {"error": found.llc / reference.llc - 1, "outcome": found.outcome.value, "virial": found.virial}
            row |= {
                key: found.settings[key] for key in ("sampler", "gradients", "grad_evals", "num_draws", "num_burnin")
            }
            rows.append(row | {"acceptance": found.how_found.acceptance})
        errors = np.abs([row["error"] for row in rows])
        summary = {
            "estimates": len(rows),
            "median_error": float(np.median(errors)),
            "percentile_95": float(np.percentile(errors, 95)),
            "worst": float(errors.max()),
        }
        document = {"environment": environment(), "samples": SAMPLES, "summary": summary, "estimates": rows}
        arguments.out.write_text(json.dumps(document) + "\n")
    for row in rows:
        print(f"{row['widths']} noise {row['noise']} batch {row['batch_size']}: {row['error']:+.1%}, {row['outcome']}")
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
