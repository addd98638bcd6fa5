"""Potentials built from powers of norms; their expected energy under a localization is known or one integral."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from llckit.errors import InputError

__all__ = [
    "DisjointSum",
    "Monomial",
    "NormProduct",
    "Quadratic",
    "monomial_energy",
    "monomial_llc",
    "potential_loss",
    "quadratic_energy",
]

STEP = 0.05  # of the grids in ln K: the integrands are analytic, so the rule converges geometrically
TAIL = 25.0  # a part of the integrand e^-25 below the rest is left out


class Quadratic(nn.Module):
    """½ Σ h_i (w_i − w*_i)², at its minimum w*.

    Args:
        curvatures: h, shape (dim,).
        center: w*, shape (dim,); None puts it at the origin.
        axes: Orthogonal matrix Q, shape (dim, dim), which puts Qᵀ(w − w*) in the place of w − w*; None: no rotation.
    """

    curvatures: Tensor
    center: Tensor
    axes: Tensor | None

    def __init__(self, curvatures: Tensor, center: Tensor | None = None, axes: Tensor | None = None) -> None:
        super().__init__()
        center = torch.zeros_like(curvatures) if center is None else center
        self.w = nn.Parameter(center.clone())
        self.register_buffer("curvatures", curvatures)
        self.register_buffer("center", center)
        self.register_buffer("axes", axes)

    def forward(self) -> Tensor:
        """The loss."""
        away = self.w - self.center
        return 0.5 * (self.curvatures * (away if self.axes is None else away @ self.axes).square()).sum()

    @property
    def answer(self) -> tuple[float, int]:
        """(λ, m): half the rank, and 1."""
        return int((self.curvatures > 0).sum()) / 2, 1

    def energy(self, n_beta: float, localization: float) -> float:
        """E[nβ K] under the localization γ (`quadratic_energy`)."""
        return quadratic_energy(self.curvatures, n_beta, localization)


class NormProduct(nn.Module):
    """∏_b |w_b|^{2k_b} over blocks of weights w_b, at a point where at least one block is zero.

    Args:
        blocks: Size d_b of each block.
        powers: Power k_b of each block.
        distances: |w*_b| of each block, all of it in the block's first weight; None puts w* at the origin.

    Raises:
        InputError: The lists do not match, a size or power is below 1, or no block is zero at w*.
    """

    def __init__(self, blocks: Sequence[int], powers: Sequence[int], distances: Sequence[float] | None = None) -> None:
        super().__init__()
        distances = [0.0] * len(blocks) if distances is None else distances
        if not powers or min(powers) < 1:
            raise InputError(f"powers is {tuple(powers)}; expected one or more integers k >= 1 of w^2k")
        if not len(blocks) == len(powers) == len(distances) or min(blocks) < 1:
            raise InputError(
                f"blocks is {tuple(blocks)}, powers is {tuple(powers)}, distances is {tuple(distances)}; expected a "
                "size >= 1, a power and a distance for each block"
            )
        if min(distances) != 0:
            raise InputError(f"distances is {tuple(distances)}; expected at least one 0, at a zero of the product")
        self.blocks, self.powers, self.distances = list(blocks), tuple(powers), tuple(distances)
        starts = [
            torch.tensor([float(distance)] + [0.0] * (d - 1)) for d, distance in zip(blocks, distances, strict=True)
        ]
        self.w = nn.Parameter(torch.cat(starts))

    def forward(self) -> Tensor:
        """The loss."""
        value = torch.ones((), dtype=self.w.dtype, device=self.w.device)
        for w, k in zip(self.w.split(self.blocks), self.powers, strict=True):
            value = value * w.square().sum() ** k
        return value

    @property
    def answer(self) -> tuple[float, int]:
        """(λ, m): least d_b/(2k_b) over the blocks that are zero at w*, and how often it occurs (Watanabe 2009)."""
        blocks = zip(self.blocks, self.powers, self.distances, strict=True)
        rates = [d / (2 * k) for d, k, distance in blocks if distance == 0]
        return min(rates), rates.count(min(rates))

    def energy(self, n_beta: float, localization: float) -> float:
        """E[nβ K] under the localization γ/2 ‖w − w*‖².

        s = ln K is a sum of independent k_b ln|w_b|², and γ|w_b|² is (non-central) chi-squared with d_b degrees of
        freedom. So E = ∫ p(s) te^s e^{−te^s} ds / ∫ p(s) e^{−te^s} ds with t = nβ, and p is a convolution.

        Args:
            n_beta: nβ.
            localization: γ > 0.

        Returns:
            The expected energy, to about 1e-8 of its value.
        """
        shifts = [localization * distance**2 for distance in self.distances]
        # A block far from zero has a narrow log norm, of standard deviation 1/√shift.
        step = min(STEP, *(k / math.sqrt(max(shift, 1.0)) for k, shift in zip(self.powers, shifts, strict=True)))
        tops = [
            k * math.log((math.sqrt(shift) + math.sqrt(d) + 9) ** 2 / localization)
            for k, d, shift in zip(self.powers, self.blocks, shifts, strict=True)
        ]
        slowest = min(d / (2 * k) for d, k in zip(self.blocks, self.powers, strict=True))
        bottom = -math.log(n_beta) - TAIL / slowest - sum(abs(top) for top in tops)
        density, lowest = np.ones(1), 0.0
        for d, k, shift, top in zip(self.blocks, self.powers, shifts, tops, strict=True):
            s = np.arange(bottom, top, step)
            scaled = localization * np.exp(s / k)  # γ|w_b|²
            chi = stats.ncx2.pdf(scaled, d, shift) if shift else stats.chi2.pdf(scaled, d)
            density = np.convolve(density, chi * scaled)
            lowest += bottom
        log_energy = math.log(n_beta) + lowest + step * np.arange(len(density))
        energy = np.exp(np.minimum(log_energy, 6.6))  # e^6.6 = 735: e^-735 is nothing
        weight = density * np.exp(-energy)
        return float((weight * energy).sum() / weight.sum())


class Monomial(NormProduct):
    """∏ w_j^{2k_j} at a zero.

    Args:
        powers: Power k_j of each weight.
        point: w*, with at least one 0; None puts it at the origin.
    """

    def __init__(self, powers: Sequence[int], point: Sequence[float] | None = None) -> None:
        super().__init__([1] * len(powers), powers, point)


class DisjointSum(nn.Module):
    """K_1(u) + K_2(v) + … of potentials that share no weights.

    Args:
        parts: The potentials.
    """

    def __init__(self, *parts: NormProduct) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self._parts = parts

    def forward(self) -> Tensor:
        """The loss."""
        return torch.stack([part() for part in self.parts]).sum()

    @property
    def answer(self) -> tuple[float, int]:
        """(λ, m): λ adds, and m − 1 adds."""
        answers = [part.answer for part in self._parts]
        return sum(llc for llc, _ in answers), 1 + sum(m - 1 for _, m in answers)

    def energy(self, n_beta: float, localization: float) -> float:
        """E[nβ K] under the localization γ: the parts are independent, so their energies add."""
        return sum(part.energy(n_beta, localization) for part in self._parts)


def potential_loss(model: nn.Module, batch: object) -> Tensor:
    """The value of a model that is its own loss; the batch is not used."""
    return model()


def quadratic_energy(curvatures: Tensor, n_beta: float, localization: float) -> float:
    """E[nβ K] = ½ Σ nβ h_i / (nβ h_i + γ) for K = ½ Σ h_i w_i² under the localization γ.

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
    """λ = min_j 1/(2k_j) of ∏ w_j^{2k_j} at the origin, and how often the minimum occurs (Watanabe 2009).

    Args:
        powers: Power k_j of each weight.

    Returns:
        (λ, m).
    """
    return Monomial(powers).answer


def monomial_energy(powers: Sequence[int], n_beta: float, localization: float) -> float:
    """E[nβ K] for ∏ w_j^{2k_j} at the origin under the localization γ/2 ‖w‖² (`NormProduct.energy`).

    Args:
        powers: Power k_j of each weight.
        n_beta: nβ.
        localization: γ > 0.

    Returns:
        The expected energy, to about 1e-8 of its value.
    """
    return Monomial(powers).energy(n_beta, localization)
