"""One task, three architectures at the same test loss: weight sharing, local connections without it, all to all.

    python benchmarks/architectures.py [--seeds N] [--out benchmarks/results/architectures.json]

Inputs are 10 normal numbers on a ring; the target, of variance 1, is the mean over places of ReLU(u·x) − ReLU(u'·x), u
and u' acting on three neighbours: invariant under shifts. Each net is trained by Adam on 1000 samples until its mean
squared error on 2000 others is at most 0.02 for the first time (looked at every 5 steps):

* shared: a circular convolution to 4 channels over 3 neighbours, ReLU, mean over places, a linear readout;
* sparse: the same connections, each place with weights and a readout of its own;
* dense: 40 ReLU units that see all 10 inputs.

None is at a minimum of the training loss there, so all are compared by the behavioral loss, the mean squared distance
from the net's own outputs, of which each is a minimum: λ̂ at two scales nβ, n/ln n = 145 and ten times that, γ = 10 for
all; d_eff = 2λ̂; the bracket ½ rank <= λ <= ½ (d − dimension of the symmetry orbit), and λ̂ relative to its upper end and
to d/2. At finite nβ directions of small curvature, nβh < γ, do not count, so λ̂ may be below ½ rank.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

import llckit as lk
from llckit.environment import environment
from llckit.geometry import relative_complexity
from llckit.toys import squared_error

RESULTS = Path(__file__).parent / "results" / "architectures.json"
PLACES, NEIGHBOURS, CHANNELS, HIDDEN = 10, 3, 4, 40
TRAINING, TEST = 1000, 2000
TEST_LOSS, LEARNING_RATE, MOST_STEPS, CHECKED_EVERY = 0.02, 1e-2, 5000, 5
SCALES = [factor * TRAINING / math.log(TRAINING) for factor in (1, 10)]
QUICK = {"localization": 10.0, "num_chains": 4, "num_draws": 150, "max_grad_evals": 4000, "progress": False}


class Sparse(nn.Module):
    """The connections of a circular convolution without its sharing of weights."""

    def __init__(self) -> None:
        super().__init__()
        layers = (
            nn.Sequential(nn.Linear(NEIGHBOURS, CHANNELS), nn.ReLU(), nn.Linear(CHANNELS, 1, bias=False))
            for _ in range(PLACES)
        )
        self.places = nn.ModuleList(layers)
        self.level = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, 1)."""
        seen = torch.cat([x[:, -1:], x, x[:, :1]], 1).unfold(1, NEIGHBOURS, 1)
        return torch.stack([place(seen[:, i]) for i, place in enumerate(self.places)]).sum(0) + self.level


def shared() -> nn.Module:
    """The convolution."""
    return nn.Sequential(
        nn.Unflatten(1, (1, PLACES)),
        nn.Conv1d(1, CHANNELS, NEIGHBOURS, padding=NEIGHBOURS // 2, padding_mode="circular"),
        nn.ReLU(),
        nn.AvgPool1d(PLACES),
        nn.Flatten(),
        nn.Linear(CHANNELS, 1),
    )


def dense() -> nn.Module:
    """The MLP."""
    return nn.Sequential(nn.Linear(PLACES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))


ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {"shared": shared, "sparse": Sparse, "dense": dense}


def samples() -> tuple[Tensor, Tensor]:
    """Inputs (n, 10) and targets (n, 1), training samples first."""
    generator = torch.Generator().manual_seed(5)
    kernels = torch.randn(2, 1, NEIGHBOURS, generator=generator)
    inputs = torch.randn(TRAINING + TEST, PLACES, generator=generator)
    around = functional.pad(inputs[:, None], (1, 1), mode="circular")
    targets = torch.relu(functional.conv1d(around, kernels)).mean(2) @ torch.tensor([[1.0], [-1.0]])
    return inputs, (targets - targets.mean()) / targets.std()


def trained(name: str, seed: int) -> tuple[nn.Module, Tensor, float, int]:
    """The net, its training inputs, its test loss, and the steps it took."""
    torch.manual_seed(seed)
    model = ARCHITECTURES[name]()
    inputs, targets = samples()
    train, test = ((inputs[part], targets[part]) for part in (slice(0, TRAINING), slice(TRAINING, None)))
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    for step in range(MOST_STEPS):
        if step % CHECKED_EVERY == 0:
            with torch.no_grad():
                loss = squared_error(model, test).mean().item()
            if loss <= TEST_LOSS:
                return model, train[0], loss, step
        optimizer.zero_grad()
        squared_error(model, train).mean().backward()
        optimizer.step()
    raise lk.EstimationError(f"{name}, seed {seed}: no test loss of {TEST_LOSS} within {MOST_STEPS} steps")


def measure(name: str, seed: int) -> dict[str, Any]:
    """One net."""
    start = time.process_time()
    model, inputs, test_loss, steps = trained(name, seed)
    own = inputs, model(inputs).detach()
    box = lk.bracket(model, own, squared_error, progress=False)
    row: dict[str, Any] = {"architecture": name, "seed": seed, "steps": steps, "test_loss": test_loss}
    row |= {"dim": box.dim, "orbit_dim": box.orbit_dim, "lower": box.lower, "upper": box.upper, "scales": []}
    for n_beta in SCALES:
        estimate = lk.estimate_llc(model, own, squared_error, n_beta=n_beta, **QUICK)
        relative = relative_complexity(estimate.llc, box, estimate.mcse)
        row["scales"].append(
            {
                "n_beta": n_beta,
                "llc": estimate.llc,
                "mcse": estimate.mcse,
                "d_eff": 2 * estimate.llc,
                "rhat": estimate.rhat,
                "outcome": estimate.outcome.value,
            }
            | relative._asdict()
        )
    return row | {"seconds": time.process_time() - start}


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, metavar="N")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FILE.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cases = [(name, seed) for name in ARCHITECTURES for seed in range(arguments.seeds)]
    rows = [measure(*case) for case in tqdm(cases, disable=None)]
    print(f"test loss at most {TEST_LOSS}; means over {arguments.seeds} seeds ± standard error")
    print(
        f"{'':8} {'d':>4} {'orbit':>5} {'bracket':>15} {'nβ':>6} {'λ̂':>14} {'d_eff':>6} {'λ̂/upper':>8} {'λ̂/(d/2)':>8}"
    )
    for name in ARCHITECTURES:
        of = [row for row in rows if row["architecture"] == name]
        low, high = (np.mean([row[end] for row in of]) for end in ("lower", "upper"))
        for i, n_beta in enumerate(SCALES):
            llc, bound, half = (
                np.array([row["scales"][i][key] for row in of]) for key in ("llc", "of_bound", "of_dimension")
            )
            error = llc.std(ddof=1) / math.sqrt(len(llc)) if len(llc) > 1 else of[0]["scales"][i]["mcse"]
            sizes = f"{of[0]['dim']:4} {of[0]['orbit_dim']:5} {low:6.1f} … {high:6.1f}"
            ratios = f"{2 * llc.mean():6.1f} {bound.mean():8.3f} {half.mean():8.3f}"
            print(f"{name:8} {sizes} {n_beta:6.0f} {llc.mean():7.2f} ± {error:4.2f} {ratios}")
    settings = {"test_loss": TEST_LOSS, "samples": TRAINING, "scales": SCALES} | QUICK
    document = {"environment": environment(), "settings": settings, "nets": rows}
    arguments.out.write_text(json.dumps(document) + "\n")


if __name__ == "__main__":
    main()
