"""The observables of a scaling analysis, from arrays with gaps to curves."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from llckit.checks import shown
from llckit.criticality.arrays import Array, check_equal_lengths, check_numbers, check_positive_entries
from llckit.criticality.collapse.curves import FEWEST_CONTROLS, Curves
from llckit.criticality.thermodynamics.bimodality_peaks import BimodalityPeaks, bimodality_peaks
from llckit.errors import InputError

__all__ = ["OBSERVABLES", "measured_bimodality", "measured_curves"]

OBSERVABLES = ("order_parameter", "susceptibility", "binder", "specific_heat", "bimodality")


def measured_curves(
    size: ArrayLike, control: ArrayLike, observables: Mapping[str, ArrayLike], se: Mapping[str, ArrayLike] | None
) -> dict[str, Curves]:
    """The observables as curves, by name.

    Args:
        size: Volumes, shape (n,).
        control: Controls, shape (n,).
        observables: Values by name, NaN if not measured, shape (n,).
        se: Standard errors by name, shape (n,); NaN throughout counts as none.

    Returns:
        The curves by name. Left out are sizes with fewer than 4 controls, observables with fewer than 2 sizes, and the
        bimodality, which decides the order and is not scaled.

    Raises:
        InputError: A name is unknown, lengths differ, or values do not describe curves.
    """
    if not isinstance(observables, Mapping) or not observables or not set(observables) <= set(OBSERVABLES):
        raise InputError(
            f"observables is {_names(observables)}; expected a mapping with any of {', '.join(OBSERVABLES)}"
        )
    if not isinstance(se, Mapping | None) or not set(se or {}) <= set(observables):
        raise InputError(
            f"se is {_names(se)}; expected standard errors under names of observables, {list(observables)}"
        )
    sizes, controls = check_numbers("size", size), check_numbers("control", control)
    check_positive_entries("size", sizes)
    curves = {}
    for name in OBSERVABLES:
        if name not in observables or name == "bimodality":
            continue
        value, error = _column(name, sizes, controls, observables, se)
        known = np.isfinite(value)
        for one in np.unique(sizes):
            if len(np.unique(controls[known & (sizes == one)])) < FEWEST_CONTROLS:
                known &= sizes != one
        if len(np.unique(sizes[known])) > 1:
            curves[name] = Curves.from_input(
                sizes[known], controls[known], value[known], None if error is None else error[known]
            )
    return curves


def measured_bimodality(
    size: ArrayLike, control: ArrayLike, observables: Mapping[str, ArrayLike], se: Mapping[str, ArrayLike] | None
) -> BimodalityPeaks | None:
    """The bimodality at the most bimodal control of each size, from the same arrays as `measured_curves`.

    Args:
        size: Volumes, shape (n,).
        control: Controls, shape (n,).
        observables: Values by name, as `measured_curves` has accepted them.
        se: Standard errors by name; NaN throughout counts as none.

    Returns:
        The peaks, or None if the bimodality was not measured.
    """
    if "bimodality" not in observables:
        return None
    sizes, controls = check_numbers("size", size), check_numbers("control", control)
    mean = None
    if "order_parameter" in observables:
        mean = check_numbers("order_parameter", observables["order_parameter"], missing=True)
    return bimodality_peaks(sizes, *_column("bimodality", sizes, controls, observables, se), mean)


def _column(
    name: str, sizes: Array, controls: Array, observables: Mapping[str, ArrayLike], se: Mapping[str, ArrayLike] | None
) -> tuple[Array, Array | None]:
    """An observable and its standard errors, if there are any."""
    value = check_numbers(name, observables[name], missing=True)
    error = None if se is None or name not in se else check_numbers(f"se[{name!r}]", se[name], missing=True)
    arrays = {"size": sizes, "control": controls, name: value}
    check_equal_lengths(arrays | ({} if error is None else {f"se[{name!r}]": error}))
    return value, None if error is None or np.isnan(error[np.isfinite(value)]).all() else error


def _names(given: object) -> str:
    return str(list(given)) if isinstance(given, Mapping) else shown(given)
