"""What an estimate costs: samples processed until 90 % of 30 random deep linear nets are within 3 %, and remain so.

    python -m benchmarks.cost.samples_to_error

llckit with zero tuning beside SGLD and RMSProp-SGLD with six step sizes each (see `_langevin.py`), at nβ = n/ln n and
γ = 1, with 8 chains and the same 10 000 samples, without label noise and with it. Samples are per chain, without what
L(w*) and the choice of settings take once for all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

import llckit as lk
from benchmarks._harness import Document, begin
from benchmarks._models import linear_net, squared_error
from benchmarks._tables import percent, table
from benchmarks.cost._langevin import BATCH, STEP_SIZES, Net, make_net, run_langevin
from llckit.toys import deep_linear_llc, random_widths

CASES = {"realizable": "no label noise", "noise": "label noise, σ = 1"}
CHAINS = 8
GUIDED = 0.22  # of a gradient of all samples is what one of a guide takes, with its share of the energies
LONG_RUN = {"num_chains": 64, "num_burnin": 300, "num_draws": 800, "max_grad_evals": 100_000}
TOLERANCE, SHARE = 0.03, 0.9
SLACK = 1.1  # the last trajectory exceeds a budget, so that budgets do not double exactly
COLORS, MARKERS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7"), "o^<vs"


class Study:
    """All tools on one net after the other.

    Args:
        sizes: Those of the run.
    """

    def __init__(self, sizes: Mapping[str, Any]) -> None:
        self.sizes, self.n = sizes, sizes["samples"]
        self.scale = {"n_beta": self.n / math.log(self.n), "localization": 1.0}
        self.find_reference = lru_cache(self._find_reference)  # the same with and without label noise

    def run(self, case: tuple[str, int]) -> dict[str, Any]:
        """One net through all tools."""
        kind, seed = case
        widths, rank = self.shape(seed)
        row = {"seed": seed, "widths": widths, "rank": rank, "llc": deep_linear_llc(widths, rank)[0], "seconds": {}}
        net = make_net(seed, widths, rank, self.n, noise=kind == "noise")
        steps, budgets = self.sizes["steps"], self.sizes[f"gradients_{kind}"]
        tools = {
            "reference": lambda: self.find_reference(seed),
            "peers": lambda: run_langevin(net, seed, steps, CHAINS, self.scale),
            "llckit": lambda: self.run_llckit(net, seed, budgets),
        }
        for tool, find in tools.items():
            start = time.perf_counter()
            row[tool] = find()
            row["seconds"][tool] = time.perf_counter() - start
        return row

    def shape(self, seed: int) -> tuple[Sequence[int], int]:
        """Widths and rank."""
        return random_widths(seed, most_layers=self.sizes["most_layers"], widest=self.sizes["widest"])

    def _find_reference(self, seed: int) -> dict[str, float]:
        """E[nβ (L − L*)] from a long run."""
        net = make_net(seed, *self.shape(seed), self.n, noise=False)
        run = self.estimate(net, *few_samples(net), seed=1_000_003 + seed, **self.sizes["long_run"])
        return {"value": run.llc, "mcse": run.mcse, "rhat": run.rhat, "virial": run.virial}

    def estimate(self, net: Net, x: Tensor, y: Tensor, **settings: Any) -> lk.LLCEstimate:
        """Estimate by llckit, from these samples."""
        model = linear_net(net.weights)
        return lk.estimate_llc(model, (x, y), squared_error, progress=False, **self.scale, **settings)

    def run_llckit(self, net: Net, seed: int, budgets: Sequence[int]) -> list[dict[str, Any]]:
        """One estimate for every budget, each from scratch."""
        x, y = net.x, net.x @ net.target.T
        y = y + net.residual if net.residual.shape[1] else y

        def estimate(budget: int) -> lk.LLCEstimate:  # the budget ends it, as its tolerance is out of reach
            given = {"num_chains": CHAINS, "rel_tol": 1e-6, "max_grad_evals": budget, "seed": seed}
            return self.estimate(net, x, y, **given)

        choice, share = estimate(1).how_found.gradients, 1.0
        if choice.batch_size is None and choice.subset is None:  # all samples: the same numbers from fewer
            (x, y), share = few_samples(net), GUIDED
        answers = []
        for budget in budgets:
            found = estimate(int(share * budget))
            answer = {"samples": samples_processed(found, self.n), "llc": found.llc, "mcse": found.mcse}
            answers.append(answer | {"outcome": found.outcome.value, "gradients": str(choice)})
        return answers


def few_samples(net: Net) -> tuple[Tensor, Tensor]:
    """As few samples as x has columns, with the same L − L(w*) at all weights.

    It depends on second moments alone, and residuals at the empirical minimum are orthogonal to x.

    Args:
        net: With its samples.

    Returns:
        Inputs and targets.
    """
    x = (torch.linalg.qr(net.x.double(), mode="r").R * math.sqrt(net.x.shape[1] / len(net.x))).float()
    return x, x @ net.target.T


def samples_processed(estimate: lk.LLCEstimate, n: int) -> int:
    """Samples that each chain of llckit computed a loss or gradient of."""
    found = estimate.how_found
    samples = found.grad_evals * (found.gradients.subset or found.gradients.batch_size or n)
    if found.gradients.batch_size is not None:  # all decide on each trajectory, and at every tenth draw give the virial
        samples += (found.num_burnin + found.num_draws + found.num_draws // 10) * n
    return samples


def scored(samples: list[float], right: np.ndarray) -> dict[str, Any]:
    """Share of nets that are right, by budget; the cost is the budget from which to four times which it is enough.

    Args:
        samples: The budgets, ascending.
        right: Shape (nets, step sizes, budgets). A net's step size is the one that is right most often over that range.

    Returns:
        samples, share and cost (None if it is not reached).
    """
    shares: list[float] = []
    enough: list[float] = []
    for budget in samples:
        while_lasting = right[..., [budget <= x <= 4 * SLACK * budget for x in samples]]
        best = while_lasting.sum(2).argmax(1)
        share = while_lasting[np.arange(len(best)), best].mean(0)
        shares.append(float(share[0]))
        if share.min() >= SHARE and 4 * budget <= SLACK * samples[-1]:
            enough.append(budget)
    return {"samples": samples, "share": shares, "cost": min(enough, default=None)}


def summary_of(nets: Sequence[Mapping[str, Any]], steps: Sequence[int]) -> dict[str, dict[str, Any]]:
    """The scores of all tools."""
    truth = np.array([net["reference"]["value"] for net in nets])

    def right(values: list[Any]) -> np.ndarray:
        return (np.abs(np.array(values, dtype=float).T / truth - 1) <= TOLERANCE).T  # None becomes NaN: not right

    own = [net["llckit"] for net in nets]
    samples = np.mean([[answer["samples"] for answer in answers] for answers in own], 0).tolist()
    found = {"llckit, zero tuning": scored(samples, right([[[x["llc"] for x in answers]] for answers in own]))}
    spent = [float(BATCH * budget) for budget in steps]
    sgld = right([net["peers"]["SGLD"] for net in nets])
    found["SGLD, best step per net"] = scored(spent, sgld)
    found["SGLD, best per net and budget"] = scored(spent, sgld.max(axis=1, keepdims=True))
    for tool, sizes in STEP_SIZES.items():
        within = right([net["peers"][tool] for net in nets])
        each = [scored(spent, within[:, [i]]) | {"step_size": size} for i, size in enumerate(sizes)]
        found[f"{tool}, one step for all"] = min(each, key=lambda x: (x["cost"] or math.inf, -sum(x["share"])))
    return found


def summarize(cases: Mapping[str, Any], steps: Sequence[int]) -> dict[str, Any]:
    """The scores by kind of labels."""
    groups = {kind: [net for name, net in cases.items() if name.startswith(label)] for kind, label in CASES.items()}
    return {kind: {"nets": len(nets)} | summary_of(nets, steps) for kind, nets in groups.items() if nets}


def report(document: Document) -> str:
    """Costs and shares by kind of labels and tool."""
    parts = []
    for kind, found in document["summary"].items():
        tools = {tool: x for tool, x in found.items() if tool != "nets"}
        title = f"{CASES[kind]}, {found['nets']} nets"
        header = [title, "samples a chain", f"share of nets within {TOLERANCE:.0%} at so many million samples"]
        parts.append(table(header, [[tool, _cost(x), _shares(x)] for tool, x in tools.items()]))
    return "\n\n".join(parts)


def _cost(scores: Mapping[str, Any]) -> str:
    return f"{scores['cost'] / 1e6:.1f} million" if scores["cost"] else "not reached"


def _shares(scores: Mapping[str, Any]) -> str:
    pairs = zip(scores["samples"], scores["share"], strict=True)
    return ", ".join(f"{percent(share, 0)} at {n / 1e6:.2g}" for n, share in pairs)


def figures(document: Document) -> dict[str, Any]:
    """Share of nets within 3 % against samples per chain."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, (kind, title) in zip(panels, CASES.items(), strict=True):
        tools = {tool: x for tool, x in document["summary"].get(kind, {}).items() if tool != "nets"}
        for (tool, x), color, marker in zip(tools.items(), COLORS, MARKERS, strict=bool(tools)):
            axes.plot(np.array(x["samples"]) / 1e6, x["share"], label=tool, color=color, marker=marker)
        axes.axhline(SHARE, color="0.6", linestyle="--", linewidth=1)
        axes.set(title=title, xlabel="million samples per chain", xscale="log", ylim=(-0.03, 1.03))
        axes.set_xticks([0.125, 0.5, 2, 8, 32], ["0.125", "0.5", "2", "8", "32"])
        axes.minorticks_off()
        axes.grid(color="0.9", linewidth=0.6)
    panels[0].set_ylabel(f"share of nets within {TOLERANCE:.0%}")
    legend = max((axes.get_legend_handles_labels() for axes in panels), key=lambda x: len(x[0]))
    figure.legend(*legend, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return {"samples_to_error": figure}


def main() -> None:
    """Run all nets through all tools."""
    doubled = [250 * 2**k for k in range(7)]
    sizes = {
        "nets": (30, 1),
        "samples": (10_000, 1000),
        "most_layers": (6, 3),
        "widest": (60, 6),
        "gradients_realizable": (doubled, [25, 100]),  # of llckit, per chain
        "gradients_noise": ([*doubled, 32_000], [25, 100]),  # 90 % are right later, and have to be for longer
        "steps": ([250 * 2**k for k in range(6)], [25, 100]),  # of the others
        "long_run": (LONG_RUN, {"num_chains": 4, "num_burnin": 20, "num_draws": 20}),
    }
    run = begin(__file__, __doc__, report, sizes=sizes, settings={"chains": CHAINS, "step_sizes": STEP_SIZES})
    seeds = range(run.sizes["nets"])
    cases = {f"{label}, net {seed}": (kind, seed) for seed in seeds for kind, label in CASES.items()}
    run.measure(cases, Study(run.sizes).run, lambda found: summarize(found, run.sizes["steps"]))


if __name__ == "__main__":
    main()
