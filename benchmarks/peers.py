"""What a step of one SGLD chain costs in llckit and in devinterp 1.3.2, on the same model and batch.

    python3.11 -m venv PEER && PEER/bin/pip install -c constraints.txt torch==2.13.0 . devinterp==1.3.2
    PEER/bin/python benchmarks/peers.py [--threads N] [--out benchmarks/results/peers.json]

Run by devinterp's interpreter, so that both take turns in one process: three MLPs, 1000 samples, ten chains in llckit,
which runs them together, and one in devinterp, which runs them one after another. devinterp gets its batch from a
DataLoader over a TensorDataset of 1000 samples, as its users do, and ready from memory. Both sides are their tool's own
loop over 30 draws, with what it does around them. Figures are ratios of medians.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from devinterp_worker import ReadyBatch, run_sampler
from step_cost import CHAINS, DRAWS, Case, bare_passes, cases, draws, seconds_a_pass
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

import llckit as lk
from llckit.cli.commands import environment
from llckit.posterior import LocalPosterior

RESULTS = Path(__file__).parent / "results" / "peers.json"


def peer_steps(case: Case, loader: DataLoader) -> Callable[[], int]:
    """One chain of devinterp's SGLD; gives its steps."""
    from devinterp.optim import SGLD  # pyright: ignore[reportMissingImports]

    request = {"step_size": 2e-8, "localization": 1.0, "n_beta": 100.0, "draws": DRAWS, "burnin": 0, "seed": 0}

    def evaluate(model: Any, batch: Any) -> Any:
        return case.loss_fn(model, batch)

    def run() -> int:
        run_sampler(case.model, loader, evaluate, [lambda **_: None], SGLD, request, chains=1)
        return DRAWS

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
    rows = []
    for case in tqdm(cases()[:3], desc="models"):
        task = lk.Task(case.model, case.data, case.loss_fn)
        posterior = LocalPosterior(task, task.point(), n_beta=100.0, localization=1.0, rows=CHAINS)
        n = len(case.data[0])
        found = seconds_a_pass(
            {
                "bare": bare_passes(case),
                "llckit": draws(posterior, lk.sgld(step_size=2e-8)),
                "devinterp, DataLoader": peer_steps(case, DataLoader(TensorDataset(*case.data), batch_size=n)),
                "devinterp, ready batch": peer_steps(case, ReadyBatch(case.data)),
            }
        )
        rows.append({"parameters": task.dim, "seconds": found["bare"]})
        rows[-1] |= {name: seconds / found["bare"] for name, seconds in found.items() if name != "bare"}
    versions = environment() | {"devinterp": version("devinterp")}
    document = {"environment": versions, "threads": arguments.threads, "chains": CHAINS, "models": rows}
    arguments.out.write_text(json.dumps(document) + "\n")
    print("parameters  llckit  devinterp: DataLoader  ready batch   (in bare passes a step of a chain)")
    for row in rows:
        own, *others = (row[name] for name in ("llckit", "devinterp, DataLoader", "devinterp, ready batch"))
        ratios = "  ".join(f"{x:8.2f} = {x / own:5.2f} x" for x in others)
        print(f"{row['parameters']:10}  {own:6.2f}  {ratios}")


if __name__ == "__main__":
    main()
