"""Memory of an estimate: numbers per weight and chain by sampler, and a net of the size of GPT-2.

    python benchmarks/memory.py [--skip-large] [--out benchmarks/results/memory.json]

Every figure is the peak of a process of its own. `per_chain` is how much that peak grows from 2 to 6 chains of a net
with nine million weights, in copies of its weights; `beside` is what is left of the peak with 2 chains when they, the
process before sampling and one forward and backward pass are taken off. The large net has GPT-2's shape (12 blocks of
width 768, 50257 tokens; 124 million weights, at random) and reads two sequences of 64 tokens, with two chains of SGLD.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import torch
from step_cost import Block, cross_entropy, squared_error
from torch import Tensor, nn
from tqdm import tqdm

import llckit as lk
from llckit.environment import environment
from llckit.posterior import LocalPosterior
from llckit.sampling import FixedDraws, Sampler, sample

RESULTS = Path(__file__).parent / "results" / "memory.json"
SAMPLERS = ("sgld", "rmsprop_sgld", "sgnht", "baoab", "mala", "hmc")
WIDTH, CHAINS = 3000, (2, 6)
LARGE = "GPT-2"


class GPT2(nn.Module):
    """Its shape, with tied embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(50257, 768), nn.Parameter(0.02 * torch.randn(1024, 768))
        self.blocks = nn.Sequential(*(Block(768, 12) for _ in range(12)))
        self.norm = nn.LayerNorm(768)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits, shape (batch, tokens, vocabulary)."""
        hidden = self.embed(tokens) + self.place[: tokens.shape[1]]
        return self.norm(self.blocks(hidden)) @ self.embed.weight.T


def peak() -> int:
    """Bytes of this process at its largest."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(what: str, chains: int) -> dict[str, float]:
    """In a process of its own: peaks before and after."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if what == LARGE:
        model = GPT2()
        tokens = torch.randint(50257, (2, 65))
        before = peak()
        found = lk.estimate_llc(
            model,
            (tokens[:, :-1], tokens[:, 1:]),
            cross_entropy,
            n=128,
            n_beta=30.0,
            localization=100.0,
            sampler=lk.sgld(step_size=1e-7),
            num_chains=chains,
            num_burnin=2,
            num_draws=8,
        )
        return {
            "before": before,
            "peak": peak(),
            "llc": found.llc,
            "parameters": sum(p.numel() for p in model.parameters()),
        }
    model = nn.Linear(WIDTH, WIDTH, bias=False)
    task = lk.Task(model, (torch.randn(8, WIDTH), torch.randn(8, WIDTH)), squared_error)
    before = peak()
    task.loss_fn(task.model, task.samples.first(8)).backward()
    task.model.zero_grad()
    bare = peak()
    posterior = LocalPosterior(task.checkpoint(), n_beta=10.0, localization=1.0, rows=chains)
    make = getattr(lk, what)
    sampler: Sampler = make() if what in ("baoab", "mala", "hmc") else make(step_size=1e-8)
    sample(posterior, sampler, num_burnin=3, stopping=FixedDraws(8, 1000))
    return {"before": before, "bare": bare, "peak": peak(), "parameters": task.dim}


def ask(what: str, chains: int) -> dict[str, float]:
    """`measure` in another process."""
    command = [sys.executable, __file__, "--measure", what, str(chains)]
    # By itself glibc keeps freed tensors of up to 32 MiB for later use, more of them the longer a process runs.
    own = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=own).stdout
    return json.loads(found.splitlines()[-1])


def main() -> None:
    """Measure all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--skip-large", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FILE.json")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure[0], int(arguments.measure[1]))))
        return
    rows: dict[str, dict[str, float]] = {}
    for name in tqdm(SAMPLERS, desc="samplers"):
        few, many = (ask(name, chains) for chains in CHAINS)
        copy = 4 * few["parameters"]
        per_chain = (many["peak"] - few["peak"]) / (CHAINS[1] - CHAINS[0]) / copy
        rows[name] = {"per_chain": per_chain, "beside": (few["peak"] - few["bare"]) / copy - CHAINS[0] * per_chain}
    document = {"environment": environment(), "samplers": rows}
    if not arguments.skip_large:
        document["large"] = ask(LARGE, 2)
    arguments.out.write_text(json.dumps(document) + "\n")
    for name, row in rows.items():
        print(f"{name:14}{row['per_chain']:6.1f} copies of the weights a chain, {row['beside']:5.1f} beside them")
    if "large" in document:
        print(f"{LARGE}: {document['large']['peak'] / 2**30:.1f} GiB, {document['large']['before'] / 2**30:.1f} before")


if __name__ == "__main__":
    main()
