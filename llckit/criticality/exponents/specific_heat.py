"""The growth of the specific heat at the critical point and ν* of a collapse that it has no part in."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from llckit.criticality.collapse.curves import Curves
from llckit.criticality.collapse.joint_collapse import JointCollapse, joint_collapse
from llckit.criticality.collapse.master_curve import master_curves

__all__ = ["SpecificHeat", "SpecificHeatForm", "fit_specific_heat", "refit_specific_heat"]

ALPHA_STARTS = (-0.3, 0.0, 0.3, 0.7)

SpecificHeatForm = Literal["power", "cusp", "logarithm", "jump"]


@dataclass(frozen=True)
class SpecificHeat:
    """The specific heat, fitted with the place of another collapse.

    Attributes:
        fit: Collapse of the specific heat, of which α/ν* is the only free parameter.
        forms: Forms by information criterion, the preferred one first.
        choice_se: Standard error of α/ν* from having decided for or against a correction to scaling.
    """

    fit: JointCollapse
    forms: Sequence[SpecificHeatForm]
    choice_se: float


def refit_specific_heat(heat: Curves, collapse: JointCollapse, like: JointCollapse) -> JointCollapse:
    """Fit α/ν* again, to other sizes or at the place of another collapse.

    Args:
        heat: The specific heat.
        collapse: Collapse of the other observables, which gives (c*, κ, ω).
        like: The fit whose form and α/ν* the new one starts from.

    Returns:
        The fit.
    """
    masters, unit = master_curves({"specific_heat": heat})
    place = collapse.unit.converted(collapse.theta[None, :3], unit)[0]
    start = np.append(place, like.theta[3])
    return joint_collapse(masters, unit, corrected=like.corrected, start=start, fixed=(0, 1, 2))


def fit_specific_heat(heat: Curves, collapse: JointCollapse) -> SpecificHeat:
    """Growth of the specific heat at the place of a collapse, and which form its values prefer.

    The form is `C = N^(α/ν*) f(x) + b (N^(α/ν*) - 1) / (α/ν*)`: a power and a background at α > 0, a logarithm at α = 0
    and a cusp below; a jump is a logarithm without background.

    Args:
        heat: The specific heat.
        collapse: Collapse of the other observables.

    Returns:
        The fit, the forms by information criterion, and the error of the choice.
    """
    masters, unit = master_curves({"specific_heat": heat})
    place = collapse.unit.converted(collapse.theta[None, :3], unit)[0]
    fits = [
        joint_collapse(masters, unit, corrected=form, start=np.append(place, ratio), fixed=(0, 1, 2))
        for ratio in ALPHA_STARTS
        for form in (False, True)
    ]
    power = min(fits, key=lambda fit: fit.information)
    other = min((fit for fit in fits if fit.corrected != power.corrected), key=lambda fit: fit.information)
    probability = 1 / (1 + np.exp(min((other.information - power.information) / 2, 500.0)))
    # The other choice is as probable as the criterion makes it.
    choice_se = float(abs(other.theta[3] - power.theta[3]) * np.sqrt(probability))
    start = np.append(place, 0.0)
    logarithm, jump = (
        joint_collapse(curves, unit, corrected=power.corrected, start=start, fixed=(0, 1, 2, 3))
        for curves in (masters, (replace(masters[0], background=False),))
    )
    forms: dict[SpecificHeatForm, JointCollapse] = {
        "power" if power.theta[3] > 0 else "cusp": power,
        "logarithm": logarithm,
        "jump": jump,
    }
    return SpecificHeat(power, sorted(forms, key=lambda form: forms[form].information), choice_se)
