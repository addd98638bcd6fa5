"""Grokking over the share of data as a critical phenomenon: exponents, the law ν* = 2 - α, and what would refute it.

    python benchmarks/grokking_scaling.py [--moduli P ...] [--seeds R] [--steps T] [--out FILE.json]

Addition mod p is trained on 8 fractions f of its p² pairs with 20 seeds each, by two processes of one thread. What has
been trained is stored at once; a second start with the same settings trains only what is missing. The observables, at
each p and f over the seeds, with a the test accuracy and m = (a - 1/p)/(1 - 1/p), which is 0 for guessing:

    order parameter   <m>
    susceptibility    N Var(m)
    binder            1 - <m⁴>/(3 <m²>²)
    bimodality        (skewness² + 1)/kurtosis of m, which decides the order and is not scaled
    specific heat     N Var(test loss): a stand-in. A heat capacity is Var(nβL) under a posterior; here the ensemble is
                      that of initial weights and splits after T steps of AdamW.

A net that has memorised its pairs answers the others worse than by guessing, m = -1/(p - 1), with little spread. The
Binder cumulant is 2/3 wherever m is sharp, hence on both sides; between them it falls the deeper, the more runs are at
one of two values instead of between.

The size is N = p², the number of training and test pairs: m is a mean over a share of them, so that N Var(m) neither
grows nor falls with p for pairs answered independently, as a susceptibility away from a transition must. The number
of parameters, 3152 + 88 p, hardly changes and counts no degrees of freedom of m. Since ν* belongs to a volume, another
choice is another law: with N = p, which Bi et al. (arXiv 2603.24746) take, ν* is half as large; that is tested too.

Standard errors are those of the jackknife over seeds. Where all seeds agree it is 0, which says more than 20 seeds
can; no error is taken below a tenth of the root mean square error of its p. Where that is 0, nothing was measured.
The bimodality, whose error says how far from 1 it is, keeps its own.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from llckit import InputError, finite_size_scaling, hyperscaling_test
from llckit.criticality import HyperscalingTest, bimodality, measured_bimodality, transition_order
from llckit.environment import environment
from llckit.plotting import plot_collapse
from llckit.toys import grokking_runs

RESULTS = Path(__file__).parent / "results" / "grokking_scaling.json"
Array = NDArray[np.float64]
SCALED = ("order_parameter", "susceptibility", "binder", "specific_heat")
NAMES = (*SCALED, "bimodality")
REPORTED = ("failed", "verdict", "order", "nu_star", "nu_star_interval", "residual", "residual_interval")
JOB = ("modulus", "fractions", "seeds", "steps")
MODULI = (19, 23, 29, 37, 47, 61)
HALF_RIGHT, DRIFT = 0.55, 0.57  # <m> = 1/2 at p = 19 in two trial runs, and how it falls to those at p = 59
AROUND = np.array([-0.34, -0.2, -0.1, -0.035, 0.035, 0.1, 0.2, 0.34])  # of ln f; the outer ones are common to all p
LEAST_ERROR = 0.1
GOOD_QUALITY = 2.0  # reduced chi-square, as in `transition_order`
NARROW = 0.3  # half-width of the residual's interval, as in `hyperscaling_test`
DECADE = 10.0
LATE, FEW = 0.75, 0.05


def fractions(modulus: int) -> list[float]:
    """8 fractions about the one where half of the other pairs are answered rightly, which falls with p."""
    return [round(float(f), 4) for f in HALF_RIGHT * (19 / modulus) ** DRIFT * np.exp(AROUND)]


def train(modulus: int, of_data: list[float], seeds: int, steps: int) -> dict[str, Any]:
    """One piece of work: some fractions of one p, all seeds."""
    torch.set_num_threads(1)
    wall, cpu = time.perf_counter(), time.process_time()
    runs = grokking_runs(modulus, of_data, range(seeds), steps=steps)
    columns = {name: [None if np.isnan(x) else x.item() for x in column] for name, column in runs._asdict().items()}
    spent = {"wall_seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    return dict(zip(JOB, (modulus, of_data, seeds, steps), strict=True)) | spent | {"runs": columns}


def trained(moduli: list[int], seeds: int, steps: int, out: Path) -> list[dict[str, Any]]:
    """All pieces, of which those already in the file are not trained again. Two of each p, the smallest first."""
    stored = json.loads(out.read_text(encoding="utf-8"))["pieces"] if out.exists() else []
    jobs = [(p, fractions(p)[half::2], seeds, steps) for p in moduli for half in (0, 1)]
    pieces = [piece for piece in stored if tuple(piece[name] for name in JOB) in jobs]
    done = [tuple(piece[name] for name in JOB) for piece in pieces]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(train, *job) for job in jobs if job not in done]):
            pieces.append(future.result())
            store({"pieces": pieces}, out)
            piece = " ".join(f"{name} {pieces[-1][name]}" for name in (*JOB, "wall_seconds", "cpu_seconds"))
            print(f"{len(pieces)}/{len(jobs)}: {piece}", flush=True)
    return pieces


def store(result: dict[str, Any], out: Path) -> None:
    """Replaces the file in one go: what was trained survives an interruption."""
    part = out.with_suffix(".part")
    part.write_text(json.dumps(result, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(part, out)


def moments(m: Array, loss: Array, size: float) -> Array:
    """The observables that are scaled; seeds along the last axis, which they take the place of."""
    binder = 1 - (m**4).mean(-1) / (3 * np.maximum((m**2).mean(-1) ** 2, 1e-300))
    return np.stack([m.mean(-1), size * m.var(-1, ddof=1), binder, size * loss.var(-1, ddof=1)], axis=-1)


def observables(pieces: list[dict[str, Any]]) -> tuple[dict[str, Array], float]:
    """Observables, and the mean correlation of the jackknife replicates of susceptibility and specific heat."""
    names = ("modulus", "fraction", "test_accuracy", "test_loss")
    p, f, accuracy, loss = (np.array([x for piece in pieces for x in piece["runs"][name]]) for name in names)
    m = (accuracy - 1 / p) / (1 - 1 / p)
    rows, correlations = [], []
    for one, at in np.unique(np.stack([p, f]), axis=1).T:
        here = np.flatnonzero((p == one) & (f == at))
        others = np.stack([np.delete(here, k) for k in range(len(here))])
        replicates = moments(m[others], loss[others], one**2)
        se = np.sqrt((len(here) - 1) * replicates.var(axis=0))
        if (se[[1, 3]] > 0).all():
            correlations.append(np.corrcoef(replicates[:, 1], replicates[:, 3])[0, 1])
        rows.append(np.concatenate([[one**2, at], moments(m[here], loss[here], one**2), se, bimodality(m[here])]))
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
    """Where <m> = 1/2: f = a p^(-decay), its chi-square, and what the best f = limit + a p^(-b) takes off, `gain`."""
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


def criteria(found: dict[str, Any], data: dict[str, Array], test: HyperscalingTest) -> list[dict[str, Any]]:
    """What the claim of a critical point could fail by: question, answer, numbers."""
    single, fewer, drift = found["alone"], found["without smallest p"], found["half way"]
    sizes = np.unique(data["size"])
    answers = []

    def add(question: str, answer: bool, numbers: str) -> None:
        answers.append({"question": question, "answer": "yes" if answer else "no", "numbers": numbers})

    quality = {name: one.get("quality") for name, one in single.items()}
    held = test.quality is not None and test.quality <= GOOD_QUALITY
    told = ", ".join(f"{name} {shown(value)}" for name, value in quality.items())
    add("a: do the curves collapse?", held, f"joint reduced chi-square {shown(test.quality)}; alone {told}")

    peak = found["peaks of the susceptibility"]
    told = f"susceptibility's peak ~ N^{shown(peak['exponent'])}, AIC of saturation less that of a power "
    told += f"{shown(peak['aic_gain'])}, "
    told += f"least Binder cumulant at the largest p {data['binder'][data['size'] == sizes[-1]].min():.2f}, "
    peaks = measured_bimodality(**arguments_of(data))
    told += "no bimodality" if peaks is None else f"bimodality {', '.join(f'{x:.2f}' for x in peaks.value)}"
    told += "" if peaks is None else f" (the last ± {peaks.se[-1]:.2f})"
    order = found["order"]
    add("b: is the transition continuous?", order["order"] == "continuous", f"{order['order']}; {told}")

    kinds = [name for name in SCALED[:3] if "nu_star" in single[name]]
    ranges = [single[name]["nu_star_interval"] for name in kinds]
    fixed = [name for name in kinds if "nu_star" not in single[name]["undetermined"]]
    agree = len(fixed) == 3 and max(low for low, _ in ranges) <= min(high for _, high in ranges)
    told = [f"{n} {single[n]['nu_star']:.2f} [{a:.2f}, {b:.2f}]" for n, (a, b) in zip(kinds, ranges, strict=True)]
    add("c: do their 95 % intervals of nu* share a value?", agree, f"{', '.join(told)}; {len(fixed)} of 3 determined")

    shared = found["correlation of susceptibility and specific heat"]
    told = (
        f"alpha {shown(test.alpha)} is of the specific heat alone, but that varies with the susceptibility from seed "
    )
    told += f"to seed: correlation {shared:.2f}"
    add("d: is alpha measured independently?", test.alpha is not None and shared**2 < 0.5, told)

    span = float(sizes[-1] / sizes[0])
    width = None if test.residual_interval is None else (test.residual_interval[1] - test.residual_interval[0]) / 2
    told = f"largest N / smallest N = {span:.1f}, residual known to ±{shown(width)} ({NARROW} is needed)"
    add("e: is the range of sizes long enough?", span >= DECADE and width is not None and width <= NARROW, told)

    still, told = True, []
    for name in ("critical_point", "nu_star", "alpha", "beta_over_nu_star", "gamma_over_nu_star"):
        interval, before, after = getattr(test, f"{name}_interval"), getattr(test, name), fewer.get(name)
        told.append(f"{name} {shown(before)} {shown(interval)} -> {shown(after)}")
        still &= interval is not None and after is not None and interval[0] <= after <= (interval[1] or np.inf)
    add("f: do the exponents stay in their intervals without the smallest p?", still, ", ".join(told))

    tends = drift.get("gain", 0.0) > 4
    told = drift.get("failed") or (
        f"<m> = 1/2 at f = {', '.join(f'{x:.3f}' for x in drift['fraction'])}: p^-{drift['decay']:.2f} with chi-square "
        f"{drift['chi_square']:.1f}; a limit of {drift['limit']:.2f} takes off {drift['gain']:.1f} (4 is needed)"
    )
    add("g: does the transition tend to a fraction above 0?", tends, told)

    late = found["share of late grokking"]
    told = f"share of the runs above 90 % that got there in the last quarter of training: {shown(late)}"
    add("h: was training long enough?", late is not None and late < FEW, told)

    other = found["N = p"]
    told = f"residual {shown(test.residual)} with N = p², {shown(other.get('residual'))} with N = p"
    add(
        "i: is the verdict the same with N = p?",
        other.get("verdict") == test.verdict and other.get("order") == test.order,
        f"{test.verdict} ({test.order}), {other.get('verdict')} ({other.get('order')}); {told}",
    )
    return answers


def shown(value: float | tuple[float | None, ...] | None) -> str:
    """A number or an interval, or that there is none."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(shown, value))}]"
    return "unknown" if value is None else f"{value:.3g}"


def main() -> None:
    """Train, measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moduli", type=int, nargs="+", default=MODULI, help="p, at least 4 of them")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if len(set(arguments.moduli)) < 4 or min(arguments.moduli) < 13 or arguments.seeds < 10 or arguments.steps < 1:
        parser.error(f"{arguments}: expected 4 moduli from 13 on, 10 seeds and a step or more")
    start = time.perf_counter()
    pieces = trained(sorted(set(arguments.moduli)), arguments.seeds, arguments.steps, arguments.out)
    data, correlation = observables(pieces)
    test, places = tested(data), half_way(data)
    larger = data["size"] > data["size"].min()
    grokked = np.array([step for piece in pieces for step in piece["runs"]["grok_step"] if step is not None])
    found: dict[str, Any] = {
        "test": test.to_dict(),
        "order": asdict(transition_order(**arguments_of(data))),
        "alone": alone(data),
        "without smallest p": tested({name: values[larger] for name, values in data.items()}).to_dict(),
        "N = p": tested(with_size_p(data)).to_dict(),
        "half way": places,
        "about half way": about_half_way(data, places),
        "peaks of the susceptibility": growth(data),
        "correlation of susceptibility and specific heat": correlation,
        "share of late grokking": float((grokked > LATE * arguments.steps).mean()) if len(grokked) else None,
    }
    found["criteria"] = criteria(found, data, test)
    plot_collapse(data, test, title=f"addition mod p: {test.verdict} ({test.order})").savefig(
        arguments.out.with_suffix(".png"), dpi=150
    )
    report(data, found)
    seconds = {"this start": time.perf_counter() - start}
    seconds |= {
        f"both processes, {kind}": sum(piece[f"{kind}_seconds"] for piece in pieces) for kind in ("wall", "cpu")
    }
    print(f"\nseconds: {', '.join(f'{name} {value:.0f}' for name, value in seconds.items())}")
    measured = {name: [x if np.isfinite(x) else None for x in values.tolist()] for name, values in data.items()}
    result = {"environment": environment(), "seconds": seconds, "observables": measured}
    store(result | found | {"pieces": pieces}, arguments.out)


def report(data: dict[str, Array], found: dict[str, Any]) -> None:
    """The tables and the verdict."""
    print(f"\n{'p':>4} {'f':>7} " + " ".join(f"{name:>20}" for name in NAMES))
    for row in range(len(data["size"])):
        values = " ".join(f"{data[name][row]:>11.4g} ± {data[f'{name}_se'][row]:<6.2g}" for name in NAMES)
        print(f"{np.sqrt(data['size'][row]):>4.0f} {data['control'][row]:>7.4f} {values}")
    test = found["test"]
    print(f"\nverdict: {test['verdict']} ({test['order']}). {test['reason']}")
    for name in ("without smallest p", "N = p", "about half way"):
        told = (f"{key} {value}" for key, value in found[name].items() if key in REPORTED)
        print(f"{name}: {', '.join(told)}")
    print()
    for one in found["criteria"]:
        print(f"{one['question']} {one['answer'].upper()}: {one['numbers']}")


if __name__ == "__main__":
    main()
