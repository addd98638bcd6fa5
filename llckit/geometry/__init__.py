"""The loss surface around w* without sampling: Hessian rank, symmetry orbits, and the bracket they put around λ."""

from llckit.geometry.attention import Heads, attention_symmetries
from llckit.geometry.bracket import Bracket, bracket
from llckit.geometry.conserved import conserved, conserved_drift
from llckit.geometry.effective_rank import activation_ranks, effective_rank, stable_rank, weight_ranks
from llckit.geometry.find_symmetries import find_layers, find_symmetries
from llckit.geometry.gradient_gram import fisher_rank, gradient_gram
from llckit.geometry.layers import Layer, LayerSequence, chain_symmetries
from llckit.geometry.orbit_dim import orbit_dim
from llckit.geometry.rank import Rank, hessian_rank
from llckit.geometry.relative_complexity import RelativeComplexity, relative_complexity
from llckit.geometry.symmetry import Symmetry, View
from llckit.geometry.tangents import orbit_basis, tangents
from llckit.geometry.transform import transform
from llckit.geometry.violations import violations

__all__ = [
    "Bracket",
    "Heads",
    "Layer",
    "LayerSequence",
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
