"""Models whose answer is known, and small training runs that show transitions."""

from llckit.toys.catalog import Toy, catalog
from llckit.toys.linear_nets import LinearNet, deep_linear_llc, deepest_point, two_layer_llc, two_layer_point
from llckit.toys.potentials import Monomial, Quadratic, monomial_energy, monomial_llc, quadratic_energy
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
    "LinearNet",
    "ModularAdditionNet",
    "Monomial",
    "Quadratic",
    "Toy",
    "TrainingRun",
    "catalog",
    "deep_linear_llc",
    "deepest_point",
    "digits",
    "modular_addition",
    "monomial_energy",
    "monomial_llc",
    "quadratic_energy",
    "staircase",
    "staircase_rise",
    "train",
    "two_layer_llc",
    "two_layer_point",
]
