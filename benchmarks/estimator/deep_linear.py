"""30 random deep linear nets with 10 000 samples: are estimates by a modest budget trusted, and right?

    python -m benchmarks.estimator.deep_linear

The nets are those of `cost/samples_to_error.py`, without label noise: up to 6 layers and 10 000 weights.

* *Given*: at nβ = n/ln n and γ = 1, beside the long runs that `samples_to_error` keeps. An estimate is right if it is
  within three standard errors, its own and the long run's in quadrature.
* *Defaults*: at the scale that is found, beside λ by Aoyagi's formula. Here 2 % of λ are allowed as well, which the
  search for a plateau allows itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import llckit as lk
from benchmarks._documents import read_document
from benchmarks._estimates import TINY, TRUSTED, numbers_of, spread
from benchmarks._harness import RESULTS, Document, begin
from benchmarks._models import linear_net, squared_error
from benchmarks._tables import digits, of, percent, table
from benchmarks.cost._langevin import make_net
from llckit.toys import deep_linear_llc, random_widths

LONG_RUNS = RESULTS / "cost" / "samples_to_error.json"
RIGHT = 3.0  # standard errors
FLAT = 0.02  # of λ: what a plateau may be off by
SCALE_DEPENDENT = lk.Outcome.SCALE_DEPENDENT.value


def measure(seed: int, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """One net, at the scale that is given and at the one that is found."""
    n = sizes["samples"]
    widths, rank = random_widths(seed, most_layers=sizes["most_layers"], widest=sizes["widest"])
    net = make_net(seed, widths, rank, n, noise=False)
    truth = deep_linear_llc(widths, rank)[0]
    row: dict[str, Any] = {"widths": widths, "rank": rank, "lambda": truth, "long_run": sizes["long_runs"].get(seed)}
    for name, scale in {"given": {"n_beta": n / math.log(n), "localization": 1.0}, "defaults": {}}.items():
        data = net.x, net.x @ net.target.T
        began = time.process_time()
        found = lk.estimate_llc(linear_net(net.weights), data, squared_error, progress=False, **scale, **sizes["own"])
        row[name] = numbers_of(found) | {
            "cpu_seconds": time.process_time() - began,
            "gradients": str(found.how_found.gradients),
            "grad_evals_total": found.grad_evals_total,
        }
    return row


def errors(row: Mapping[str, Any], name: str) -> tuple[float, float]:
    """The relative error of an estimate, and the error in units of what it may be."""
    found = row[name]
    if name == "given":
        truth, doubt = row["long_run"] or (row["lambda"], 0.0)
        allowed = RIGHT * math.hypot(found["mcse"], doubt)
    else:
        truth = row["lambda"]
        allowed = RIGHT * found["mcse"] + FLAT * truth
    return found["llc"] / truth - 1, abs(found["llc"] - truth) / allowed


def summarize(cases: Mapping[str, Any]) -> dict[str, Any]:
    """How many are trusted, and how many of these are right."""
    summary = {}
    for name in ("given", "defaults"):
        rows = [row for row in cases.values() if row[name]["outcome"] in TRUSTED]
        claimed = [row for row in rows if name == "given" or row[name]["outcome"] != SCALE_DEPENDENT]
        summary[name] = {
            "nets": len(cases),
            "trusted": len(rows),
            "claimed": len(claimed),
            "right": sum(errors(row, name)[1] <= 1 for row in claimed),
            "cpu_seconds": max(row[name]["cpu_seconds"] for row in cases.values()),
            **spread([errors(row, name)[0] for row in claimed]),
        }
    return summary


def report(document: Document) -> str:
    """A row a net, and how many are right."""
    rows = []
    for row in document["cases"].values():
        shape = f"{'-'.join(map(str, row['widths']))}, rank {row['rank']}"
        known = row["long_run"][0] if row["long_run"] else None
        cells = [shape, digits(row["lambda"], 4), digits(known, 4)]
        for name in ("given", "defaults"):
            found = row[name]
            cells += [f"{digits(found['llc'], 4)} ± {digits(found['mcse'], 2)}", found["outcome"]]
        rows.append(cells)
    header = ["net", "λ", "long run", "LLC at the given scale", "outcome", "LLC by default", "outcome"]
    return f"{_sentence(document['summary'])}\n\n{table(header, rows)}"


def _sentence(summary: Mapping[str, Any]) -> str:
    given, found = summary["given"], summary["defaults"]
    return (
        f"At a given scale {of(given['trusted'], given['nets'])} estimates are trusted, and {given['right']} of these "
        f"are right (errors {percent(given['median'])} in the median, {percent(given['worst'])} at worst; at most "
        f"{given['cpu_seconds']:.0f} s). By default {of(found['trusted'], found['nets'])} are trusted, "
        f"{found['claimed']} of these claim to be the LLC, and {found['right']} of those are right "
        f"(at most {found['cpu_seconds']:.0f} s)."
    )


def long_runs() -> dict[int, tuple[float, float]]:
    """Value and standard error of the long run of each net, by seed."""
    cases = read_document(LONG_RUNS)["cases"].values()
    return {case["seed"]: (case["reference"]["value"], case["reference"]["mcse"]) for case in cases}


def main() -> None:
    """Estimate all nets."""
    sizes = {
        "nets": (30, 1),
        "samples": (10_000, 1000),
        "most_layers": (6, 3),
        "widest": (60, 6),
        "own": ({}, TINY),
    }
    run = begin(__file__, __doc__, report, sizes=sizes)
    kept = run.sizes | {"long_runs": {} if run.quick else long_runs()}
    run.measure({f"net {seed}": seed for seed in range(run.sizes["nets"])}, lambda seed: measure(seed, kept), summarize)


if __name__ == "__main__":
    main()
