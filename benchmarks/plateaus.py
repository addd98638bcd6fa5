"""Does `scale_profile` find the plateau where there is one, and none where there is none? Default settings.

    python benchmarks/plateaus.py [--out benchmarks/results/plateaus.json]

Twenty nets of the catalogue with m = 1. Left out are nets of more than two layers with hundreds of weights, which take
minutes a rung, and tanh nets with one input and one output, whose λ̂ still rises where single precision ends. Then
w₁²w₂² on nβ = 1 … 100, and a tanh net that is half-trained, which is no minimum at small scales of loss.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

import llckit as lk
from llckit.environment import environment
from llckit.toys import Toy, catalog

RESULTS = Path(__file__).parent / "results" / "plateaus.json"
NETS = (
    "linear 4-4-2 at zero",
    "linear 8-4-10 at zero",
    "linear 5-3-5, rank 3, deepest point",
    "linear 6-6-15, rank 2, deepest point",
    "linear 10-10-10, product rank 5, layer ranks 7 and 8",
    "linear 6-7-5, product rank 2, layer ranks 4 and 3",
    "linear 8-5-10, product rank 1, layer ranks 2 and 3",
    "linear 4-12-6, product rank 3, layer ranks 4 and 6",
    "linear 2-2-2, product rank 0, layer ranks 1 and 0",
    "tanh 1-2-3 at zero",
    "superposition 5-gon",
    "superposition 6-gon",
    "superposition 7-gon",
    "superposition 8-gon",
    "quadratic net, 2 units, 3 classes, normal inputs",
    "quadratic net, 3 units, 5 classes, normal inputs",
    "quadratic net, 5 units, 7 classes, normal inputs",
    "quadratic net, 4 units, 5 classes, pairs",
    "quadratic net, 5 units, 7 classes, pairs",
    "quadratic net, addition mod 3",
)


def profiled(toy: Toy, **settings: Any) -> dict[str, Any]:
    """The profile of one toy."""
    start = time.perf_counter()
    profile = lk.scale_profile(toy.model, toy.data, toy.loss_fn, progress=False, **settings)
    found = profile.llc_plateau
    return {
        "name": toy.name,
        "lambda": toy.llc,
        "plateau": profile.plateau,
        "llc": found,
        "error": None if found is None else found / toy.llc - 1,
        "n_beta": profile.n_beta.tolist(),
        "llcs": profile.llc.tolist(),
        "mcse": profile.mcse.tolist(),
        "outcomes": [estimate.outcome.value for estimate in profile.estimates],
        "seconds": time.perf_counter() - start,
    }


def half_trained() -> dict[str, Any]:
    """A profile of a tanh net after a few steps of training."""
    torch.manual_seed(0)
    inputs = torch.randn(500, 3)
    targets = torch.sin(2 * inputs[:, :1])
    model = nn.Sequential(nn.Linear(3, 12), nn.Tanh(), nn.Linear(12, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(inputs), targets).backward()
        optimizer.step()

    def loss_fn(model: nn.Module, batch: Any) -> torch.Tensor:
        return (model(batch[0]) - batch[1]).square().sum(1)

    profile = lk.scale_profile(model, (inputs, targets), loss_fn, progress=False)
    return {
        "n_beta": profile.n_beta.tolist(),
        "llcs": profile.llc.tolist(),
        "is_minimum": profile.is_minimum.tolist(),
        "plateau": profile.plateau,
    }


def main() -> None:
    """Run everything, write it with its summary."""
    parser = argparse.ArgumentParser(description="plateaus of nets with known λ")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    toys = {toy.name: toy for toy in catalog()}
    rows = [profiled(toys[name]) for name in tqdm(NETS, desc="nets")]
    without = profiled(toys["w1^2 w2^2"], n_beta=np.geomspace(1, 100, 7).tolist(), localization=1.0)
    errors = np.array([abs(row["error"]) for row in rows if row["error"] is not None])
    summary = {
        "nets": len(rows),
        "with_plateau": len(errors),
        "within_3_percent": int((errors <= 0.03).sum()),
        "worst": float(errors.max()),
        "w1^2 w2^2 below 100": without["plateau"],
    }
    print(json.dumps(summary, indent=1))
    document = {"environment": environment(), "summary": summary, "nets": rows, "w1^2 w2^2": without}
    arguments.out.write_text(json.dumps(document | {"half-trained": half_trained()}) + "\n")


if __name__ == "__main__":
    main()
