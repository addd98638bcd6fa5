"""Models whose answer is known, systems with known critical exponents, and training runs that show transitions."""

from llckit.toys.catalog import Toy, catalog
from llckit.toys.lattice import ScalingData
from llckit.toys.learning import GrokkingRuns, binary_perceptron, grokking_runs
from llckit.toys.linear_nets import (
    LinearNet,
    deep_linear_llc,
    deepest_point,
    random_widths,
    two_layer_llc,
    two_layer_point,
)
from llckit.toys.matrix_products import matrix_product_energy
from llckit.toys.percolation import SITE_CRITICAL, percolation
from llckit.toys.planar import Planar
from llckit.toys.potentials import (
    DisjointSum,
    Monomial,
    NormProduct,
    Quadratic,
    monomial_energy,
    monomial_llc,
    quadratic_energy,
)
from llckit.toys.quadratic_net import QuadraticNet, fourier_addition, generic_weights, quadratic_net_llc
from llckit.toys.relu_pieces import ReLUPieces, relu_pieces_llc
from llckit.toys.richness import Rescaled, hidden_updates, rescale, richness_run
from llckit.toys.spins import (
    ISING_CRITICAL,
    curie_weiss,
    curie_weiss_law,
    ising,
    ising_chain,
    potts,
    potts_critical,
    two_basins,
    two_level_units,
)
from llckit.toys.superposition import Superposition
from llckit.toys.tanh_net import TanhNet, tanh_llc
from llckit.toys.training import (
    ModularAdditionNet,
    TrainingRun,
    digits,
    modular_addition,
    staircase,
    staircase_rise,
    train,
)

__all__ = [
    "ISING_CRITICAL",
    "SITE_CRITICAL",
    "DisjointSum",
    "GrokkingRuns",
    "LinearNet",
    "ModularAdditionNet",
    "Monomial",
    "NormProduct",
    "Planar",
    "Quadratic",
    "QuadraticNet",
    "ReLUPieces",
    "Rescaled",
    "ScalingData",
    "Superposition",
    "TanhNet",
    "Toy",
    "TrainingRun",
    "binary_perceptron",
    "catalog",
    "curie_weiss",
    "curie_weiss_law",
    "deep_linear_llc",
    "deepest_point",
    "digits",
    "fourier_addition",
    "generic_weights",
    "grokking_runs",
    "hidden_updates",
    "ising",
    "ising_chain",
    "matrix_product_energy",
    "modular_addition",
    "monomial_energy",
    "monomial_llc",
    "percolation",
    "potts",
    "potts_critical",
    "quadratic_energy",
    "quadratic_net_llc",
    "random_widths",
    "relu_pieces_llc",
    "rescale",
    "richness_run",
    "staircase",
    "staircase_rise",
    "tanh_llc",
    "train",
    "two_basins",
    "two_layer_llc",
    "two_layer_point",
    "two_level_units",
]
