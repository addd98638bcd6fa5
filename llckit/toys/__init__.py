"""Models whose answer is known, and small training runs that show transitions."""

from llckit.toys.catalog import Toy, catalog
from llckit.toys.linear_nets import (
    LinearNet,
    deep_linear_llc,
    deepest_point,
    random_widths,
    two_layer_llc,
    two_layer_point,
)
from llckit.toys.matrix_products import matrix_product_energy
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
    "DisjointSum",
    "LinearNet",
    "ModularAdditionNet",
    "Monomial",
    "NormProduct",
    "Planar",
    "Quadratic",
    "QuadraticNet",
    "Superposition",
    "TanhNet",
    "Toy",
    "TrainingRun",
    "catalog",
    "deep_linear_llc",
    "deepest_point",
    "digits",
    "fourier_addition",
    "generic_weights",
    "matrix_product_energy",
    "modular_addition",
    "monomial_energy",
    "monomial_llc",
    "quadratic_energy",
    "quadratic_net_llc",
    "random_widths",
    "staircase",
    "staircase_rise",
    "tanh_llc",
    "train",
    "two_layer_llc",
    "two_layer_point",
]
