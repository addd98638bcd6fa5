"""λ̂, rank and kernel movement from lazy to rich, at several widths; and the exponent of hidden updates.

    python -m benchmarks.geometry.richness

1. `richness_run`, three linear layers, widths 128 to 1024, 16 outputs, 8 seeds, 40 steps of gradient descent: slope of
   the mean of ln ‖Δh‖ (last hidden layer) against ln n, with its standard error from the scatter over seeds.
2. tanh nets 6-n-n-1 (`rescale`), n = 16, 32, 64, trained on 48 samples of y = x₁x₂ until the mean squared error is
   below 1e-8; then the behavioral λ̂ of the trained net, near it (nβ = 1e5, γ = 300n) and far around (1e2, 0.3n). γ goes
   with n, since a random step held by it has ‖δW‖₂ ~ 2 √(n/γ), where hidden layers have ‖W‖₂ ~ 2. Beside them, at the
   same w*: what a model linear in its weights would give, ½ Σ nβh/(nβh + γ) over the Gauss-Newton matrix's eigenvalues
   h, the same for both; the effective rank of that matrix; and ‖Θ − Θ₀‖/‖Θ₀‖ of the tangent kernel
   Θ = Σ_l η_l ∂_l f·∂_l f by which the net learns.
"""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import llckit as lk
from benchmarks._estimates import numbers_of
from benchmarks._harness import Document, begin
from benchmarks._models import squared_error
from benchmarks._tables import digits, table
from llckit.geometry import effective_rank, gradient_gram
from llckit.toys import Rescaled, hidden_updates, rescale, richness_run

RICHNESS = (0.0, 0.125, 0.25, 0.375, 0.5)
WIDTHS, SAMPLES, INPUTS = (16, 32, 64), 48, 6
LEARNING_RATE, FITTED = 0.5, 1e-8
SCALES = {"near": (1e5, 300.0), "far": (1e2, 0.3)}  # nβ, and γ by width
SKETCH = {"num_chains": 16, "num_draws": 250}
COLORS = ("#0072B2", "#D55E00", "#009E73")


def exponent(richness: float, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """The exponent of ‖Δh‖ in n."""
    widths, seeds = sizes["wide"], sizes["seeds"]
    logs = np.empty((len(widths), seeds))
    for (i, width), seed in itertools.product(enumerate(widths), range(seeds)):
        run = richness_run(width, richness, outputs=16, seed=seed)
        model, batch = run.task.model, run.task.samples.first(run.task.samples.n)
        before, optimizer = copy.deepcopy(model), run.optimizer(model.parameters())
        for _ in range(sizes["wide_steps"]):
            optimizer.zero_grad()
            run.task.loss_fn(model, batch).mean().backward()
            optimizer.step()
        logs[i, seed] = np.log(hidden_updates(before, model, batch[0])[-1])
    each = np.polyfit(np.log(widths), logs, 1)[0]
    error = each.std(ddof=1) / np.sqrt(seeds)
    return {"richness": richness, "slope": each.mean(), "se": error, "updates": np.exp(logs.mean(1))}


def output(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    """The net's one output."""
    return model(batch[0])[:, 0]


def tangent_kernel(net: Rescaled, model: nn.Module, data: tuple[Tensor, ...]) -> Tensor:
    """Σ_l η_l ∂_l f_i·∂_l f_j, shape (samples, samples)."""
    kernel = torch.zeros(len(data[0]), len(data[0]), dtype=torch.float64)
    for name, rate in net.learning_rates.items():
        one = copy.deepcopy(model)
        for other, parameter in one.named_parameters():
            parameter.requires_grad_(other == name)
        kernel += rate * gradient_gram(one, data, output)
    return kernel


def tanh_net(width: int, generator: torch.Generator) -> nn.Sequential:
    """6-n-n-1, without biases."""
    pairs = itertools.pairwise((INPUTS, width, width, 1))
    linear = [nn.Linear(a, b, bias=False) for a, b in pairs]
    for layer in linear:
        nn.init.normal_(layer.weight, std=layer.in_features**-0.5, generator=generator)
    return nn.Sequential(*[module for layer in linear for module in (layer, nn.Tanh())][:-1])


def trained(width: int, richness: float, most_steps: int) -> tuple[Rescaled, nn.Module, Tensor, float, int]:
    """The net, as it was at the start, its inputs, its loss and the steps it took."""
    fixed, own = torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)
    inputs = torch.randn(SAMPLES, INPUTS, generator=fixed)
    data = inputs, inputs[:, :1] * inputs[:, 1:2]
    net = rescale(tanh_net(width, own), richness)
    before = copy.deepcopy(net.model)
    optimizer = torch.optim.SGD(net.parameter_groups(LEARNING_RATE), lr=LEARNING_RATE)
    steps, loss = 0, torch.tensor(torch.inf)
    while loss > FITTED and steps < most_steps:
        loss = squared_error(net.model, data).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    return net, before, inputs, loss.item(), steps


def measure(seed: int, width: int, richness: float, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """One net: trained, and what is around it."""
    start = time.process_time()
    net, before, inputs, loss, steps = trained(width, richness, sizes["most_steps"])
    model = net.model
    fitted = inputs, model(inputs).detach()
    gauss_newton = 2 / SAMPLES * gradient_gram(model, fitted, output)
    h = torch.linalg.eigvalsh(gauss_newton).clamp(min=0)
    first, last = (tangent_kernel(net, one, fitted) for one in (before, model))
    estimates = {}
    for name, (n_beta, localization) in SCALES.items():
        scale = {"n_beta": n_beta, "localization": localization * width, "seed": seed}
        estimate = lk.estimate_llc(model, fitted, squared_error, progress=False, **scale, **sizes["sketch"])
        estimates[name] = numbers_of(estimate) | {"seed": seed, "rhat": estimate.rhat}
    near = estimates["near"]
    return {
        "width": width,
        "richness": richness,
        "loss": loss,
        "steps": steps,
        "dim": sum(p.numel() for p in model.parameters()),
        "estimates": estimates,
        "linear": float((near["n_beta"] * h / (near["n_beta"] * h + near["localization"])).sum() / 2),
        "rank": int((h > 1e-6 * h.max()).sum()),
        "effective_rank": effective_rank(gauss_newton),
        "kernel_movement": float((last - first).norm() / first.norm()),
        "hidden_update": hidden_updates(before, model, inputs)[-1],
        "seconds": time.process_time() - start,
    }


def split(document: Document) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The exponents, and the nets."""
    cases = document["cases"].values()
    return [case for case in cases if "slope" in case], [case for case in cases if "slope" not in case]


def report(document: Document) -> str:
    """A row an exponent, and a row a net."""
    exponents, nets = split(document)
    slopes = [[row["richness"], f"{row['slope']:.3f} ± {row['se']:.3f}"] for row in exponents]
    rows = []
    for row in nets:
        found = [f"{one['llc']:.2f} ± {one['mcse']:.2f}" for one in row["estimates"].values()]
        others = [digits(row[key]) for key in ("linear", "effective_rank", "kernel_movement")]
        rows.append([row["width"], row["richness"], *found, *others])
    header = ["n", "richness r", "λ̂ near", "λ̂ far", "linear in the weights", "effective rank", "kernel movement"]
    return f"{table(['richness r', 'd ln ‖Δh‖ / d ln n'], slopes)}\n\n{table(header, rows)}"


def figures(document: Document) -> dict[str, Any]:
    """λ̂, the kernel's movement and the exponent against r."""
    from matplotlib.figure import Figure

    exponents, rows = split(document)
    figure = Figure(figsize=(5.8, 10), layout="constrained")
    near, far, moved, slope = figure.subplots(4, 1, sharex=True, height_ratios=[2, 2, 1, 1])
    far.sharey(near)
    for width, color, shift in zip(WIDTHS, COLORS, (-0.006, 0, 0.006), strict=True):
        own = [row for row in rows if row["width"] == width]
        x = np.array([row["richness"] for row in own]) + shift
        for axes, name in ((near, "near"), (far, "far")):
            found = [row["estimates"][name] for row in own]
            errors = [1.96 * one["mcse"] for one in found]
            axes.errorbar(x, [one["llc"] for one in found], errors, fmt="o", ms=4, color=color, label=f"n = {width}")
            axes.plot(x, [row["linear"] for row in own], "--", color=color)
        moved.plot(x, [row["kernel_movement"] for row in own], "o", ms=4, color=color)
    near.plot([], [], "--", color="#777777", label="linear in the weights")
    near.set_ylabel("λ̂ ± 95 %, near")
    far.set_ylabel("λ̂ ± 95 %, far")
    near.legend(frameon=False)
    moved.set_yscale("log")
    moved.set_ylabel("kernel movement")
    x = [one["richness"] for one in exponents]
    errors = [1.96 * one["se"] for one in exponents]
    slope.errorbar(x, [one["slope"] for one in exponents], errors, fmt="o", color="k")
    slope.plot(x, x, "--", color="#777777")
    slope.set_ylabel("d ln ‖Δh‖ / d ln n")
    slope.set_xlabel("richness r (0 lazy, ½ rich)")
    return {"richness": figure}


def main() -> None:
    """Measure exponents, then nets."""
    sizes = {
        "wide": ([128, 256, 512, 1024], [16, 32]),
        "seeds": (8, 2),
        "wide_steps": (40, 2),
        "most_steps": (40_000, 20),
        "richness": (RICHNESS, (0.5,)),
        "widths": (WIDTHS, (16,)),
        "sketch": (SKETCH, {"num_chains": 2, "num_draws": 5, "num_burnin": 3}),
    }
    run = begin(__file__, __doc__, report, sizes=sizes)
    cases: dict[str, Callable[[], dict[str, Any]]] = {
        f"exponent, r = {richness}": partial(exponent, richness, run.sizes) for richness in run.sizes["richness"]
    }
    nets = itertools.product(run.sizes["widths"], run.sizes["richness"])
    cases |= {f"n = {n}, r = {r}": partial(measure, seed, n, r, run.sizes) for seed, (n, r) in enumerate(nets)}
    run.measure(cases, lambda part: part())


if __name__ == "__main__":
    main()
