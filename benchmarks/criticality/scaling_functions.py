"""How often each of the five scaling functions is recovered as the best one, from data made with it.

    python -m benchmarks.criticality.scaling_functions

Each repetition draws a design, the parameters and the noise anew: 240 points with x1 and x2 uniform in [1, 5] and τ
uniform in [0, 1], none closer to τ_c than 0.02, τ_c uniform in [0.3, 0.7], α between 0.3 and 1.5 or between -1 and
-0.3, and V = |τ - τ_c|^α F(x1, x2). True parameters (all uniform; signs at random), in ranges in which the forms differ
on these controls:

* power-law, exponential: ln F changes by 1 to 3 over the range of each control; for the power law not both exponents
  between 0.75 and 1.25, where it is the polynomial x1 x2;
* logistic: the logit changes by 3 to 10 over the range of each control and is zero at a point of the middle half;
* polynomial: linear terms of up to 1 and second-order terms of 0.5 to 1 in controls scaled to [-1, 1];
* piecewise: slopes of up to 1, changes of slope of 1 to 2, knots in the middle half of the controls, which are scaled
  in the same way;
* to the last two a constant is added, so that F is positive: its least value is 0.1 to 0.5 of its range.

Noise of 5 %, in two ways: `of each value`, with a standard deviation of 5 % of |V| that is given as value_se, and `of
the spread`, with 5 % of the standard deviation of V and no value_se.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks._harness import Document, begin
from benchmarks._tables import digits, of, percent, table
from llckit.criticality import compare_scaling_functions

NOISES = ("of each value", "of the spread")
Array = NDArray[np.float64]
POINTS, NOISE = 240, 0.05
LOW, HIGH = 1.0, 5.0


def signed(rng: Generator, low: float, high: float, count: int = 2) -> Array:
    """Numbers of magnitude between `low` and `high`, of random sign."""
    return rng.uniform(low, high, count) * rng.choice([-1, 1], count)


def power_law(rng: Generator, x: Array) -> Array:
    """A straight plane in ln F against ln x."""
    exponents = signed(rng, 1, 3) / np.log(HIGH / LOW)
    while (np.abs(exponents - 1) < 0.25).all():
        exponents = signed(rng, 1, 3) / np.log(HIGH / LOW)
    return np.prod(x**exponents, axis=1)


def exponential(rng: Generator, x: Array) -> Array:
    """A straight plane in ln F against x."""
    return np.exp(x @ signed(rng, 1, 3) / (HIGH - LOW))


def logistic(rng: Generator, x: Array) -> Array:
    """A straight plane in the logit of F against x."""
    middle = rng.uniform(LOW + (HIGH - LOW) / 4, HIGH - (HIGH - LOW) / 4, 2)
    return 1 / (1 + np.exp(-(x - middle) @ signed(rng, 3, 10) / (HIGH - LOW)))


def polynomial(rng: Generator, x: Array) -> Array:
    """Of second order."""
    a, b = (2 * (x - LOW) / (HIGH - LOW) - 1).T
    terms = np.stack([a, b, a * a, a * b, b * b], axis=1)
    return raised(rng, terms @ np.concatenate([rng.uniform(-1, 1, 2), signed(rng, 0.5, 1, 3)]))


def piecewise(rng: Generator, x: Array) -> Array:
    """Linear, with one knot in each control."""
    scaled = 2 * (x - LOW) / (HIGH - LOW) - 1
    bent = np.maximum(scaled - rng.uniform(-0.5, 0.5, 2), 0)
    return raised(rng, scaled @ rng.uniform(-1, 1, 2) + bent @ signed(rng, 1, 2))


def raised(rng: Generator, values: Array) -> Array:
    """Shifted to positive values."""
    return values - values.min() + rng.uniform(0.1, 0.5) * np.ptp(values)


FORMS: dict[str, Callable[[Generator, Array], Array]] = {
    "power-law": power_law,
    "exponential": exponential,
    "logistic": logistic,
    "polynomial": polynomial,
    "piecewise": piecewise,
}


def planted(form: str, noise: str, seed: int) -> tuple[dict[str, Any], float, float]:
    """Arguments of the comparison, τ_c and α."""
    rng = np.random.default_rng([list(FORMS).index(form), seed])
    critical_point = rng.uniform(0.3, 0.7)
    alpha = rng.uniform(0.3, 1.5) if rng.random() < 0.5 else rng.uniform(-1, -0.3)
    tau = rng.uniform(0, 1, 3 * POINTS)
    tau = tau[np.abs(tau - critical_point) > 0.02][:POINTS]
    x = rng.uniform(LOW, HIGH, (POINTS, 2))
    value = np.abs(tau - critical_point) ** alpha * FORMS[form](rng, x)
    sd = NOISE * (np.abs(value) if noise == "of each value" else np.full(POINTS, value.std()))
    data = {"x1": x[:, 0], "x2": x[:, 1], "tau": tau, "value": value + sd * rng.standard_normal(POINTS)}
    if noise == "of each value":
        data["value_se"] = sd
    return data, critical_point, alpha


def recovery(form: str, noise: str, repetitions: int) -> dict[str, Any]:
    """How often `form` comes out best, how often its lead is significant, and how often α and τ_c are within 2 se."""
    winners, significant, wrong, covered_alpha, covered_point = Counter(), 0, 0, 0, 0
    start = time.process_time()
    for seed in tqdm(range(repetitions), desc=f"{form}, {noise}", leave=False, disable=None):
        data, critical_point, alpha = planted(form, noise, seed)
        found = compare_scaling_functions(**data)
        winners[found.best] += 1
        significant += found.significant and found.best == form
        wrong += found.significant and found.best != form
        fit = found.forms[form]
        covered_alpha += abs(fit.alpha - alpha) < 2 * fit.alpha_se
        covered_point += abs(fit.critical_point - critical_point) < 2 * fit.critical_point_se
    return {
        "recovered": winners[form] / repetitions,
        "winners": dict(winners),
        "recovered and significant": significant / repetitions,
        "another form significantly ahead": wrong / repetitions,
        "alpha within 2 se": covered_alpha / repetitions,
        "critical point within 2 se": covered_point / repetitions,
        "processor seconds each": (time.process_time() - start) / repetitions,
    }


def summarize(cases: Mapping[str, Any]) -> dict[str, Any]:
    """How often the right form was the best one."""
    right = [case["winners"].get(name.split(",")[0], 0) for name, case in cases.items()]
    return {"data sets": sum(sum(case["winners"].values()) for case in cases.values()), "recovered": sum(right)}


def report(document: Document) -> str:
    """A row a form and kind of noise."""
    keys = ("recovered", "recovered and significant", "another form significantly ahead", "alpha within 2 se")
    keys = (*keys, "critical point within 2 se")
    rows = [
        [name, *(percent(case[key], 0) for key in keys), digits(case["processor seconds each"], 2)]
        for name, case in document["cases"].items()
    ]
    found = document["summary"]
    right = of(found["recovered"], found["data sets"])
    return f"The right form is the best one in {right} data sets with 5 % noise.\n\n" + table(
        ["form, noise", *keys, "processor seconds each"], rows
    )


def main() -> None:
    """Measure all forms."""
    run = begin(__file__, __doc__, report, sizes={"repetitions": (50, 1), "forms": ([*FORMS], ["logistic"])})
    cases = {f"{form}, noise {noise}": (form, noise) for noise, form in product(NOISES, run.sizes["forms"])}
    run.measure(cases, lambda case: recovery(*case, run.sizes["repetitions"]), summarize)


if __name__ == "__main__":
    main()
