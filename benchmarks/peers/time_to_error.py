"""Time to an estimate within 3 %: llckit with zero tuning beside devinterp 1.3.2 with the best of six step sizes.

    python -m benchmarks.peers.time_to_error --peer PEER/bin/python     (PEER: see peers/_peer.py)

Cases: the five reduced-rank regressions that devinterp tests itself with, on all of their 1000 samples, and a deep
linear net of 5940 weights with 10 000 samples, for which devinterp gets minibatches of 512. Medians over seeds.

`zero tuning` is `estimate_llc(model, data, loss_fn, rel_tol=0.015)`, whose 95 % interval is 3 % on either side. It has
its seconds by its own stopping, its error against the value at its nβ and γ, and its error against λ, the limit nβ → ∞.
All else is at the nβ and γ that its first seed found, and by one rule that knows the answer: the cost is that of the
first budget from which to four times which the estimate stays within 3 % of that value (of λ for the net, which has a
closed form). `same rule` is llckit by this rule, with budgets of 250, 500 … 8000 gradients a chain, each from scratch.

devinterp runs SGLD on three chains by its own `sample`, with ε = c/k, k the largest curvature of the posterior and
c = 2, 0.6, 0.2, 0.06, 0.02, 0.006. Its estimate after D draws a chain leaves out the first half or fifth of them; ε and
that share are those with the least median cost. D ends at 20 000 (net: 2000), a quarter of the draws that are run;
"never" gives a lower bound of the ratio. One run of all chains and seeds in one batch gives the draws, which has the
same law and costs less. What is charged is 3 D times what a step takes in devinterp's own loop, chain by chain, with
the batch ready in memory, or from a shuffling DataLoader, as its users have it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
from tqdm import tqdm

import llckit as lk
from benchmarks._documents import plain, read_document
from benchmarks._estimates import SHORT_RUN, TINY, timed_estimate
from benchmarks._harness import Document, begin, results_of
from benchmarks._models import local_posterior
from benchmarks._tables import digits, percent, table
from benchmarks.peers import accuracy
from benchmarks.peers._devinterp_cases import deep_net, own_cases
from benchmarks.peers._peer import OPTIONS, Peer, PeerError, peer_of
from llckit.toys import Toy

TOLERANCE, SLACK = 0.03, 4
CHAINS, STEPS, BURNINS = 3, (2.0, 0.6, 0.2, 0.06, 0.02, 0.006), (0.5, 0.2)  # of devinterp
DRAWS = {None: 80_000, 512: 8_000}  # a chain that it runs, by the size of its minibatches
LONG_RUN = accuracy.LONG_RUN | {"rel_tol": 0.005}
LOOPS = ("ready", "loader")
SETTINGS = {"chains": CHAINS, "steps": STEPS, "burnins": BURNINS, "draws": list(DRAWS.values())}


def minibatches(toy: Toy) -> int | None:
    """Their size in devinterp; None for the full loss."""
    return 512 if toy.family == "deep linear net" else None


class Timing:
    """One case through both tools.

    Args:
        peer: devinterp; None leaves it out.
        sizes: Those of the run.
    """

    def __init__(self, peer: Peer | None, sizes: dict[str, Any]) -> None:
        self.peer, self.sizes = peer, sizes

    def run(self, make: Callable[[], Toy]) -> dict[str, Any]:
        """One case."""
        toy = make()
        own = self.run_llckit(toy)
        first = own["runs"][0]
        scale = {name: first[name] for name in ("n_beta", "localization")}
        values = {"value": first["reference"]["value"], "llc": toy.llc}
        found = {"parameters": sum(weight.numel() for weight in toy.model.parameters()), "llc": toy.llc, "scale": scale}
        found |= {"llckit": own, "same_rule": self.run_same_rule(toy, scale, values["value"])}
        return found if self.peer is None else found | {"devinterp": self.run_devinterp(toy, self.peer, scale, values)}

    def run_llckit(self, toy: Toy) -> dict[str, Any]:
        """Estimates with zero tuning, each with its errors; a net, which takes all of its budget, is estimated once."""
        runs, references = [], {}
        for seed in range(1 if minibatches(toy) else self.sizes["seeds"]):
            run = timed(toy, seed=seed, **self.sizes["zero_tuning"])
            scale = run["n_beta"], run["localization"]
            if scale not in references:
                references[scale] = self.find_reference(toy, *scale)
            reference = references[scale]
            runs.append(run | {"reference": reference, "error": run["llc"] / reference["value"] - 1})
            runs[-1]["error_from_llc"] = run["llc"] / toy.llc - 1
        return {"seconds": statistics.median(run["seconds"] for run in runs), "runs": runs}

    def find_reference(self, toy: Toy, n_beta: float, localization: float) -> dict[str, Any]:
        """The value at nβ and γ: λ for the net, otherwise that of `accuracy.py` if it had these two, or another one."""
        if minibatches(toy):
            return {"kind": "closed form, nβ → ∞", "value": toy.llc, "mcse": 0.0}
        known = results_of(accuracy.__file__)
        case = read_document(known)["cases"].get(toy.name) if known.exists() else None
        if case is not None:
            found = case["n_beta"], case["localization"]
            if np.allclose(found, (n_beta, localization), rtol=1e-3, atol=0):
                return case["reference"]
        return accuracy.Comparison(None, {}, self.sizes["long_run"]).find_reference(toy, n_beta, localization)

    def run_same_rule(self, toy: Toy, scale: dict[str, float], value: float) -> dict[str, Any]:
        """Seconds of llckit until it is right and stays so, at given nβ and γ."""
        budgets = np.array(self.sizes["budgets"])
        runs = [
            [timed(toy, rel_tol=1e-6, max_grad_evals=budget, seed=seed, **scale) for budget in budgets.tolist()]
            for seed in range(self.sizes["seeds"])
        ]
        llc, seconds = (np.array([[run[name] for run in own] for own in runs]).T for name in ("llc", "seconds"))
        found = first_lasting(np.abs(llc / value - 1) <= TOLERANCE, budgets)
        spent = np.where(budgets[:, None] == found, seconds, 0).sum(0)
        spent[np.isinf(found)] = math.inf
        return {
            "seconds": float(np.median(spent)),
            "seconds_of_last": float(np.median(seconds[budgets == budgets[-1] // SLACK])),
            "budgets": found,
            "llc": llc.T,
        }

    def run_devinterp(self, toy: Toy, peer: Peer, scale: dict[str, float], values: dict[str, float]) -> dict[str, Any]:
        """Draws that devinterp needs by step size and share of burn-in, and what they cost it."""
        local = local_posterior(lk.Task(toy.model, toy.data, toy.loss_fn), rows=1, **scale)
        stiffest = scale["n_beta"] * float(local.checkpoint.curvature().largest) + scale["localization"]
        size, seeds = minibatches(toy), self.sizes["seeds"]
        request = scale | {"batch": size, "seed": 0}
        loops = peer.ask("loops", toy.name, step_size=1e-12, **request)
        loss = float(toy.loss_fn(toy.model, toy.data))
        if not math.isclose(loops["loss"], loss, rel_tol=1e-4, abs_tol=1e-9):
            raise PeerError(f"{toy.name}: L(w*) is {loops['loss']} in the peer and {loss} here")
        tried: list[dict[str, Any]] = []
        for multiple in tqdm(STEPS, desc="step sizes", leave=False):
            step = multiple / stiffest
            asked = {"step_size": step, "chains": CHAINS * seeds, "draws": DRAWS[size]}
            blocks = np.array(peer.ask("blocks", toy.name, **request | asked)["blocks"])
            blocks = blocks.reshape(len(blocks), seeds, CHAINS).mean(2)
            tried += [
                {"multiple": multiple, "step_size": step} | row for row in needed_draws(blocks, DRAWS[size], values)
            ]
        found: dict[str, Any] = {"loops": loops, "tried": tried, "limit": DRAWS[size] // SLACK}
        for name in values:
            best = min(tried, key=lambda row: row[name]["median"])
            never = math.isinf(best[name]["median"])
            draws = found["limit"] if never else best[name]["median"]
            seconds = {loop: CHAINS * draws * loops[loop] for loop in LOOPS}
            found[name] = {"never": never, "draws": draws, "seconds": seconds}
            found[name] |= {} if never else {"multiple": best["multiple"], "burnin": best["burnin"]}
        return plain(found)


def needed_draws(blocks: np.ndarray, draws: int, values: dict[str, float]) -> list[dict[str, Any]]:
    """For each share of burn-in the draws after which a run is within 3 % of each value for good.

    Args:
        blocks: Means of consecutive draws, shape (blocks, seeds).
        draws: Draws of all blocks.
        values: What is to be found, by name.

    Returns:
        A row for each share.
    """
    sums = np.concatenate([np.zeros((1, blocks.shape[1])), blocks.cumsum(0)])
    after, rows = np.arange(1, len(sums)), []
    for burnin in BURNINS:
        left_out = (burnin * after).astype(int)
        means = (sums[after] - sums[left_out]) / (after - left_out)[:, None]
        row: dict[str, Any] = {"burnin": burnin, "llc_at_end": means[-1]}
        for name, value in values.items():
            needed = first_lasting(np.abs(means / value - 1) <= TOLERANCE, after * (draws // len(blocks)))
            row[name] = {"draws": needed, "median": float(np.median(needed))}
        rows.append(row)
    return rows


def timed(toy: Toy, **settings: Any) -> dict[str, Any]:
    """One estimate by llckit."""
    return timed_estimate(toy.model, toy.data, toy.loss_fn, **settings)[1]


def first_lasting(right: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The first size from which to four times which all is right, shape (...), of `right`, shape (sizes, ...)."""
    found = np.full(right.shape[1:], math.inf)
    for size in sizes[sizes <= sizes[-1] / SLACK][::-1]:
        found[right[(sizes >= size) & (sizes <= SLACK * size)].all(0)] = size
    return found


def report(document: Document) -> str:
    """Seconds and errors of both tools; > where devinterp did not get there."""
    header = ["case", "zero tuning", "its error", "from λ", "outcome", "same rule"]
    header += ["devinterp, batch ready", "…, DataLoader", "over zero tuning"]
    rows = []
    for name, case in document["cases"].items():
        own, rule = case["llckit"], case["same_rule"]
        errors = [statistics.median(abs(run[kind]) for run in own["runs"]) for kind in ("error", "error_from_llc")]
        same = seconds_text(rule["seconds"] or rule["seconds_of_last"], not rule["seconds"])
        row = [name, seconds_text(own["seconds"]), *map(percent, errors), own["runs"][0]["outcome"], same]
        if "devinterp" in case:
            peer = case["devinterp"]["value"]
            row += [seconds_text(peer["seconds"][loop], peer["never"]) for loop in LOOPS]
            more = "> " if peer["never"] else ""
            row.append(" and ".join(f"{more}{digits(peer['seconds'][loop] / own['seconds'])}" for loop in LOOPS))
        else:
            row += [None, None, None]
        rows.append(row)
    return table(header, rows) + (
        "\n\nSeconds to an error of at most 3 %, medians over seeds. `>`: not within 3 % for good when it was ended. "
        "The last column is the time of devinterp over that of zero tuning, with the batch ready and with a DataLoader."
    )


def seconds_text(seconds: float, more: bool = False) -> str:
    """Seconds; more than that where it was ended."""
    return f"{'> ' if more else ''}{digits(seconds, 2)} s"


def main() -> None:
    """Run the cases through both tools."""
    known = own_cases() | {"net 52-60-30-6-20-36, rank 4": deep_net}
    usual = [name for name in known if name.startswith(("regression", "net"))]
    sizes = {
        "seeds": (3, 1),
        "cases": (usual, ["x w1^1 w2^1"]),
        "budgets": ([250 * 2**k for k in range(6)], [25, 100]),  # gradients a chain, of llckit by the same rule
        "zero_tuning": ({"rel_tol": 0.015}, TINY),
        "long_run": (LONG_RUN, SHORT_RUN),
    }
    run = begin(__file__, __doc__, report, sizes=sizes, settings=SETTINGS, options=OPTIONS)
    toys = {name: make for name, make in known.items() if name in run.sizes["cases"]}
    with peer_of(run) as peer:
        first = own_cases()["x w1^1 w2^1"]()
        timed(first, n_beta=1.0, localization=1.0, num_burnin=1, num_draws=4)  # what torch does once
        run.measure(toys, Timing(peer, run.sizes).run)


if __name__ == "__main__":
    main()
