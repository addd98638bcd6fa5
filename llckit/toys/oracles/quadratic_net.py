"""Quadratic networks for addition mod p, f_c(x) = Σ_k w_kc (u_k · x)², at solutions that are regular up to symmetry."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from llckit.errors import InputError

__all__ = ["QuadraticNet", "fourier_addition", "generic_weights", "quadratic_net_llc"]


class QuadraticNet(nn.Module):
    """E_x ‖f − f*‖² with f_c(x) = Σ_k w_kc (u_k · x)², x in R^{2p}, at a solution; f* is the function there.

    Args:
        first: Weights u* of the solution, shape (K, 2p).
        second: Weights w* of the solution, shape (K, p).
        pairs: Whether x runs through the p² pairs (a, b) as two one-hot vectors side by side, so that
            u_k · x = u_ka + u_k(p+b). If not, x is standard normal.

    Raises:
        InputError: The shapes do not match.
    """

    features: Tensor
    target: Tensor

    def __init__(self, first: Tensor, second: Tensor, *, pairs: bool) -> None:
        super().__init__()
        if first.dim() != 2 or second.dim() != 2 or first.shape != (len(second), 2 * second.shape[1]):
            raise InputError(
                f"first and second have shapes {tuple(first.shape)} and {tuple(second.shape)}; expected (K, 2p) and "
                "(K, p)"
            )
        p = second.shape[1]
        one_hot = torch.eye(p)
        joined = [torch.cat([one_hot[a], one_hot[b]]) for a, b in itertools.product(range(p), repeat=2)]
        self.pairs = pairs
        self.first, self.second = nn.Parameter(first.clone()), nn.Parameter(second.clone())
        self.register_buffer("features", torch.stack(joined) if pairs else torch.zeros(0, 2 * p))
        self.register_buffer("target", self.function().detach())

    def function(self) -> Tensor:
        """Outputs on all pairs, shape (p², p); for normal x the quadratic forms, shape (p, 2p, 2p)."""
        if self.pairs:
            return (self.features @ self.first.T).square() @ self.second
        return torch.einsum("kc,ki,kj->cij", self.second, self.first, self.first)

    def forward(self) -> Tensor:
        """The loss."""
        away = self.function() - self.target
        if self.pairs:
            return away.square().sum(1).mean()
        traces = away.diagonal(dim1=1, dim2=2).sum(1)
        return 2 * away.square().sum() + traces.square().sum()  # E (xᵀSx)² = 2 ‖S‖² + (tr S)²


def quadratic_net_llc(p: int, units: int, *, pairs: bool) -> tuple[float, int]:
    """λ and m at a generic solution: half the number of weights minus symmetries, which is half the Hessian's rank.

    Each unit has 3p weights and one scale, u → cu, w → w/c², so λ = K(3p − 1)/2. On pairs u_ka + t, u_k(p+b) − t
    changes nothing either, so λ = K(3p − 2)/2, up to p³/2 at which all functions on pairs are reached.

    Args:
        p: Number of classes.
        units: Number of units K; for normal x so few that the units can be told apart.
        pairs: Whether x runs through the pairs.

    Returns:
        (λ, m).
    """
    return (min(units * (3 * p - 2), p**3) if pairs else units * (3 * p - 1)) / 2, 1


def generic_weights(p: int, units: int, *, pairs: bool, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Normal weights for a net that is its own teacher; u_k · x has variance 2 on pairs and on normal x.

    Args:
        p: Number of classes.
        units: Number of units K.
        pairs: Whether x runs through the pairs.
        seed: Seed of the draw.

    Returns:
        Weights u, shape (K, 2p), and w, shape (K, p).
    """
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(units, size, generator=generator) for size in (2 * p, p))
    return first if pairs else first / math.sqrt(p), second


def fourier_addition(p: int) -> tuple[Tensor, Tensor]:
    """Weights of K = 9(p − 1)/2 + 1 units that add mod p exactly: f_c(a, b) = 1 if c = a + b mod p, else 0.

    δ(a + b − c) = (1/p) Σ_f cos(2πf(a + b − c)/p). The average of (cos(fa + φ) + cos(fb + ψ))² cos(fc + φ + ψ) over
    phases φ, ψ in {0, 2π/3, 4π/3} is ½ cos(f(a + b − c)) (after Gromov, arXiv 2301.02679).

    Args:
        p: Odd modulus.

    Returns:
        Weights u, shape (K, 2p), and w, shape (K, p).

    Raises:
        InputError: p is even or below 3.
    """
    if p < 3 or p % 2 == 0:
        raise InputError(f"p is {p}; expected an odd number >= 3")
    angle = 2 * math.pi * torch.arange(p, dtype=torch.float64) / p
    first, second = [torch.full((2 * p,), 0.5)], [torch.full((p,), 1 / p)]
    phases = [0.0, 2 * math.pi / 3, 4 * math.pi / 3]
    for f, phi, psi in itertools.product(range(1, (p + 1) // 2), phases, phases):
        first.append(torch.cat([torch.cos(f * angle + phi), torch.cos(f * angle + psi)]))
        second.append(torch.cos(f * angle + phi + psi) * 4 / (9 * p))
    return torch.stack(first).float(), torch.stack(second).float()
