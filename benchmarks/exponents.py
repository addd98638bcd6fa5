"""Exponents and the hyperscaling law ν* = 2 - α where both are known.

    python benchmarks/exponents.py [--repetitions N] [--out benchmarks/results/exponents.json]

* Curie–Weiss by exact enumeration, N up to 4096: ν* = 2, β/ν* = 1/4, γ/ν* = 1/2, α = 0, law consistent.
* Planted collapses of four observables at 5 sizes, 15 controls and noise of 3 % of each curve's height: shares of
  verdicts with the law kept and broken by ±0.3, and coverage of the 90 % intervals (twice the repetitions).
* Two phases in coexistence: first-order, also by the order parameter and the bimodality of 20 runs alone. Curves that
  do not depend on the size: a crossover, inconclusive.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from llckit import hyperscaling_test, toys
from llckit.criticality import bimodality
from llckit.environment import environment

RESULTS = Path(__file__).parent / "results" / "exponents.json"
NAMES = ("order_parameter", "susceptibility", "binder", "specific_heat")
NU_STAR, BETA_RATIO = 1.8, 0.1
SIZES = np.array([64.0, 128, 256, 512, 1024])
CONTROLS, RUNS = 15, 20


def curie_weiss(sizes: tuple[int, ...]) -> dict[str, Any]:
    """Exact values at 21 temperatures within 1/√N of the critical one, 1; the susceptibility is the variance of |m|."""
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
    kept = ("order_parameter", "bimodality")
    return data | {part: {name: data[part][name] for name in kept} for part in ("observables", "se")}


def crossover(seed: int) -> dict[str, Any]:
    """Curves of no size."""
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
    found, held = Counter(), Counter()
    for seed in tqdm(range(repetitions), desc=f"violation {violation:+.1f}", disable=None):
        test = hyperscaling_test(**planted(violation, seed))
        found[test.verdict] += 1
        for name, truth in truths.items():
            interval = getattr(test, f"{name}_interval")
            held[name] += interval is not None and interval[0] <= truth <= (interval[1] or np.inf)
    return {
        "repetitions": repetitions,
        "verdicts": {name: count / repetitions for name, count in found.items()},
        "coverage of 90 % intervals": {name: held[name] / repetitions for name in truths},
    }


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    start = time.perf_counter()
    result: dict[str, Any] = {"environment": environment()}
    result["Curie-Weiss"] = {}
    for sizes in ((64, 128, 256, 512, 1024, 2048, 4096), (256, 512, 1024, 2048, 4096), (64, 256, 1024, 4096)):
        test = hyperscaling_test(**curie_weiss(sizes))
        result["Curie-Weiss"][" ".join(map(str, sizes))] = test.to_dict()
        print(
            f"Curie-Weiss, N {sizes[0]} to {sizes[-1]}: nu* {test.nu_star:.4f}, beta/nu* {test.beta_over_nu_star:.4f}, "
            f"gamma/nu* {test.gamma_over_nu_star:.4f}, alpha {test.alpha:.4f} ({test.specific_heat_form}), "
            f"residual {test.residual:.4f}, {test.verdict}"
        )
    for violation, count in ((0.0, 2), (0.3, 1), (-0.3, 1)):
        found = verdicts(violation, count * arguments.repetitions)
        result[f"planted violation {violation:+.1f}"] = found
        print(f"violation {violation:+.1f}: {found}")
    systems = {"two phases": two_phases, "two phases, bimodality": without_moments, "crossover": crossover}
    for name, system in systems.items():
        tests = [hyperscaling_test(**system(seed)) for seed in range(arguments.repetitions // 5)]
        found = Counter(f"{test.order}, {test.verdict}" for test in tests)
        result[name] = {key: count / len(tests) for key, count in found.items()} | {"reason": tests[0].reason}
        print(f"{name}: {result[name]}")
    result["seconds"] = time.perf_counter() - start
    arguments.out.write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
