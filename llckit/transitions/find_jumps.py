"""The jumps of a curve between neighbouring observations, chosen by evidence.

A spline that has to follow a jump rings: its most probable smoothness is that of the jump, everywhere. So a jump is a
part of the curve of its own, h_k · [x > gap k] with h_k ~ N(0, τ²), and the spline is as smooth as the rest allows.

Jumps are proposed together with a smoothness, since a spline that is supple enough to follow a jump needs none. For
several stiffnesses the best jump is added, then the next best, as long as each is worth its price. That is in closed
form (`_add_jumps`). The best proposal is then fitted, smoothness and noise included. Jumps that the fit does not need,
and those that a change over several gaps explains better, are taken out again.

The price of a jump is 2 ln(number of gaps), since it was searched for, and `MARGIN`, in units of -2 ln(probability).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llckit.transitions.spline_model import JUMP_SCALE, NOISE_BOUNDS, PARABOLA, Optimum, SplineModel
from llckit.transitions.stage import LEAST_CHANGE

__all__ = ["FoundJumps", "find_jumps"]

Array = NDArray[np.float64]

STIFFNESSES = (PARABOLA, 4.0, 8.0, 12.0, 16.0)  # ln σ² of proposals, beside that of the curve without jumps
MARGIN = 6.0  # "strong" evidence begins there (Kass and Raftery 1995)
MOST_JUMPS = 12
ROUNDS = 6  # most curves need one with a proposal, and one without
# Widths of logistic steps that a jump has to beat, in lengths of its gap: several checkpoints see such a step.
WIDTHS = (0.75, 1.5, 3.0, 6.0)


@dataclass(frozen=True)
class FoundJumps:
    """A curve's jumps, with the fit that has them.

    Attributes:
        model: The model with the jumps.
        optimum: Its fit.
        before: Index of the observation before each jump, ascending.
    """

    model: SplineModel
    optimum: Optimum
    before: NDArray[np.intp]


def find_jumps(model: SplineModel, x: Array, centre: float, optimum: Optimum) -> FoundJumps:
    """Find the jumps of a curve.

    Args:
        model: The curve's model without jumps.
        x: Places of the observations, not decreasing, shape `(observations,)`.
        centre: What standardising took off the observations, in standard deviations.
        optimum: The most probable fit of that model.

    Returns:
        The jumps that are worth their price, and the fit with them.
    """
    search = _Search(model, x, centre)
    chosen: list[int] = []
    best, best_cost = optimum, optimum.cost
    for _ in range(ROUNDS):
        proposal = search.propose(best, chosen)
        if proposal.jumps == chosen or proposal.cost >= best_cost:
            break
        num_smooth = len(search.smooth)
        jumps, found = search.fit(proposal, best)
        cost = found.cost + search.price * len(jumps)
        if cost < best_cost:
            chosen, best, best_cost = jumps, found, cost
        elif len(search.smooth) == num_smooth:  # nothing was ruled out, so the next proposal would be the same
            break
    return FoundJumps(search.model_with(chosen), best, search.gaps[chosen])


@dataclass(frozen=True)
class _Proposal:
    """Jumps that may be worth a fit.

    Attributes:
        jumps: Indices of their gaps, ascending.
        parameters: Where to start the fit.
        cost: -2 ln(probability) there, the price of the jumps included.
    """

    jumps: list[int]
    parameters: Array
    cost: float


class _Search:
    """The gaps of one curve, and which of them may jump.

    Attributes:
        gaps: Index of the observation before each gap.
        price: What a jump has to be worth.
        smooth: Gaps in which the curve changes, but does not jump.
    """

    def __init__(self, model: SplineModel, x: Array, centre: float) -> None:
        self._model, self._x, self._centre = model, x, centre
        self.gaps = np.flatnonzero(np.diff(x) > 0)
        self._columns = (np.arange(len(x))[:, None] > self.gaps).astype(np.float64)
        self.price = 2 * np.log(len(self.gaps)) + MARGIN
        self._least = LEAST_CHANGE * model.spread  # what is lower makes no stage
        self.smooth: list[int] = []

    def model_with(self, jumps: list[int]) -> SplineModel:
        """The model with jumps in these gaps."""
        return self._model.with_jumps(self._columns[:, jumps])

    def propose(self, best: Optimum, chosen: list[int]) -> _Proposal:
        """The best proposal that holds the jumps which are chosen already."""
        num_knots = self._model.num_knots
        noise = best.parameters[num_knots:]
        starts = [best.parameters, *(np.append(np.full(num_knots, one), noise) for one in STIFFNESSES)]
        proposals = [self._add_jumps(start, best.levels, chosen) for start in starts]
        return min(proposals, key=lambda proposal: proposal.cost)

    def _add_jumps(self, start: Array, levels: Array, chosen: list[int]) -> _Proposal:
        """Add the best jump, and the next best, at fixed smoothness relative to the noise; their scale is free."""
        fit, cost, _ = self._model.fit(start, levels)
        misfit, score, precision = self._model.beside(fit, self._columns)
        precision[np.diag_indices_from(precision)] += JUMP_SCALE**-2
        count, rest, exact = len(self._x), cost - misfit, 1e-9 * misfit
        least_scale = NOISE_BOUNDS[0] - start[self._model.num_knots :].max()

        def log_scale(misfit: float | Array) -> Array:
            """The most probable factor of all variances."""
            return np.maximum(np.log(misfit / count), least_scale)

        def scaled_cost(misfit: float | Array) -> Array:
            return count * log_scale(misfit) + misfit * np.exp(-log_scale(misfit))

        added: list[int] = []
        most = min(max(MOST_JUMPS, len(chosen)), len(self.gaps) - len(self.smooth))
        proposals: list[_Proposal] = []
        while True:
            is_new = len(added) >= len(chosen)
            if is_new:
                total = rest + scaled_cost(misfit) + self.price * len(added)
                proposals.append(_Proposal(sorted(added), self._scaled(start, float(log_scale(misfit))), float(total)))
            diagonal = np.maximum(precision.diagonal(), JUMP_SCALE**-2)  # rounding aside, it is no less
            left = np.maximum(misfit - score**2 / diagonal, exact)
            change = scaled_cost(left) - scaled_cost(misfit) + np.log(diagonal * JUMP_SCALE**2) + self.price
            change[np.abs(score) < self._least * diagonal] = np.inf
            change[[*added, *self.smooth]] = np.inf
            best = int(change.argmin()) if is_new else chosen[len(added)]
            # Not as soon as one is not worth its price: a staircase is nearly a line until all its steps are there.
            if is_new and (len(added) == most or np.isinf(change[best])):
                return min(proposals, key=lambda proposal: proposal.cost)
            # The best jump joins the model, and all columns become what it leaves of them.
            misfit, rest = left[best], rest + np.log(diagonal[best] * JUMP_SCALE**2)
            taken = precision[:, best] / diagonal[best]
            score, precision = score - taken * score[best], precision - np.outer(taken, precision[best])
            added.append(best)

    def _scaled(self, parameters: Array, log_scale: float) -> Array:
        """Parameters whose variances are all multiplied; a parabola stays one."""
        intensity, noise = np.split(parameters, [self._model.num_knots])
        return np.append(np.maximum(intensity + log_scale, PARABOLA), noise + log_scale)

    def fit(self, proposal: _Proposal, best: Optimum) -> tuple[list[int], Optimum]:
        """Fit a proposal, and take out the jumps that it does not need.

        Args:
            proposal: The proposal.
            best: The fit to which it is a rival.

        Returns:
            The jumps that are left, and the fit with them.
        """
        jumps, model = proposal.jumps, self.model_with(proposal.jumps)
        found = model.most_probable_near(proposal.parameters, best.levels, self._centre)
        while jumps:
            evidence = model.jump_evidence(found.fit)
            weak = [k for k, worth in zip(jumps, evidence, strict=True) if worth <= self.price]
            smooth = [] if weak else [k for k in jumps if self._is_smooth(k, jumps, found)]
            self.smooth += smooth
            if not weak and not smooth:
                break
            jumps = [k for k in jumps if k not in (weak or smooth)]
            model = self.model_with(jumps)
            found = model.most_probable_near(found.parameters, found.levels, self._centre)
        return jumps, found

    def _is_smooth(self, jump: int, jumps: list[int], found: Optimum) -> bool:
        """Whether a logistic step over several gaps would do better in place of a jump."""
        model = self.model_with([k for k in jumps if k != jump])
        fit, _, _ = model.fit(found.parameters, found.levels)
        low, high = self._x[self.gaps[jump]], self._x[self.gaps[jump] + 1]
        steps = [
            (1 + np.tanh((self._x - centre) / (2 * width * (high - low)))) / 2
            for width in WIDTHS
            for centre in (low, (low + high) / 2, high)
        ]
        _, score, precision = model.beside(fit, np.column_stack([self._columns[:, jump], *steps]))
        gain = score**2 / (precision.diagonal() + JUMP_SCALE**-2)
        return bool(gain[1:].max() > gain[0])
