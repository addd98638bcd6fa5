"""Systems with known exponents: what the hyperscaling test finds in their data, and the data as tables.

    python -m benchmarks.criticality.critical_systems [--tables FOLDER]
    llckit criticality FOLDER/ising.csv

Each table holds the columns of `llckit.toys.ScalingData`. At effort 1 the median standard errors of Ising, 3-state
Potts and percolation are 0.2 to 0.5 % of the order parameter, 0.3 to 0.8 % of the susceptibility and 1 to 2 % of the
specific heat; those of 10-state Potts, which passes slowly between its phases, are 2, 4 and 12 % at L = 16. Everything
takes about a quarter of an hour on one free core; errors fall as the root of the effort.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._harness import Document, begin
from benchmarks._tables import digits, table
from llckit import hyperscaling_test, toys
from llckit.tables import write_table
from llckit.toys import ScalingData

LENGTHS = (8, 12, 16, 24, 32, 48, 64)
TUNNELLING = (4, 6, 8, 12, 16)  # of the first-order lattice: up to here it passes between phases in some hundred sweeps
STUDENTS = (9, 11, 13, 15, 17, 19, 21)
EXACT = tuple(2**k for k in range(6, 13))
COLUMNS = ("order_parameter", "susceptibility", "specific_heat", "binder")
KNOWN = {  # ν* and α
    "curie_weiss": ("2", "0"),
    "ising": ("2", "0"),
    "potts3": ("5/3", "1/3"),
    "percolation": ("8/3", None),
}


def systems(effort: float) -> dict[str, Callable[[], ScalingData]]:
    """What makes the data, by name.

    Args:
        effort: Factor on the number of sweeps.

    Returns:
        The systems, the fast ones first.
    """

    def runs(sweeps: int) -> int:
        return max(2, round(sweeps * effort))

    return {
        "curie_weiss": lambda: toys.curie_weiss(EXACT),
        "two_basins": lambda: toys.two_basins(EXACT),
        "crossover": lambda: toys.two_level_units(EXACT),
        "ising_chain": lambda: toys.ising_chain(EXACT),
        "perceptron": lambda: toys.binary_perceptron(STUDENTS, seeds=runs(400)),
        "potts10": lambda: toys.potts(TUNNELLING, 10, sweeps=runs(8000)),
        "percolation": lambda: toys.percolation(LENGTHS, samples=runs(400)),
        "ising": lambda: toys.ising(LENGTHS, sweeps=runs(1700)),
        "potts3": lambda: toys.potts(LENGTHS, 3, sweeps=runs(3200)),
    }


def measure(name: str, make: Callable[[], ScalingData], folder: Path | None) -> dict[str, Any]:
    """One system: its table, and the test of it."""
    start = time.perf_counter()
    data = make()
    seconds = time.perf_counter() - start
    columns = data._asdict()
    if folder is not None:
        write_table(folder / f"{name}.csv", {column: values.tolist() for column, values in columns.items()})
    measured = {column: columns[column] for column in COLUMNS if np.isfinite(columns[column]).any()}
    errors = {column: columns[f"{column}_se"] for column in measured}
    relative = {column: np.abs(errors[column] / values) for column, values in measured.items()}
    largest = {column: values[np.isfinite(values)].max(initial=0.0) for column, values in relative.items()}
    test = hyperscaling_test(size=data.size, control=data.control, observables=measured, se=errors)
    return {"points": len(data.size), "seconds": seconds, "largest relative error": largest, "test": test.to_dict()}


def report(document: Document) -> str:
    """Exponents, order and verdict by system."""
    rows = []
    for name, case in document["cases"].items():
        test, (nu_star, alpha) = case["test"], KNOWN.get(name, (None, None))
        exponents = [_with_known(test["nu_star"], nu_star), _with_known(test["alpha"], alpha)]
        rows.append([name, case["points"], *exponents, test["order"], test["verdict"]])
    return table(["system", "points", "ν* (exact)", "α (exact)", "order", "verdict"], rows)


def _with_known(value: float | None, known: str | None) -> str:
    return digits(value) if known is None else f"{digits(value)} ({known})"


def main() -> None:
    """Make all systems and test them."""
    options = {"--tables": {"type": Path, "metavar": "FOLDER", "help": "also write the data, a CSV a system"}}
    sizes = {"effort": (1.0, 0.01), "systems": ([*systems(1.0)], ["curie_weiss", "crossover"])}
    run = begin(__file__, __doc__, report, sizes=sizes, options=options)
    folder = run.arguments.tables
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    makers = {name: make for name, make in systems(run.sizes["effort"]).items() if name in run.sizes["systems"]}
    cases = {name: (name, make, folder) for name, make in makers.items()}
    run.measure(cases, lambda case: measure(*case))


if __name__ == "__main__":
    main()
