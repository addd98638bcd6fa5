"""`llckit bench`: every toy with default settings, beside its closed form."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Sequence

from tqdm import tqdm

from llckit.cli.accuracy import Accuracy, ToyResult, accuracy_of
from llckit.cli.arguments import Commands, add_json_argument
from llckit.environment import environment
from llckit.errors import InputError
from llckit.llc import estimate_llc
from llckit.toys import Toy, catalog

__all__ = ["add_bench_command"]


def add_bench_command(commands: Commands) -> None:
    """Add `llckit bench`."""
    command = commands.add("bench", bench, "estimate toys whose LLC is known, and show the errors")
    add_json_argument(command)
    command.add_argument("--only", metavar="TEXT", default="", help="toys whose name holds this text")


def bench(arguments: Namespace) -> int:
    """`llckit bench`."""
    toys = [toy for toy in catalog() if arguments.only in toy.name]
    if not toys:
        raise InputError(f"--only is {arguments.only!r}, which no toy's name holds; see `lk.toys.catalog()`")
    results = [_estimated(toy) for toy in tqdm(toys, desc="toys", disable=None)]
    accuracy = accuracy_of(results) if any(result.exact is not None for result in results) else None
    if arguments.json:
        summary = None if accuracy is None else accuracy._asdict()
        rows = [result.to_dict() for result in results]
        print(json.dumps({"environment": environment(), "summary": summary, "toys": rows}))
    else:
        _print_results(results, accuracy)
    return 0


def _estimated(toy: Toy) -> ToyResult:
    start = time.perf_counter()
    found = estimate_llc(toy.model, toy.data, toy.loss_fn, progress=False)
    return ToyResult(
        name=toy.name,
        llc_limit=toy.llc,
        multiplicity=toy.multiplicity,
        exact=None if toy.exact is None else toy.exact(found.n_beta, found.localization),
        llc=found.llc,
        mcse=found.mcse,
        n_beta=found.n_beta,
        localization=found.localization,
        outcome=found.outcome.value,
        seconds=time.perf_counter() - start,
    )


def _print_results(results: Sequence[ToyResult], accuracy: Accuracy | None) -> None:
    print(f"{'toy':54} {'λ':>6} {'m':>2} {'exact':>8} {'llc':>8} {'± mcse':>7} {'z':>5} {'vs λ':>7}  outcome")
    for result in results:
        exact = "" if result.exact is None else f"{result.exact:.3f}"
        z = "" if result.z is None else f"{result.z:.1f}"
        print(
            f"{result.name:54} {result.llc_limit:6.3g} {result.multiplicity:2} {exact:>8} {result.llc:8.3f} "
            f"{result.mcse:7.2g} {z:>5} {100 * result.error:+6.1f}%  {result.outcome}"
        )
    print("exact: E[nβ (L − L*)] at the nβ and γ used; z: distance from it in standard errors; vs λ: against nβ → ∞")
    if accuracy is None:
        return
    print(
        f"{accuracy.cases} toys with an exact value: error {accuracy.median:.1%} median, "
        f"{accuracy.percentile_95:.1%} 95th percentile, {accuracy.worst:.1%} worst; {accuracy.covered:.0%} of the "
        f"95 % intervals hold it"
    )
