"""How much of what a model could be it is: its LLC against the most that its dimension and symmetries allow."""

from __future__ import annotations

import math
from numbers import Real
from typing import NamedTuple

from llckit.errors import InputError
from llckit.geometry.bracket import Bracket


class RelativeComplexity(NamedTuple):
    """λ̂ in units of its bounds; 1 for a model whose posterior is regular, with as many weights as count.

    Attributes:
        of_bound: λ̂ ÷ ½ (dim − orbit dimension), the upper end of the bracket: what symmetry leaves.
        of_dimension: λ̂ ÷ ½ dim, the learning coefficient of a regular model with as many weights.
        of_bound_se: Standard error of the first; NaN where that of λ̂ was not given.
        of_dimension_se: Likewise of the second.
    """

    of_bound: float
    of_dimension: float
    of_bound_se: float
    of_dimension_se: float


def relative_complexity(llc: float, box: Bracket, mcse: float = math.nan) -> RelativeComplexity:
    """λ̂ ÷ upper bound and λ̂ ÷ (dim/2), so that models of different sizes can be compared.

    At a minimum both are in 0 … 1 for λ itself; an estimate at finite nβ and γ, or one with an error, may leave that
    range, and is not cut off.

    Args:
        llc: λ̂, of the same parameters and loss as the bracket.
        box: What `bracket` gives.
        mcse: Standard error of λ̂.

    Returns:
        Both ratios and their standard errors.

    Raises:
        InputError: λ̂ is not a finite number, or the symmetries leave no direction, so that the bound is zero.
    """
    if not isinstance(llc, Real) or not math.isfinite(llc):
        raise InputError(f"llc is {llc!r}; expected a finite number: an estimate that failed is compared with nothing")
    if not isinstance(box, Bracket):
        raise InputError(f"box is a {type(box).__name__}; expected what llckit.bracket(model, data, loss_fn) gives")
    if not box.upper > 0:
        raise InputError("the upper bound is 0: all directions are symmetries; expected a loss that can change")
    regular = box.dim / 2
    return RelativeComplexity(llc / box.upper, llc / regular, mcse / box.upper, mcse / regular)
