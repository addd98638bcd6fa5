"""A Hamiltonian trajectory of all chains, leapfrog by leapfrog."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from llckit.posterior import Energy


class Trajectory:
    """Leapfrogs p ← p − ε/2 ∇U(w), w ← w + εs² p, p ← p − ε/2 ∇U(w).

    With scales s, weights move in units of them: momenta are sp ~ N(0, 1). All tensors given but `start` and `scale`
    are overwritten or let go of as soon as possible, since large models leave no room for copies.

    Args:
        follow: The potential U that is followed.
        start: Where the chains are, shape (rows, dim).
        energy: U there.
        momentum: Momenta, shape (rows, dim).
        scale: s, shape (dim,); None for 1.

    Attributes:
        weights: Where the chains are now, shape (rows, dim).
        energy: U there.
        momentum: Their momenta, in units of the scales, shape (rows, dim).
    """

    def __init__(
        self, follow: Callable[[Tensor], Energy], start: Tensor, energy: Energy, momentum: Tensor, scale: Tensor | None
    ) -> None:
        self._follow, self._start, self._scale = follow, start, scale
        self.weights, self.energy, self.momentum = start.clone(), energy, momentum

    def run(self, size: float, leapfrogs: int) -> int:
        """Make so many leapfrogs of the step size ε.

        Args:
            size: ε.
            leapfrogs: How many.

        Returns:
            How many.
        """
        for _ in range(leapfrogs):
            self._leapfrog(size)
        return leapfrogs

    def run_until_turned(self, size: float, longest: int) -> int:
        """Make leapfrogs until half of the chains turn back, (w − w₀)·p < 0 (Hoffman & Gelman 2014).

        Args:
            size: ε.
            longest: Leapfrogs after which to end in any case.

        Returns:
            The number of leapfrogs.
        """
        for leapfrogs in range(1, longest + 1):
            self._leapfrog(size)
            if self._has_turned():
                return leapfrogs
        return longest

    def _leapfrog(self, size: float) -> None:
        self._move(self.momentum, self.energy.grad, -size / 2)
        self._move(self.weights, self.momentum, size)
        del self.energy  # makes room for the next gradient
        self.energy = self._follow(self.weights)
        self._move(self.momentum, self.energy.grad, -size / 2)

    def _move(self, x: Tensor, by: Tensor, size: float) -> None:
        # With w = s x and ∂U/∂x = s ∂U/∂w, kicks and drifts are both this.
        if self._scale is None:
            x.add_(by, alpha=size)
        else:
            x.addcmul_(by, self._scale, value=size)

    def _has_turned(self) -> bool:
        along = (self.weights - self._start).mul_(self.momentum)
        if self._scale is not None:
            along.div_(self._scale)
        # A chain that left the finite numbers will not come back: it counts as turned.
        return 2 * int((along.sum(1, dtype=torch.float64) > 0).sum()) < len(along)
