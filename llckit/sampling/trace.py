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
        noise: Half the difference of two independent estimates of the excess, whose mean it is: Var[nβ L] is the
            variance of the excess less the mean of its square. Zeros if the excess is exact, or not estimated twice.
        heat: By how much the excess of a chain with twice the noise of minibatches is larger (see
            `llckit.sampling.potentials.PairedMinibatches`); zeros if there are no pairs.
        grad_evals: Gradients that each chain computed, warm-up included.
        num_burnin: Steps that are not among the draws: the warm-up and, if chains had not mixed, its repetitions and
            the draws before them.
        step_size: ε after the warm-up.
        turning_length: Leapfrogs after which chains turn back; 0 if the sampler does not measure it.
        scale_ratio: Largest scale that a weight moved on over the smallest; 1 if the sampler uses no scales.
        rel_tol: Relative error that the draws were to reach; None if their number was given.
        diverged: Whether a chain left the finite numbers.
        is_cut: Whether a deadline or the user ended it before its draws or its error were reached.
        is_interrupted: Whether it was the user.
        is_short: Whether there are fewer draws than were asked for by number.
        heat_grows: Whether that noise vanishes at w*, so that heat is a factor of the excess, and not a summand.
        observed: Values of further functions of the weights at the same draws, by name.
        last: Where the chains ended, shape (chains, dim); None if that would take more than 64 MiB.
    """

    excess: np.ndarray
    distance2: np.ndarray
    virial: np.ndarray
    acceptance: np.ndarray
    noise: np.ndarray
    heat: np.ndarray
    grad_evals: int
    num_burnin: int
    step_size: float
    turning_length: float
    scale_ratio: float
    rel_tol: float | None
    diverged: bool
    is_cut: bool = False
    is_interrupted: bool = False
    is_short: bool = False
    heat_grows: bool = False
    observed: dict[str, np.ndarray] = field(default_factory=dict)
    last: Tensor | None = field(default=None, repr=False)
