"""llckit with zero tuning beside devinterp 1.3.2 with the best of six step sizes, where the answer is known.

    python -m benchmarks.peers.accuracy --peer PEER/bin/python     (PEER: see peers/_peer.py)

llckit is given nβ = n/ln n on the catalogue, and nothing on devinterp's own cases. On the catalogue devinterp gets the
same nβ, the γ that llckit reports, the same number of chains and of gradients per chain, and of six step sizes the one
whose result is closest to the answer. On its own cases it runs as its own tests do. What a result holds:

* step_size: best of six, ε = c s², c = 1, 0.3, 0.1, 0.03, 0.01, 0.003, with s the leapfrog step of llckit;
* std_error: llckit's mcse; for devinterp the spread over chains, divided by √chains;
* z: (llc − reference) / √(std_error² + mcse of the reference²);
* grad_evals: per chain, warm-up included; for devinterp's best of six the first fifth is burn-in;
* seconds: on one core; for devinterp's best of six those of the chosen step alone, with its chains batched by us as
  rows of one parameter; seconds_one_by_one is extrapolated from 100 steps of one chain, as devinterp runs them;
* reference: the value at the nβ and γ of the result, in closed form or from a long run of llckit to 0.2 % with another
  seed. There is none if γ = 0 leaves the posterior improper.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import llckit as lk
from benchmarks._estimates import SHORT_RUN, TINY, Z95, timed_estimate
from benchmarks._harness import Document, begin
from benchmarks._models import condensed
from benchmarks._tables import percent, table
from benchmarks.peers._devinterp_cases import PUBLISHED, own_cases
from benchmarks.peers._peer import OPTIONS, Peer, PeerError, peer_of
from llckit.toys import Toy, catalog

STEPS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)  # in squares of the leapfrog step that llckit's warm-up found
BURNIN = 0.2  # of devinterp's gradients
LONG_RUN = {"rel_tol": 0.002, "max_grad_evals": 100_000, "seed": 1_000_003, "progress": False}
LLCKIT, LLCKIT_SAME, AS_PUBLISHED = "llckit", "llckit, at the test's γ", "devinterp SGLD, its test's settings"
PEERS = {"devinterp SGLD, best of 6": "sgld", "devinterp RMSProp-SGLD, best of 6": "rmsprop_sgld"}
TOOLS = (LLCKIT, *PEERS, LLCKIT_SAME, AS_PUBLISHED)
GROUPS = ("catalogue", "devinterp's own cases")
COLORS, MARKERS = ("#0072B2", "#D55E00", "#CC79A7", "#56B4E9", "#555555"), "o^sDx"
SMALLEST_DRAWN = 1e-4


def judged(answer: dict[str, Any], reference: dict[str, Any] | None) -> dict[str, Any]:
    """A result with its error and z against a reference."""
    if reference is None or answer["llc"] is None:
        return answer | {"relative_error": None, "z": None}
    error = answer["llc"] - reference["value"]
    return answer | {
        "relative_error": error / reference["value"],
        "z": error / math.hypot(answer["std_error"], reference["mcse"]),
    }


class Comparison:
    """One toy through llckit and through devinterp.

    Args:
        peer: devinterp; None leaves it out.
        budget: Settings of llckit's estimates.
        long_run: Settings of the run that gives a reference.
    """

    def __init__(self, peer: Peer | None, budget: Mapping[str, Any], long_run: Mapping[str, Any]) -> None:
        self.peer, self.budget, self.long_run = peer, budget, long_run

    def run(self, toy: Toy) -> dict[str, Any]:
        """Both tools on one toy."""
        n = len(toy.data[0])
        own = toy.family in PUBLISHED
        estimate, answer = self.estimated(toy, None if own else n / math.log(n))
        n_beta, localization = estimate.n_beta, estimate.localization
        reference = self.find_reference(toy, n_beta, localization)
        results = {LLCKIT: judged(answer, reference)}
        case = {"family": toy.family, "llc": toy.llc, "multiplicity": toy.multiplicity}
        case |= {"n_beta": n_beta, "localization": localization, "reference": reference, "results": results}
        if self.peer is not None:
            scale = {"n_beta": n_beta, "localization": localization}
            pace = self.peer.ask("time", toy.name, step_size=1e-12, seed=0, **scale)
            if not math.isclose(pace["loss"], estimate.loss, rel_tol=1e-5, abs_tol=1e-9):
                raise PeerError(f"{toy.name}: L(w*) is {pace['loss']} in the peer and {estimate.loss} here")
            if own:
                results |= self.as_published(toy, self.peer, n / math.log(n))
            else:
                pace = pace["seconds_a_step"]
                results |= {tool: best_of_six(toy, self.peer, how, case, pace) for tool, how in PEERS.items()}
        for result in results.values():
            result["error_relative_to_llc"] = None if result["llc"] is None else result["llc"] / toy.llc - 1
        return case

    def estimated(
        self, toy: Toy, n_beta: float | None, localization: float | None = None
    ) -> tuple[lk.LLCEstimate, dict[str, Any]]:
        """An estimate by llckit, and what is kept of it."""
        given = {"n_beta": n_beta, "localization": localization, **self.budget}
        found, row = timed_estimate(toy.model, toy.data, toy.loss_fn, **given)
        row |= {"llc": found.llc if math.isfinite(found.llc) else None, "std_error": row.pop("mcse")}
        row |= {"chains": len(found.llc_per_chain), "step_size": found.how_found.step_size}
        return found, row | {"sensitivity_localization": found.sensitivity_localization}

    def find_reference(self, toy: Toy, n_beta: float, localization: float) -> dict[str, Any]:
        """E[nβ (L − L*)] at this nβ and γ: in closed form, or from a long run."""
        if toy.exact is not None:
            return {"kind": "closed form", "value": toy.exact(n_beta, localization), "mcse": 0.0}
        data = condensed(*toy.data) if toy.family in PUBLISHED else toy.data
        scale = {"n_beta": n_beta, "localization": localization}
        run = lk.estimate_llc(toy.model, data, toy.loss_fn, **scale, **self.long_run)
        return {"kind": "long run", "value": run.llc, "mcse": run.mcse, "rhat": run.rhat}

    def as_published(self, toy: Toy, peer: Peer, n_beta: float) -> dict[str, dict[str, Any]]:
        """What devinterp finds as its own test runs this case, and llckit at that test's γ, each with a reference."""
        gamma = PUBLISHED[toy.family].localization
        # With γ = 0 a product of two weights has no posterior; one power alone needs no localization.
        proper = gamma > 0 or " w1^0 " in toy.name
        reference = self.find_reference(toy, n_beta, gamma or 1e-6) if proper else None
        answers = {AS_PUBLISHED: peer.ask("published", toy.name, n_beta=n_beta)}
        if gamma > 0:
            answers[LLCKIT_SAME] = self.estimated(toy, n_beta, gamma)[1]
        return {tool: judged(answer, reference) | {"reference": reference} for tool, answer in answers.items()}


def best_of_six(toy: Toy, peer: Peer, method: str, case: dict[str, Any], pace: float) -> dict[str, Any]:
    """What devinterp finds at the step size whose result lies closest to the reference, with all six beside it."""
    own, reference = case["results"][LLCKIT], case["reference"]
    burnin = int(BURNIN * own["grad_evals"])
    tried = []
    for multiple in STEPS:
        step = multiple * own["step_size"] ** 2
        request = {"method": method, "step_size": step, "n_beta": case["n_beta"], "localization": case["localization"]}
        request |= {"chains": own["chains"], "burnin": burnin, "draws": own["grad_evals"] - burnin, "seed": 0}
        tried.append(judged(peer.ask("chains", toy.name, **request), reference) | {"step_size": step})
    alive = [answer for answer in tried if answer["llc"] is not None] or tried
    best = min(alive, key=lambda answer: abs(answer["relative_error"] or 0))
    grads = own["grad_evals"]
    best = best | {"chains": own["chains"], "grad_evals": grads, "multiple": STEPS[tried.index(best)]}
    best["seconds_one_by_one"] = pace * own["chains"] * grads
    return best | {"tried": [{key: answer[key] for key in ("step_size", "llc", "relative_error")} for answer in tried]}


def summary_of(cases: Sequence[Mapping[str, Any]], tool: str) -> dict[str, Any] | None:
    """Errors of one tool over the cases it has a reference for; a diverged run counts as an infinite error."""
    known = [case["results"][tool] for case in cases if tool in case["results"]]
    known = [x for x in known if x["relative_error"] is not None or x["llc"] is None]
    if not known:
        return None
    errors = np.array([math.inf if x["llc"] is None else abs(x["relative_error"]) for x in known])
    z = np.array([math.inf if x["llc"] is None else abs(x["z"]) for x in known])
    return {
        "cases": len(known),
        "median": float(np.median(errors)),
        "percentile_95": float(np.quantile(errors, 0.95, method="higher")),
        "worst": float(errors.max()),
        "median_error_relative_to_llc": float(np.median([abs(x["error_relative_to_llc"] or math.inf) for x in known])),
        "median_relative_std_error": float(np.median([x["std_error"] / abs(x["llc"]) for x in known if x["llc"]])),
        "median_abs_z": float(np.median(z)),
        "percentile_95_abs_z": float(np.quantile(z, 0.95, method="higher")),
        "covered_by_95_interval": float(np.mean(z <= Z95)),
        "seconds": float(sum(x["seconds"] for x in known)),
    }


def in_groups(cases: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The toys of the catalogue, and devinterp's own cases."""
    catalogue, own = GROUPS
    return {
        catalogue: {name: case for name, case in cases.items() if case["family"] not in PUBLISHED},
        own: {name: case for name, case in cases.items() if case["family"] in PUBLISHED},
    }


def summarize(cases: Mapping[str, Any]) -> dict[str, Any]:
    """Errors by group of cases and by tool."""
    found = {
        group: {tool: summary_of([*members.values()], tool) for tool in TOOLS}
        for group, members in in_groups(cases).items()
    }
    return {group: {tool: x for tool, x in tools.items() if x is not None} for group, tools in found.items()}


def report(document: Document) -> str:
    """Errors by group and tool."""
    header = ("cases", "tool", "number", "median error", "95th percentile", "worst", "95 % intervals hold it")
    errors = ("median", "percentile_95", "worst")
    rows = [
        [group, tool, x["cases"], *(percent(x[name]) for name in errors), percent(x["covered_by_95_interval"], 0)]
        for group, tools in document["summary"].items()
        for tool, x in tools.items()
    ]
    return table(header, rows) + (
        "\n\nErrors are against the exact or long-run value at the nβ and γ used. llckit has no tuning; devinterp's "
        "best of six step sizes is chosen knowing the answer. At γ = 0, as six of devinterp's tests have it, there is "
        "no posterior and so no value to compare with."
    )


def figures(document: Document) -> dict[str, Any]:
    """|relative error| of every tool in every case; dashed: medians of the panel."""
    from matplotlib.figure import Figure

    groups = in_groups(document["cases"])
    figure = Figure(figsize=(8, 2.6 + 0.19 * len(document["cases"])), layout="constrained")
    heights = [len(group) for group in groups.values()]
    panels = figure.subplots(2, 1, sharex=True, height_ratios=heights)
    for axes, group in zip(panels, groups.values(), strict=True):
        for tool, color, marker in zip(TOOLS, COLORS, MARKERS, strict=True):
            results = enumerate(case["results"].get(tool, {}) for case in group.values())
            found = [(row, abs(x["relative_error"])) for row, x in results if x.get("relative_error") is not None]
            if found:
                rows, errors = np.array(found).T
                median = float(np.median(errors))
                look = {"label": f"{tool}: median {median:.1%}", "marker": marker, "color": color}
                axes.scatter(np.maximum(errors, SMALLEST_DRAWN), rows, s=26, alpha=0.85, zorder=3, **look)
                axes.axvline(median, color=color, linestyle="--", linewidth=1.1)
        axes.set_xscale("log")
        axes.set_yticks(range(len(group)), [*group], fontsize=7)
        axes.set_ylim(len(group) - 0.4, -0.6)
        axes.grid(color="0.9", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, fontsize=8, frameon=False)
    ticks = [10.0**k for k in range(-4, 3) if 10.0**k <= panels[1].get_xlim()[1]]
    panels[1].set_xticks(ticks, [f"{100 * tick:g} %" for tick in ticks])
    panels[1].set_xlabel("|error| relative to the exact or long-run value at the nβ and γ used")
    return {"accuracy": figure}


def main() -> None:
    """Run both tools on every case."""
    tiny = ("x w1^1 w2^1",)
    sizes = {
        "every": (8, 90),
        "own": ([*own_cases()], tiny),
        "budget": ({}, TINY),
        "long_run": (LONG_RUN, SHORT_RUN),
    }
    run = begin(__file__, __doc__, report, sizes=sizes, options=OPTIONS)
    own = {name: make for name, make in own_cases().items() if name in run.sizes["own"]}
    toys = {toy.name: lambda toy=toy: toy for toy in catalog()[:: run.sizes["every"]]}
    with peer_of(run) as peer:
        comparison = Comparison(peer, run.sizes["budget"], run.sizes["long_run"])
        run.measure(own | toys, lambda make: comparison.run(make()), summarize)


if __name__ == "__main__":
    main()
