"""Exponents and the hyperscaling law ν* = 2 - α where both are known.

    python -m benchmarks.criticality.exponents

* Curie–Weiss by exact enumeration, N up to 4096: ν* = 2, β/ν* = 1/4, γ/ν* = 1/2, α = 0, law consistent.
* Planted collapses of four observables at 5 sizes, 15 controls and noise of 3 % of each curve's height: shares of
  verdicts with the law kept (twice the repetitions) and broken by ±0.3, and coverage of the 90 % intervals.
* Two phases in coexistence: first-order, also by the order parameter and the bimodality of 20 runs alone. Curves that
  do not depend on the size: a crossover, inconclusive.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks._harness import Document, begin
from benchmarks._tables import digits, percent, table
from llckit import hyperscaling_test, toys
from llckit.criticality import bimodality

NAMES = ("order_parameter", "susceptibility", "binder", "specific_heat")
NU_STAR, BETA_RATIO = 1.8, 0.1
SIZES = np.array([64.0, 128, 256, 512, 1024])
CONTROLS, RUNS = 15, 20
CURIE_WEISS = ((64, 128, 256, 512, 1024, 2048, 4096), (256, 512, 1024, 2048, 4096), (64, 256, 1024, 4096))


def curie_weiss(sizes: tuple[int, ...]) -> dict[str, Any]:
    """Exact values at 21 temperatures within 1/√N of the critical one, which is 1.

    Args:
        sizes: Volumes N.

    Returns:
        Arguments of `hyperscaling_test`; the susceptibility is the variance of |m|.
    """
    temperatures = 1 + np.linspace(-1, 1, 21) / np.sqrt(sizes)[:, None]
    data = toys.curie_weiss(sizes, temperatures)
    bimodal = []
    for n, temperature in zip(sizes, temperatures, strict=True):
        m, weight = toys.curie_weiss_law(n, temperature)
        distance = np.abs(m) - (weight @ np.abs(m))[:, None]
        second, third, fourth = ((weight * distance**k).sum(1) for k in (2, 3, 4))
        bimodal.append((third**2 / second + second**2) / fourth)
    observables = {
        "order_parameter": data.order_parameter,
        "susceptibility": data.susceptibility - data.size * data.order_parameter**2,
        "binder": data.binder,
        "specific_heat": data.specific_heat,
        "bimodality": np.concatenate(bimodal),
    }
    return {"size": data.size, "control": data.control, "observables": observables}


def planted(violation: float, seed: int, noise: float = 0.03) -> dict[str, Any]:
    """Curves that collapse, and a specific heat whose α breaks the law by the violation."""
    random = np.random.default_rng(seed)
    x, size = np.tile(np.linspace(-3, 3, CONTROLS), len(SIZES)), np.repeat(SIZES, CONTROLS)
    exact = (
        size**-BETA_RATIO / (1 + np.exp(x)),
        size ** (1 - 2 * BETA_RATIO) / (1 + (x - 0.3) ** 2),
        (2 / 3) / (1 + np.exp(1.5 * x)),
        size ** ((2 - NU_STAR + violation) / NU_STAR) / (1 + 0.5 * (x + 0.2) ** 2),
    )
    return {"size": size, "control": 1 + x * size ** (-1 / NU_STAR)} | _noisy(size, exact, noise, random)


def two_phases(seed: int) -> dict[str, Any]:
    """Two Gaussian phases of m and of the energy, whose weights change over a range of 1/N."""
    x, size = np.tile(np.linspace(-6, 6, CONTROLS), len(SIZES)), np.repeat(SIZES, CONTROLS)
    share, v = 1 / (1 + np.exp(x)), 0.5 / size
    two, four = 0.64 * share + v, share * (0.4096 + 3.84 * v) + 3 * v**2
    exact = (
        np.sqrt(two),
        size * (two - (0.8 * share) ** 2),
        1 - four / (3 * two**2),
        1 + size * share * (1 - share) / 4,
    )
    random = np.random.default_rng(seed)
    data = {"size": size, "control": x / size} | _noisy(size, exact, 0.02, random)
    upper = random.random((RUNS, len(size))) < share
    return _with_bimodality(data, 0.8 * upper + np.sqrt(v) * random.standard_normal(upper.shape))


def without_moments(seed: int) -> dict[str, Any]:
    """The same with nothing but the order parameter and its bimodality."""
    data = two_phases(seed)
    names = ("order_parameter", "bimodality")
    return data | {part: {name: data[part][name] for name in names} for part in ("observables", "se")}


def crossover(seed: int) -> dict[str, Any]:
    """Curves that do not depend on the size."""
    x, size = np.tile(np.linspace(-3, 3, CONTROLS), len(SIZES)), np.repeat(SIZES, CONTROLS)
    exact = (1 / (1 + np.exp(x)), 1 / np.cosh(x / 2) ** 2, 0.6 / (1 + np.exp(2 * x)), 1 / (1 + x**2))
    random = np.random.default_rng(seed)
    data = {"size": size, "control": x} | _noisy(size, exact, 0.02, random)
    return _with_bimodality(data, exact[0] + np.sqrt(exact[1] / size) * random.standard_normal((RUNS, len(size))))


def _with_bimodality(data: dict[str, Any], runs: NDArray[np.float64]) -> dict[str, Any]:
    """The observables with the bimodality over runs, shape (runs, n)."""
    coefficient, error = bimodality(runs)
    observables = data["observables"] | {"bimodality": coefficient}
    return data | {"observables": observables, "se": data["se"] | {"bimodality": error}}


def _noisy(
    size: NDArray[np.float64], exact: tuple[NDArray[np.float64], ...], noise: float, random: np.random.Generator
) -> dict[str, Any]:
    """Observables with noise in units of each size's height, and the standard errors."""
    height = [np.array([np.abs(values[size == n]).max() for n in size]) for values in exact]
    observables = [
        values + noise * high * random.standard_normal(len(size)) for values, high in zip(exact, height, strict=True)
    ]
    return {
        "observables": dict(zip(NAMES, observables, strict=True)),
        "se": {name: noise * high for name, high in zip(NAMES, height, strict=True)},
    }


def verdicts(violation: float, repetitions: int) -> dict[str, Any]:
    """Shares of the verdicts, and how often the 90 % intervals hold the truth."""
    alpha = 2 - NU_STAR + violation
    truths = {
        "critical_point": 1,
        "nu_star": NU_STAR,
        "alpha": alpha,
        "residual": violation,
        "alpha_over_nu_star": alpha / NU_STAR,
        "beta_over_nu_star": BETA_RATIO,
        "gamma_over_nu_star": 1 - 2 * BETA_RATIO,
    }
    found, covered = Counter(), Counter()
    for seed in tqdm(range(repetitions), desc=f"violation {violation:+.1f}", leave=False, disable=None):
        test = hyperscaling_test(**planted(violation, seed))
        found[test.verdict] += 1
        for name, truth in truths.items():
            interval = getattr(test, f"{name}_interval")
            covered[name] += interval is not None and interval[0] <= truth <= (interval[1] or np.inf)
    return {
        "repetitions": repetitions,
        "verdicts": {name: count / repetitions for name, count in found.items()},
        "coverage of 90 % intervals": {name: covered[name] / repetitions for name in truths},
    }


def shares(system: Callable[[int], dict[str, Any]], repetitions: int) -> dict[str, Any]:
    """Shares of orders and verdicts, and the reason given for the first seed."""
    tests = [hyperscaling_test(**system(seed)) for seed in range(repetitions)]
    found = Counter(f"{test.order}, {test.verdict}" for test in tests)
    return {"shares": {key: count / len(tests) for key, count in found.items()}, "reason": tests[0].reason}


OTHERS = {"two phases": two_phases, "two phases, bimodality": without_moments, "crossover": crossover}


def report(document: Document) -> str:
    """Exponents of Curie-Weiss, verdicts on planted data, and verdicts without a critical point."""
    exact, planted_runs, other = [], [], []
    for name, case in document["cases"].items():
        if "nu_star" in case:
            ratios = (digits(case[key], 4) for key in ("nu_star", "beta_over_nu_star", "gamma_over_nu_star"))
            exact.append([name, *ratios, f"{case['alpha']:+.4f}", f"{case['residual']:+.4f}", case["verdict"]])
        elif "verdicts" in case:
            shares = [percent(case["verdicts"].get(verdict, 0.0)) for verdict in ("consistent", "violated")]
            coverage = case["coverage of 90 % intervals"].values()
            held = f"{percent(min(coverage), 0)} … {percent(max(coverage), 0)}"
            planted_runs.append([name, case["repetitions"], *shares, held])
        else:
            other += [[name, key, percent(share, 0)] for key, share in case["shares"].items()]
    return "\n\n".join(
        (
            table(["exact data", "ν* (2)", "β/ν* (1/4)", "γ/ν* (1/2)", "α (0)", "ν* − (2 − α)", "verdict"], exact),
            table(["planted data", "runs", "consistent", "violated", "90 % intervals hold the truth"], planted_runs),
            table(["no critical point", "order and verdict", "share"], other),
        )
    )


def main() -> None:
    """Measure all systems."""
    violations = ((0.0, 2), (0.3, 1), (-0.3, 1))  # each with so many times the repetitions
    sizes = {
        "repetitions": (200, 1),
        "curie_weiss": (CURIE_WEISS, CURIE_WEISS[-1:]),
        "violations": (violations, violations[1:2]),
        "others": ([*OTHERS], ["crossover"]),
    }
    run = begin(__file__, __doc__, report, sizes=sizes)
    count = run.sizes["repetitions"]
    cases: dict[str, Callable[[], dict[str, Any]]] = {
        f"Curie-Weiss, N = {' '.join(map(str, volumes))}": partial(exact_test, volumes)
        for volumes in run.sizes["curie_weiss"]
    }
    for violation, times in run.sizes["violations"]:
        cases[f"violation {violation:+.1f}"] = partial(verdicts, violation, times * count)
    for name in run.sizes["others"]:
        cases[name] = partial(shares, OTHERS[name], max(1, count // 5))
    run.measure(cases, lambda measure: measure())


def exact_test(volumes: tuple[int, ...]) -> dict[str, Any]:
    """The test on exact Curie-Weiss data."""
    return hyperscaling_test(**curie_weiss(volumes)).to_dict()


if __name__ == "__main__":
    main()
