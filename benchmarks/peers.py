"""What a step of one SGLD chain costs here, in devinterp 1.3.2 and in canonical-interp 0.2.7: same model and batch.

    python3.11 -m venv PEER && PEER/bin/pip install -c constraints.txt torch==2.13.0 pandas . devinterp==1.3.2
    PEER/bin/pip install --no-deps --ignore-requires-python canonical-interp==0.2.7
    PEER/bin/python benchmarks/peers.py [--threads N] [--out benchmarks/results/peers.json]

Run by devinterp's interpreter, so that all take turns in one process: three MLPs, 1000 samples, ten chains in llckit
and canonical-interp, which run them together, and one in devinterp, which runs them one after another. devinterp gets
its batch from a DataLoader over a TensorDataset of 1000 samples, as its users do, and ready from memory;
canonical-interp keeps the batches of the first epoch by itself. It compiles its gradient unless told not to, which
needs a C++ compiler: both ways are timed, without the turn in which it compiles. It asks for Python 3.12 for the sake
of `itertools.batched` alone, which older ones are lent here. All sides are their tool's own loop over 30 draws, with
what it does around them; over 300 in devinterp, since it first reads a batch by a loader of its own, which takes as
long as many steps. Figures are ratios of medians.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from devinterp_worker import ReadyBatch, run_sampler
from step_cost import CHAINS, DRAWS, Case, bare_passes, cases, draws, seconds_a_pass
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

import llckit as lk
from llckit.environment import environment
from llckit.posterior import LocalPosterior

RESULTS = Path(__file__).parent / "results" / "peers.json"
PEER_DRAWS = 300
OTHERS = ("devinterp, DataLoader", "devinterp, ready batch", "canonical-interp", "canonical-interp, not compiled")


def batched(values: Iterable[Any], size: int) -> Iterator[tuple[Any, ...]]:
    """`itertools.batched` of Python 3.12."""
    iterator = iter(values)
    while batch := tuple(itertools.islice(iterator, size)):
        yield batch


if sys.version_info < (3, 12):
    itertools.batched = batched  # pyright: ignore[reportAttributeAccessIssue]


def peer_steps(case: Case, loader: DataLoader) -> Callable[[], int]:
    """One chain of devinterp's SGLD; gives its steps."""
    from devinterp.optim import SGLD  # pyright: ignore[reportMissingImports]

    request = {"step_size": 2e-8, "localization": 1.0, "n_beta": 100.0, "draws": PEER_DRAWS, "burnin": 0, "seed": 0}

    def evaluate(model: Any, batch: Any) -> Any:
        return case.loss_fn(model, batch)

    def run() -> int:
        run_sampler(case.model, loader, evaluate, [lambda **_: None], SGLD, request, chains=1)
        return PEER_DRAWS

    return run


def canonical_steps(case: Case, *, compiled: bool) -> Callable[[], int]:
    """Ten chains of canonical-interp's SGLD, with L(w*) given; gives their steps."""
    from canonical_interp import LLCEstimator  # pyright: ignore[reportMissingImports]

    settings = {"learning_rate": 2e-8, "localization": 1.0, "nbeta": 100.0, "burnin_steps": 0}
    how = {"compile": "reduce-overhead" if compiled else False, "show_progress": False, "seed": 0}  # the first: its own

    def run() -> int:
        estimator = LLCEstimator(draws=DRAWS, chains=CHAINS, **settings)
        estimator.estimate_llc(case.model, ReadyBatch(case.data), criterion_fn=mse_loss, current_loss=1.0, **how)
        return CHAINS * DRAWS

    return run


def main() -> None:
    """Time all cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FILE.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")  # devinterp's own
    logging.disable(logging.WARNING)  # canonical-interp's
    rows = []
    for case in tqdm(cases()[:3], desc="models"):
        task = lk.Task(case.model, case.data, case.loss_fn)
        posterior = LocalPosterior(task.checkpoint(), n_beta=100.0, localization=1.0, rows=CHAINS)
        n = len(case.data[0])
        found = seconds_a_pass(
            {
                "bare": bare_passes(case),
                "llckit": draws(posterior, lk.sgld(step_size=2e-8)),
                "devinterp, DataLoader": peer_steps(case, DataLoader(TensorDataset(*case.data), batch_size=n)),
                "devinterp, ready batch": peer_steps(case, ReadyBatch(case.data)),
                "canonical-interp": canonical_steps(case, compiled=True),
                "canonical-interp, not compiled": canonical_steps(case, compiled=False),
            }
        )
        rows.append({"parameters": task.dim, "seconds": found["bare"]})
        rows[-1] |= {name: seconds / found["bare"] for name, seconds in found.items() if name != "bare"}
    versions = environment() | {name: version(name) for name in ("devinterp", "canonical-interp")}
    document = {"environment": versions, "threads": arguments.threads, "chains": CHAINS, "models": rows}
    arguments.out.write_text(json.dumps(document) + "\n")
    print("in bare passes a step of a chain: llckit; " + "; ".join(OTHERS))
    for row in rows:
        own = row["llckit"]
        ratios = "  ".join(f"{row[name]:6.2f} = {row[name] / own:5.2f} x" for name in OTHERS)
        print(f"{row['parameters']:7} parameters  {own:5.2f}  {ratios}")


if __name__ == "__main__":
    main()
