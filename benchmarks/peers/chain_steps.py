"""What a step of one SGLD chain costs here, in devinterp 1.3.2 and in canonical-interp 0.2.7: same model and batch.

    python3.11 -m venv PEER && PEER/bin/pip install -c constraints.txt torch==2.13.0 pandas . devinterp==1.3.2
    PEER/bin/pip install --no-deps --ignore-requires-python canonical-interp==0.2.7
    PEER/bin/python -m benchmarks.peers.chain_steps

It is run by devinterp's interpreter, so that all take turns in one process: three MLPs with 1000 samples, ten chains in
llckit and canonical-interp, which run them together, and one in devinterp, which runs them one after another. devinterp
gets its batch from a DataLoader over a TensorDataset of 1000 samples, as its users do, and ready from memory;
canonical-interp keeps the batches of the first epoch by itself. It compiles its gradient unless told not to, which
needs a C++ compiler: both ways are timed, without the turn in which it compiles. It asks for Python 3.12 because of
`itertools.batched` alone, which is added to older ones here. All sides are their tool's own loop over 30 draws, with
what it does around them; over 300 in devinterp, since it first reads a batch by a loader of its own, which takes as
long as many steps. Figures are ratios of medians.
"""

from __future__ import annotations

import itertools
import logging
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

import llckit as lk
from benchmarks._harness import Document, begin
from benchmarks._models import Case, four_sizes, posterior_of
from benchmarks._tables import digits, table
from benchmarks._timing import CHAINS, bare_passes, drawing, medians_in_turns
from benchmarks.peers._devinterp_worker import ReadyBatch, run_sampler

PEER_DRAWS = 300
PACKAGES = ("devinterp", "canonical-interp")
INSTALL = (
    "devinterp and canonical-interp are not installed here; expected an environment with both: python3.11 -m venv PEER "
    "&& PEER/bin/pip install -c constraints.txt torch pandas . devinterp==1.3.2 && "
    "PEER/bin/pip install --no-deps --ignore-requires-python canonical-interp==0.2.7"
)


def batched(values: Iterable[Any], size: int) -> Iterator[tuple[Any, ...]]:
    """`itertools.batched` of Python 3.12."""
    iterator = iter(values)
    while batch := tuple(itertools.islice(iterator, size)):
        yield batch


if sys.version_info < (3, 12):
    itertools.batched = batched  # pyright: ignore[reportAttributeAccessIssue]


def devinterp_steps(case: Case, loader: DataLoader) -> Callable[[], int]:
    """One chain of devinterp's SGLD; gives its steps."""
    from devinterp.optim import SGLD  # pyright: ignore[reportMissingImports]

    request = {"step_size": 2e-8, "localization": 1.0, "n_beta": 100.0, "draws": PEER_DRAWS, "burnin": 0, "seed": 0}

    def evaluate(model: Any, batch: Any) -> Any:
        return case.loss_fn(model, batch)

    def run() -> int:
        run_sampler(case.model, loader, evaluate, [lambda **_: None], SGLD, request, chains=1)
        return PEER_DRAWS

    return run


def canonical_steps(case: Case, draws: int, *, compiled: bool) -> Callable[[], int]:
    """Ten chains of canonical-interp's SGLD, with L(w*) given; gives their steps."""
    from canonical_interp import LLCEstimator  # pyright: ignore[reportMissingImports]

    settings = {"learning_rate": 2e-8, "localization": 1.0, "nbeta": 100.0, "burnin_steps": 0}
    how = {"compile": "reduce-overhead" if compiled else False, "show_progress": False, "seed": 0}  # the first: its own

    def run() -> int:
        estimator = LLCEstimator(draws=draws, chains=CHAINS, **settings)
        estimator.estimate_llc(case.model, ReadyBatch(case.data), criterion_fn=mse_loss, current_loss=1.0, **how)
        return CHAINS * draws

    return run


def measure(make: Callable[[], Case], sizes: dict[str, Any], with_peers: bool) -> dict[str, Any]:
    """All tools on one model, in bare passes a step of a chain."""
    case, draws = make(), sizes["draws"]
    posterior = posterior_of(case, CHAINS)
    sides = {"bare": bare_passes(case), "llckit": drawing(posterior, lk.sgld(step_size=2e-8), draws)}
    if with_peers:
        loader = DataLoader(TensorDataset(*case.data), batch_size=len(case.data[0]))
        sides |= {
            "devinterp, DataLoader": devinterp_steps(case, loader),
            "devinterp, ready batch": devinterp_steps(case, ReadyBatch(case.data)),
            "canonical-interp": canonical_steps(case, draws, compiled=True),
            "canonical-interp, not compiled": canonical_steps(case, draws, compiled=False),
        }
    seconds = medians_in_turns(sides, sizes["seconds"])
    ratios = {name: seconds[name] / seconds["bare"] for name in sides if name != "bare"}
    return {"parameters": posterior.dim, "seconds": seconds["bare"], **ratios}


def report(document: Document) -> str:
    """Cost of a step, and how many times as much the others take."""
    cases = document["cases"]
    others = [name for name in next(iter(cases.values())) if name not in ("parameters", "seconds", "llckit")]
    rows = [
        [name, case["parameters"], digits(case["llckit"], 2)]
        + [f"{digits(case[other], 2)} = {digits(case[other] / case['llckit'], 2)} ×" for other in others]
        for name, case in cases.items()
    ]
    return table(["model", "parameters", "llckit", *others], rows) + (
        "\n\nForward and backward passes of the bare model that a step of a chain costs; × is the ratio to llckit."
    )


def installed(names: Iterable[str]) -> dict[str, str]:
    """Versions of those packages that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def main() -> None:
    """Time all models."""
    sizes = {"models": (3, 1), "draws": (30, 10), "seconds": (12.0, 0.1)}
    run = begin(__file__, __doc__, report, sizes=sizes, settings={"chains": CHAINS}, threads=2)
    found = installed(PACKAGES)
    with_peers = len(found) == len(PACKAGES)
    if not (with_peers or run.quick):
        run.refuse(INSTALL)
    run.document["environment"] |= found
    torch.manual_seed(0)
    warnings.simplefilter("ignore")  # devinterp's own
    logging.disable(logging.WARNING)  # canonical-interp's
    models = dict([*four_sizes().items()][: run.sizes["models"]])
    run.measure(models, lambda make: measure(make, run.sizes, with_peers))


if __name__ == "__main__":
    main()
