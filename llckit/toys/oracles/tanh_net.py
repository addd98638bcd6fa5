"""Three-layer tanh networks at the origin, where the true function is zero."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from llckit.checks import check_integer
from llckit.errors import InputError
from llckit.toys.oracles.sinh_grid import sinh_grid

__all__ = ["TanhNet", "tanh_llc"]

NODES = 24  # of the Gauss-Legendre rule on [−1, 1], whose error is below the precision of float32


class TanhNet(nn.Module):
    """The population loss E_x ‖Σ_h b_h tanh(a_h x)‖², x uniform on [−1, 1], at the origin.

    Args:
        hidden: Number of hidden units H.
        outputs: Number of outputs M.

    Raises:
        InputError: There are no units or no outputs.
    """

    nodes: Tensor
    shares: Tensor

    def __init__(self, hidden: int, outputs: int = 1) -> None:
        super().__init__()
        self.hidden, self.outputs = check_integer("hidden", hidden, 1), check_integer("outputs", outputs, 1)
        self.first = nn.Parameter(torch.zeros(hidden))
        self.second = nn.Parameter(torch.zeros(outputs, hidden))
        nodes, shares = _input_distribution()
        self.register_buffer("nodes", torch.tensor(nodes, dtype=torch.float32))
        self.register_buffer("shares", torch.tensor(shares, dtype=torch.float32))

    def forward(self) -> Tensor:
        """The loss."""
        output = self.second @ torch.tanh(self.first[:, None] * self.nodes)
        return (self.shares * output.square()).sum()

    @property
    def answer(self) -> tuple[float, int]:
        """(λ, m) at the origin (`tanh_llc`)."""
        return tanh_llc(self.hidden, self.outputs)

    def energy(self, n_beta: float, localization: float) -> float:
        """E[nβ K] under the localization γ, for one or two hidden units.

        Given a, the output weights are Gaussian. With t = nβ this leaves −t ∂_t ln Z, Z = E_a det(I + (2t/γ)
        G(a))^{−M/2}, G_hk = E_x tanh(a_h x) tanh(a_k x), a_h ~ N(0, 1/γ): a quadrature over a.

        Args:
            n_beta: nβ.
            localization: γ > 0.

        Returns:
            The expected energy, to about 1e-5.

        Raises:
            InputError: There are more than two hidden units.
        """
        if self.hidden > 2:
            raise InputError(f"hidden is {self.hidden}; expected one or two units, for which the integral is known")
        nodes, shares = _input_distribution()
        a, spacing = sinh_grid(n_beta, localization)
        prior = np.exp(-0.5 * localization * a**2) * spacing
        activity = np.tanh(a[:, None] * nodes) * np.sqrt(2 * n_beta / localization * shares)
        g = np.square(activity).sum(1)
        if self.hidden == 1:
            weight = prior * (1 + g) ** (-self.outputs / 2)
            value = g / (1 + g)
        else:
            cross = (activity @ activity.T) ** 2
            determinant = np.maximum((1 + g)[:, None] * (1 + g) - cross, 1 + g[:, None] + g)
            weight = prior[:, None] * prior * determinant ** (-self.outputs / 2)
            value = 2 - (2 + g[:, None] + g) / determinant
        return float(self.outputs / 2 * (weight * value).sum() / weight.sum())


def tanh_llc(hidden: int, outputs: int = 1) -> tuple[float, int]:
    """λ and m of a three-layer tanh net with scalar input and zero truth, at the origin (Aoyagi, Entropy 21, 2019).

    λ = (2Mk(k + 1) + 2H)/(4(1 + 2k)), where k is the largest i >= 0 with 2H >= M(2i(i − 1) + 2i). m = 2 if that is an
    equality with k >= 1, else 1.

    Args:
        hidden: Number of hidden units H.
        outputs: Number of outputs M.

    Returns:
        (λ, m).
    """
    k = 0
    while hidden >= outputs * (k + 1) ** 2:
        k += 1
    llc = (outputs * k * (k + 1) + hidden) / (2 + 4 * k)
    return llc, 2 if k and hidden == outputs * k**2 else 1


def _input_distribution() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and probabilities of the positive half; the loss is even in x."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return nodes[NODES // 2 :], weights[NODES // 2 :]
