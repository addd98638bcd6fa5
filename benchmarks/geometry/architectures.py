"""One task, three architectures at the same test loss: weight sharing, local connections without it, all to all.

    python -m benchmarks.geometry.architectures

Inputs are 10 normal numbers on a ring; the target, of variance 1, is the mean over places of ReLU(u·x) − ReLU(u'·x), u
and u' acting on three neighbours: invariant under shifts. Each net is trained by Adam on 1000 samples until its mean
squared error on 2000 others is at most 0.02 for the first time (checked every 5 steps):

* shared: a circular convolution to 4 channels over 3 neighbours, ReLU, mean over places, a linear readout;
* sparse: the same connections, each place with weights and a readout of its own;
* dense: 40 ReLU units that see all 10 inputs.

None is at a minimum of the training loss there, so all are compared by the behavioral loss, the mean squared distance
from the net's own outputs, of which each is a minimum: λ̂ at two scales nβ, n/ln n = 145 and ten times that, γ = 10 for
all; d_eff = 2λ̂; the bracket ½ rank <= λ <= ½ (d − dimension of the symmetry orbit), and λ̂ relative to its upper end and
to d/2. At finite nβ directions of small curvature, nβh < γ, do not count, so λ̂ may be below ½ rank.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import llckit as lk
from benchmarks._estimates import numbers_of
from benchmarks._harness import Document, begin
from benchmarks._models import squared_error
from benchmarks._tables import percent, table
from llckit.geometry import relative_complexity

PLACES, NEIGHBOURS, CHANNELS, HIDDEN = 10, 3, 4, 40
TRAINING, TEST = 1000, 2000
LEARNING_RATE, CHECKED_EVERY = 1e-2, 5
SCALES = [factor * TRAINING / math.log(TRAINING) for factor in (1, 10)]
SKETCH = {"localization": 10.0, "num_chains": 4, "num_draws": 150, "max_grad_evals": 4000}


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
        windows = torch.cat([x[:, -1:], x, x[:, :1]], 1).unfold(1, NEIGHBOURS, 1)
        return torch.stack([place(windows[:, i]) for i, place in enumerate(self.places)]).sum(0) + self.level


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


def trained(name: str, seed: int, test_loss: float, most_steps: int) -> tuple[nn.Module, Tensor, float, int]:
    """The net, its training inputs, its test loss, and the steps it took.

    Args:
        name: The architecture.
        seed: Of its weights.
        test_loss: At which training ends.
        most_steps: After which it has failed.

    Returns:
        All four.

    Raises:
        EstimationError: The test loss was not reached.
    """
    torch.manual_seed(seed)
    model = ARCHITECTURES[name]()
    inputs, targets = samples()
    train, test = ((inputs[part], targets[part]) for part in (slice(0, TRAINING), slice(TRAINING, None)))
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    for step in range(most_steps):
        if step % CHECKED_EVERY == 0:
            with torch.no_grad():
                loss = squared_error(model, test).mean().item()
            if loss <= test_loss:
                return model, train[0], loss, step
        optimizer.zero_grad()
        squared_error(model, train).mean().backward()
        optimizer.step()
    raise lk.EstimationError(f"{name}, seed {seed}: no test loss of {test_loss} within {most_steps} steps")


def measure(name: str, seed: int, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """One net."""
    start = time.process_time()
    model, inputs, test_loss, steps = trained(name, seed, sizes["test_loss"], sizes["most_steps"])
    own = inputs, model(inputs).detach()
    box = lk.bracket(model, own, squared_error, progress=False)
    row: dict[str, Any] = {"architecture": name, "seed": seed, "steps": steps, "test_loss": test_loss}
    row |= {"dim": box.dim, "orbit_dim": box.orbit_dim, "lower": box.lower, "upper": box.upper, "scales": []}
    for n_beta in sizes["scales"]:
        estimate = lk.estimate_llc(model, own, squared_error, n_beta=n_beta, progress=False, **sizes["sketch"])
        relative = relative_complexity(estimate.llc, box, estimate.mcse)
        found = numbers_of(estimate) | {"d_eff": 2 * estimate.llc, "rhat": estimate.rhat}
        row["scales"].append(found | relative._asdict())
    return row | {"seconds": time.process_time() - start}


def report(document: Document) -> str:
    """Means over seeds, by architecture and scale."""
    rows = []
    for name in ARCHITECTURES:
        nets = [row for row in document["cases"].values() if row["architecture"] == name]
        for i, scale in enumerate(nets[0]["scales"] if nets else ()):
            llc, bound, half = (
                np.array([row["scales"][i][key] for row in nets]) for key in ("llc", "of_bound", "of_dimension")
            )
            error = llc.std(ddof=1) / math.sqrt(len(llc)) if len(llc) > 1 else scale["mcse"]
            ends = " … ".join(f"{np.mean([row[end] for row in nets]):.1f}" for end in ("lower", "upper"))
            found = [f"{llc.mean():.2f} ± {error:.2f}", percent(bound.mean(), 0), percent(half.mean(), 0)]
            rows.append([name, nets[0]["dim"], nets[0]["orbit_dim"], ends, f"{scale['n_beta']:.0f}", *found])
    header = ["architecture", "d", "orbit", "bracket", "nβ", "λ̂", "of its upper bound", "of d/2"]
    loss = document["settings"]["test_loss"]
    return f"At a test loss of {loss}, means over seeds ± standard error.\n\n{table(header, rows)}"


def main() -> None:
    """Measure all nets."""
    sizes = {
        "seeds": (3, 1),
        "architectures": ([*ARCHITECTURES], ["shared"]),
        "test_loss": (0.02, 0.8),
        "most_steps": (5000, 500),
        "scales": (SCALES, SCALES[:1]),
        "sketch": (SKETCH, SKETCH | {"num_draws": 5, "num_burnin": 3, "num_chains": 2}),
    }
    run = begin(__file__, __doc__, report, sizes=sizes, settings={"samples": TRAINING})
    both = [(name, seed) for name in run.sizes["architectures"] for seed in range(run.sizes["seeds"])]
    cases = {f"{name}, seed {seed}": (name, seed) for name, seed in both}
    run.measure(cases, lambda case: measure(*case, run.sizes))


if __name__ == "__main__":
    main()
