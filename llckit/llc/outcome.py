"""How an estimate ended, and who decides it: `judge`, by the limits that are written here and nowhere else."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from llckit.llc.bounds import Bounds
from llckit.llc.statistics import Z95, Statistics, is_precise
from llckit.sampling import Trace
from llckit.sampling.diagnostics import RHAT_LIMIT, explored


@dataclass(frozen=True)
class Limits:
    """Where one verdict ends and the next begins.

    Attributes:
        rhat: R-hat above which no error bar is a guide, since means of chains scatter like single draws.
        virial: Share by which the virial may miss 1, three standard errors apart.
        heat: Share of λ̂ above which the first order cannot take the heat of minibatches away.
        bracket_mcse: Standard errors that λ̂ may lie outside its bracket. At a regular minimum the end of the bracket is
            the value itself, so a 95 % interval would miss one in twenty.
        lean: Share of λ̂ that an e times larger nβ or γ may change, to first order, if λ̂ is to be called the LLC.
        lean_mcse: Standard errors of that change by which it has to differ from 0, if it is above that share.
        shrinkage: Share that an e times larger γ may take of the regular part, if λ̂ is to be called the LLC.
    """

    rhat: float = RHAT_LIMIT
    virial: float = 0.1
    heat: float = 0.25
    bracket_mcse: float = 2 * Z95
    lean: float = 0.1
    lean_mcse: float = 2.0
    shrinkage: float = 0.02


LIMITS = Limits()


class Outcome(enum.Enum):
    """How an estimate ended; `advice` says what to do about it."""

    CONVERGED = "converged"
    BUDGET_EXHAUSTED = "budget exhausted"
    SCALE_DEPENDENT = "depends on its scale"
    NOT_MIXED = "chains not mixed"
    NOT_SPREAD = "flat directions not explored"
    OVERHEATED = "chains too hot"
    OUTSIDE_BRACKET = "outside its bracket"
    NOT_A_MINIMUM = "not a local minimum"
    DIVERGED = "diverged"

    @property
    def trusted(self) -> bool:
        """Whether the error bar is honest, however wide: of the LLC, or of λ̂ at this scale where it depends on it."""
        return self in (Outcome.CONVERGED, Outcome.BUDGET_EXHAUSTED, Outcome.SCALE_DEPENDENT)

    @property
    def advice(self) -> str:
        """What to do, in one or two sentences."""
        return _ADVICE[self]


_ADVICE = {
    Outcome.CONVERGED: "The chains agree and the error bar is as small as asked.",
    Outcome.BUDGET_EXHAUSTED: (
        "The error bar is honest but wider than rel_tol; raise max_seconds or max_grad_evals for a sharper value, on "
        "minibatches batch_size too."
    ),
    Outcome.SCALE_DEPENDENT: (
        f"The error bar is honest, but of a value that holds at this scale only: an e times larger n_beta or "
        f"localization changes it by more than {LIMITS.lean:.0%}, or takes more than {LIMITS.shrinkage:.0%} of regular "
        "directions, so it is not the learning coefficient. Compare it with values at the same scale, look at "
        "scale_profile, give n_beta and localization if you know the scale that matters, or try behavioral=True."
    ),
    Outcome.NOT_MIXED: (
        f"The chains disagree (R-hat above {LIMITS.rhat:g}) or still drift, so the error bar is too small; raise "
        "max_grad_evals, or look at a smaller n_beta or a larger localization."
    ),
    Outcome.NOT_SPREAD: (
        f"Chains have not reached the spread that the localization allows (the virial is below {1 - LIMITS.virial:g}), "
        "so the value is that of a neighbourhood only partly seen; raise max_grad_evals or the localization."
    ),
    Outcome.OVERHEATED: (
        f"Large steps or the noise of minibatches heat the chains (the virial says by more than {LIMITS.virial:.0%}, "
        f"or the heat is above {LIMITS.heat:.0%} of the value), and no correction can be trusted; leave sampler and "
        "step_size to the tool, or lower step_size and raise batch_size."
    ),
    Outcome.OUTSIDE_BRACKET: (
        "No learning coefficient of this checkpoint has this value: below its bracket, chains have left for a more "
        "singular place (raise the localization) or have not explored all directions (use the default sampler, raise "
        "max_grad_evals); above it, they are too hot (lower step_size) or n_beta is too small."
    ),
    Outcome.NOT_A_MINIMUM: (
        "Chains find lower loss than the checkpoint has, so this is no learning coefficient; use behavioral_task "
        "(behavioral=True), or a smaller n_beta, at which the checkpoint counts as a minimum."
    ),
    Outcome.DIVERGED: "A chain left the finite numbers; use the default sampler, or a smaller step_size.",
}


def judge(
    statistics: Statistics, trace: Trace, *, dim: int, is_exact: bool, bounds: Bounds | None, limits: Limits = LIMITS
) -> Outcome:
    """Decide how an estimate ended; the first of these that holds.

    Args:
        statistics: What the trace says.
        trace: The draws: whether a chain diverged, and the relative error that was asked for.
        dim: Number of sampled parameters.
        is_exact: Whether the sampler's draws follow the posterior at any step size.
        bounds: Bracket around the LLC; None if it is not known.
        limits: Where verdicts begin.

    Returns:
        The outcome.
    """
    llc, mcse, virial, error = statistics.llc, statistics.mcse, statistics.virial, 3 * statistics.virial_mcse
    # The virial's surplus is twice what heat adds to all directions. Where no test rejects it, the LLC may hold it all,
    # unless pairs of chains have measured its part, which was taken off.
    is_known = is_exact or bool(trace.heat.any())
    hottest = limits.virial * (1.0 if is_known else min(1.0, 2 * abs(llc) / dim))
    if trace.diverged:
        return Outcome.DIVERGED
    if llc + Z95 * mcse < 0:
        return Outcome.NOT_A_MINIMUM  # also if chains have not mixed: they fall further, each its own way
    if not statistics.rhat <= limits.rhat or statistics.drifts:
        return Outcome.NOT_MIXED
    has_explored = is_exact and explored(trace.num_burnin, trace.turning_length, virial * dim, llc)
    if virial + error < 1 - limits.virial and not has_explored:
        return Outcome.NOT_SPREAD
    if virial - error > 1 + hottest or statistics.heat > limits.heat * abs(llc):
        return Outcome.OVERHEATED
    if bounds is not None and bounds.exclude(llc, limits.bracket_mcse * mcse):
        return Outcome.OUTSIDE_BRACKET
    if trace.is_short or (trace.rel_tol is not None and not is_precise(llc, mcse, trace.rel_tol)):
        return Outcome.BUDGET_EXHAUSTED
    return Outcome.CONVERGED


def judge_scale(
    outcome: Outcome,
    llc: float,
    leans: Iterable[tuple[float, float]],
    shrinkage: float = 0.0,
    limits: Limits = LIMITS,
) -> Outcome:
    """Withhold the claim to be the LLC from a value that depends on a scale which the user did not choose.

    It does if, to first order, an e times larger nβ or γ changes λ̂ by more than a tenth of it, and that change differs
    from 0 by more than two standard errors; or if the curvature says that γ takes more than a fiftieth of the regular
    part. An outcome that is not trusted stays.

    Args:
        outcome: What `judge` says.
        llc: λ̂.
        leans: What an e times larger nβ and an e times larger γ change, each with its standard error.
        shrinkage: Share that an e times larger γ takes of the regular part; 0 where it is not known to be too large.
        limits: Where the verdict begins.

    Returns:
        `SCALE_DEPENDENT` if it does, else the outcome.
    """
    depends = any(abs(lean) > max(limits.lean * abs(llc), limits.lean_mcse * mcse) for lean, mcse in leans)
    depends = depends or shrinkage > limits.shrinkage
    return Outcome.SCALE_DEPENDENT if outcome.trusted and depends else outcome
