"""How far nβ and γ carry λ̂ from λ: does the estimate say so, and if m > 1, does a ladder's limit undo it?

    python -m benchmarks.estimator.scale_dependence

Sensitivities: toys with a closed form, at n/ln n and the γ chosen by default. If λ̂ changes by more than 3 % per e-fold
of nβ or γ, the sensitivity that the estimate gives is compared with the derivative of the closed form.

Limits: toys with m > 1; the limit of the default ladder of `scale_profile`, with m given, beside λ. Nets of more than
two layers with hundreds of weights are left out: they take minutes a rung.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

import llckit as lk
from benchmarks._estimates import TINY
from benchmarks._harness import Document, begin
from benchmarks._tables import digits, of, percent, table
from llckit.toys import Toy, catalog

LEAST = 0.03  # of λ̂ per e-fold: smaller sensitivities are not compared
FACTOR = 1.5
STEP = 0.01  # of ln nβ and ln γ, for differences of the closed form
MOST_WEIGHTS = 200  # two layers of 100


def slope(curve: Callable[[float], float], at: float) -> float:
    """The derivative with respect to ln `at`."""
    return (curve(at * math.exp(STEP)) - curve(at * math.exp(-STEP))) / (2 * STEP)


def sensitivities(toy: Toy, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the estimate and the closed form say of nβ and of γ, relative to their λ̂."""
    exact = toy.exact
    assert exact is not None
    n = len(toy.data[0])
    found = lk.estimate_llc(toy.model, toy.data, toy.loss_fn, n_beta=n / math.log(n), progress=False, **settings)
    t, g = found.n_beta, found.localization
    known = {"n_beta": slope(lambda x: exact(x, g), t), "localization": slope(lambda x: exact(t, x), g)}
    rows = {}
    for name, derivative in known.items():
        value, mcse = getattr(found, f"sensitivity_{name}"), getattr(found, f"sensitivity_{name}_mcse")
        estimated = {"estimated": value / found.llc, "mcse": mcse / found.llc}
        rows[name] = {"exact": derivative / exact(t, g)} | estimated
    return rows


def limit(toy: Toy, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The limit of a ladder with the toy's m."""
    profile = lk.scale_profile(toy.model, toy.data, toy.loss_fn, progress=False, **settings)
    row: dict[str, Any] = {"lambda": toy.llc, "multiplicity": toy.multiplicity}
    row |= {"n_beta": profile.n_beta, "llc": profile.llc, "mcse": profile.mcse}
    try:
        found = profile.limit(toy.multiplicity)
    except lk.InputError as error:
        return row | {"limit": None, "why": str(error)}
    return row | {"limit": found.llc, "se": found.se, "error": found.llc / toy.llc - 1}


def summarize(cases: Mapping[str, Any]) -> dict[str, Any]:
    """How many sensitivities and limits are right."""
    large, limits = _large(cases), _limits(cases)
    ratios = np.array([row["estimated"] / row["exact"] for _, _, row in large])
    errors = np.array([abs(row["error"]) for row in limits.values() if row["limit"] is not None])
    return {
        "large_sensitivities": len(large),
        "within_factor": float(((ratios >= 1 / FACTOR) & (ratios <= FACTOR)).mean()) if large else None,
        "ladders": len(limits),
        "limits": len(errors),
        "within_5_percent": int((errors <= 0.05).sum()),
        "median_error": float(np.median(errors)) if len(errors) else None,
        "worst": float(errors.max()) if len(errors) else None,
    }


def _large(cases: Mapping[str, Any]) -> list[tuple[str, str, dict[str, float]]]:
    """Toy, "n_beta" or "localization", and row of the sensitivities that are compared."""
    found = [(name, scale, row) for name, case in cases.items() if "limit" not in case for scale, row in case.items()]
    return [(name.removeprefix("sensitivities, "), *one) for name, *one in found if abs(one[1]["exact"]) > LEAST]


def _limits(cases: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("limit, "): case for name, case in cases.items() if "limit" in case}


def report(document: Document) -> str:
    """Two tables: sensitivities that are large, and limits."""
    cases, found = document["cases"], document["summary"]
    within = round((found["within_factor"] or 0) * found["large_sensitivities"])
    rows = [_sensitivity_row(*one) for one in _large(cases)]
    limits = [_limit_row(name, row) for name, row in _limits(cases).items()]
    return (
        f"{of(within, found['large_sensitivities'])} sensitivities above {percent(LEAST, 0)} of λ̂ per e-fold are "
        f"within a factor of {FACTOR} of the derivative of the closed form.\n\n"
        + table(["toy", "scale", "exact", "estimated", "ratio"], rows)
        + f"\n\nThe limit of the default ladder, with m given, is within 5 % of λ for "
        f"{of(found['within_5_percent'], found['ladders'])} toys with m > 1; the median error is "
        f"{percent(found['median_error'])}.\n\n" + table(["toy", "λ", "m", "limit", "error"], limits)
    )


def _sensitivity_row(name: str, scale: str, row: Mapping[str, float]) -> list[object]:
    symbol = {"n_beta": "nβ", "localization": "γ"}[scale]
    estimated, ratio = f"{row['estimated']:+.3f} ± {row['mcse']:.3f}", row["estimated"] / row["exact"]
    return [name, symbol, f"{row['exact']:+.3f}", estimated, f"{ratio:.2f}"]


def _limit_row(name: str, row: Mapping[str, Any]) -> list[object]:
    known = [name, digits(row["lambda"]), row["multiplicity"]]
    if row["limit"] is None:
        return [*known, row["why"], None]
    return [*known, f"{digits(row['limit'], 4)} ± {digits(row['se'], 2)}", f"{row['error']:+.1%}"]


def is_small(toy: Toy) -> bool:
    """Whether its ladder takes minutes at most."""
    return sum(parameter.numel() for parameter in toy.model.parameters()) <= MOST_WEIGHTS


def main() -> None:
    """Run both parts."""
    ladder = {"n_beta": [30.0, 100.0, 300.0, 1000.0], "num_draws": 40, "num_burnin": 10, "num_chains": 4}
    sizes = {"toys": (None, 1), "ladders": (None, 1), "estimate": ({}, TINY), "ladder": ({}, ladder)}
    run = begin(__file__, __doc__, report, sizes=sizes)
    known = [toy for toy in catalog() if toy.exact is not None][: run.sizes["toys"]]
    singular = [toy for toy in catalog() if toy.multiplicity > 1 and is_small(toy)][: run.sizes["ladders"]]
    cases = {f"sensitivities, {toy.name}": partial(sensitivities, toy, run.sizes["estimate"]) for toy in known}
    cases |= {f"limit, {toy.name}": partial(limit, toy, run.sizes["ladder"]) for toy in singular}
    run.measure(cases, lambda measure: measure(), summarize)


if __name__ == "__main__":
    main()
