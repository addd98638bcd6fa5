"""Time to an estimate within 3 %: llckit with zero tuning beside devinterp 1.3.2 with the best of six step sizes.

    python3.11 -m venv PEER && PEER/bin/pip install -c constraints.txt torch==2.13.0 h5py scipy tqdm devinterp==1.3.2
    python benchmarks/time_to_error.py --peer PEER/bin/python [--only TEXT] [--seeds K]
        [--out benchmarks/results/time_to_error.json]

Cases: the five reduced-rank regressions that devinterp tests itself with, on all of their 1000 samples, and a deep
linear net of 5940 weights, 10 000 samples, of which devinterp gets minibatches of 512. One thread; medians over seeds.

`zero tuning` is `estimate_llc(model, data, loss_fn, rel_tol=0.015)`, whose 95 % interval is 3 % on either side: its
seconds by its own stopping, its error against the value at its nβ and γ, and against λ, the limit nβ → ∞. All else is
at the nβ and γ that its first seed found, and by one rule that knows the answer: the cost is that of the first budget
from which to four times which the estimate stays within 3 % of that value (of λ for the net, which has a closed form).
`same rule` is llckit there, with budgets of 250, 500 … 8000 gradients a chain, each from scratch.

devinterp runs SGLD there on three chains by its own `sample`, with ε = c/k, k the largest curvature of the posterior,
c = 2, 0.6, 0.2, 0.06, 0.02, 0.006; its estimate after D draws a chain leaves out the first half or fifth of them. ε and
that share are those with the least median cost. D ends at 20 000 (net: 2000), a quarter of the draws that are run, and
"never" gives a lower bound of the ratio. One run of all chains and seeds in one batch gives the draws, which has the
same law and costs less; what is charged is 3 D times what a step takes in devinterp's own loop, chain by chain, with
the batch ready in memory, or from a shuffling DataLoader, as its users have it.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accuracy import LONG_RUN, Peer
from devinterp_cases import condensed, deep_net, own_cases
from tqdm import tqdm

import llckit as lk
from llckit.environment import environment
from llckit.posterior import LocalPosterior
from llckit.toys import Toy

RESULTS = Path(__file__).parent / "results" / "time_to_error.json"
KNOWN = Path(__file__).parent / "results" / "accuracy.json"
TOLERANCE, REL_TOL, SLACK = 0.03, 0.015, 4
BUDGETS = [250 * 2**k for k in range(6)]  # gradients a chain, of llckit by the same rule
CHAINS, STEPS, BURNINS = 3, (2.0, 0.6, 0.2, 0.06, 0.02, 0.006), (0.5, 0.2)  # of devinterp
DRAWS = {None: 80_000, 512: 8_000}  # a chain that it runs, by the size of its minibatches
REFERENCE: dict[str, Any] = LONG_RUN | {"rel_tol": 0.005}
LOOPS = ("ready", "loader")
SETTINGS = {
    "budgets": BUDGETS,
    "chains": CHAINS,
    "steps": STEPS,
    "burnins": BURNINS,
    "draws": list(DRAWS.values()),
}


def minibatches(toy: Toy) -> int | None:
    """Their size in devinterp; None for the full loss."""
    return 512 if toy.family == "deep linear net" else None


def timed(toy: Toy, **settings: Any) -> dict[str, Any]:
    """One estimate by llckit."""
    start = time.perf_counter()
    found = lk.estimate_llc(toy.model, toy.data, toy.loss_fn, progress=False, **settings)
    return {
        "seconds": time.perf_counter() - start,
        "llc": found.llc,
        "mcse": found.mcse,
        "n_beta": found.n_beta,
        "localization": found.localization,
        "outcome": found.outcome.value,
        "rule": str(found.how_found.reason),
        "grad_evals": found.how_found.grad_evals,
    }


def find_reference(toy: Toy, n_beta: float, localization: float) -> dict[str, Any]:
    """The value at nβ and γ: λ for the net, for regressions a long run, of `accuracy.py` where it had the same two."""
    if minibatches(toy):
        return {"kind": "closed form, nβ → ∞", "value": toy.llc, "mcse": 0.0}
    for case in json.loads(KNOWN.read_text())["cases"] if KNOWN.exists() else []:
        found = case["n_beta"], case["localization"]
        if case["name"] == toy.name and np.allclose(found, (n_beta, localization), rtol=1e-3, atol=0):
            return case["reference"]
    few = condensed(*toy.data)
    run = lk.estimate_llc(toy.model, few, toy.loss_fn, n_beta=n_beta, localization=localization, **REFERENCE)
    return {"kind": "long run", "value": run.llc, "mcse": run.mcse}


def run_llckit(toy: Toy, seeds: int) -> dict[str, Any]:
    """Estimates with zero tuning, each with its errors; a net, which takes all of its budget, is estimated once."""
    runs, references = [], {}
    for seed in range(1 if minibatches(toy) else seeds):
        run = timed(toy, rel_tol=REL_TOL, seed=seed)
        scale = run["n_beta"], run["localization"]
        if scale not in references:
            references[scale] = find_reference(toy, *scale)
        reference = references[scale]
        runs.append(run | {"reference": reference, "error": run["llc"] / reference["value"] - 1})
        runs[-1]["error_from_llc"] = run["llc"] / toy.llc - 1
    return {"seconds": statistics.median(run["seconds"] for run in runs), "runs": runs}


def first_lasting(right: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The first size from which to four times which all is right, shape (...), of `right`, shape (sizes, ...)."""
    found = np.full(right.shape[1:], math.inf)
    for size in sizes[sizes <= sizes[-1] / SLACK][::-1]:
        found[right[(sizes >= size) & (sizes <= SLACK * size)].all(0)] = size
    return found


def run_same_rule(toy: Toy, scale: dict[str, float], value: float, seeds: int) -> dict[str, Any]:
    """Seconds of llckit until it is right and stays so, at given nβ and γ."""
    budgets = np.array(BUDGETS)
    runs = [
        [timed(toy, rel_tol=1e-6, max_grad_evals=budget, seed=seed, **scale) for budget in budgets.tolist()]
        for seed in range(seeds)
    ]
    llc, seconds = (np.array([[run[name] for run in own] for own in runs]).T for name in ("llc", "seconds"))
    found = first_lasting(np.abs(llc / value - 1) <= TOLERANCE, budgets)
    spent = np.where(budgets[:, None] == found, seconds, 0).sum(0)
    spent[np.isinf(found)] = math.inf
    return {
        "seconds": finite(np.median(spent, keepdims=True))[0],
        "seconds_of_last": float(np.median(seconds[budgets == budgets[-1] // SLACK])),
        "budgets": finite(found),
        "llc": [finite(own) for own in llc.T],
    }


def run_devinterp(
    toy: Toy, peer: Peer, scale: dict[str, float], values: dict[str, float], seeds: int
) -> dict[str, Any]:
    """Draws that devinterp needs by step size and share of burn-in, and what they cost it."""
    task = lk.Task(toy.model, toy.data, toy.loss_fn)
    local = LocalPosterior(task.checkpoint(), rows=1, **scale)
    stiffest = scale["n_beta"] * float(local.checkpoint.curvature().largest) + scale["localization"]
    size = minibatches(toy)
    request = scale | {"batch": size, "seed": 0}
    loops = peer.ask("loops", toy.name, step_size=1e-12, **request)
    if not math.isclose(loops["loss"], local.checkpoint.loss, rel_tol=1e-4, abs_tol=1e-9):
        raise RuntimeError(f"{toy.name}: L(w*) is {loops['loss']} in the peer and {local.checkpoint.loss} here")
    tried = []
    for multiple in tqdm(STEPS, desc="step sizes", leave=False):
        step = multiple / stiffest
        asked = {"step_size": step, "chains": CHAINS * seeds, "draws": DRAWS[size]}
        blocks = np.array(peer.ask("blocks", toy.name, **request | asked)["blocks"])
        sums = np.concatenate([np.zeros((1, seeds)), blocks.reshape(len(blocks), seeds, CHAINS).mean(2).cumsum(0)])
        after = np.arange(1, len(sums))
        draws = after * (DRAWS[size] // len(blocks))
        for burnin in BURNINS:
            left_out = (burnin * after).astype(int)
            means = (sums[after] - sums[left_out]) / (after - left_out)[:, None]
            row = {"multiple": multiple, "step_size": step, "burnin": burnin, "llc_at_end": finite(means[-1])}
            for name, value in values.items():
                needed = first_lasting(np.abs(means / value - 1) <= TOLERANCE, draws)
                row[name] = {"draws": finite(needed), "median": finite(np.median(needed, keepdims=True))[0]}
            tried.append(row)
    found: dict[str, Any] = {"loops": loops, "tried": tried, "limit": DRAWS[size] // SLACK}
    for name in values:
        best = min(tried, key=lambda row: row[name]["median"] or math.inf)
        never = best[name]["median"] is None
        draws = found["limit"] if never else best[name]["median"]
        seconds = {loop: CHAINS * draws * loops[loop] for loop in LOOPS}
        found[name] = {"never": never, "draws": draws, "seconds": seconds}
        found[name] |= {} if never else {"multiple": best["multiple"], "burnin": best["burnin"]}
    return found


def finite(values: np.ndarray) -> list[float | None]:
    """Numbers, or None for what JSON has no word for."""
    return [float(x) if math.isfinite(x) else None for x in values]


def run_case(toy: Toy, peer: Peer, seeds: int) -> dict[str, Any]:
    """One case through both tools."""
    own = run_llckit(toy, seeds)
    first = own["runs"][0]
    scale = {name: first[name] for name in ("n_beta", "localization")}
    values = {"value": first["reference"]["value"], "llc": toy.llc}
    return {
        "name": toy.name,
        "parameters": sum(weight.numel() for weight in toy.model.parameters()),
        "llc": toy.llc,
        "scale": scale,
        "llckit": own,
        "same_rule": run_same_rule(toy, scale, values["value"], seeds),
        "devinterp": run_devinterp(toy, peer, scale, values, seeds),
    }


def print_table(cases: list[dict[str, Any]]) -> None:
    """Seconds, errors and ratios; > where devinterp did not get there."""
    print(
        f"seconds to {TOLERANCE:.0%}; devinterp by the value at nβ and γ: batch ready, DataLoader (times zero tuning, "
    )
    print("times llckit by the same rule); in brackets median errors of zero tuning: against that value, against λ")
    for case in cases:
        own, rule, peer = case["llckit"], case["same_rule"], case["devinterp"]["value"]
        errors = [statistics.median(abs(run[name]) for run in own["runs"]) for name in ("error", "error_from_llc")]
        same = f"{rule['seconds']:.2f}" if rule["seconds"] else f"> {rule['seconds_of_last']:.2f}"
        line = f"{case['name'][:24]:24s} {own['seconds']:6.2f} ({errors[0]:.1%}, {errors[1]:.1%}, "
        line += f"{own['runs'][0]['outcome']}); same rule {same:7s}"
        for loop in LOOPS:
            seconds, more = peer["seconds"][loop], ">" if peer["never"] else ""
            ratios = f"{more}{seconds / own['seconds']:.1f} x"
            ratios += f", {more}{seconds / rule['seconds']:.1f} x" if rule["seconds"] else ""
            line += f"; {loop} {more}{seconds:.1f} ({ratios})"
        by_llc = case["devinterp"]["llc"]
        print(line + ("; to λ itself never" if by_llc["never"] else f"; to λ itself {by_llc['seconds']['ready']:.1f}"))


def main() -> None:
    """Run the cases; results are written after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True, metavar="PYTHON", help="interpreter of devinterp's environment")
    parser.add_argument("--only", metavar="TEXT", help="cases with that in their name; FILE.json keeps the others")
    parser.add_argument("--seeds", type=int, default=3, metavar="K")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FILE.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    known = [*own_cases()[:5], deep_net()]
    toys = [toy for toy in known if arguments.only is None or arguments.only in toy.name]
    if not toys:
        parser.error(f"--only {arguments.only}: expected a part of one of {', '.join(toy.name for toy in known)}")
    cases: dict[str, dict[str, Any]] = {}
    if arguments.only is not None and arguments.out.exists():
        cases = {case["name"]: case for case in json.loads(arguments.out.read_text())["cases"]}
    timed(toys[0], n_beta=1.0, localization=1.0, num_burnin=1, num_draws=4)  # what torch does once
    with Peer(arguments.peer) as peer:
        document = {"environment": environment() | {"peer": peer.versions}, "settings": SETTINGS}
        for toy in tqdm(toys, desc="cases", file=sys.stderr):
            start = time.perf_counter()
            cases[toy.name] = run_case(toy, peer, arguments.seeds)
            cases[toy.name]["minutes"] = (time.perf_counter() - start) / 60
            document["cases"] = [cases[toy.name] for toy in known if toy.name in cases]
            arguments.out.write_text(json.dumps(document, ensure_ascii=False) + "\n")
    print_table(list(cases.values()))


if __name__ == "__main__":
    main()
