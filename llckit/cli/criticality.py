"""`llckit criticality`: critical exponents from runs of several sizes, and the hyperscaling law."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import numpy as np

from llckit.cli.arguments import Commands, add_json_argument
from llckit.criticality import OBSERVABLES, HyperscalingTest, hyperscaling_test
from llckit.errors import InputError
from llckit.files import check_new_file
from llckit.plotting import FIGURE_ENDINGS, plot_collapse, save_figure
from llckit.tables import naming, read_table, table_column

__all__ = ["add_criticality_command"]

# The exponents that are printed: attribute of the test, label.
EXPONENTS = {
    "critical_point": "critical point",
    "nu_star": "ν*",
    "beta_over_nu_star": "β/ν*",
    "gamma_over_nu_star": "γ/ν*",
    "alpha_over_nu_star": "α/ν*",
    "alpha": "α",
    "residual": "ν* − (2 − α)",
    "rushbrooke": "α + 2β + γ − 2",
}


def add_criticality_command(commands: Commands) -> None:
    """Add `llckit criticality`."""
    summary = "critical exponents from runs of several sizes, and the law ν* = 2 - α"
    command = commands.add("criticality", criticality, summary)
    command.add_argument(
        "runs",
        metavar="RUNS.csv",
        help="columns size, control, order_parameter, susceptibility, specific_heat, binder, bimodality, …_se",
    )
    add_json_argument(command)
    command.add_argument("--plot", metavar="FILE.png", help="also draw the collapse and its residuals")


def criticality(arguments: Namespace) -> int:
    """`llckit criticality RUNS.csv`."""
    if arguments.plot is not None:
        check_new_file(arguments.plot, FIGURE_ENDINGS)
    data = _read_runs(arguments.runs)
    with naming(arguments.runs):
        test = hyperscaling_test(
            size=data["size"],
            control=data["control"],
            observables={name: data[name] for name in OBSERVABLES if name in data},
            se={name: data[f"{name}_se"] for name in OBSERVABLES if f"{name}_se" in data} or None,
        )
    if arguments.plot is not None:
        save_figure(plot_collapse(data, test, title=Path(arguments.runs).name), arguments.plot)
    if arguments.json:
        print(json.dumps(test.to_dict()))
    else:
        _print_test(test)
    return 0


def _read_runs(path: str) -> dict[str, np.ndarray]:
    """The columns of a table of runs by name; an empty cell was not measured and is NaN."""
    names, rows = read_table(path)
    expected = f"size, control and any of {', '.join(OBSERVABLES)}, each with its _se"
    missing = [name for name in ("size", "control") if name not in names]
    if missing or not any(name in names for name in OBSERVABLES):
        raise InputError(f"{path} has columns {', '.join(names) or 'of no name'}; expected {expected}")
    known = ["size", "control", *OBSERVABLES, *(f"{name}_se" for name in OBSERVABLES)]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"{path} has a column {unknown[0]}; expected {expected}; leave out what is something else")
    orphans = [name for name in names if name.endswith("_se") and name.removesuffix("_se") not in names]
    if orphans:
        raise InputError(f"{path} has {orphans[0]} without {orphans[0].removesuffix('_se')}; expected {expected}")
    if not rows:
        raise InputError(f"{path} has a header but no rows")
    return {name: table_column(path, rows, name) for name in names}


def _print_test(test: HyperscalingTest) -> None:
    """The verdict, then the exponents with their 90 % intervals."""
    print(f"{test.verdict}: {test.reason}")
    print(f"order of the transition: {test.order}")
    for name, label in EXPONENTS.items():
        value = getattr(test, name)
        if value is not None:
            low, high = getattr(test, f"{name}_interval")
            print(f"{label:15} {value:9.4g}   ({low:.4g} … {'unbounded' if high is None else f'{high:.4g}'})")
    if test.p_value is not None:
        print(f"{'p':15} {test.p_value:9.3g}")
    if test.quality is not None:
        print(f"{'collapse':15} {test.quality:9.3g}   (reduced chi-square)")
