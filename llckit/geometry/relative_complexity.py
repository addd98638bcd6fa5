"""The LLC of a model as a share of the largest that its dimension and its symmetries allow."""

from __future__ import annotations

import math
from typing import NamedTuple

from llckit.checks import check_number
from llckit.errors import InputError
from llckit.geometry.bracket import Bracket

__all__ = ["RelativeComplexity", "relative_complexity"]


class RelativeComplexity(NamedTuple):
    """λ̂ in units of its bounds; a regular model has 1.

    Attributes:
        of_bound: λ̂ ÷ ½ (dim − orbit dimension), the share of the bracket's upper bound.
        of_dimension: λ̂ ÷ ½ dim, the share of the learning coefficient of a regular model with as many weights.
        of_bound_se: Standard error of `of_bound`; NaN if that of λ̂ was not given.
        of_dimension_se: Standard error of `of_dimension`; NaN if that of λ̂ was not given.
    """

    of_bound: float
    of_dimension: float
    of_bound_se: float
    of_dimension_se: float


def relative_complexity(llc: float, box: Bracket, mcse: float = math.nan) -> RelativeComplexity:
    """λ̂ ÷ upper bound and λ̂ ÷ ½ dim, so that models of different sizes can be compared.

    At a minimum both are in 0 … 1 for λ itself. An estimate at finite nβ and γ, or with an error, may leave that range,
    and is not cut off.

    Args:
        llc: λ̂ for the parameters and the loss of the bracket.
        box: What `bracket` gives.
        mcse: Standard error of λ̂.

    Returns:
        Both ratios and their standard errors.

    Raises:
        InputError: λ̂ is not a finite number, `box` is no bracket, or its upper bound is zero.
    """
    llc = check_number("llc", llc, hint=" from an estimate that did not fail")
    if not isinstance(box, Bracket):
        raise InputError(f"box is a {type(box).__name__}; expected what llckit.bracket(model, data, loss_fn) gives")
    if not box.upper > 0:
        raise InputError("box.upper is 0; expected a positive bound, of a loss that some direction changes")
    regular = box.dim / 2
    return RelativeComplexity(llc / box.upper, llc / regular, mcse / box.upper, mcse / regular)
