"""The staircase: a linear net that learns its modes one after another, at times known in closed form."""

from __future__ import annotations

import math

import torch
from torch import nn

from llckit.posterior import Task
from llckit.toys.training.training_run import TrainingRun, squared_error

__all__ = ["STAIRCASE_MODES", "STAIRCASE_START", "STAIRCASE_WIDTHS", "staircase", "staircase_rise"]

STAIRCASE_MODES = (4.0, 2.0, 1.0, 0.5)
STAIRCASE_START = 1e-6  # so small that each mode reaches its plateau before the next one rises
STAIRCASE_WIDTHS = (5, 5, 7)


def staircase(seed: int = 0) -> TrainingRun:
    """A linear net that learns its modes one after another (Saxe, McClelland & Ganguli, arXiv 1312.6120).

    From the aligned start u_k(0) = u₀, gradient descent on ‖BA − T‖² with learning rate η follows
    u_k(t) = s e^{4sηt} / (e^{4sηt} − 1 + s/u₀). So mode k rises at t_k = ln(s_k/u₀)/(4 s_k η) steps. Between rises the
    net stays near saddles of rank 0, 1, 2 …

    Args:
        seed: Seed of the singular vectors.

    Returns:
        The run: learning rate 2e-3, 8000 steps, with the strengths of the modes recorded as `mode_0` … .
    """
    n, h, m = STAIRCASE_WIDTHS
    generator = torch.Generator().manual_seed(seed)
    left, middle, right = (
        torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))[0] for d in (m, h, n)
    )
    k = len(STAIRCASE_MODES)
    strengths = torch.tensor(STAIRCASE_MODES, dtype=torch.float64)
    target = left[:, :k] * strengths @ right[:, :k].T
    start = math.sqrt(STAIRCASE_START)
    model = nn.Sequential(nn.Linear(n, h, bias=False), nn.Linear(h, m, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(start * middle[:, :k] @ right[:, :k].T)  # pyright: ignore[reportArgumentType, reportCallIssue]
        model[1].weight.copy_(start * left[:, :k] @ middle[:, :k].T)  # pyright: ignore[reportArgumentType, reportCallIssue]
    inputs = torch.linalg.qr(torch.randn(1000, n, generator=generator, dtype=torch.float64))[0] * math.sqrt(1000)
    outputs = inputs @ target.T

    def evaluate(model: nn.Module) -> dict[str, float]:
        product = (model[1].weight @ model[0].weight).double()  # pyright: ignore[reportIndexIssue]
        return {f"mode_{i}": float(left[:, i] @ product @ right[:, i]) for i in range(k)}

    return TrainingRun(
        task=Task(model, (inputs.float(), outputs.float()), squared_error),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=2e-3),
        last_step=8000,
        evaluate=evaluate,
    )


def staircase_rise(mode: int, learning_rate: float = 2e-3) -> float:
    """The time t_k = ln(s_k/u₀)/(4 s_k η) at which a mode of the staircase has half its strength.

    Args:
        mode: Index of the mode, 0 for the first to rise.
        learning_rate: Learning rate η.

    Returns:
        The time, in steps.
    """
    strength = STAIRCASE_MODES[mode]
    return math.log(strength / STAIRCASE_START) / (4 * strength * learning_rate)
