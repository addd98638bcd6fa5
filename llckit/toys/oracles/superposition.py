"""The toy model of superposition with two hidden dimensions, at its regular polygons."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from llckit.errors import InputError

__all__ = ["POLYGONS", "Superposition"]

# Length of the columns and bias at the c-gon by c; Newton's method in float64 converged to them.
POLYGONS = {
    5: (1.170459639097829, -0.282297283126772),
    6: (1.320526330779967, -0.618135131868215),
    7: (1.448393750379516, -0.966906339379662),
    8: (1.550449690059258, -1.291192644692490),
}


class Superposition(nn.Module):
    """E_x ‖x − relu(WᵀWx + b)‖² for one active feature at a time, at the c-gon (Chen et al., arXiv 2310.06301).

    x = μ e_i with i uniform in 1 … c and μ uniform on [0, 1]; W is 2 × c, b has c entries. The integral over μ has a
    closed form, since an active relu is linear in μ. The loss at the c-gon is not zero.

    Args:
        features: Number of features c, 5 to 8; at the 4-gon the loss is not twice differentiable.

    Raises:
        InputError: The number of features is another.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        if features not in POLYGONS:
            raise InputError(f"features is {features}; expected one of {', '.join(map(str, POLYGONS))}")
        length, bias = POLYGONS[features]
        angles = 2 * math.pi * torch.arange(features, dtype=torch.float64) / features
        self.weight = nn.Parameter((length * torch.stack([angles.cos(), angles.sin()])).float())
        self.bias = nn.Parameter(torch.full((features,), bias))

    def forward(self) -> Tensor:
        """The loss."""
        gram = self.weight.T @ self.weight
        target = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        before = self.bias[:, None].expand_as(gram)  # preactivation at μ = 0
        after = gram + before  # preactivation at μ = 1
        low, high = before.relu(), after.relu()
        apart = torch.where(low * high > 0, high - low, after - before)
        # Share of [0, 1] in which the relu is active, and the start and end of that interval.
        share = torch.where(low * high > 0, 1.0, (high - low) / torch.where(apart == 0, 1.0, apart))
        start = torch.where(low > 0, 0.0, 1 - share)
        end = start + share
        error_start, error_end = target * start - low, target * end - high
        active = share * (error_start.square() + error_start * error_end + error_end.square()) / 3
        inactive = target * (1 - end**3 + start**3) / 3
        return (active + inactive).sum() / len(gram)

    @property
    def answer(self) -> tuple[float, int]:
        """(λ, m): (3c − 1)/2 and 1, since the point is regular up to one rotation."""
        return (3 * len(self.bias) - 1) / 2, 1
