"""Every toy of the catalogue with default settings, beside its closed form: `llckit bench`, resumable and stored.

    python -m benchmarks.estimator.toys

*Exact* is the expectation E[nβ (L − L*)] at the nβ and γ that the estimate used; λ is its limit for nβ → ∞. So a
difference from *exact* is an error of sampling, and a difference from λ one of the scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks._estimates import TINY, Z95, spread, timed_estimate
from benchmarks._harness import Document, begin
from benchmarks._tables import digits, of, percent, spread_text, table
from llckit.toys import Toy, catalog


def measure(toy: Toy, settings: Mapping[str, Any]) -> dict[str, Any]:
    """One toy."""
    found, row = timed_estimate(toy.model, toy.data, toy.loss_fn, **settings)
    exact = None if toy.exact is None else toy.exact(found.n_beta, found.localization)
    row |= {"lambda": toy.llc, "multiplicity": toy.multiplicity, "exact": exact}
    return row | {"z": None if exact is None else (found.llc - exact) / found.mcse, "error": found.llc / toy.llc - 1}


def summarize(toys: Mapping[str, Any]) -> dict[str, Any]:
    """How far the estimates are from the exact value at their own nβ and γ."""
    rows = [row for row in toys.values() if row["exact"] is not None]
    errors = spread([row["llc"] / row["exact"] - 1 for row in rows])
    return {"cases": len(rows), **errors, "covered": sum(abs(row["z"]) <= Z95 for row in rows) / len(rows)}


def report(document: Document) -> str:
    """A row a toy, and the errors of all."""
    rows = []
    for name, row in document["cases"].items():
        numbers = [digits(row["lambda"]), row["multiplicity"], digits(row["n_beta"], 4), digits(row["exact"], 4)]
        z = None if row["z"] is None else f"{row['z']:+.1f}"
        rows.append([name, *numbers, f"{digits(row['llc'], 4)} ± {digits(row['mcse'], 2)}", z, row["outcome"]])
    header = ["toy", "λ", "m", "nβ", "exact", "LLC ± error", "z", "outcome"]
    return f"{_sentence(document)}\n\n{table(header, rows)}"


def _sentence(document: Document) -> str:
    found = document["summary"]
    simple = [row for row in document["cases"].values() if row["multiplicity"] == 1]
    near = sum(abs(row["error"]) <= 0.03 for row in simple)
    known, near = of(found["cases"], len(document["cases"])), of(near, len(simple))
    covered = percent(found["covered"], 0)
    return (
        f"{known} toys have an exact value: the error is {spread_text(found)}, and {covered} of the 95 % intervals "
        f"hold it. With m = 1, {near} are within 3 % of λ."
    )


def main() -> None:
    """Estimate all toys."""
    sizes = {"toys": (None, 1), "estimate": ({}, TINY)}
    run = begin(__file__, __doc__, report, sizes=sizes)
    toys = {toy.name: toy for toy in catalog()[: run.sizes["toys"]]}
    run.measure(toys, lambda toy: measure(toy, run.sizes["estimate"]), summarize)


if __name__ == "__main__":
    main()
