"""What a step of a chain costs, in forward and backward passes of the bare model on the same batch.

    python benchmarks/step_cost.py [--threads N] [--models K] [--out benchmarks/results/step_cost.json]

Ten chains on the full loss, so that every step is one gradient a chain, beside ten passes of the model in a plain loop:
three MLPs and a small transformer. `gradient` is the posterior alone, `hmc` and `sgld` are what `sample` takes for a
gradient, with all that it does around its draws; `compiled` is the same with `compile=True`, for models whose
chains run together. Figures are ratios of medians; all sides take turns in one process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

import llckit as lk
from llckit.environment import environment
from llckit.posterior import LocalPosterior
from llckit.sampling import FixedDraws, Sampler, sample

RESULTS = Path(__file__).parent / "results" / "step_cost.json"
CHAINS, DRAWS = 10, 30
SECONDS = 12.0  # a model and side, about


class Case(NamedTuple):
    """A model with one batch."""

    model: nn.Module
    data: tuple[Tensor, Tensor]
    loss_fn: Callable[[Any, Any], Tensor]


class Block(nn.Module):
    """Causal attention and an MLP, each with a residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, tokens, width) to the same."""
        q, k, v = self.qkv(self.norms[0](x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norms[1](x))


class Transformer(nn.Module):
    """Two blocks of width 128 on 64 tokens of a vocabulary of 256."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(256, 128), nn.Parameter(0.02 * torch.randn(64, 128))
        self.blocks = nn.Sequential(Block(128, 4), Block(128, 4))
        self.head = nn.Linear(128, 256)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits, shape (batch, tokens, vocabulary)."""
        return self.head(self.blocks(self.embed(tokens) + self.place))


def squared_error(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Mean over samples and outputs."""
    return F.mse_loss(model(batch[0]), batch[1])


def cross_entropy(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Mean over tokens."""
    return F.cross_entropy(model(batch[0]).flatten(0, 1), batch[1].flatten())


def mlp(*widths: int, samples: int = 1000) -> Case:
    """ReLU layers, and random inputs and targets."""
    layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())][:-1]
    return Case(
        nn.Sequential(*layers), (torch.randn(samples, widths[0]), torch.randn(samples, widths[-1])), squared_error
    )


def cases() -> list[Case]:
    """30, 12 thousand, 118 thousand and half a million parameters."""
    tokens = torch.randint(256, (32, 65))
    transformer = Case(Transformer(), (tokens[:, :-1], tokens[:, 1:]), cross_entropy)
    return [mlp(4, 4, 2), mlp(64, 96, 64), mlp(784, 128, 128, 10), transformer]


def bare_passes(case: Case) -> Callable[[], int]:
    """Forward and backward of the model alone, ten times; gives the number of passes."""

    def run() -> int:
        for _ in range(CHAINS):
            case.loss_fn(case.model, case.data).backward()
            case.model.zero_grad()
        return CHAINS

    return run


def gradients(posterior: LocalPosterior) -> Callable[[], int]:
    """The posterior of all chains, once."""
    start = posterior.checkpoint.weights.repeat(CHAINS, 1)

    def run() -> int:
        posterior(start)
        return CHAINS

    return run


def draws(posterior: LocalPosterior, sampler: Sampler) -> Callable[[], int]:
    """Some draws of all chains, by the driver, as users get them; gives its gradients."""

    def run() -> int:
        trace = sample(posterior, sampler, num_burnin=0, stopping=FixedDraws(DRAWS, 10**6))
        return CHAINS * trace.grad_evals

    return run


def posteriors(task: lk.Task, case: Case) -> dict[str, LocalPosterior]:
    """The posterior, and a compiled one where chains run together, by what their figures are marked with."""
    tasks = {"": task}
    if task.flat_loss.is_batched(task.n * task.checkpoint().bytes_per_sample):
        tasks[", compiled"] = lk.Task(case.model, case.data, case.loss_fn, compile=True)
    return {
        mark: LocalPosterior(each.checkpoint(), n_beta=100.0, localization=1.0, rows=CHAINS)
        for mark, each in tasks.items()
    }


def seconds_a_pass(sides: dict[str, Callable[[], int]]) -> dict[str, float]:
    """Median seconds of a pass by side, in turns."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    end = time.perf_counter() + SECONDS * len(sides)
    while time.perf_counter() < end or len(times["bare"]) < 5:
        for name, side in sides.items():
            start = time.perf_counter()
            passes = side()
            times[name].append((time.perf_counter() - start) / passes)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def main() -> None:
    """Time all cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--models", type=int, default=4, metavar="K", help="the first K only; the last takes minutes")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FILE.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    rows = []
    for case in tqdm(cases()[: arguments.models], desc="models"):
        task = lk.Task(case.model, case.data, case.loss_fn)
        sides = {"bare": bare_passes(case)}
        for mark, posterior in posteriors(task, case).items():
            sides[f"gradient{mark}"] = gradients(posterior)
            sides[f"hmc{mark}"] = draws(posterior, lk.hmc(step_size=1e-4))
            if not mark:
                sides["sgld"] = draws(posterior, lk.sgld(step_size=1e-8))
        found = seconds_a_pass(sides)
        rows.append({"parameters": task.dim, "seconds": found["bare"]})
        rows[-1] |= {name: found[name] / found["bare"] for name in sides if name != "bare"}
    document = {"environment": environment(), "threads": arguments.threads, "chains": CHAINS, "models": rows}
    arguments.out.write_text(json.dumps(document) + "\n")
    print("parameters  bare pass  gradient    hmc   sgld  compiled gradient    hmc   (in bare passes a chain)")
    for row in rows:
        shown = " ".join(f"{row[name]:6.2f}" for name in ("gradient", "hmc", "sgld"))
        if "gradient, compiled" in row:
            shown += f"{row['gradient, compiled']:19.2f} {row['hmc, compiled']:6.2f}"
        print(f"{row['parameters']:10}  {1e3 * row['seconds']:6.2f} ms  {shown}")


if __name__ == "__main__":
    main()
