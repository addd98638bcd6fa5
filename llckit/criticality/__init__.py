"""Critical exponents: finite-size scaling, the order of a transition, the scaling laws, thermodynamics. Arrays in.

Three parts stand on `arrays.py`. Imports go one way: `collapse` and `thermodynamics` know nothing of each other, and
`exponents` stands on both.
"""

from llckit.criticality.collapse.finite_size_scaling import FiniteSizeScaling, finite_size_scaling
from llckit.criticality.exponents.form_fit import ScalingForm
from llckit.criticality.exponents.hyperscaling import HyperscalingTest, hyperscaling_test
from llckit.criticality.exponents.local_exponents import LocalExponents, local_exponents
from llckit.criticality.exponents.observables import OBSERVABLES, measured_bimodality
from llckit.criticality.exponents.order import TransitionOrder, transition_order
from llckit.criticality.exponents.power_law import PowerLaw, fit_power_law
from llckit.criticality.exponents.scaling_functions import ScalingFunctions, compare_scaling_functions
from llckit.criticality.exponents.scaling_relations import ScalingRelation, scaling_relations
from llckit.criticality.thermodynamics.bimodality import bimodality
from llckit.criticality.thermodynamics.heat_peak import HeatPeak
from llckit.criticality.thermodynamics.learning_lagrangian import LagrangianAt, LearningLagrangian, learning_lagrangian
from llckit.criticality.thermodynamics.thermodynamics import (
    Thermodynamics,
    thermodynamics,
    thermodynamics_from_moments,
)
from llckit.criticality.thermodynamics.two_basins import TwoBasins, two_basins

__all__ = [
    "OBSERVABLES",
    "FiniteSizeScaling",
    "HeatPeak",
    "HyperscalingTest",
    "LagrangianAt",
    "LearningLagrangian",
    "LocalExponents",
    "PowerLaw",
    "ScalingForm",
    "ScalingFunctions",
    "ScalingRelation",
    "Thermodynamics",
    "TransitionOrder",
    "TwoBasins",
    "bimodality",
    "compare_scaling_functions",
    "finite_size_scaling",
    "fit_power_law",
    "hyperscaling_test",
    "learning_lagrangian",
    "local_exponents",
    "measured_bimodality",
    "scaling_relations",
    "thermodynamics",
    "thermodynamics_from_moments",
    "transition_order",
    "two_basins",
]
