"""Quadratic networks for addition mod p, f_c(x) = Σ_k w_kc (u_k · x)², at solutions that are regular up to symmetry."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from llckit.errors import InputError


class QuadraticNet(nn.Module):
    """f_c(x) = Σ_k w_kc (u_k · x)², x in R^{2p}, held at a solution: E_x ‖f − f*‖² with f* the function at w*.

    Args:
        first: u*, shape (K, 2p).
        second: w*, shape (K, p).
        pairs: Whether x runs through the p² pairs (a, b) as two one-hot vectors side by side, where
            u_k · x = u_ka + u_k(p+b); else x is standard normal.

    Raises:
        InputError: The shapes do not match.
    """

    features: Tensor
    target: Tensor

    def __init__(self, first: Tensor, second: Tensor, *, pairs: bool) -> None:
        super().__init__()
        if first.dim() != 2 or second.dim() != 2 or first.shape != (len(second), 2 * second.shape[1]):
            raise InputError(
                f"weights have shapes {tuple(first.shape)} and {tuple(second.shape)}; expected (K, 2p) and (K, p)"
            )
        p = second.shape[1]
        one_hot = torch.eye(p)
        joined = [torch.cat([one_hot[a], one_hot[b]]) for a, b in itertools.product(range(p), repeat=2)]
        self.pairs = pairs
        self.first, self.second = nn.Parameter(first.clone()), nn.Parameter(second.clone())
        self.register_buffer("features", torch.stack(joined) if pairs else torch.zeros(0, 2 * p))
        self.register_buffer("target", self.function().detach())

    def function(self) -> Tensor:
        """The outputs on all pairs, shape (p², p); for normal x the quadratic forms, shape (p, 2p, 2p)."""
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
    """λ and m at a generic solution, half the number of weights less the symmetries, which is half the Hessian's rank.

    Each unit has 3p weights and one scale, u → cu, w → w/c²: K(3p − 1)/2. On pairs
    u_ka + t, u_k(p+b) − t changes nothing either: K(3p − 2)/2, up to p³/2, where all functions on pairs are reached.

    Args:
        p: Number of classes.
        units: K; for normal x so few that the units can be told apart.
        pairs: Whether x runs through the pairs.

    Returns:
        (λ, m).
    """
    return (min(units * (3 * p - 2), p**3) if pairs else units * (3 * p - 1)) / 2, 1


def generic_weights(p: int, units: int, *, pairs: bool, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Normal weights to be their own teacher, u_k · x having variance 2 either way.

    Args:
        p: Number of classes.
        units: K.
        pairs: Whether x runs through the pairs.
        seed: Of the draw.

    Returns:
        u, shape (K, 2p), and w, shape (K, p).
    """
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(units, size, generator=generator) for size in (2 * p, p))
    return first if pairs else first / math.sqrt(p), second


def fourier_addition(p: int) -> tuple[Tensor, Tensor]:
    """Weights of 9(p − 1)/2 + 1 units that add mod p exactly: f_c(a, b) = 1 where c = a + b mod p, else 0.

    δ(a + b − c) = (1/p) Σ_f cos(2πf(a + b − c)/p); averaged over phases φ, ψ in {0, ⅓, ⅔} of a turn,
    (cos(fa + φ) + cos(fb + ψ))² cos(fc + φ + ψ) leaves ½ cos(f(a + b − c)) (after Gromov, arXiv 2301.02679).

    Args:
        p: An odd modulus.

    Returns:
        u, shape (K, 2p), and w, shape (K, p).

    Raises:
        InputError: p is even or below 3.
    """
    if p < 3 or p % 2 == 0:
        raise InputError(f"p is {p}; expected an odd number >= 3")
    turn = 2 * math.pi * torch.arange(p, dtype=torch.float64) / p
    first, second = [torch.full((2 * p,), 0.5)], [torch.full((p,), 1 / p)]
    phases = [0.0, 2 * math.pi / 3, 4 * math.pi / 3]
    for f, phi, psi in itertools.product(range(1, (p + 1) // 2), phases, phases):
        first.append(torch.cat([torch.cos(f * turn + phi), torch.cos(f * turn + psi)]))
        second.append(torch.cos(f * turn + phi + psi) * 4 / (9 * p))
    return torch.stack(first).float(), torch.stack(second).float()
