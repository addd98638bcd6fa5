"""Potentials with a few weights whose expected energy is known in closed form or by one integral."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from scipy.integrate import quad
from torch import Tensor, nn

from llckit.errors import InputError


class Quadratic(nn.Module):
    """½ Σ h_i (w_i − w*_i)², held at its minimum w*."""

    curvatures: Tensor
    center: Tensor

    def __init__(self, curvatures: Tensor, center: Tensor | None = None) -> None:
        super().__init__()
        center = torch.zeros_like(curvatures) if center is None else center
        self.w = nn.Parameter(center.clone())
        self.register_buffer("curvatures", curvatures)
        self.register_buffer("center", center)

    def forward(self) -> Tensor:
        """The loss."""
        return 0.5 * (self.curvatures * (self.w - self.center).square()).sum()


class Monomial(nn.Module):
    """∏ w_j^{2k_j}, held at the origin."""

    def __init__(self, powers: Sequence[int]) -> None:
        super().__init__()
        if not powers or min(powers) < 1:
            raise InputError(f"powers are {tuple(powers)}; expected one or more integers k >= 1 of w^2k")
        self.powers = tuple(powers)
        self.w = nn.Parameter(torch.zeros(len(powers)))

    def forward(self) -> Tensor:
        """The loss."""
        value = torch.ones((), dtype=self.w.dtype, device=self.w.device)
        for w, k in zip(self.w.unbind(), self.powers, strict=True):
            value = value * w ** (2 * k)
        return value


def potential_loss(model: nn.Module, batch: object) -> Tensor:
    """The model is its own loss; the batch is not looked at."""
    return model()


def quadratic_energy(curvatures: Tensor, n_beta: float, localization: float) -> float:
    """E[nβ K] = ½ Σ nβ h_i / (nβ h_i + γ) for K = ½ Σ h_i w_i² under the localiser γ.

    Args:
        curvatures: h, shape (dim,).
        n_beta: nβ.
        localization: γ.

    Returns:
        The expected energy.
    """
    k = n_beta * curvatures.double()
    return float((0.5 * k / (k + localization)).nan_to_num(0.0).sum())


def monomial_llc(powers: Sequence[int]) -> tuple[float, int]:
    """λ = min_j 1/(2k_j) of ∏ w_j^{2k_j} at the origin, and how often it is attained (Watanabe 2009).

    Args:
        powers: k_j.

    Returns:
        (λ, m).
    """
    rates = [1 / (2 * k) for k in powers]
    return min(rates), rates.count(min(rates))


def monomial_energy(powers: Sequence[int], n_beta: float, localization: float) -> float:
    """E[nβ K] for ∏ w_j^{2k_j} in one or two weights under the localiser γ/2 ‖w‖², by quadrature in ln|w|.

    Args:
        powers: k_j, one or two of them.
        n_beta: nβ.
        localization: γ > 0.

    Returns:
        The expected energy, to about 1e-6.

    Raises:
        InputError: more than two weights.
    """
    if len(powers) > 2:
        raise InputError(f"powers are {tuple(powers)}; the integral is done for one or two weights")
    widest = math.log(12 / math.sqrt(localization))
    deepest = widest - 60.0

    def line(log_t: float, k: int) -> tuple[float, float]:
        """∫ dw e^{−T w^2k − γw²/2} and ∫ dw T w^2k e^{…}, over w > 0, with T = e^{log_t}."""

        def integrand(u: float, moment: bool) -> float:
            energy = math.exp(min(log_t + 2 * k * u, 700.0))
            weight = math.exp(u - min(energy, 700.0) - 0.5 * localization * math.exp(2 * u))
            return energy * weight if moment else weight

        knee = min(max(-log_t / (2 * k), deepest), widest)
        parts = [(deepest, knee), (knee, widest)]
        zero, one = (
            sum(quad(integrand, a, b, args=(moment,), limit=200)[0] for a, b in parts if b > a)
            for moment in (False, True)
        )
        return zero, one

    if len(powers) == 1:
        zero, one = line(math.log(n_beta), powers[0])
        return one / zero

    def outer(v: float, moment: bool) -> float:
        inside = line(math.log(n_beta) + 2 * powers[1] * v, powers[0])[int(moment)]
        return inside * math.exp(v - 0.5 * localization * math.exp(2 * v))

    zero, one = (
        sum(quad(outer, a, b, args=(moment,), limit=100)[0] for a, b in [(deepest, widest - 10), (widest - 10, widest)])
        for moment in (False, True)
    )
    return one / zero
