"""Models whose answer is known, systems with known critical exponents, and training runs that show transitions.

Three parts. Imports go one way, in this order, and today none needs another: `oracles`, `spins`, `training`.
"""

from llckit.toys.oracles.catalog import catalog
from llckit.toys.oracles.linear_nets import (
    LinearNet,
    deep_linear_llc,
    deepest_point,
    matrix_loss,
    random_widths,
    two_layer_llc,
    two_layer_point,
)
from llckit.toys.oracles.matrix_product_energy import matrix_product_energy
from llckit.toys.oracles.planar import Planar
from llckit.toys.oracles.potentials import (
    DisjointSum,
    Monomial,
    NormProduct,
    Quadratic,
    monomial_energy,
    monomial_llc,
    potential_loss,
    quadratic_energy,
)
from llckit.toys.oracles.quadratic_net import QuadraticNet, fourier_addition, generic_weights, quadratic_net_llc
from llckit.toys.oracles.relu_pieces import ReLUPieces, relu_pieces_llc
from llckit.toys.oracles.superposition import Superposition
from llckit.toys.oracles.tanh_net import TanhNet, tanh_llc
from llckit.toys.oracles.toy import Toy, population_toy
from llckit.toys.spins.binary_perceptron import binary_perceptron
from llckit.toys.spins.exact_systems import curie_weiss, curie_weiss_law, ising_chain, two_basins, two_level_units
from llckit.toys.spins.percolation import SITE_CRITICAL, percolation
from llckit.toys.spins.potts import ISING_CRITICAL, ising, potts, potts_critical
from llckit.toys.spins.scaling_data import ScalingData
from llckit.toys.training.digits import digits
from llckit.toys.training.grokking_runs import GrokkingRuns, grokking_runs
from llckit.toys.training.modular_addition import ModularAdditionNet, modular_addition
from llckit.toys.training.rescale import Rescaled, hidden_updates, rescale
from llckit.toys.training.richness_run import richness_run
from llckit.toys.training.staircase import (
    STAIRCASE_MODES,
    STAIRCASE_START,
    STAIRCASE_WIDTHS,
    staircase,
    staircase_rise,
)
from llckit.toys.training.training_run import TrainingRun, cross_entropy, squared_error, train

__all__ = [
    "ISING_CRITICAL",
    "SITE_CRITICAL",
    "STAIRCASE_MODES",
    "STAIRCASE_START",
    "STAIRCASE_WIDTHS",
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
    "cross_entropy",
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
    "matrix_loss",
    "matrix_product_energy",
    "modular_addition",
    "monomial_energy",
    "monomial_llc",
    "percolation",
    "population_toy",
    "potential_loss",
    "potts",
    "potts_critical",
    "quadratic_energy",
    "quadratic_net_llc",
    "random_widths",
    "relu_pieces_llc",
    "rescale",
    "richness_run",
    "squared_error",
    "staircase",
    "staircase_rise",
    "tanh_llc",
    "train",
    "two_basins",
    "two_layer_llc",
    "two_layer_point",
    "two_level_units",
]
