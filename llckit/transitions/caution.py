"""How cautious a detector has to be for a bound on its false boundaries."""

import numpy as np
from scipy import stats

from llckit.checks import check_positive
from llckit.errors import InputError
from llckit.transitions.stage import CHANGE_SIGMAS

__all__ = ["FALSE_BOUNDARIES", "caution_for", "check_false_boundaries"]

FALSE_BOUNDARIES, MOST_FALSE_BOUNDARIES = 0.007, 0.15  # the default bound, and the largest that is allowed
# False boundaries per curve without any, by caution: counted in 2000 of `synthetic.random_trend`, from 0.7 on in 3000.
COUNTED = {0.3: 0.16, 0.4: 0.08, 0.5: 0.04, 0.6: 0.02, 0.7: 0.0095, 0.8: 0.0065, 1.0: 0.0025}
MANY = 30  # checkpoints of the shortest of these curves


def check_false_boundaries(false_boundaries: object) -> float:
    """Refuse a bound that `caution_for` knows nothing about.

    Args:
        false_boundaries: How many false boundaries a curve without any may have on average.

    Returns:
        The bound as a float.

    Raises:
        InputError: It is not a number above 0 and at most 0.15.
    """
    hint = f", at most {MOST_FALSE_BOUNDARIES}"
    bound = check_positive("false_boundaries", false_boundaries, hint)
    if bound > MOST_FALSE_BOUNDARIES:
        raise InputError(f"false_boundaries is {bound!r}; expected a positive number{hint}")
    return bound


def caution_for(false_boundaries: float, checkpoints: int) -> float:
    """The caution for at most that many false boundaries, on average, in a curve that has none.

    The noise of few checkpoints is itself uncertain. Below `MANY` of them Student's distribution takes the place of the
    normal one, with as many degrees of freedom as a parabola and the noise leave.

    Args:
        false_boundaries: Bound on the average number, positive.
        checkpoints: Number of checkpoints of the curve.

    Returns:
        The factor of standard deviations. It is read off `COUNTED` on a logarithmic scale, and beyond its ends off the
        line through them.
    """
    caution = np.array(list(COUNTED))
    logs = np.log(list(COUNTED.values()))
    asked = float(np.log(false_boundaries))
    slope = (caution[-1] - caution[0]) / (logs[-1] - logs[0])
    beyond = min(asked - logs[-1], 0.0) + max(asked - logs[0], 0.0)
    many = float(np.interp(-asked, -logs, caution) + slope * beyond)
    chance = stats.norm.sf(many * CHANGE_SIGMAS)
    few = stats.t.isf(chance, min(checkpoints, MANY) - 4) / stats.t.isf(chance, MANY - 4)
    return many * float(few)
