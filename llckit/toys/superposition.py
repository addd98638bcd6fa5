"""The toy model of superposition with two hidden dimensions, at its regular polygons."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from llckit.errors import InputError

# c: length of the columns and bias at the c-gon, to which Newton's method converged in float64.
POLYGONS = {
    5: (1.170459639097829, -0.282297283126772),
    6: (1.320526330779967, -0.618135131868215),
    7: (1.448393750379516, -0.966906339379662),
    8: (1.550449690059258, -1.291192644692490),
}


class Superposition(nn.Module):
    """E_x ‖x − relu(WᵀWx + b)‖² for one active feature at a time, held at the c-gon (Chen et al., arXiv 2310.06301).

    x = μ e_i with i uniform in 1 … c and μ uniform on [0, 1]; W is 2 × c, b has c entries. The integral over μ is done
    in closed form: where it is active, the relu is linear in μ. The loss at the c-gon is not zero.

    Args:
        features: c, 5 to 8; at the 4-gon the loss is not twice differentiable.

    Raises:
        InputError: Other numbers of features.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        if features not in POLYGONS:
            raise InputError(f"{features} features; expected one of {', '.join(map(str, POLYGONS))}")
        length, bias = POLYGONS[features]
        angles = 2 * math.pi * torch.arange(features, dtype=torch.float64) / features
        self.weight = nn.Parameter((length * torch.stack([angles.cos(), angles.sin()])).float())
        self.bias = nn.Parameter(torch.full((features,), bias))

    def forward(self) -> Tensor:
        """The loss."""
        gram = self.weight.T @ self.weight
        target = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        before = self.bias[:, None].expand_as(gram)  # the preactivation at μ = 0 and at μ = 1
        after = gram + before
        low, high = before.relu(), after.relu()
        apart = torch.where(low * high > 0, high - low, after - before)
        # The share of [0, 1] where the relu is active, and where that begins and ends.
        share = torch.where(low * high > 0, 1.0, (high - low) / torch.where(apart == 0, 1.0, apart))
        begin = torch.where(low > 0, 0.0, 1 - share)
        end = begin + share
        error_begin, error_end = target * begin - low, target * end - high
        active = share * (error_begin.square() + error_begin * error_end + error_end.square()) / 3
        inactive = target * (1 - end**3 + begin**3) / 3
        return (active + inactive).sum() / len(gram)

    @property
    def answer(self) -> tuple[float, int]:
        """(λ, m): (3c − 1)/2 and 1, the point being regular but for one rotation."""
        return (3 * len(self.bias) - 1) / 2, 1
