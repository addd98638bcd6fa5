"""The loss surface around w* without sampling: Hessian rank, symmetry orbits and the bracket they put around λ."""

from llckit.geometry.bracket import Bracket, bracket
from llckit.geometry.symmetry import Chain, Layer, find_layers, orbit_basis, orbit_dim, tangents

__all__ = ["Bracket", "Chain", "Layer", "bracket", "find_layers", "orbit_basis", "orbit_dim", "tangents"]
