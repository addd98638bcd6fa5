"""A diagonal metric found in the warm-up: if weights live on very different scales, each moves on its own."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

FIRST, LAST = 9, 25  # steps of the warm-up whose draws are used; searches for the length come later
LEAST_RATIO = 32.0  # of the largest scale over the smallest, above which scales are used
BLOCK = 2**20  # numbers
FLOOR = 1e-20  # of the mean square, added to each: a weight without any gradient has a finite scale


class Metric(NamedTuple):
    """The scales that weights move on, or the sums from which they will be found.

    The sampler's kinetic energy is ½ Σ m_i v_i² with masses m_i = 1/s_i². The diagonal metric closest to the posterior
    in Fisher divergence is s_i² = √(E[(w_i − w*_i)²] / E[(∂_i U)²]) (Seyboldt, Carlson & Carpenter, arXiv 2603.18845).
    For a normal density with independent weights it is the variance, even if chains have not spread yet, since draws
    and gradients grow alike. Expectations are pooled over chains and draws. Scales are divided by the smallest: the
    stiffest weight bounds the step, and keeps its size.

    Scales are used if they differ by more than a factor of 32. On singular toys and trained nets that nobody has
    rescaled, scales found so early differ by 1 to 18, so nothing changes there.

    Attributes:
        center: w*, shape (dim,), while sums are collected.
        away2: Σ (w − w*)² over chains and draws so far, shape (dim,).
        grad2: Σ (∂U)² over chains and draws so far, shape (dim,).
        scale: s, shape (dim,); None if it is not known, or not used.
        scale_ratio: Largest scale over the smallest; 1 if none is used.
    """

    center: Tensor | None = None
    away2: Tensor | None = None
    grad2: Tensor | None = None
    scale: Tensor | None = None
    scale_ratio: float = 1.0

    @classmethod
    def start(cls, center: Tensor) -> Metric:
        """A search around w*.

        Args:
            center: w*, shape (dim,).

        Returns:
            The metric without scales, which collects.
        """
        return cls(center.clone(), torch.zeros_like(center), torch.zeros_like(center))

    def update(self, adapted: int, weights: Tensor, grad: Tensor) -> Metric:
        """Collect draws; in the last step find the scales and forget the sums.

        Args:
            adapted: Steps of the warm-up so far, this one included.
            weights: Where the chains are, shape (rows, dim).
            grad: ∇U there, shape (rows, dim).

        Returns:
            The metric to go on with.
        """
        if self.center is None or self.away2 is None or self.grad2 is None or adapted < FIRST:
            return self
        few = max(1, BLOCK // weights.shape[1])  # rows at once: for large models there is no room for more
        for rows, grads in zip(weights.split(few), grad.split(few), strict=True):
            self.away2.add_((rows - self.center).square_().sum(0))
            self.grad2.add_(grads.square().sum(0))
        return self if adapted < LAST else _found(self.away2, self.grad2)


def _found(away2: Tensor, grad2: Tensor) -> Metric:
    away2, grad2 = (x.add_(FLOOR * x.mean()) for x in (away2, grad2))
    scale = away2.div_(grad2).pow_(0.25)
    smallest, largest = (float(x) for x in scale.aminmax())
    if not LEAST_RATIO * smallest < largest < float("inf"):  # NaN too: chains that never moved, or left
        return Metric()
    return Metric(scale=scale.div_(smallest), scale_ratio=largest / smallest)
