"""Critical exponents: power laws, finite-size scaling, order of a transition, and the scaling laws. Pure arrays in."""

from llckit.criticality.collapse import FiniteSizeScaling, finite_size_scaling
from llckit.criticality.exponents import PowerLaw, fit_power_law
from llckit.criticality.hyperscaling import HyperscalingTest, hyperscaling_test
from llckit.criticality.order import TransitionOrder, transition_order
from llckit.criticality.relations import ScalingRelation, scaling_relations

__all__ = [
    "FiniteSizeScaling",
    "HyperscalingTest",
    "PowerLaw",
    "ScalingRelation",
    "TransitionOrder",
    "finite_size_scaling",
    "fit_power_law",
    "hyperscaling_test",
    "scaling_relations",
    "transition_order",
]
