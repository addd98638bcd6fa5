"""What an estimate costs: samples processed until 90 % of 30 random deep linear nets are within 3 %, and remain so.

    python benchmarks/cost.py [--case realizable|noise] [--out benchmarks/results/cost.json] [--plot FILE.png]

llckit with zero tuning beside SGLD and RMSProp-SGLD with six step sizes each, at nβ = n/ln n and γ = 1, 8 chains, the
same 10 000 samples, without label noise and with it. Results are written after every net, and a second start goes on
where the first one stopped, and adds budgets of llckit that are not there yet; its answers are found again where its
sampling has changed since. Samples are per chain, without what L(w*) and the choice of settings take once for all.

The samplers beside llckit: w ← w − ε/2 G (nβ ∇L_B + γ (w − w*)) + √(εG) η. For SGLD G = 1; for RMSProp-SGLD
G = 1/(√v̂ + 0.1), v̂ = v/(1 − bᵗ), v ← b v + (1 − b) ∇L_B² from v = 1, b = 0.99. A draw has the excess
nβ (L_B(w) − L(w*)), with L(w*) on all samples.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from llckit.llc.run import VERSION
from torch import Tensor, nn
from tqdm import tqdm

import llckit as lk
from llckit.environment import environment
from llckit.toys import deep_linear_llc, deepest_point, random_widths, squared_error

RESULTS = Path(__file__).parent / "results" / "cost.json"
CASES = {"realizable": "no label noise", "noise": "label noise, σ = 1"}
SAMPLES, BATCH, CHAINS = 10_000, 512, 8
SCALE = {"n_beta": SAMPLES / math.log(SAMPLES), "localization": 1.0}
GRADIENTS = {"realizable": [250 * 2**k for k in range(7)]}  # of llckit, per chain
GRADIENTS["noise"] = [*GRADIENTS["realizable"], 32_000]  # 90 % are right later, and have to be for longer
GUIDED = 0.22  # of a gradient of all samples is what one of a guide takes, with its share of the energies
STEPS, BURNIN = [250 * 2**k for k in range(6)], 0.2  # of the others, and the share that is warm-up
STEP_SIZES = {"SGLD": [1e-6 * 2**k for k in range(6)], "RMSProp-SGLD": [2.5e-7 * 2**k for k in range(6)]}
DECAY, EPS = 0.99, 0.1  # of RMSProp, as published
LONG_RUN = {"num_chains": 64, "num_burnin": 300, "num_draws": 800, "max_grad_evals": 100_000}
TOLERANCE, SHARE = 0.03, 0.9
SLACK = 1.1  # the last trajectory exceeds a budget, so that budgets do not double exactly
SETTINGS = {"steps": STEPS, "step_sizes": STEP_SIZES, "scale": SCALE, "long_run": LONG_RUN}
COLORS, MARKERS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7"), "o^<vs"


class Net(NamedTuple):
    """A deep linear net W_L ⋯ W_1 = T at w*, with its samples; e = y − Tx has no columns where it is zero."""

    weights: list[Tensor]
    target: Tensor
    x: Tensor
    residual: Tensor

    def estimate(self, x: Tensor, y: Tensor, **settings: Any) -> lk.LLCEstimate:
        """By llckit, from these samples."""
        layers = [nn.Linear(weight.shape[1], weight.shape[0], bias=False) for weight in self.weights]
        for layer, weight in zip(layers, self.weights, strict=True):
            layer.weight.data = weight
        return lk.estimate_llc(nn.Sequential(*layers), (x, y), squared_error, progress=False, **SCALE, **settings)


def make_net(seed: int, case: str, widths: Sequence[int], rank: int) -> Net:
    """Weights and samples; label noise has its fit by least squares taken off, so that w* is the empirical minimum."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(SAMPLES, widths[0], generator=generator, dtype=torch.float64)
    residual = torch.randn(SAMPLES, widths[-1] if case == "noise" else 0, generator=generator, dtype=torch.float64)
    residual -= x @ torch.linalg.lstsq(x, residual).solution
    weights = deepest_point(widths, rank, seed)
    return Net(weights, torch.linalg.multi_dot(weights[::-1]), x.float(), residual.float())


def condensed(net: Net) -> tuple[Tensor, Tensor]:
    """As few samples as x has columns, with the same L − L(w*) at all weights."""
    # It depends on second moments alone, and residuals at the empirical minimum are orthogonal to x.
    x = (torch.linalg.qr(net.x.double(), mode="r").R * math.sqrt(net.x.shape[1] / SAMPLES)).float()
    return x, x @ net.target.T


def find_reference(net: Net, seed: int) -> dict[str, float]:
    """E[nβ (L − L*)] from a long run."""
    run = net.estimate(*condensed(net), seed=1_000_003 + seed, **LONG_RUN)
    return {"value": run.llc, "mcse": run.mcse, "rhat": run.rhat, "virial": run.virial}


def samples_processed(estimate: lk.LLCEstimate, n: int) -> int:
    """Samples that each chain of llckit computed a loss or gradient of."""
    settings = estimate.settings
    samples = settings["grad_evals"] * (settings["subset"] or settings["batch_size"] or n)
    if settings["batch_size"] is not None:  # all decide on each trajectory, and at every tenth draw give the virial
        samples += (settings["num_burnin"] + settings["num_draws"] + settings["num_draws"] // 10) * n
    return samples


def run_llckit(net: Net, seed: int, budgets: Sequence[int]) -> list[dict[str, Any]]:
    """One estimate for every budget, each from scratch."""
    y, answers = net.x @ net.target.T, []
    y = y + net.residual if net.residual.shape[1] else y

    def estimate(budget: int) -> lk.LLCEstimate:  # which ends it, as its tolerance is out of reach
        return net.estimate(x, y, num_chains=CHAINS, rel_tol=1e-6, max_grad_evals=budget, seed=seed)

    x, share = net.x, 1.0
    choice = estimate(1).settings
    if choice["batch_size"] is None and choice["subset"] is None:  # all samples: the same numbers from fewer
        (x, y), share = condensed(net), GUIDED
    for budget in budgets:
        found = estimate(int(share * budget))
        answer = {"samples": samples_processed(found, SAMPLES), "llc": finite(found.llc), "mcse": finite(found.mcse)}
        answers.append(answer | {"outcome": found.outcome.value, "gradients": choice["gradients"]})
    return answers


def finite(value: float) -> float | None:
    """The number, or None for what JSON has no word for."""
    return float(value) if math.isfinite(value) else None


def gradients(weights: list[Tensor], target: Tensor, moments: Tensor, cross: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Mean of ‖(M − T) x − e‖² − ‖e‖², M = W_L ⋯ W_1, and its gradients, row by row, from means of x xᵀ and e xᵀ."""
    inputs = [weights[0]]
    for weight in weights[1:]:
        inputs.append(weight @ inputs[-1])
    away = inputs.pop() - target
    half = away @ moments
    losses = (away * half).sum((1, 2))
    if len(cross):
        losses -= 2 * (away * cross).sum((1, 2))
        half -= cross
    back, grads = 2 * half, []
    for weight, before in zip(weights[:0:-1], inputs[::-1], strict=True):
        grads.append(back @ before.mT)
        back = weight.mT @ back
    return losses, [back, *grads[::-1]]


def run_langevin(net: Net, seed: int) -> dict[str, list[list[float | None]]]:
    """λ̂ by sampler, step size and budget, all step sizes and chains being rows of one computation."""
    # Of a minibatch only second moments matter. The two samplers share minibatches and noise; chains and sizes do not.
    rows = CHAINS * len(STEP_SIZES["SGLD"])
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.tensor([*STEP_SIZES["SGLD"], *STEP_SIZES["RMSProp-SGLD"]]).repeat_interleave(CHAINS)[:, None, None]
    weights = [weight.repeat(2 * rows, 1, 1) for weight in net.weights]
    squares = [torch.ones(rows, *weight.shape) for weight in net.weights]
    columns, width, norms = torch.cat([net.x, net.residual], 1), net.x.shape[1], net.residual.square().sum(1)
    norms -= norms.mean()  # which is L(w*)
    excess = torch.empty(STEPS[-1], 2 * rows, dtype=torch.float64)
    for step in range(STEPS[-1]):
        indices = torch.randint(SAMPLES, (rows, BATCH), generator=generator)
        batch = columns.index_select(0, indices.flatten()).view(rows, BATCH, -1)
        moments = (batch.mT @ batch[..., :width] / BATCH).repeat(2, 1, 1)
        cross = moments[:, width:] if net.residual.shape[1] else moments[:0]
        losses, grads = gradients(weights, net.target, moments[:, :width], cross)
        excess[step] = SCALE["n_beta"] * (losses + norms[indices].mean(1).repeat(2))
        for weight, grad, square, center in zip(weights, grads, squares, net.weights, strict=True):
            square.mul_(DECAY).addcmul_(grad[rows:], grad[rows:], value=1 - DECAY)
            scaled = sizes.repeat(1, *center.shape)
            scaled[rows:] /= (square / (1 - DECAY ** (step + 1))).sqrt_() + EPS
            force = (weight - center).mul_(SCALE["localization"]).add_(grad, alpha=SCALE["n_beta"])
            weight.addcmul_(scaled, force, value=-0.5)
            weight.addcmul_(scaled.sqrt_(), torch.empty_like(square).normal_(generator=generator).repeat(2, 1, 1))
    by_size = excess.view(STEPS[-1], 2, -1, CHAINS).mean(3)
    means = torch.stack([by_size[int(BURNIN * budget) : budget].mean(0) for budget in STEPS], 2).tolist()
    return {name: [[finite(x) for x in llc] for llc in tool] for name, tool in zip(STEP_SIZES, means, strict=True)}


def run_net(seed: int, case: str, known: dict[str, Any]) -> dict[str, Any]:
    """One net through all tools but those whose answers are known; its reference is the same in both cases."""
    widths, rank = random_widths(seed, most_layers=6, widest=60)
    net = make_net(seed, case, widths, rank)
    row = {"seed": seed, "version": VERSION, "widths": widths, "rank": rank, "llc": deep_linear_llc(widths, rank)[0]}
    row["seconds"] = {}
    for tool, find in (("reference", find_reference), ("peers", run_langevin)):
        start = time.perf_counter()
        row[tool] = known[tool] if tool in known else find(net, seed)
        row["seconds"][tool] = known.get("seconds", {}).get(tool) if tool in known else time.perf_counter() - start
    earlier, start = known.get("llckit", []), time.perf_counter()
    row["llckit"] = earlier + run_llckit(net, seed, GRADIENTS[case][len(earlier) :])
    row["seconds"]["llckit"] = time.perf_counter() - start + (known["seconds"]["llckit"] if earlier else 0.0)
    return row


def scored(samples: list[float], right: np.ndarray) -> dict[str, Any]:
    """Share of nets that are right, by budget; the cost is the budget from which to four times which it is enough."""
    # `right` has the shape (nets, steps, budgets); a net's step is the one that is right most often over that range.
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


def summarize(nets: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The scores of all tools."""
    truth = np.array([net["reference"]["value"] for net in nets])

    def right(values: list[Any]) -> np.ndarray:
        return (np.abs(np.array(values, dtype=float).T / truth - 1) <= TOLERANCE).T  # None becomes NaN: not right

    own = [net["llckit"] for net in nets]
    least = min(len(answers) for answers in own)
    own = [answers[:least] for answers in own]  # while a budget is being added
    samples = np.mean([[answer["samples"] for answer in answers] for answers in own], 0).tolist()
    found = {"llckit, zero tuning": scored(samples, right([[[x["llc"] for x in answers]] for answers in own]))}
    spent = [float(BATCH * steps) for steps in STEPS]
    sgld = right([net["peers"]["SGLD"] for net in nets])
    found["SGLD, best step per net"] = scored(spent, sgld)
    found["SGLD, best per net and budget"] = scored(spent, sgld.max(axis=1, keepdims=True))
    for tool, sizes in STEP_SIZES.items():
        within = right([net["peers"][tool] for net in nets])
        each = [scored(spent, within[:, [i]]) | {"step_size": size} for i, size in enumerate(sizes)]
        found[f"{tool}, one step for all"] = min(each, key=lambda x: (x["cost"] or math.inf, -sum(x["share"])))
    return found


def print_table(cases: dict[str, Any]) -> None:
    """Costs and shares by case and tool."""
    for case, result in cases.items():
        print(f"{CASES[case]}, {len(result['nets'])} nets: cost; share within {TOLERANCE:.0%} by samples per chain")
        for tool, x in result["summary"].items():
            cost = f"{x['cost'] / 1e6:.2f} M" if x["cost"] else "not reached"
            shares = (f"{share:4.0%} at {n / 1e6:.2f} M" for n, share in zip(x["samples"], x["share"], strict=True))
            print(f"  {tool:28s} {cost:12s}" + ", ".join(shares))


def draw(cases: dict[str, Any], path: Path) -> None:
    """Share of nets within 3 % against samples per chain."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, (case, title) in zip(panels, CASES.items(), strict=True):
        tools = cases.get(case, {}).get("summary", {})
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
    figure.savefig(path, dpi=160)


def main() -> None:
    """Run the nets that are not there yet, then print the table and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, help="one of the two; both if left out")
    parser.add_argument("--nets", type=int, default=30, metavar="K")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FILE.json")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="also draw the shares")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    document = {"environment": environment(), "settings": SETTINGS, "cases": {}}
    if arguments.out.exists():
        document = json.loads(arguments.out.read_text())
        if document["settings"] != SETTINGS:
            parser.error(f"--out {arguments.out} was made with other settings; move it away, or name another file")
    cases = document["cases"]
    asked = [(case, seed) for case in ([arguments.case] if arguments.case else CASES) for seed in range(arguments.nets)]
    for case, seed in tqdm(asked, desc="nets", unit="net"):
        nets = cases.setdefault(case, {"nets": []})["nets"]
        here = {net["seed"]: net for net in nets}
        valid = seed in here and here[seed]["version"] == VERSION
        if valid and len(here[seed]["llckit"]) == len(GRADIENTS[case]):
            continue
        same = [net for other in cases.values() for net in other["nets"] if net["seed"] == seed]
        known = {"reference": same[0]["reference"]} if same else {}
        kept = ("peers", "seconds", "llckit") if valid else ("peers", "seconds")
        known |= {key: here[seed][key] for key in kept if seed in here}
        here[seed] = run_net(seed, case, known)
        nets[:] = [here[seed] for seed in sorted(here)]
        cases[case]["summary"] = summarize(nets)
        unfinished = arguments.out.with_suffix(".part")
        unfinished.write_text(json.dumps(document) + "\n")
        unfinished.replace(arguments.out)
    print_table(cases)
    if arguments.plot is not None:
        draw(cases, arguments.plot)


if __name__ == "__main__":
    main()
