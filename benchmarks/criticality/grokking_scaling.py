"""Grokking over the share of data as a critical phenomenon: exponents, the law ν* = 2 - α, and what would refute it.

    python -m benchmarks.criticality.grokking_scaling

Addition mod p is trained on 8 fractions f of its p² pairs with 20 seeds each, by two processes of one thread; a case is
half of the fractions of one p. The observables at each p and f over the seeds, with a the test accuracy and
m = (a - 1/p)/(1 - 1/p), which is 0 for guessing:

    order parameter   <m>
    susceptibility    N Var(m)
    binder            1 - <m⁴>/(3 <m²>²)
    bimodality        (skewness² + 1)/kurtosis of m, which decides the order and is not scaled
    specific heat     N Var(test loss): a stand-in. A heat capacity is Var(nβL) under a posterior; here the ensemble is
                      that of initial weights and splits after T steps of AdamW.

A net that has memorised its pairs answers the others worse than by guessing, m = -1/(p - 1), with little spread. The
Binder cumulant is 2/3 wherever m is sharp, hence on both sides. Between them it falls the deeper, the more runs are at
one of two values instead of between.

The size is N = p², the number of training and test pairs: m is a mean over a share of them, so that N Var(m) neither
grows nor falls with p for pairs answered independently, as a susceptibility away from a transition must. The number
of parameters, 3152 + 88 p, hardly changes and counts no degrees of freedom of m. Since ν* belongs to a volume, another
choice is another law: with N = p, which Bi et al. (arXiv 2603.24746) take, ν* is half as large; that is tested, too.

Standard errors are those of the jackknife over seeds. Where all seeds agree they are 0, which says more than 20 seeds
can: no error is taken below a tenth of the root mean square error of its p. Where that is 0, nothing was measured. The
bimodality, whose error says how far from 1 it is, keeps its own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from benchmarks._harness import Document, begin
from benchmarks._tables import digits, of, table
from benchmarks.criticality._grokking_criteria import SCALED, Array, Criteria
from llckit import InputError, finite_size_scaling, hyperscaling_test
from llckit.criticality import HyperscalingTest, bimodality, transition_order
from llckit.plotting import plot_collapse
from llckit.toys import grokking_runs

NAMES = (*SCALED, "bimodality")
MODULI = (19, 23, 29, 37, 47, 61)
HALF_RIGHT, DRIFT = 0.55, 0.57  # <m> = 1/2 at p = 19 in two trial runs, and how it falls to those at p = 59
AROUND = np.array([-0.34, -0.2, -0.1, -0.035, 0.035, 0.1, 0.2, 0.34])  # of ln f; the outer ones are common to all p
LEAST_ERROR = 0.1
LATE = 0.75


def fractions(modulus: int) -> list[float]:
    """8 fractions about the one where half of the other pairs are answered rightly, which falls with p."""
    return [round(float(f), 4) for f in HALF_RIGHT * (19 / modulus) ** DRIFT * np.exp(AROUND)]


def train(case: tuple[int, int], seeds: int, steps: int) -> dict[str, Any]:
    """Half of the fractions of one p, all seeds."""
    modulus, half = case
    shares = fractions(modulus)[half::2]
    wall, cpu = time.perf_counter(), time.process_time()
    runs = grokking_runs(modulus, shares, range(seeds), steps=steps)
    spent = {"wall_seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    return {"modulus": modulus, "fractions": shares, **spent, "runs": runs._asdict()}


def moments(m: Array, loss: Array, size: float) -> Array:
    """The observables that are scaled, in place of the last axis, along which the seeds are."""
    binder = 1 - (m**4).mean(-1) / (3 * np.maximum((m**2).mean(-1) ** 2, 1e-300))
    return np.stack([m.mean(-1), size * m.var(-1, ddof=1), binder, size * loss.var(-1, ddof=1)], axis=-1)


def observables(cases: Mapping[str, Any]) -> tuple[dict[str, Array], float]:
    """Observables, and the mean correlation of the jackknife replicates of susceptibility and specific heat."""
    names = ("modulus", "fraction", "test_accuracy", "test_loss")
    p, f, accuracy, loss = (np.array([x for case in cases.values() for x in case["runs"][name]]) for name in names)
    m = (accuracy - 1 / p) / (1 - 1 / p)
    rows, correlations = [], []
    for one, at in np.unique(np.stack([p, f]), axis=1).T:
        here = np.flatnonzero((p == one) & (f == at))
        others = np.stack([np.delete(here, k) for k in range(len(here))])
        replicates = moments(m[others], loss[others], one**2)
        se = np.sqrt((len(here) - 1) * replicates.var(axis=0))
        if (se[[1, 3]] > 0).all():
            correlations.append(np.corrcoef(replicates[:, 1], replicates[:, 3])[0, 1])
        rows.append(np.concatenate([[one**2, at], moments(m[here], loss[here], one**2), se, _bimodality(m[here])]))
    names = ("size", "control", *SCALED, *(f"{name}_se" for name in SCALED), "bimodality", "bimodality_se")
    data = dict(zip(names, np.array(rows).T, strict=True))
    for size in np.unique(data["size"]):
        for name in SCALED:
            errors = data[f"{name}_se"]
            here = data["size"] == size
            least = LEAST_ERROR * np.sqrt((errors[here] ** 2).mean())
            errors[here] = np.maximum(errors[here], least) if least > 0 else np.nan
            data[name][here & np.isnan(errors)] = np.nan
    return data, float(np.mean(correlations)) if correlations else 0.0


def _bimodality(m: Array) -> tuple[Array, Array]:
    """Over the seeds; NaN if they are too few."""
    return bimodality(m) if len(m) >= 10 else (np.array(np.nan), np.array(np.nan))


def tested(data: dict[str, Array]) -> HyperscalingTest:
    """The hyperscaling law in these observables."""
    return hyperscaling_test(**arguments_of(data))


def arguments_of(data: dict[str, Array]) -> dict[str, Any]:
    """As the functions of `llckit.criticality` take them."""
    observed = {name: data[name] for name in NAMES}
    errors = {name: data[f"{name}_se"] for name in NAMES}
    return {"size": data["size"], "control": data["control"], "observables": observed, "se": errors}


def with_size_p(data: dict[str, Array]) -> dict[str, Array]:
    """The same with N = p."""
    root = np.sqrt(data["size"])
    per_volume = ("susceptibility", "susceptibility_se", "specific_heat", "specific_heat_se")
    return {name: values / root if name in per_volume else values for name, values in data.items()} | {"size": root}


def about_half_way(data: dict[str, Array], places: dict[str, Any]) -> dict[str, Any]:
    """The law with ln f - ln f(<m> = 1/2) as the control: a place that drifts with p is taken out, with it β/ν*."""
    if len(places.get("modulus", ())) < len(np.unique(data["size"])):
        return {"failed": "<m> does not pass one half inside the window of every p"}
    middle = np.interp(np.sqrt(data["size"]), places["modulus"], places["fraction"])
    return tested(data | {"control": np.log(data["control"] / middle)}).to_dict()


def alone(data: dict[str, Array]) -> dict[str, Any]:
    """Each observable collapsed by itself, or why it cannot be."""
    found: dict[str, Any] = {}
    for name in SCALED:
        try:
            found[name] = finite_size_scaling(
                size=data["size"], control=data["control"], value=data[name], value_se=data[f"{name}_se"]
            ).to_dict()
        except InputError as error:
            found[name] = {"failed": str(error)}
    return found


def half_way(data: dict[str, Array]) -> dict[str, Any]:
    """Where <m> = 1/2: f = a p^(-decay), its chi-square, and what the best f = limit + a p^(-b) takes off: `gain`."""
    places = []
    for size in np.unique(data["size"]):
        at = data["size"] == size
        f, m, se = (data[name][at] for name in ("control", "order_parameter", "order_parameter_se"))
        above = np.flatnonzero((m[:-1] < 0.5) & (m[1:] >= 0.5))
        if len(above):
            k = above[0]
            slope = (m[k + 1] - m[k]) / (f[k + 1] - f[k])
            places.append((np.sqrt(size), f[k] + (0.5 - m[k]) / slope, max(se[k], se[k + 1]) / slope))
    if len(places) < 4:
        return {"failed": f"<m> passes one half inside the window of {len(places)} values of p, 4 are needed"}
    p, f, se = np.array(places).T
    limits = np.linspace(0, 0.98 * f.min(), 200)
    fits = [np.polyfit(np.log(p), np.log(f - x), 1, w=(f - x) / se) for x in limits]
    squares = [
        float((((f - x - np.exp(np.polyval(b, np.log(p)))) / se) ** 2).sum()) for x, b in zip(limits, fits, strict=True)
    ]
    best = int(np.argmin(squares))
    fitted = {"decay": float(-fits[0][0]), "limit": float(limits[best]), "gain": squares[0] - squares[best]}
    places = {"modulus": p.tolist(), "fraction": f.tolist(), "fraction_se": se.tolist()}
    return places | fitted | {"chi_square": squares[0]}


def growth(data: dict[str, Array]) -> dict[str, float | None]:
    """Peaks of the susceptibility: exponent in N, and by how much AIC prefers a power to saturation, N/(N + n)."""
    data = {name: values[np.isfinite(data["susceptibility"])] for name, values in data.items()}
    sizes = np.unique(data["size"])
    if len(sizes) < 3:
        return {"exponent": None, "aic_gain": None}
    tops = [np.flatnonzero(data["size"] == n)[data["susceptibility"][data["size"] == n].argmax()] for n in sizes]
    height, se = np.log(data["susceptibility"][tops]), data["susceptibility_se"][tops] / data["susceptibility"][tops]
    exponent, start = np.polyfit(np.log(sizes), height, 1, w=1 / se)
    power = (((height - start - exponent * np.log(sizes)) / se) ** 2).sum()
    rest = height - np.log(sizes / (sizes + np.geomspace(sizes[0] / 100, sizes[-1] * 100, 400)[:, None]))
    level = (rest / se**2).sum(1, keepdims=True) / (1 / se**2).sum()
    saturating = (((rest - level) / se) ** 2).sum(1).min()
    return {"exponent": float(exponent), "aic_gain": float(saturating - power)}


def summarize(cases: Mapping[str, Any], complete: int, steps: int) -> dict[str, Any]:
    """The analysis of all runs, once all cases are there."""
    if len(cases) < complete:
        return {}
    data, correlation = observables(cases)
    test, places = tested(data), half_way(data)
    larger = data["size"] > data["size"].min()
    grokked = np.array([step for case in cases.values() for step in case["runs"]["grok_step"] if step is not None])
    found: dict[str, Any] = {
        "observables": data,
        "test": test.to_dict(),
        "order": asdict(transition_order(**arguments_of(data))),
        "alone": alone(data),
        "without smallest p": tested({name: values[larger] for name, values in data.items()}).to_dict(),
        "N = p": tested(with_size_p(data)).to_dict(),
        "half way": places,
        "about half way": about_half_way(data, places),
        "peaks of the susceptibility": growth(data),
        "correlation of susceptibility and specific heat": correlation,
        "share of late grokking": float((grokked > LATE * steps).mean()) if len(grokked) else None,
        "cpu_seconds": sum(case["cpu_seconds"] for case in cases.values()),
    }
    return found | {"criteria": Criteria(data, found, test).answers()}


def report(document: Document) -> str:
    """The verdicts and the criteria."""
    found = document["summary"]
    if not found:
        return "The analysis waits for the cases that are missing."
    tests = {"N = p²": found["test"]} | {
        name: found[name] for name in ("without smallest p", "N = p", "about half way")
    }
    rows = []
    for name, test in tests.items():
        numbers = (digits(test.get(key)) for key in ("nu_star", "residual", "quality"))
        rows.append([name, test.get("verdict", test.get("failed")), test.get("order"), *numbers])
    criteria = [[one["question"], one["answer"], one["numbers"]] for one in found["criteria"]]
    holds = sum(one["answer"] == "yes" for one in found["criteria"])
    verdict = f"**{found['test']['verdict']}** ({found['test']['order']}). {found['test']['reason']}"
    minutes = f"{found['cpu_seconds'] / 60:.0f} minutes of CPU time."
    return "\n\n".join(
        (
            f"{verdict} {of(holds, len(criteria))} criteria hold. {minutes}",
            table(["test", "verdict", "order", "ν*", "ν* − (2 − α)", "reduced χ²"], rows),
            table(["criterion", "holds", "numbers"], criteria),
        )
    )


def figures(document: Document) -> dict[str, Any]:
    """The observables as they were measured, and scaled."""
    found = document.get("summary")
    if not found:
        return {}
    test = HyperscalingTest(**found["test"])
    data = {name: np.array(values, dtype=float) for name, values in found["observables"].items()}
    title = f"addition mod p: {test.verdict} ({test.order})"
    return {"grokking_scaling": plot_collapse(data, test, title=title)}


def main() -> None:
    """Train and analyse."""
    sizes = {"moduli": (MODULI, (13, 17, 19)), "seeds": (20, 3), "steps": (4000, 1), "processes": (2, 1)}
    run = begin(__file__, __doc__, report, sizes=sizes)
    moduli, steps = run.sizes["moduli"], run.sizes["steps"]
    cases = {f"p = {p}, fractions {half + 1}, {half + 3} …": (p, half) for p in moduli for half in (0, 1)}
    how = partial(train, seeds=run.sizes["seeds"], steps=steps)
    run.measure(cases, how, lambda done: summarize(done, len(cases), steps), processes=run.sizes["processes"])


if __name__ == "__main__":
    main()
