"""What a step of a chain costs, in forward and backward passes of the bare model on the same batch.

    python -m benchmarks.cost.step_cost

Ten chains on the full loss, so that every step is one gradient a chain, beside ten passes of the model in a plain loop:
three MLPs and a small transformer. `gradient` is the posterior alone. `hmc` and `sgld` are what `sample` takes for a
gradient, with all that it does around its draws. `compiled` is the same with `compile=True`, for models whose chains
run together. Figures are ratios of medians; all sides take turns in one process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

import llckit as lk
from benchmarks._harness import Document, begin
from benchmarks._models import Case, four_sizes, posterior_of
from benchmarks._tables import digits, table
from benchmarks._timing import CHAINS, bare_passes, drawing, medians_in_turns
from llckit.posterior import LocalPosterior

SIDES = ("gradient", "hmc", "sgld", "gradient, compiled", "hmc, compiled")


def gradients(posterior: LocalPosterior) -> Callable[[], int]:
    """The posterior of all chains, once."""
    start = posterior.checkpoint.weights.repeat(CHAINS, 1)

    def run() -> int:
        posterior(start)
        return CHAINS

    return run


def measure(make: Callable[[], Case], sizes: Mapping[str, Any]) -> dict[str, Any]:
    """All sides of one model, in bare passes a chain."""
    case, draws = make(), sizes["draws"]
    posterior = posterior_of(case, CHAINS)
    sides = {
        "bare": bare_passes(case),
        "gradient": gradients(posterior),
        "hmc": drawing(posterior, lk.hmc(step_size=1e-4), draws),
        "sgld": drawing(posterior, lk.sgld(step_size=1e-8), draws),
    }
    if case.chains_together and sizes["compile"]:
        compiled = posterior_of(case, CHAINS, compile=True)
        sides["gradient, compiled"] = gradients(compiled)
        sides["hmc, compiled"] = drawing(compiled, lk.hmc(step_size=1e-4), draws)
    seconds = medians_in_turns(sides, sizes["seconds"])
    ratios = {name: seconds[name] / seconds["bare"] for name in sides if name != "bare"}
    return {"parameters": posterior.dim, "seconds": seconds["bare"], **ratios}


def report(document: Document) -> str:
    """A row a model."""
    rows = [
        [name, row["parameters"], f"{1e3 * row['seconds']:.2f} ms", *(digits(row.get(side), 2) for side in SIDES)]
        for name, row in document["cases"].items()
    ]
    header = ["model", "parameters", "a bare pass", *SIDES]
    return table(header, rows) + "\n\nIn bare forward and backward passes a chain; compiled where chains run together."


def main() -> None:
    """Time all models."""
    sizes = {"models": (4, 1), "draws": (30, 10), "seconds": (12.0, 0.1), "compile": (True, False)}
    run = begin(__file__, __doc__, report, sizes=sizes, settings={"chains": CHAINS}, threads=2)
    torch.manual_seed(0)
    models = dict([*four_sizes().items()][: run.sizes["models"]])
    run.measure(models, lambda make: measure(make, run.sizes))


if __name__ == "__main__":
    main()
