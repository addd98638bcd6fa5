"""Linear networks whose local learning coefficient is known: deep ones at their deepest point, two-layer ones anywhere.

The loss is the population loss under whitened inputs and no noise, K(W) = ‖W_L ⋯ W_1 − T‖_F². So only the sampler
separates an estimate from the closed form.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from llckit.errors import InputError

__all__ = [
    "LinearNet",
    "deep_linear_llc",
    "deepest_point",
    "matrix_loss",
    "random_widths",
    "two_layer_llc",
    "two_layer_point",
]


class LinearNet(nn.Module):
    """W_L ⋯ W_1 without biases, with its target T.

    Args:
        weights: W_1 … W_L, shapes (H_s, H_{s−1}).
        target: T, shape (H_L, H_0); None takes the product of the weights.
    """

    target: Tensor

    def __init__(self, weights: Sequence[Tensor], target: Tensor | None = None) -> None:
        super().__init__()
        self.layers = nn.ParameterList([nn.Parameter(w.clone()) for w in weights])
        product = torch.linalg.multi_dot(list(reversed(weights))) if len(weights) > 1 else weights[0]
        self.register_buffer("target", product.clone() if target is None else target)

    def forward(self) -> Tensor:
        """The end-to-end matrix, shape (H_L, H_0)."""
        product = self.layers[0]
        for layer in itertools.islice(self.layers, 1, None):
            product = layer @ product
        return product


def matrix_loss(model: nn.Module, batch: object) -> Tensor:
    """‖W_L ⋯ W_1 − T‖_F², the population loss; the batch is not used."""
    return (model() - model.target).square().sum()


def deepest_point(widths: Sequence[int], rank: int, seed: int = 0) -> list[Tensor]:
    """Random weights of a deep linear net in which every layer and the product have rank r.

    W_s = Q_s diag(c) Q_{s−1}ᵀ with random orthonormal frames Q_s (H_s × r) and singular values c in 0.8 … 1.2.

    Args:
        widths: Widths H_0 … H_L.
        rank: Rank r, at most the smallest width.
        seed: Seed of the frames.

    Returns:
        W_1 … W_L, shapes (H_s, H_{s−1}).

    Raises:
        InputError: There are fewer than two widths, or the rank is impossible.
    """
    _check(widths, rank)
    generator = torch.Generator().manual_seed(seed)
    frames = [torch.linalg.qr(torch.randn(h, rank, generator=generator, dtype=torch.float64))[0] for h in widths]
    values = torch.linspace(0.8, 1.2, rank, dtype=torch.float64)
    return [(b * values @ a.T).float() for a, b in itertools.pairwise(frames)]


def random_widths(seed: int, most_layers: int = 5, widest: int = 24) -> tuple[tuple[int, ...], int]:
    """Widths and rank of a deep linear net drawn at random.

    Args:
        seed: Seed of the draw.
        most_layers: Largest number of layers, which is uniform in 2 … most_layers.
        widest: Largest width; widths are uniform in 4 … widest.

    Returns:
        Widths H_0 … H_L, and a rank uniform in 1 … min H − 1.
    """
    draw = random.Random(seed)
    widths = tuple(draw.randint(4, widest) for _ in range(draw.randint(2, most_layers) + 1))
    return widths, draw.randint(1, min(widths) - 1)


def two_layer_point(shape: tuple[int, int, int], ranks: tuple[int, int, int], seed: int = 0) -> list[Tensor]:
    """Random A (H × N) of rank a and B (M × H) of rank b whose product has rank r.

    Args:
        shape: Input, hidden and output width (N, H, M).
        ranks: Ranks (a, b, r) with r <= min(a, b), a + b − r <= H, a <= N, b <= M.
        seed: Seed of the frames.

    Returns:
        [A, B].

    Raises:
        InputError: No such pair exists.
    """
    (n, h, m), (a, b, r) = shape, ranks
    _check(shape, r)
    if not (r <= min(a, b) and a + b - r <= h and a <= n and b <= m):
        raise InputError(
            f"ranks is {(a, b, r)} at shape {(n, h, m)}; expected (a, b, r) with r <= min(a, b), a + b - r <= H, "
            "a <= N, b <= M"
        )
    generator = torch.Generator().manual_seed(seed)

    def frame(rows: int, columns: int) -> Tensor:
        return torch.linalg.qr(torch.randn(rows, columns, generator=generator, dtype=torch.float64))[0]

    hidden = frame(h, a + b - r)
    first = hidden[:, :a] @ frame(n, a).T
    second = frame(m, b) @ torch.cat([hidden[:, :r], hidden[:, a:]], 1).T
    return [first.float(), second.float()]


def deep_linear_llc(widths: Sequence[int], rank: int) -> tuple[float, int]:
    """λ and its multiplicity at the deepest point of a deep linear net (Aoyagi, arXiv 2411.19920 and earlier).

    With Δ_s = H_s − r, let Σ be the unique set with max_Σ Δ < min_{Σᶜ} Δ, S = Σ_Σ Δ >= ℓ max_Σ Δ, S < ℓ min_{Σᶜ} Δ,
    ℓ = |Σ| − 1. With M = ⌈S/ℓ⌉ and a = S − (M − 1)ℓ,

        λ = (r(H_0 + H_L) − r²)/2 + a(ℓ − a)/4ℓ − (ℓ(ℓ − 1)/4)(S/ℓ)² + ½ Σ_{i<j∈Σ} Δ_iΔ_j,    m = a(ℓ − a) + 1.

    Args:
        widths: Widths H_0 … H_L.
        rank: Rank r.

    Returns:
        (λ, m).

    Raises:
        InputError: There are fewer than two widths, or the rank is impossible.
    """
    _check(widths, rank)
    excess = sorted(h - rank for h in widths)
    regular = (rank * (widths[0] + widths[-1]) - rank**2) / 2
    found = 0.0, 0
    for size in range(2, len(excess) + 1):  # exactly one size of Σ fulfils the conditions
        inside, outside = excess[:size], excess[size:]
        ell, total = size - 1, sum(inside)
        apart = not outside or (inside[-1] < outside[0] and total < ell * outside[0])
        if apart and total >= ell * inside[-1]:
            ceiling = math.ceil(total / ell)
            a = total - (ceiling - 1) * ell
            pairs = (total**2 - sum(x * x for x in inside)) / 2
            found = a * (ell - a) / (4 * ell) - (ell - 1) * total**2 / (4 * ell) + pairs / 2, a * (ell - a) + 1
    return regular + found[0], found[1]


def two_layer_llc(shape: tuple[int, int, int], ranks: tuple[int, int, int]) -> tuple[float, int]:
    """λ and multiplicity of a two-layer linear net at a solution with ranks a, b and product rank r.

    λ = q/2 + ½ min_{0<=t<=min(h,n)} [hn + t(p − h − n) + t²], q = Ma + bN − ab, p = M − b, n = N − a,
    h = H − a − b + r, and m counts the minimisers. At a = b = r this is Aoyagi & Watanabe (Neural Networks 18, 2005).

    Args:
        shape: Input, hidden and output width (N, H, M).
        ranks: Ranks (a, b, r) of the first layer, of the second and of their product.

    Returns:
        (λ, m).
    """
    (width_in, hidden, width_out), (a, b, r) = shape, ranks
    q = width_out * a + b * width_in - a * b
    p, n, h = width_out - b, width_in - a, hidden - a - b + r
    values = [h * n + t * (p - h - n) + t * t for t in range(min(h, n) + 1)]
    return q / 2 + min(values) / 2, values.count(min(values))


def _check(widths: Sequence[int], rank: int) -> None:
    if len(widths) < 2 or min(widths) < 1 or not 0 <= rank <= min(widths):
        raise InputError(
            f"widths is {tuple(widths)} and rank is {rank}; expected two or more widths >= 1, and 0 <= rank <= all of "
            "them"
        )
