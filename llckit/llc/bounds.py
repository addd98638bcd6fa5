"""What an LLC at given nβ and γ can be: the bracket of its checkpoint, and how far anharmonicity may move its ends."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from llckit.errors import InputError
from llckit.geometry.expansion import Expansion, expand
from llckit.geometry.rank import TOLERANCE, counted
from llckit.posterior import Checkpoint, LocalPosterior, Task

MAX_DIM = 512  # parameters: the Hessian's eigenvectors then take 0.1 s
DOUBLE_BACKWARD = 3  # gradients that a Hessian-vector product costs
FREE = 64  # parameters up to which it is too cheap to ask
SHARE = 0.1  # of the gradients of an estimate that may go into the Hessian
PAIRS = 32  # of thermal displacements
SAFETY = 2.0  # times what first order says about anharmonicity
FINITE = 0.1  # of either end: what finite nβ may do
NOISE = 1e-6  # of the largest eigenvalue: negative curvature below that is rounding


class Bounds(NamedTuple):
    """The bracket around an LLC.

    Attributes:
        lower: ½ rank ∇²L(w*).
        upper: ½ (dim − dimension of the symmetry orbit).
        lower_finite: ½ Σ nβh/(nβh + γ) over the eigenvalues that count.
        below: How far λ̂ may fall below `lower_finite` at this nβ and γ; inf where w* is a saddle, or the loss not
            finite within thermal reach of it.
        above: How far it may rise above `upper`.
    """

    lower: float
    upper: float
    lower_finite: float
    below: float
    above: float

    @property
    def bracket(self) -> tuple[float, float]:
        """Lower and upper end."""
        return self.lower, self.upper

    @property
    def margin(self) -> tuple[float, float] | None:
        """How far an LLC may lie below `lower_finite` and above `upper`; None if the bracket says nothing."""
        return None if math.isinf(self.below) else (self.below, self.above)

    def exclude(self, llc: float, error: float) -> bool:
        """Whether an LLC lies outside by more than its error and what anharmonicity allows."""
        return llc + error + self.below < self.lower_finite or llc - error - self.above > self.upper


def is_affordable(checkpoint: Checkpoint, samples: int) -> bool:
    """Whether the Hessian costs at most a tenth of an estimate, counted in gradients of one sample.

    Args:
        checkpoint: Whose samples the Hessian takes.
        samples: Gradients of one sample that the estimate took, in all chains.

    Returns:
        Whether it does, and there are no more than 512 parameters; always up to 64.
    """
    dim, n = checkpoint.dim, checkpoint.samples.n
    return dim <= FREE or (dim <= MAX_DIM and DOUBLE_BACKWARD * dim * n <= SHARE * samples)


def find_bounds(task: Task, checkpoint: Checkpoint, n_beta: float, localization: float, depth: float) -> Bounds | None:
    """The bracket at w*, and its margins at nβ = t and γ.

    Let h be the Hessian's eigenvalues, v its eigenvectors and k = th + γ. About a minimum of just that quadratic form
    λ̂ is ½ Σ th/k. What moves it:

    * finite nβ: chains that follow flat directions come near more singular places, which in the exact posteriors of
      linear nets at n/ln n takes up to 7 % off. A tenth is granted at both ends; more is not λ at w* any longer;
    * the gradient g: by (t g·v)²/k at most along each v, or by the depth that descent has found;
    * eigenvalues that are slightly negative: by their own ½ th/k;
    * higher powers, V(x) = t (L(w* + x) − L(w*)) less its quadratic part. To first order in 1/t the even part takes
      E[V] off and the odd part adds ½ E[V²], with expectations over the Gaussian x of precision k along the directions
      that count (Shun & McCullagh, J. R. Stat. Soc. B 57 (1995), for the expansion). 32 pairs ±x tell both; twice these
      numbers, and two standard errors of E[V], is the margin. At the lower end it is that of the stiffest half, quarter
      … of these directions alone where they leave more of it.

    Args:
        task: What was sampled.
        checkpoint: w* and the samples whose loss was sampled.
        n_beta: nβ.
        localization: γ.
        depth: nβ (L(w*) − L(ŵ)), see `depth_below`.

    Returns:
        The bounds; None for a loss that is not twice differentiable, or whose gradient jumps at w*.
    """
    try:
        local = expand(task, checkpoint)
    except InputError:
        return None
    if local.kinked:
        return None
    t, gamma = n_beta, localization
    rank = counted(local.values, TOLERANCE).rank
    th = t * local.values
    stiff, bent = th[len(th) - rank :], th[local.values < -NOISE * local.values[-1]]
    lower_finite = 0.5 * float((stiff / (stiff + gamma)).sum())
    ends = rank / 2, (task.dim - local.orbit_dim) / 2
    if len(bent) and float(bent[0]) < -gamma / 2:
        return Bounds(*ends, lower_finite, math.inf, math.inf)
    slope = (t * (local.vectors.T @ local.gradient)).square()
    steep = slope > 0
    fall = float((slope / (th.clamp_min(0) + gamma))[steep].sum())
    posterior = LocalPosterior(checkpoint, n_beta=t, localization=gamma, rows=1)
    even, odd = _anharmonicity(posterior, local, rank)
    if not math.isfinite(even + odd):  # the loss is not defined that far away
        return Bounds(*ends, lower_finite, math.inf, math.inf)
    low, fewer = (1 - FINITE) * lower_finite - SAFETY * max(0.0, even), rank // 2
    while fewer:  # soft directions are the least harmonic, and any number of stiff ones bounds λ̂ from below
        share = 0.5 * float((th[-fewer:] / (th[-fewer:] + gamma)).sum())
        bent_by, _ = _anharmonicity(posterior, local, fewer)
        low, fewer = max(low, (1 - FINITE) * share - SAFETY * max(0.0, bent_by)), fewer // 2
    below = lower_finite - low + max(depth, fall) - 0.5 * float((bent / (bent + gamma)).sum())
    return Bounds(*ends, lower_finite, below, FINITE * ends[1] + SAFETY * (odd + max(0.0, -even)))


def _anharmonicity(posterior: LocalPosterior, local: Expansion, rank: int) -> tuple[float, float]:
    """E[V], two standard errors away from 0, and ½ E[V²] of its odd part, along the `rank` stiffest directions."""
    if rank == 0:
        return 0.0, 0.0
    t, gamma = float(posterior.n_beta[0]), float(posterior.localization[0])
    weights = posterior.checkpoint.weights
    h, directions = local.values[-rank:], local.vectors[:, -rank:]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(PAIRS, rank, generator=generator, dtype=torch.float64, device="cpu") / (t * h + gamma).sqrt()
    moves = x @ directions.T
    ahead, back = posterior.without_gradient(weights + torch.cat([moves, -moves]).to(weights)).excess.cpu().split(PAIRS)
    even = (ahead + back) / 2 - t / 2 * x.square() @ h
    odd = (ahead - back) / 2 - t * moves @ local.gradient
    mean, error = float(even.mean()), 2 * float(even.std()) / math.sqrt(PAIRS)
    return mean + math.copysign(error, mean), float(odd.square().mean()) / 2
