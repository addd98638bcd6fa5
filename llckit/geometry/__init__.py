"""The loss surface around w* without sampling: Hessian rank, symmetry orbits and the bracket they put around λ."""

from llckit.geometry.attention import Heads, attention_symmetries
from llckit.geometry.bracket import Bracket, bracket
from llckit.geometry.conserved import conserved, conserved_drift
from llckit.geometry.effective_rank import (
    activation_ranks,
    effective_rank,
    fisher_rank,
    gradient_gram,
    stable_rank,
    weight_ranks,
)
from llckit.geometry.group import Chain, Layer, Symmetry, View, chain_symmetries
from llckit.geometry.orbit_dimension import orbit_dim
from llckit.geometry.orbits import orbit_basis, tangents, violations
from llckit.geometry.rank import Rank, hessian_rank
from llckit.geometry.relative_complexity import RelativeComplexity, relative_complexity
from llckit.geometry.symmetry import find_layers, find_symmetries
from llckit.geometry.transform import transform

__all__ = [
    "Bracket",
    "Chain",
    "Heads",
    "Layer",
    "Rank",
    "RelativeComplexity",
    "Symmetry",
    "View",
    "activation_ranks",
    "attention_symmetries",
    "bracket",
    "chain_symmetries",
    "conserved",
    "conserved_drift",
    "effective_rank",
    "find_layers",
    "find_symmetries",
    "fisher_rank",
    "gradient_gram",
    "hessian_rank",
    "orbit_basis",
    "orbit_dim",
    "relative_complexity",
    "stable_rank",
    "tangents",
    "transform",
    "violations",
    "weight_ranks",
]
