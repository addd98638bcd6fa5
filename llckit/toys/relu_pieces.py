"""Piecewise-linear fits by ReLU units: kinks that line up, leave the data or carry no weight lower λ."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from numbers import Real

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llckit.errors import InputError
from llckit.toys.planar import stretched_grid

Array = NDArray[np.float64]
EVERY = 2  # point of the grids for single weights: the integrand is smoother, and there are as many squared


class ReLUPieces(nn.Module):
    """K(w) = E_x (f_w(x) − f_*(x))², f_w(x) = c + Σ_h v_h ReLU(x − t_h), x uniform on [−1, 1], held at f_w = f_*.

    The units' slopes are fixed at one: what they and v_h could do together is a symmetry. K is a sum of integrals of
    squared linear functions between neighbouring kinks, exact.

    Args:
        kinks: t_h of w*.
        heights: v_h of w*, the change of slope at each kink.

    Raises:
        InputError: See `relu_pieces_llc`.
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
        # On a piece every unit is linear, at its ends too: ReLU's own derivative at a kink is that of one side alone.
        middle = (x[:-1] + x[1:]).detach()[:, None] / 2
        own, theirs = (middle > self.kinks).to(x), (middle > self.truth).to(x)

        def away(end: Tensor) -> Tensor:
            fitted = self.level + (own * (end[:, None] - self.kinks)) @ self.heights
            return fitted - (theirs * (end[:, None] - self.truth)) @ self.changes

        left, right = away(x[:-1]), away(x[1:])
        return (x.diff() * (left.square() + left * right + right.square())).sum() / 6

    def energy(self, n_beta: float, localization: float) -> float:
        """E[nβ K] under the localiser γ/2 ‖w − w*‖², for one or two units.

        Given the kinks, f_w is linear in θ = (c, v), K = (θ − θ*)ᵀG(θ − θ*) + 2qᵀ(θ − θ*) + K(θ*), and θ is Gaussian,
        of precision P = γ + 2tG and mean θ* − 2tP⁻¹q, t = nβ, with the weight |P|^{−½} exp(−tK(θ*) + 2t²qᵀP⁻¹q) for
        the kinks. A quadrature over these remains.

        Args:
            n_beta: nβ.
            localization: γ > 0.

        Returns:
            The expected energy, to about 1e-5 as long as kinks are at one place or far apart in units of nβ^{−⅓}.

        Raises:
            InputError: nβ or γ not positive, or more than two units.
        """
        for name, value in (("n_beta", n_beta), ("localization", localization)):
            if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < math.inf:
                raise InputError(f"{name} is {value!r}; expected a finite number above 0")
        truth, changes = self.truth.double().numpy(), self.changes.double().numpy()
        units = len(truth)
        if units > 2:
            raise InputError(f"{units} units; the integral is done for one or two")
        away, spacing = (x[::EVERY] for x in stretched_grid(n_beta, localization))
        grids = np.meshgrid(*(t + away for t in truth), indexing="ij")
        kinks = np.stack([grid.ravel() for grid in grids], axis=1)
        prior = np.exp(-0.5 * localization * away**2) * spacing
        weight = np.prod(np.stack(np.meshgrid(*[prior] * units, indexing="ij")), axis=0).ravel()
        return _mean_energy(kinks, weight, truth, changes, n_beta, localization)


def _mean_energy(kinks: Array, weight: Array, truth: Array, changes: Array, t: float, gamma: float) -> float:
    """Of kinks (points, units) with their prior weights; θ is integrated over."""
    units = len(truth)
    columns = [np.full(len(kinks), -1.0), *kinks.T, *(np.full(len(kinks), x) for x in truth)]
    # The constant is a unit of slope zero; the others are ReLUs: moments of all pairs over [−1, 1].
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
    """½∫φψ over [−1, 1], φ = ReLU(x − a) or 1, ψ likewise with b."""
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

    The derivatives of f by c, v_h, t_h are 1, ReLU(x − t_h), −v_h 1[x > t_h]; K is the squared length of f − f_*, so
    each independent derivative adds ½:

    * c: ½. A kink inside with v_h ≠ 0, on its own: ½ + ½. With v_h = 0: ½, since t_h is free.
    * t_h > 1, the unit is never active: 0. t_h < −1, always active: its function is linear, so all such units together
      add one new derivative, x: ½.
    * k kinks at one place t (no subset of whose v_h sums to zero): f − f_* depends on A = Σv_h to first order, on
      m = Σv_h(t_h − t), and on the k − 1 differences δ of kinks beyond that: where A and m are those of f_*, it is a
      bump between the outermost kinks, as wide as |δ| and as high as |δ|, since f has to change its slope by A
      somewhere. Its square integral goes as |δ|³, and no bump is zero before δ is. So K ≍ (A − A_*)² + m² + |δ|³, whose
      volume below ε goes as ε^½ ε^½ ε^{(k−1)/3}: 1 + (k − 1)/3. How A is shared among the units is a flat direction.

    So a kink that lines up with another adds ⅓ in place of 1. This is the population loss: on n samples K does not
    change while kinks move between two neighbouring samples, which takes the ⅓ away where nβ exceeds n³.

    Args:
        kinks: t_h, none at the ends −1 and 1, one at least.
        heights: v_h, as many.

    Returns:
        λ.

    Raises:
        InputError: No kinks, other numbers of kinks and heights, a kink at an end or not finite, or kinks at one place
            some of whose heights sum to zero.
    """
    refusal = f"kinks {kinks!r}, heights {heights!r}; expected equally many finite numbers, one at least, and no kink "
    try:
        places, changes = np.array(kinks, dtype=np.float64), np.array(heights, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{refusal}at -1 or 1") from error
    is_list = places.ndim == 1 and places.shape == changes.shape and len(places) > 0
    if not is_list or not np.isfinite([places, changes]).all() or (np.abs(places) == 1).any():
        raise InputError(f"{refusal}at -1 or 1")
    kinks, heights = places.tolist(), changes.tolist()
    inside = [(t, v) for t, v in zip(kinks, heights, strict=True) if -1 < t < 1]
    llc = 0.5 + 0.5 * (min(kinks) < -1)
    for kink, count in Counter(t for t, _ in inside).items():
        together = np.array([v for t, v in inside if t == kink])
        subsets = (np.arange(1, 2**count)[:, None] >> np.arange(count)) & 1
        vanishing = np.abs(subsets @ together) < 1e-6 * np.abs(together).max(initial=1e-300)
        if count > 1 and vanishing.any():
            raise InputError(
                f"the heights {together.tolist()} at kink {kink} have a part that sums to zero; expected none that "
                "cancel, for which no formula is known here"
            )
        llc += 0.5 if count == 1 and together[0] == 0 else 1 + (count - 1) / 3
    return llc
