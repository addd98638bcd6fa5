"""Does the 95 % interval hold the exact value as often as it says? Toys with a closed form, several seeds each.

    python -m benchmarks.estimator.coverage

Every estimate is made at nβ = n/ln n and the γ that is chosen by default, and compared with E[nβ (L − L*)] there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

import llckit as lk
from benchmarks._estimates import TINY, Z95, spread
from benchmarks._harness import Document, begin
from benchmarks._tables import percent, spread_text
from llckit.toys import Toy, catalog


def measure(toy: Toy, seeds: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Estimates of one toy, one a seed."""
    assert toy.exact is not None
    n = len(toy.data[0])
    given = {"n_beta": n / math.log(n), "progress": False, **settings}
    found = [lk.estimate_llc(toy.model, toy.data, toy.loss_fn, seed=seed, **given) for seed in range(seeds)]
    return {
        "exact": toy.exact(found[0].n_beta, found[0].localization),
        "llc": [estimate.llc for estimate in found],
        "mcse": [estimate.mcse for estimate in found],
        "outcome": [estimate.outcome.value for estimate in found],
    }


def summarize(toys: Mapping[str, Any]) -> dict[str, Any]:
    """Errors, and how often they are within the interval."""
    llc, mcse = (np.array([row[name] for row in toys.values()]) for name in ("llc", "mcse"))
    exact = np.array([[row["exact"]] for row in toys.values()])
    held = np.abs(llc - exact) <= Z95 * mcse
    scatter = llc.std(axis=1, ddof=1) / mcse.mean(axis=1)
    return {
        "estimates": llc.size,
        "covered": float(held.mean()),
        "spread_to_mcse": float(np.sqrt(np.mean(scatter**2))),
        **spread((llc - exact) / exact),
        "median_mcse": float(np.median(mcse / llc)),
        "least_covered": [*toys][int(np.argmin(held.mean(axis=1)))],
    }


def report(document: Document) -> str:
    """The summary in a sentence."""
    found, toys = document["summary"], len(document["cases"])
    return (
        f"Of {found['estimates']} estimates of {toys} toys the error is {spread_text(found)}. "
        f"{percent(found['covered'], 0)} of the 95 % intervals hold the value, and reruns scatter by "
        f"{found['spread_to_mcse']:.2f} of the reported error, which is {percent(found['median_mcse'])} in the median."
    )


def main() -> None:
    """Estimate all toys with a closed form."""
    run = begin(__file__, __doc__, report, sizes={"seeds": (9, 2), "toys": (48, 2), "estimate": ({}, TINY)})
    known = [toy for toy in catalog() if toy.exact is not None][: run.sizes["toys"]]
    seeds, settings = run.sizes["seeds"], run.sizes["estimate"]
    run.measure({toy.name: toy for toy in known}, lambda toy: measure(toy, seeds, settings), summarize)


if __name__ == "__main__":
    main()
