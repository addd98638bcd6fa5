"""The axis over which a run is smoothed: ln(step + 1), or the step itself."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llckit.errors import InputError

__all__ = ["Axis", "AxisName", "find_axis"]

Array = NDArray[np.float64]
AxisName = Literal["log", "linear"]


class Axis(NamedTuple):
    """A monotone map of training steps.

    Attributes:
        to_x: Function from steps to places x.
        to_steps: Function from places back to steps.
    """

    to_x: Callable[[Array], Array]
    to_steps: Callable[[Array], Array]

    def step(self, x: float) -> float:
        """The step at one place, to twelve digits: what ln and exp cost is left out, so whole steps stay whole."""
        return float(f"{self.to_steps(np.array(x)):.12g}")


AXES: dict[str, Axis] = {"log": Axis(np.log1p, np.expm1), "linear": Axis(np.array, np.array)}


def find_axis(name: str) -> Axis:
    """The axis of a name.

    Args:
        name: "log" for ln(step + 1), "linear" for the step.

    Returns:
        The axis.

    Raises:
        InputError: There is no such axis.
    """
    if not isinstance(name, str) or name not in AXES:
        raise InputError(f"axis is {name!r}; expected one of {', '.join(map(repr, AXES))}")
    return AXES[name]
