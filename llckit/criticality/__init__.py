"""Critical exponents: power laws, finite-size scaling, order of a transition, and the scaling laws. Pure arrays in."""

from llckit.criticality.bimodality import bimodality
from llckit.criticality.collapse import FiniteSizeScaling, finite_size_scaling
from llckit.criticality.exponents import PowerLaw, fit_power_law
from llckit.criticality.heat_capacity import HeatPeak, Thermodynamics, thermodynamics, thermodynamics_from_moments
from llckit.criticality.hyperscaling import HyperscalingTest, hyperscaling_test
from llckit.criticality.lagrangian import LagrangianAt, LearningLagrangian, learning_lagrangian
from llckit.criticality.local_exponents import LocalExponents, local_exponents
from llckit.criticality.order import TransitionOrder, transition_order
from llckit.criticality.relations import ScalingRelation, scaling_relations
from llckit.criticality.scaling_functions import ScalingForm, ScalingFunctions, compare_scaling_functions
from llckit.criticality.two_basins import TwoBasins, two_basins

__all__ = [
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
    "scaling_relations",
    "thermodynamics",
    "thermodynamics_from_moments",
    "transition_order",
    "two_basins",
]
