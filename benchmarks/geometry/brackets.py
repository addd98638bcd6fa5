"""Brackets around the LLC: known answers inside, ranks without the Hessian, and what estimates outside are caught.

    python -m benchmarks.geometry.brackets

* `two layers`: random two-layer linear nets at random solutions: rank against q = Ma + bN − ab, λ inside.
* `matrix-free`: block Lanczos against all eigenvalues on random nets of 500 to 3000 parameters.
* `large`: a net of five million weights on a little data, in a process of its own: seconds and peak memory.
* `cost`: seconds of the bracket of a net beside those of its estimate, toys of 50 to 500 parameters. (Results without a
  commit were timed inside the estimate.)
* `wrong`: estimates made wrong on purpose, by how they ended, with the bracket and without (see `_wrong_estimates.py`).
* `catalogue`: the bracket of every toy, and its estimate by default settings with a reduced budget (3 %, 3000 gradients
  a chain): is λ inside, and is an estimate called outside whose λ̂ is within a tenth of λ?
"""

from __future__ import annotations

import inspect
import itertools
import math
import random
import resource
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

import llckit as lk
from benchmarks._estimates import TINY, numbers_of
from benchmarks._harness import Document, begin, in_own_process, module_of
from benchmarks._models import mean_squared_error, own_loss, product_loss
from benchmarks._tables import digits, of, percent, table
from benchmarks.geometry._wrong_estimates import NO_DATA, wrong_estimates
from llckit.geometry import hessian_rank
from llckit.geometry.rank import find_rank, make_task
from llckit.toys import LinearNet, Quadratic, catalog, two_layer_llc, two_layer_point

BUDGET = {"rel_tol": 0.03, "max_grad_evals": 3000}
LARGE = (500, 1800, 2200, 3)  # widths of a ReLU net
SAMPLES = (10, 40)  # of it: of rank 30, which 1 GiB of vectors holds, and 120, which it does not
GRID = {
    "samplers": ("sgld", "rmsprop_sgld", "baoab"),
    "localizations": (1.0, 30.0),
    "shares": (0.01, 0.3, 2.0, 3.6),
    "lengths": ((10, 0), (40, 0), (400, 100)),
    "chains": (4, 32),
}
TINY_GRID = {"samplers": ("sgld",), "localizations": (1.0,), "shares": (2.0,), "lengths": ((10, 0),), "chains": (4,)}


def teacher(widths: tuple[int, ...], n: int, activation: type[nn.Module] = nn.ReLU) -> tuple[Any, Any, Any]:
    """A net as its own teacher: model, data and loss."""
    layers = [layer for a, b in itertools.pairwise(widths) for layer in (nn.Linear(a, b), activation())][:-1]
    model, x = nn.Sequential(*layers), torch.randn(n, widths[0])
    return model, (x, model(x).detach()), mean_squared_error


def catalogue(toys: int | None, budget: Mapping[str, Any]) -> dict[str, Any]:
    """Bracket and estimate of all toys."""
    rows = []
    for toy in tqdm(catalog()[:toys], desc="toys", leave=False, disable=None):
        box = lk.bracket(toy.model, toy.data, toy.loss_fn, progress=False)
        found = lk.estimate_llc(toy.model, toy.data, toy.loss_fn, progress=False, **budget)
        outside = found.outcome is lk.Outcome.OUTSIDE_BRACKET
        row = {"name": toy.name, "lambda": toy.llc, "lower": box.lower, "upper": box.upper}
        row["inside"] = box.lower <= toy.llc * (1 + 1e-12) and toy.llc <= box.upper * (1 + 1e-12)
        row |= numbers_of(found) | {"bracket_of_estimate": found.bracket}
        rows.append(row | {"false_alarm": outside and abs(found.llc / toy.llc - 1) <= 0.1})
    return {
        "toys": len(rows),
        "lambda_inside": sum(row["inside"] for row in rows),
        "judged": sum(row["bracket_of_estimate"] is not None for row in rows),
        "outside": [row["name"] for row in rows if row["outcome"] == lk.Outcome.OUTSIDE_BRACKET.value],
        "false_alarms": sum(row["false_alarm"] for row in rows),
        "rows": rows,
    }


def two_layers(cases: int) -> dict[str, Any]:
    """Random two-layer nets at random solutions, widths up to 12."""
    chosen, wrong, met, full, done = random.Random(0), [], 0, 0, 0
    while done < cases:
        n, h, m = (chosen.randint(1, 12) for _ in range(3))
        a, b = chosen.randint(0, min(n, h)), chosen.randint(0, min(m, h))
        r = chosen.randint(max(0, a + b - h), min(a, b)) if a + b - h <= min(a, b) else -1
        if r < 0:
            continue
        done += 1
        box = lk.bracket(LinearNet(two_layer_point((n, h, m), (a, b, r))), NO_DATA, product_loss, progress=False)
        q, llc = m * a + b * n - a * b, two_layer_llc((n, h, m), (a, b, r))[0]
        if box.rank != q or not box.lower <= llc <= box.upper:
            wrong.append({"shape": (n, h, m), "ranks": (a, b, r), "rank": box.rank, "q": q, "lambda": llc})
        if a == b == r == h:
            full += 1
            met += box.lower == llc == box.upper
    return {"cases": cases, "wrong": wrong, "full_rank": full, "both_ends_meet": met}


def random_net(seed: int) -> tuple[str, tuple[Any, Any, Any]]:
    """500 to 3000 parameters: two-layer linear, ReLU or tanh."""
    chosen = random.Random(seed)
    torch.manual_seed(seed)
    if seed % 3 == 0:
        n, m = chosen.randint(10, 25), chosen.randint(10, 25)
        h = chosen.randint(math.ceil(500 / (n + m)), 3000 // (n + m))
        r = chosen.randint(0, 3)
        a, b = (min(h // 2, n, m, chosen.randint(r, 6)) for _ in range(2))
        return "linear", (LinearNet(two_layer_point((n, h, m), (a, b, min(r, a, b)))), NO_DATA, product_loss)
    inputs, outputs = chosen.randint(3, 20), chosen.randint(1, 4)
    hidden = chosen.randint(math.ceil(500 / (inputs + outputs + 1)), 2900 // (inputs + outputs + 1))
    kind, activation = ("relu", nn.ReLU) if seed % 3 == 1 else ("tanh", nn.Tanh)
    return kind, teacher((inputs, hidden, outputs), chosen.randint(5, 40), activation)


def matrix_free(nets: int) -> dict[str, Any]:
    """Random nets, both ways, in float64."""
    rows = []
    for seed in tqdm(range(nets), desc="nets", leave=False, disable=None):
        kind, case = random_net(seed)
        start = time.perf_counter()
        dense = hessian_rank(*case, progress=False)
        middle = time.perf_counter()
        task = make_task(*case, double=True)
        free = find_rank(task, task.checkpoint(), seed=seed, progress=False)
        end = time.perf_counter()
        row = {"kind": kind, "parameters": task.dim, "dense": dense.rank, "matrix_free": free.rank}
        row |= {"has_gap": dense.is_exact, "is_exact": free.is_exact, "gap": dense.gap}
        rows.append(row | {"seconds_dense": middle - start, "seconds_matrix_free": end - middle})
    equal = sum(row["dense"] == row["matrix_free"] for row in rows)
    return {"nets": len(rows), "equal": equal, "with_gap": sum(row["has_gap"] for row in rows), "rows": rows}


def measure_large(widths: list[int], n: int) -> dict[str, Any]:
    """The bracket of a large net, to be called in a process of its own."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, data, loss_fn = teacher(tuple(widths), n)
    before, start = peak(), time.perf_counter()
    box = lk.bracket(model, data, loss_fn, progress=False)
    found = {"parameters": box.dim, "samples": n, "rank_known": n * widths[-1], "rank": box.rank, "note": box.note}
    found |= {"is_exact": box.rank_is_exact, "orbit_dim": box.orbit_dim, "hidden_units": sum(widths[1:-1])}
    found |= {"seconds": time.perf_counter() - start, "peak_bytes": peak(), "bytes_before": before}
    return found | {"max_bytes": inspect.signature(hessian_rank).parameters["max_bytes"].default}


def peak() -> int:
    """Bytes of this process at its largest."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def large(widths: tuple[int, ...], samples: tuple[int, ...]) -> dict[str, Any]:
    """A large net with few samples, and with more."""
    call = f"{module_of(__file__)}:measure_large"
    return {"rows": [in_own_process(call, widths, n) for n in samples]}


def cost(budgets: Mapping[str, Mapping[str, Any]], nets: int) -> dict[str, Any]:
    """Seconds of the bracket and of the whole estimate, at the reduced budget and at a curve's."""
    torch.manual_seed(0)
    x = torch.randn(1000, 8)
    cases: dict[str, tuple[Any, Any, Any]] = {}
    for hidden in (5, 16, 48):
        model = nn.Sequential(nn.Linear(8, hidden), nn.Tanh(), nn.Linear(hidden, 1))
        parameters = sum(weight.numel() for weight in model.parameters())
        data = x, model(x).detach()
        cases[f"tanh net, {parameters} parameters, 1000 samples"] = (model, data, mean_squared_error)
    for dim in (50, 200, 500):
        cases[f"quadratic, {dim} parameters"] = (Quadratic(torch.logspace(-1, 1, dim)), NO_DATA, own_loss)
    rows = []
    for name, case in [*cases.items()][:nets]:
        start = time.perf_counter()
        lk.bracket(*case, progress=False)
        bracket_seconds = time.perf_counter() - start
        for budget, settings in budgets.items():
            start = time.perf_counter()
            found = lk.estimate_llc(*case, n_beta=1000.0, progress=False, **settings)
            seconds = time.perf_counter() - start
            row = {"name": name, "budget": budget, "seconds": seconds, "bracket_seconds": bracket_seconds}
            rows.append(row | {"share": bracket_seconds / seconds, "judged": found.bracket is not None})
    return {"rows": rows}


def report(document: Document) -> str:
    """A row a part."""
    cases, rows = document["cases"], []
    if "catalogue" in cases:
        found = cases["catalogue"]
        rows.append(["known λ inside its bracket, toys", of(found["lambda_inside"], found["toys"])])
        outside = of(len(found["outside"]), found["judged"])
        rows.append(["estimates of toys called outside", f"{outside}, false alarms: {found['false_alarms']}"])
    if "two layers" in cases:
        found = cases["two layers"]
        rows.append(
            ["rank exact and λ inside, two-layer nets", of(found["cases"] - len(found["wrong"]), found["cases"])]
        )
    if "matrix-free" in cases:
        found = cases["matrix-free"]
        rows.append(["matrix-free rank equals the dense one, nets", of(found["equal"], found["nets"])])
    for found in cases.get("large", {"rows": []})["rows"]:
        exact = "exact" if found["is_exact"] else f"at least {found['rank']}"
        size = f"{digits(found['parameters'] / 1e6, 2)} million parameters, rank {found['rank_known']}"
        rows.append([size, f"{exact}; {found['peak_bytes'] / 1e9:.1f} GB, {found['seconds']:.0f} s"])
    if "wrong" in cases:
        found = cases["wrong"]
        outside = {
            k: n for k, n in found["outside_by_outcome"].items() if k not in ("inside", "not judged", "diverged")
        }
        alone, all_ = len(found["found_by_the_bracket_alone"]), sum(outside.values())
        ended = f"{of(all_, found['runs'])} runs: {all_ - alone} found by another check, {alone} by the bracket alone"
        rows.append(["estimates made wrong on purpose that end outside", ended])
    if "cost" in cases:
        shares = [row["share"] for row in cases["cost"]["rows"] if row["judged"]]
        if shares:
            rows.append(["share of an estimate's time that its bracket takes", f"at most {percent(max(shares), 0)}"])
    return table(["what", "found"], rows)


def main() -> None:
    """Run the parts."""
    budgets = {"reduced": BUDGET, "curve": BUDGET | {"max_grad_evals": 10_000}}
    sizes = {
        "two_layers": (300, 10),
        "matrix_free": (50, 1),
        "large_widths": (LARGE, (10, 40, 3)),
        "large_samples": (SAMPLES, (10,)),
        "cost_budgets": (budgets, {"reduced": TINY}),
        "cost_nets": (6, 1),
        "grid": (GRID, TINY_GRID),
        "toys": (None, 1),
        "budget": (BUDGET, TINY),
    }
    run = begin(__file__, __doc__, report, sizes=sizes)
    at = run.sizes
    parts = {
        "two layers": partial(two_layers, at["two_layers"]),
        "matrix-free": partial(matrix_free, at["matrix_free"]),
        "large": partial(large, at["large_widths"], at["large_samples"]),
        "cost": partial(cost, at["cost_budgets"], at["cost_nets"]),
        "wrong": partial(wrong_estimates, at["grid"]),
        "catalogue": partial(catalogue, at["toys"], at["budget"]),
    }
    run.measure(parts, lambda part: part())


if __name__ == "__main__":
    main()
