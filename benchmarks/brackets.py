"""Brackets around the LLC: known answers inside, ranks without the Hessian, and what estimates outside are caught.

    python benchmarks/brackets.py [--only PART ...] [--out benchmarks/results/brackets.json]

Parts, each of which replaces its own entry of the JSON:

* `catalogue`: the bracket of every toy, and its estimate by default settings with a reduced budget (3 %, 3000 gradients
  a chain): is λ inside, and is an estimate called outside whose λ̂ is within a tenth of λ?
* `two_layer`: 300 random two-layer linear nets at random solutions: rank against q = Ma + bN − ab, λ inside.
* `matrix_free`: block Lanczos against all eigenvalues on 50 random nets of 500 to 3000 parameters.
* `large`: a net of five million weights on a little data, in a process of its own: seconds and peak memory.
* `cost`: what share of an estimate's time its bracket takes, toys of 50 to 500 parameters.
* `wrong`: estimates made wrong on purpose, by how they ended, with the bracket and without.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

import llckit as lk
from llckit.environment import environment
from llckit.geometry.rank import MEMORY, find_rank, hessian_rank, make_task
from llckit.llc import point as unit
from llckit.toys import LinearNet, Quadratic, Toy, catalog, matrix_loss, potential_loss, two_layer_llc, two_layer_point

RESULTS = Path(__file__).parent / "results" / "brackets.json"
BUDGET = {"rel_tol": 0.03, "max_grad_evals": 3000, "progress": False}
NO_DATA = (torch.zeros(10_000, 1),)
LARGE = (500, 1800, 2200, 3)  # widths of a ReLU net
FEW, SOME = 10, 40  # samples: of rank 30, which 1 GiB of vectors holds, and 120, which it does not


def squared_error(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Mean over samples and outputs."""
    return (model(batch[0]) - batch[1]).square().mean()


def relu_net(widths: tuple[int, ...], n: int, activation: type[nn.Module] = nn.ReLU) -> tuple[Any, Any, Any]:
    """A net as its own teacher: model, data and loss."""
    layers = [layer for a, b in itertools.pairwise(widths) for layer in (nn.Linear(a, b), activation())][:-1]
    model, x = nn.Sequential(*layers), torch.randn(n, widths[0])
    return model, (x, model(x).detach()), squared_error


def about_toy(toy: Toy) -> dict[str, Any]:
    """One toy: bracket and estimate."""
    box = lk.bracket(toy.model, toy.data, toy.loss_fn, progress=False)
    found = lk.estimate_llc(toy.model, toy.data, toy.loss_fn, **BUDGET)
    is_outside = found.outcome is lk.Outcome.OUTSIDE_BRACKET
    return {
        "name": toy.name,
        "lambda": toy.llc,
        "lower": box.lower,
        "upper": box.upper,
        "inside": box.lower <= toy.llc * (1 + 1e-12) and toy.llc <= box.upper * (1 + 1e-12),
        "llc": found.llc,
        "mcse": found.mcse,
        "n_beta": found.n_beta,
        "localization": found.localization,
        "bracket_of_estimate": found.bracket,
        "outcome": found.outcome.value,
        "false_alarm": is_outside and abs(found.llc / toy.llc - 1) <= 0.1,
    }


def about_catalogue() -> dict[str, Any]:
    """All toys."""
    rows = [about_toy(toy) for toy in tqdm(catalog(), desc="toys")]
    outside = [row["name"] for row in rows if row["outcome"] == lk.Outcome.OUTSIDE_BRACKET.value]
    return {
        "toys": len(rows),
        "lambda_inside": sum(row["inside"] for row in rows),
        "judged": sum(row["bracket_of_estimate"] is not None for row in rows),
        "outside": outside,
        "false_alarms": sum(row["false_alarm"] for row in rows),
        "rows": rows,
    }


def about_two_layer() -> dict[str, Any]:
    """Random two-layer nets at random solutions, widths up to 12."""
    chosen, wrong, met, full, cases = random.Random(0), [], 0, 0, 0
    while cases < 300:
        n, h, m = (chosen.randint(1, 12) for _ in range(3))
        a, b = chosen.randint(0, min(n, h)), chosen.randint(0, min(m, h))
        r = chosen.randint(max(0, a + b - h), min(a, b)) if a + b - h <= min(a, b) else -1
        if r < 0:
            continue
        cases += 1
        box = lk.bracket(LinearNet(two_layer_point((n, h, m), (a, b, r))), NO_DATA, matrix_loss, progress=False)
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
        return "linear", (LinearNet(two_layer_point((n, h, m), (a, b, min(r, a, b)))), NO_DATA, matrix_loss)
    inputs, outputs = chosen.randint(3, 20), chosen.randint(1, 4)
    hidden = chosen.randint(math.ceil(500 / (inputs + outputs + 1)), 2900 // (inputs + outputs + 1))
    kind, activation = ("relu", nn.ReLU) if seed % 3 == 1 else ("tanh", nn.Tanh)
    return kind, relu_net((inputs, hidden, outputs), chosen.randint(5, 40), activation)


def about_matrix_free() -> dict[str, Any]:
    """50 random nets, both ways, in float64."""
    rows = []
    for seed in tqdm(range(50), desc="nets"):
        kind, case = random_net(seed)
        begin = time.perf_counter()
        dense = hessian_rank(*case)
        middle = time.perf_counter()
        task = make_task(*case, double=True)
        free = find_rank(task, task.checkpoint(), seed=seed)
        end = time.perf_counter()
        row = {"kind": kind, "parameters": task.dim, "dense": dense.rank, "matrix_free": free.rank}
        row |= {"has_gap": dense.is_exact, "is_exact": free.is_exact, "gap": dense.gap}
        rows.append(row | {"seconds_dense": middle - begin, "seconds_matrix_free": end - middle})
    equal = sum(row["dense"] == row["matrix_free"] for row in rows)
    return {"nets": len(rows), "equal": equal, "with_gap": sum(row["has_gap"] for row in rows), "rows": rows}


def measure_large(n: int) -> dict[str, Any]:
    """In a process of its own."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, data, loss_fn = relu_net(LARGE, n)
    before, begin = peak(), time.perf_counter()
    box = lk.bracket(model, data, loss_fn)
    found = {"parameters": box.dim, "samples": n, "rank_known": n * LARGE[-1], "rank": box.rank, "note": box.note}
    found |= {"is_exact": box.rank_is_exact, "orbit_dim": box.orbit_dim, "hidden_units": sum(LARGE[1:-1])}
    found |= {"seconds": time.perf_counter() - begin, "peak_bytes": peak(), "bytes_before": before}
    return found | {"max_bytes": MEMORY}


def peak() -> int:
    """Bytes of this process at its largest."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def about_large() -> list[dict[str, Any]]:
    """Both amounts of data."""
    commands = [[sys.executable, __file__, "--measure", str(n)] for n in (FEW, SOME)]
    run = (subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True) for command in commands)
    return [json.loads(done.stdout.splitlines()[-1]) for done in run]


def about_cost() -> list[dict[str, Any]]:
    """Seconds of the bracket and of the whole estimate, at the reduced budget and at a curve's."""
    find, spent = unit.find_bounds, [0.0]

    def timed(*arguments: Any) -> Any:
        begin = time.perf_counter()
        try:
            return find(*arguments)
        finally:
            spent[0] += time.perf_counter() - begin

    torch.manual_seed(0)
    x = torch.randn(1000, 8)
    nets = {}
    for hidden in (5, 16, 48):
        model = nn.Sequential(nn.Linear(8, hidden), nn.Tanh(), nn.Linear(hidden, 1))
        nets[f"tanh net, {sum(p.numel() for p in model.parameters())} parameters, 1000 samples"] = (
            model,
            (x, model(x).detach()),
            squared_error,
        )
    for dim in (50, 200, 500):
        nets[f"quadratic, {dim} parameters"] = (Quadratic(torch.logspace(-1, 1, dim)), NO_DATA, potential_loss)
    rows = []
    unit.find_bounds = timed
    try:
        for name, case in tqdm(nets.items(), desc="cost"):
            for budget, settings in {"reduced": BUDGET, "curve": BUDGET | {"max_grad_evals": 10_000}}.items():
                spent[0], begin = 0.0, time.perf_counter()
                found = lk.estimate_llc(*case, n_beta=1000.0, **settings)
                seconds = time.perf_counter() - begin
                row = {"name": name, "budget": budget, "seconds": seconds, "bracket_seconds": spent[0]}
                rows.append(row | {"share": spent[0] / seconds, "judged": found.bracket is not None})
    finally:
        unit.find_bounds = find
    return rows


def about_wrong() -> dict[str, Any]:
    """Samplers at bad steps and with few draws: what ends outside by its numbers, and what said so."""
    net = LinearNet(two_layer_point((4, 12, 6), (4, 6, 3)))
    stiff, flat = torch.logspace(-3, 2, 20), torch.zeros(40)
    flat[:10] = torch.logspace(-2, 0, 10)
    models = {
        "10 of 40 directions": (Quadratic(flat), NO_DATA, potential_loss, 1.0),
        "stiff": (Quadratic(stiff), NO_DATA, potential_loss, 100.0),
        "linear net": (net, NO_DATA, matrix_loss, 8.0),
    }
    samplers: dict[str, Callable[[float], Any]] = {
        "sgld": lambda step: lk.sgld(step_size=step),
        "rmsprop_sgld": lambda step: lk.rmsprop_sgld(step_size=step),
        "baoab": lambda step: lk.baoab(step_size=math.sqrt(step)),
    }
    outcomes: Counter[str] = Counter()
    alone = []
    grid = list(itertools.product(models, samplers, (1.0, 30.0), (0.01, 0.3, 2.0, 3.6), ((10, 0), (40, 0), (400, 100))))
    for model, sampler, gamma, share, (draws, burnin) in tqdm(grid, desc="wrong"):
        net, data, loss_fn, largest = models[model]
        for chains in (4, 32):
            found = lk.estimate_llc(
                net,
                data,
                loss_fn,
                n_beta=1000.0,
                localization=gamma,
                sampler=samplers[sampler](share / (1000 * largest + gamma)),
                num_draws=draws,
                num_burnin=burnin,
                num_chains=chains,
                progress=False,
            )
            name = f"{model}, γ {gamma:g}, {sampler} at {share} of 1/k, {burnin} + {draws} draws, {chains} chains"
            if found.bracket is None or found.bracket_margin is None or found.lower_finite is None:
                outcomes["diverged" if found.outcome is lk.Outcome.DIVERGED else "not judged"] += 1
                continue
            low, high = found.lower_finite - found.bracket_margin[0], found.bracket[1] + found.bracket_margin[1]
            if not low <= found.llc + unit.ERRORS * found.mcse or not found.llc - unit.ERRORS * found.mcse <= high:
                outcomes[found.outcome.value] += 1
                if found.outcome is lk.Outcome.OUTSIDE_BRACKET:
                    values = {"llc": found.llc, "mcse": found.mcse, "bracket": found.bracket, "virial": found.virial}
                    alone.append({"name": name, "rhat": found.rhat} | values)
            else:
                outcomes["inside"] += 1
    return {"runs": 2 * len(grid), "outside_by_outcome": dict(outcomes), "told_by_the_bracket_alone": alone}


PARTS = {
    "two_layer": about_two_layer,
    "matrix_free": about_matrix_free,
    "large": about_large,
    "cost": about_cost,
    "wrong": about_wrong,
    "catalogue": about_catalogue,
}


def main() -> None:
    """Run the parts and keep what they found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=[*PARTS], metavar="PART")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FILE.json")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure_large(arguments.measure)))
        return
    torch.set_num_threads(1)
    document = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.exists() else {}
    for part in arguments.only:
        document |= {"environment": environment(), part: PARTS[part]()}
        arguments.out.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        found = document[part]
        print(part, found if isinstance(found, list) else {k: v for k, v in found.items() if k != "rows"})


if __name__ == "__main__":
    main()
