"""Critical exponents: finite-size scaling by data collapse, and the scaling relations. Pure arrays in."""

from llckit.criticality.collapse import FiniteSizeScaling, finite_size_scaling
from llckit.criticality.relations import ScalingRelation, scaling_relations

__all__ = ["FiniteSizeScaling", "ScalingRelation", "finite_size_scaling", "scaling_relations"]
