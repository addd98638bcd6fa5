"""Data of the systems with known exponents, one table a system, for the tests of finite-size scaling.

    python benchmarks/critical_systems.py --out FOLDER [--effort 1.0]
    llckit criticality FOLDER/ising.csv

Each table holds the columns of `llckit.toys.ScalingData`. At effort 1 the median standard errors of Ising,
3-state Potts and percolation are 0.2 to 0.5 % of the order parameter, 0.3 to 0.8 % of the susceptibility and 1 to 2 %
of the specific heat; those of 10-state Potts, which passes slowly between its phases, are 2, 4 and 12 % at L = 16.
Everything takes about a quarter of an hour on one free core; errors fall as the root of the effort.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from llckit.llc.curve import write_table
from llckit.toys import (
    ScalingData,
    binary_perceptron,
    curie_weiss,
    ising,
    ising_chain,
    percolation,
    potts,
    two_basins,
    two_level_units,
)

LENGTHS = (8, 12, 16, 24, 32, 48, 64)
TUNNELLING = (4, 6, 8, 12, 16)  # of the first-order lattice: up to here it passes between phases in some hundred sweeps
STUDENTS = (9, 11, 13, 15, 17, 19, 21)
EXACT = tuple(2**k for k in range(6, 13))
COLUMNS = ("order_parameter", "susceptibility", "specific_heat", "binder")


def main() -> None:
    """Make all systems."""
    parser = argparse.ArgumentParser(description="data of systems with known exponents")
    parser.add_argument("--out", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--effort", type=float, default=1.0, help="factor on the number of sweeps")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    def runs(sweeps: int) -> int:
        return max(2, round(sweeps * arguments.effort))

    systems: dict[str, Callable[[], ScalingData]] = {
        "curie_weiss": lambda: curie_weiss(EXACT),
        "two_basins": lambda: two_basins(EXACT),
        "crossover": lambda: two_level_units(EXACT),
        "ising_chain": lambda: ising_chain(EXACT),
        "perceptron": lambda: binary_perceptron(STUDENTS, seeds=runs(400)),
        "potts10": lambda: potts(TUNNELLING, 10, sweeps=runs(8000)),
        "percolation": lambda: percolation(LENGTHS, samples=runs(400)),
        "ising": lambda: ising(LENGTHS, sweeps=runs(1700)),
        "potts3": lambda: potts(LENGTHS, 3, sweeps=runs(3200)),
    }
    for name, make in systems.items():
        start = time.perf_counter()
        data = make()
        write_table(
            arguments.out / f"{name}.csv", {column: values.tolist() for column, values in data._asdict().items()}
        )
        seconds = time.perf_counter() - start
        errors = {column: np.abs(getattr(data, column + "_se") / getattr(data, column)).max() for column in COLUMNS}
        worst = ", ".join(f"{column} {error:.2%}" for column, error in errors.items() if np.isfinite(error))
        print(f"{name}: {len(data.size)} points in {seconds:.0f} s; largest relative error: {worst or 'exact'}")


if __name__ == "__main__":
    main()
