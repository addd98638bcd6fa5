"""λ̂, rank and kernel movement from lazy to rich, at several widths; and the exponent of hidden updates.

    python benchmarks/richness.py [--seeds N] [--out benchmarks/results]

1. `richness_run`, three linear layers, widths 128 to 1024, 16 outputs, 8 seeds, 40 steps of gradient descent: slope of
   the mean of ln ‖Δh‖ (last hidden layer) against ln n, with its standard error from the scatter over seeds.
2. tanh nets 6-n-n-1 (`rescale`), n = 16, 32, 64, trained on 48 samples of y = x₁x₂ until the mean squared error is
   below 1e-8; then the behavioral λ̂ of the trained net, near it (nβ = 1e5, γ = 300n) and far around (1e2, 0.3n). γ goes
   with n, since a random step of the localiser has ‖δW‖₂ ~ 2 √(n/γ), where hidden layers have ‖W‖₂ ~ 2. Beside them, at
   the same w*: what a model linear in its weights would give, ½ Σ nβh/(nβh + γ) over the Gauss-Newton matrix's
   eigenvalues h, the same for both; the effective rank of that matrix; and ‖Θ − Θ₀‖/‖Θ₀‖ of the tangent kernel
   Θ = Σ_l η_l ∂_l f·∂_l f by which the net learns.

Writes richness.json and richness.png.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

import llckit as lk
from llckit.environment import environment
from llckit.geometry import effective_rank, gradient_gram
from llckit.plotting import save_figure
from llckit.plotting.style import new_figure
from llckit.toys import Rescaled, hidden_updates, rescale, richness_run, squared_error

RICHNESS = [0.0, 0.125, 0.25, 0.375, 0.5]
WIDE, WIDE_SEEDS, WIDE_STEPS = [128, 256, 512, 1024], 8, 40
WIDTHS, SAMPLES, INPUTS = [16, 32, 64], 48, 6
LEARNING_RATE, MOST_STEPS, FITTED = 0.5, 40_000, 1e-8
SCALES = {"near": (1e5, 300.0), "far": (1e2, 0.3)}  # nβ, and γ by width
QUICK = {"num_chains": 16, "num_draws": 250, "progress": False}
CASES = [*itertools.product(WIDTHS, RICHNESS)]
COLORS = ["#0072B2", "#D55E00", "#009E73"]


def slopes() -> list[dict[str, float]]:
    """Exponents of ‖Δh‖ in n."""
    found = []
    for richness in RICHNESS:
        logs = np.empty((len(WIDE), WIDE_SEEDS))
        for (i, width), seed in itertools.product(enumerate(WIDE), range(WIDE_SEEDS)):
            run = richness_run(width, richness, outputs=16, seed=seed)
            model, batch = run.task.model, run.task.samples.first(run.task.samples.n)
            before, optimizer = copy.deepcopy(model), run.optimizer(model.parameters())
            for _ in range(WIDE_STEPS):
                optimizer.zero_grad()
                run.task.loss_fn(model, batch).mean().backward()
                optimizer.step()
            logs[i, seed] = np.log(hidden_updates(before, model, batch[0])[-1])
        each = np.polyfit(np.log(WIDE), logs, 1)[0]
        slope, error = each.mean(), each.std(ddof=1) / np.sqrt(WIDE_SEEDS)
        found.append({"richness": richness, "slope": slope, "se": error, "updates": np.exp(logs.mean(1)).tolist()})
        print(f"r = {richness:5.3f}: slope of ln |dh| against ln n {slope:6.3f} ± {error:.3f}", flush=True)
    return found


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


def measure(width: int, richness: float) -> dict[str, Any]:
    """One net: trained, and what is around it."""
    start = time.process_time()
    fixed, own = torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)
    inputs = torch.randn(SAMPLES, INPUTS, generator=fixed)
    data = inputs, inputs[:, :1] * inputs[:, 1:2]
    sizes = INPUTS, width, width, 1
    layers = [m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b, bias=False), nn.Tanh())][:-1]
    for layer in layers[::2]:
        assert isinstance(layer, nn.Linear)
        nn.init.normal_(layer.weight, std=layer.in_features**-0.5, generator=own)
    net = rescale(nn.Sequential(*layers), richness)
    model, before = net.model, copy.deepcopy(net.model)
    optimizer = torch.optim.SGD(net.parameter_groups(LEARNING_RATE), lr=LEARNING_RATE)
    steps, loss = 0, torch.tensor(torch.inf)
    while loss > FITTED and steps < MOST_STEPS:
        loss = squared_error(model, data).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    fitted = inputs, model(inputs).detach()
    gauss_newton = 2 / SAMPLES * gradient_gram(model, fitted, output)
    h = torch.linalg.eigvalsh(gauss_newton).clamp(min=0)
    first, last = (tangent_kernel(net, one, fitted) for one in (before, model))
    estimates = {}
    for name, (n_beta, localization) in SCALES.items():
        scale = {"n_beta": n_beta, "localization": localization * width, "seed": CASES.index((width, richness))}
        estimate = lk.estimate_llc(model, fitted, squared_error, **scale, **QUICK)
        estimates[name] = scale | {
            "llc": estimate.llc,
            "mcse": estimate.mcse,
            "rhat": estimate.rhat,
            "outcome": estimate.outcome.value,
        }
    near = estimates["near"]
    return {
        "width": width,
        "richness": richness,
        "loss": loss.item(),
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


def figure(rows: list[dict[str, Any]], exponents: list[dict[str, float]]) -> Any:
    """λ̂, the kernel's movement and the exponent against r."""
    drawn = new_figure()
    drawn.set_size_inches(5.8, 10)
    near, far, moved, slope = drawn.subplots(4, 1, sharex=True, height_ratios=[2, 2, 1, 1])
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
    slope.errorbar(RICHNESS, [e["slope"] for e in exponents], [1.96 * e["se"] for e in exponents], fmt="o", color="k")
    slope.plot(RICHNESS, RICHNESS, "--", color="#777777")
    slope.set_ylabel("d ln ‖Δh‖ / d ln n")
    slope.set_xlabel("richness r (0 lazy, ½ rich)")
    return drawn


def main() -> None:
    """Measure, print, draw and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", metavar="FOLDER")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    exponents, rows = slopes(), []
    print("  n      r      near λ̂       far λ̂   linear  eff.rank  kernel movement")
    for case in tqdm(CASES, disable=None):
        row = measure(*case)
        rows.append(row)
        found = "  ".join(f"{one['llc']:5.2f} ± {one['mcse']:4.2f}" for one in row["estimates"].values())
        others = f"{row['linear']:6.2f} {row['effective_rank']:9.2f} {row['kernel_movement']:16.3f}"
        print(f"{row['width']:3} {row['richness']:6.3f} {found}  {others}", flush=True)
    document = {"environment": environment(), "settings": QUICK, "exponents": exponents, "nets": rows}
    (arguments.out / "richness.json").write_text(json.dumps(document) + "\n")
    picture = arguments.out / "richness.png"
    picture.unlink(missing_ok=True)
    save_figure(figure(rows, exponents), picture)


if __name__ == "__main__":
    main()
