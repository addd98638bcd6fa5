"""Memory of an estimate: numbers per weight and chain by sampler, and a net of the size of GPT-2.

    python -m benchmarks.cost.memory

Every figure is the peak of a process of its own. `per_chain` is how much that peak grows from 2 to 6 chains of a net
with nine million weights, in copies of its weights. `beside` is what is left of the peak with 2 chains if they, the
process before sampling and one forward and backward pass are taken off. The large net has GPT-2's shape (12 blocks of
width 768, 50257 tokens; 124 million weights, at random) and reads two sequences of 64 tokens, with two chains of SGLD.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

import llckit as lk
from benchmarks._harness import Document, begin, in_own_process, module_of
from benchmarks._models import Block, Case, cross_entropy, local_posterior, mean_squared_error
from benchmarks._tables import digits, table
from llckit.sampling import FixedDraws, Sampler, sample

SAMPLERS = ("sgld", "rmsprop_sgld", "sgnht", "baoab", "mala", "hmc")
OWN_STEP = ("baoab", "mala", "hmc")  # those that find their step size
CHAINS = (2, 6)
LARGE = "GPT-2"


class GPT2(nn.Module):
    """Its shape, with tied embedding."""

    def __init__(self, vocabulary: int, width: int, blocks: int) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(vocabulary, width), nn.Parameter(0.02 * torch.randn(1024, width))
        self.blocks = nn.Sequential(*(Block(width, max(1, width // 64)) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits, shape (batch, tokens, vocabulary)."""
        hidden = self.embed(tokens) + self.place[: tokens.shape[1]]
        return self.norm(self.blocks(hidden)) @ self.embed.weight.T


def peak() -> int:
    """Bytes of this process at its largest."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure_sampler(name: str, chains: int, width: int) -> dict[str, float]:
    """Peaks of one sampler, to be called in a process of its own.

    Args:
        name: The sampler.
        chains: Number of chains.
        width: Inputs and outputs of the one linear layer.

    Returns:
        Bytes before, with one bare pass and with sampling, and the number of parameters.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = nn.Linear(width, width, bias=False)
    case = Case(model, (torch.randn(8, width), torch.randn(8, width)), mean_squared_error)
    task = lk.Task(case.model, case.data, case.loss_fn)
    before = peak()
    task.loss_fn(task.model, case.data).backward()
    task.model.zero_grad()
    bare = peak()
    posterior = local_posterior(task, n_beta=10.0, localization=1.0, rows=chains)
    make = getattr(lk, name)
    sampler: Sampler = make() if name in OWN_STEP else make(step_size=1e-8)
    sample(posterior, sampler, num_burnin=3, stopping=FixedDraws(8, 1000))
    return {"before": before, "bare": bare, "peak": peak(), "parameters": task.dim}


def measure_large(vocabulary: int, width: int, blocks: int) -> dict[str, float]:
    """Peak of two chains of SGLD on a language model, to be called in a process of its own."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = GPT2(vocabulary, width, blocks)
    tokens = torch.randint(vocabulary, (2, 65))
    data = tokens[:, :-1], tokens[:, 1:]
    before = peak()
    scale = {"n": 128, "n_beta": 30.0, "localization": 100.0}
    draws = {"sampler": lk.sgld(step_size=1e-7), "num_chains": 2, "num_burnin": 2, "num_draws": 8}
    found = lk.estimate_llc(model, data, cross_entropy, progress=False, **scale, **draws)
    parameters = sum(weight.numel() for weight in model.parameters())
    return {"before": before, "peak": peak(), "llc": found.llc, "parameters": parameters}


def ask(function: str, *arguments: Any) -> dict[str, float]:
    """One of the two above, in another process."""
    # By itself glibc keeps freed tensors of up to 32 MiB for later use, more of them the longer a process runs.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
    return in_own_process(f"{module_of(__file__)}:{function}", *arguments, environment=environment)


def measure(name: str, sizes: Mapping[str, Any]) -> dict[str, float]:
    """One sampler, or the large net."""
    if name == LARGE:
        return ask("measure_large", *sizes["large"])
    few, many = (ask("measure_sampler", name, chains, sizes["width"]) for chains in CHAINS)
    copy = 4 * few["parameters"]
    per_chain = (many["peak"] - few["peak"]) / (CHAINS[1] - CHAINS[0]) / copy
    return {"per_chain": per_chain, "beside": (few["peak"] - few["bare"]) / copy - CHAINS[0] * per_chain}


def report(document: Document) -> str:
    """Copies of the weights by sampler; gigabytes of the large net."""
    cases = document["cases"]
    samplers = {name: row for name, row in cases.items() if name != LARGE}
    rows = [[name, f"{row['per_chain']:.1f}", f"{row['beside']:.1f}"] for name, row in samplers.items()]
    text = table(["sampler", "copies of the weights a chain", "beside them"], rows)
    if LARGE in cases:
        row = cases[LARGE]
        peak, before = (f"{row[key] / 1e9:.1f} GB" for key in ("peak", "before"))
        text += (
            f"\n\nA net of GPT-2's size ({digits(row['parameters'] / 1e6)} million weights) with two chains of `sgld` "
            f"peaks at {peak}, of which the libraries and the model take {before}."
        )
    return text


def main() -> None:
    """Measure all samplers, then the large net."""
    sizes = {"samplers": (SAMPLERS, ["sgld"]), "width": (3000, 300), "large": ((50257, 768, 12), None)}
    run = begin(__file__, __doc__, report, sizes=sizes, settings={"chains": CHAINS})
    names = [*run.sizes["samplers"], *([LARGE] if run.sizes["large"] else [])]
    run.measure({name: name for name in names}, lambda name: measure(name, run.sizes))


if __name__ == "__main__":
    main()
