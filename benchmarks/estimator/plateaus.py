"""Does `scale_profile` find the plateau where there is one, and none where there is none? Default settings.

    python -m benchmarks.estimator.plateaus

Twenty nets of the catalogue with m = 1. Left out are nets of more than two layers with hundreds of weights, which take
minutes a rung, and tanh nets with one input and one output, whose λ̂ still rises where single precision ends. Then
w₁²w₂² on nβ = 1 … 100, and a tanh net that is half-trained, which is no minimum at small scales of loss.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

import llckit as lk
from benchmarks._harness import Document, begin
from benchmarks._models import squared_error
from benchmarks._tables import digits, of, percent, table
from llckit.toys import catalog

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
WITHOUT, HALF_TRAINED = "w1^2 w2^2", "half-trained tanh net"
BELOW_100 = {"n_beta": np.geomspace(1, 100, 7).tolist(), "localization": 1.0}


def profile_of(model: Any, data: Any, loss_fn: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A profile of one net."""
    start = time.perf_counter()
    profile = lk.scale_profile(model, data, loss_fn, progress=False, **settings)
    return {
        "plateau": profile.plateau,
        "llc": profile.llc_plateau,
        "n_beta": profile.n_beta,
        "llcs": profile.llc,
        "mcse": profile.mcse,
        "is_minimum": profile.is_minimum,
        "outcomes": [estimate.outcome.value for estimate in profile.estimates],
        "seconds": time.perf_counter() - start,
    }


def profile_of_toy(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A profile of one toy, and its error."""
    toy = {toy.name: toy for toy in catalog()}[name]
    found = profile_of(toy.model, toy.data, toy.loss_fn, settings)
    return {"lambda": toy.llc, **found, "error": None if found["llc"] is None else found["llc"] / toy.llc - 1}


def half_trained(settings: Mapping[str, Any]) -> dict[str, Any]:
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
    return profile_of(model, (inputs, targets), squared_error, settings)


def summarize(cases: Mapping[str, Any]) -> dict[str, Any]:
    """How many plateaus were found, and how well."""
    nets = {name: case for name, case in cases.items() if name in NETS}
    errors = np.array([abs(row["error"]) for row in nets.values() if row["error"] is not None])
    return {
        "nets": len(nets),
        "with_plateau": len(errors),
        "within_3_percent": int((errors <= 0.03).sum()),
        "worst": float(errors.max()) if len(errors) else None,
    }


def report(document: Document) -> str:
    """A row a net."""
    found, cases = document["summary"], document["cases"]
    rows = []
    for name, case in cases.items():
        plateau = None if case["plateau"] is None else " … ".join(digits(end) for end in case["plateau"])
        error = None if case.get("error") is None else f"{case['error']:+.1%}"
        rows.append([name, digits(case.get("lambda")), plateau, digits(case["llc"], 4), error])
    return (
        f"A plateau is found for {of(found['with_plateau'], found['nets'])} nets that have one, "
        f"within {percent(found['worst'])} of λ.\n\n" + table(["net", "λ", "plateau in nβ", "LLC there", "error"], rows)
    )


def main() -> None:
    """Profile all nets."""
    tiny = {"num_draws": 40, "num_burnin": 10, "num_chains": 4}
    sizes = {
        "nets": (len(NETS), 1),
        "profile": ({}, tiny | {"n_beta": [100.0, 300.0, 1000.0]}),
        "below_100": (BELOW_100, BELOW_100 | tiny),
        "half_trained": ({}, tiny | {"n_beta": [10.0, 100.0]}),
    }
    run = begin(__file__, __doc__, report, sizes=sizes)
    cases = {name: partial(profile_of_toy, name, run.sizes["profile"]) for name in NETS[: run.sizes["nets"]]}
    cases[WITHOUT] = partial(profile_of_toy, WITHOUT, run.sizes["below_100"])
    cases[HALF_TRAINED] = partial(half_trained, run.sizes["half_trained"])
    run.measure(cases, lambda measure: measure(), summarize)


if __name__ == "__main__":
    main()
