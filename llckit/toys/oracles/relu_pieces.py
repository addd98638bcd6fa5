"""Piecewise-linear fits by ReLU units: kinks that line up, leave the data or carry no weight lower λ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llckit.checks import check_positive
from llckit.errors import InputError
from llckit.toys.oracles.sinh_grid import sinh_grid

__all__ = ["ReLUPieces", "relu_pieces_llc"]

Array = NDArray[np.float64]
EVERY = 2  # only every second point of the grid: the integrand is smooth, and two kinks need the number squared


class ReLUPieces(nn.Module):
    """K(w) = E_x (f_w(x) − f_*(x))², f_w(x) = c + Σ_h v_h ReLU(x − t_h), x uniform on [−1, 1], at f_w = f_*.

    The slopes of the units are fixed at one, since scaling a slope and v_h together is a symmetry. K is exact: a sum of
    integrals of squared linear functions between neighbouring kinks.

    Args:
        kinks: Kinks t_h at w*.
        heights: Changes of slope v_h at these kinks.

    Raises:
        InputError: `relu_pieces_llc` refuses the kinks or heights.
    """

    truth: Tensor
    changes: Tensor

    def __init__(self, kinks: Sequence[float], heights: Sequence[float]) -> None:
        super().__init__()
        self.answer = relu_pieces_llc(kinks, heights), 1
        self.kinks = nn.Parameter(torch.tensor(kinks, dtype=torch.float32))
        self.heights = nn.Parameter(torch.tensor(heights, dtype=torch.float32))
        self.level = nn.Parameter(torch.zeros(()))
        self.register_buffer("truth", self.kinks.detach().clone())
        self.register_buffer("changes", self.heights.detach().clone())

    def forward(self) -> Tensor:
        """The loss."""
        ends = self.truth.new_tensor([-1.0, 1.0])
        x = torch.cat([ends, self.kinks.clamp(-1, 1), self.truth.clamp(-1, 1)]).sort().values
        # On a piece every unit is linear up to its ends; ReLU itself would take the derivative of one side at a kink.
        middle = (x[:-1] + x[1:]).detach()[:, None] / 2
        own, theirs = (middle > self.kinks).to(x), (middle > self.truth).to(x)

        def away(end: Tensor) -> Tensor:
            fitted = self.level + (own * (end[:, None] - self.kinks)) @ self.heights
            return fitted - (theirs * (end[:, None] - self.truth)) @ self.changes

        left, right = away(x[:-1]), away(x[1:])
        return (x.diff() * (left.square() + left * right + right.square())).sum() / 6

    def energy(self, n_beta: float, localization: float) -> float:
        """E[nβ K] under the localization γ/2 ‖w − w*‖², for one or two units.

        Given the kinks, f_w is linear in θ = (c, v) and K = (θ − θ*)ᵀG(θ − θ*) + 2qᵀ(θ − θ*) + K(θ*). So θ is Gaussian
        with precision P = γ + 2tG and mean θ* − 2tP⁻¹q, t = nβ. Integrating it out leaves the kinks with the weight
        |P|^{−½} exp(−tK(θ*) + 2t²qᵀP⁻¹q): a quadrature.

        Args:
            n_beta: nβ > 0.
            localization: γ > 0.

        Returns:
            The expected energy, to about 1e-5 if kinks are at one place or far apart in units of nβ^{−⅓}.

        Raises:
            InputError: nβ or γ is not positive, or there are more than two units.
        """
        check_positive("n_beta", n_beta)
        check_positive("localization", localization)
        truth, changes = self.truth.double().numpy(), self.changes.double().numpy()
        units = len(truth)
        if units > 2:
            raise InputError(f"kinks has {units} entries; expected one or two, for which the integral is known")
        away, spacing = (x[::EVERY] for x in sinh_grid(n_beta, localization))
        grids = np.meshgrid(*(t + away for t in truth), indexing="ij")
        kinks = np.stack([grid.ravel() for grid in grids], axis=1)
        prior = np.exp(-0.5 * localization * away**2) * spacing
        weight = np.prod(np.stack(np.meshgrid(*[prior] * units, indexing="ij")), axis=0).ravel()
        return _mean_energy(kinks, weight, truth, changes, n_beta, localization)


def _mean_energy(kinks: Array, weight: Array, truth: Array, changes: Array, t: float, gamma: float) -> float:
    """The energy averaged over kinks, shape (points, units), with their prior weights; θ is integrated out."""
    units = len(truth)
    columns = [np.full(len(kinks), -1.0), *kinks.T, *(np.full(len(kinks), x) for x in truth)]
    # Moments over [−1, 1] of all pairs of the constant and the ReLUs.
    moments = np.empty((len(kinks), len(columns), len(columns)))
    for i, a in enumerate(columns):
        for j, b in enumerate(columns[: i + 1]):
            moments[:, i, j] = moments[:, j, i] = _moment(a, b, flat_first=i == 0, flat_second=j == 0)
    own = slice(0, units + 1)
    g = moments[:, own, own]
    error = np.concatenate([[0.0], changes, -changes])  # f_w − f_* at θ*
    q = moments[:, own] @ error
    at_centre = np.einsum("i,pij,j->p", error, moments, error)
    precision = gamma * np.eye(units + 1) + 2 * t * g
    shift = -2 * t * np.linalg.solve(precision, q[:, :, None])[:, :, 0]
    trace = np.trace(np.linalg.solve(precision, g), axis1=1, axis2=2)
    energy = t * (trace + np.einsum("pi,pij,pj->p", shift, g, shift) + 2 * (q * shift).sum(1) + at_centre)
    log_weight = -0.5 * np.linalg.slogdet(precision)[1] - t * at_centre - t * (q * shift).sum(1)
    weight = weight * np.exp(log_weight - log_weight.max())
    return float((weight * energy).sum() / weight.sum())


def _moment(a: Array, b: Array, *, flat_first: bool, flat_second: bool) -> Array:
    """½∫φψ over [−1, 1], where φ is ReLU(x − a) or 1, and ψ is ReLU(x − b) or 1."""
    low = np.clip(np.maximum(a, b), -1, 1)
    if flat_first and flat_second:
        return np.ones_like(low)
    length = 1 - low
    if flat_first or flat_second:
        start = low - (b if flat_first else a)
        return length * (2 * start + length) / 4
    p, q = low - a, low - b
    return length * (6 * p * q + 3 * (p + q) * length + 2 * length**2) / 12


def relu_pieces_llc(kinks: Sequence[float], heights: Sequence[float]) -> float:
    """λ of f(x) = c + Σ_h v_h ReLU(x − t_h) fitted to itself, x uniform on [−1, 1]; m = 1.

    K is the squared length of f − f_*, so each independent derivative of f adds ½: ½ for c, and

    * 1 for a kink inside with v_h ≠ 0, on its own; ½ if v_h = 0, since t_h is then free;
    * 1 + (k − 1)/3 for k kinks at one place: a kink that lines up with another adds ⅓ instead of 1;
    * 0 for a unit that is never active (t_h > 1), and ½ for all units together that are always active (t_h < −1).

    docs/notes/relu_pieces.md has the derivation. This is the population loss: on n samples K does not change while
    kinks move between two neighbouring samples, which takes the ⅓ away if nβ exceeds n³.

    Args:
        kinks: Kinks t_h, none at the ends −1 and 1, one at least.
        heights: Change of slope v_h at each kink.

    Returns:
        λ.

    Raises:
        InputError: There are no kinks, or not as many heights; a kink is at an end or not finite; or some heights of
            kinks at one place sum to zero, for which no formula is known here.
    """
    refusal = (
        f"kinks is {kinks!r}, heights is {heights!r}; expected equally many finite numbers, one at least, and no kink "
        "at -1 or 1"
    )
    try:
        places, changes = np.array(kinks, dtype=np.float64), np.array(heights, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(refusal) from error
    is_list = places.ndim == 1 and places.shape == changes.shape and len(places) > 0
    if not is_list or not np.isfinite([places, changes]).all() or (np.abs(places) == 1).any():
        raise InputError(refusal)
    kinks, heights = places.tolist(), changes.tolist()
    inside = [(t, v) for t, v in zip(kinks, heights, strict=True) if -1 < t < 1]
    llc = 0.5 + 0.5 * (min(kinks) < -1)
    for kink, count in Counter(t for t, _ in inside).items():
        together = np.array([v for t, v in inside if t == kink])
        subsets = (np.arange(1, 2**count)[:, None] >> np.arange(count)) & 1
        vanishing = np.abs(subsets @ together) < 1e-6 * np.abs(together).max(initial=1e-300)
        if count > 1 and vanishing.any():
            raise InputError(
                f"heights is {together.tolist()} at kink {kink}, and some of them sum to zero; expected none that "
                "cancel, for which no formula is known here"
            )
        llc += 0.5 if count == 1 and together[0] == 0 else 1 + (count - 1) / 3
    return llc
