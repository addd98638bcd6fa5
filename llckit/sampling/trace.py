"""What the chains of one checkpoint did."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Trace:
    """What the chains did, draw by draw: arrays of shape (draws, chains), float64, without the warm-up.

    Attributes:
        excess: nβ (L(w) − L(w*)); its mean is the LLC.
        distance2: ‖w − w*‖².
        virial: (w − w*)·∇U(w), whose mean is `dim` under the exact posterior. With a guide it is measured at every
            tenth draw and repeated in between, since it takes the gradients of all samples.
        acceptance: Metropolis acceptance probability.
        grad_evals: Gradients that each chain computed, warm-up included.
        num_burnin: Steps that are not among the draws: the warm-up and, if chains had not mixed, its repetitions and
            the draws before them.
        step_size: ε after the warm-up.
        turning_length: Leapfrogs after which chains turn back; 0 if the sampler does not measure it.
        scale_ratio: Largest scale that a weight moved on over the smallest; 1 if the sampler uses no scales.
        rel_tol: Relative error that the draws were to reach; None if their number was given.
        diverged: Whether a chain left the finite numbers.
        heat: What the noise of minibatches adds to the mean of the excess, to first order, shape (chains,); zeros if
            there is no such noise or the sampler does not know its effect.
        observed: Values of further functions of the weights at the same draws, by name.
        last: Where the chains ended, shape (chains, dim); None if that would take more than 64 MiB.
    """

    excess: np.ndarray
    distance2: np.ndarray
    virial: np.ndarray
    acceptance: np.ndarray
    grad_evals: int
    num_burnin: int
    step_size: float
    turning_length: float
    scale_ratio: float
    rel_tol: float | None
    diverged: bool
    heat: np.ndarray
    observed: dict[str, np.ndarray] = field(default_factory=dict)
    last: Tensor | None = field(default=None, repr=False)
