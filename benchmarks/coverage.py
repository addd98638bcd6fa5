"""Does the 95 % interval hold the exact value as often as it says? Toys with a closed form, several seeds each.

    python benchmarks/coverage.py [--seeds 9] [--out benchmarks/results/coverage.json]

Every estimate is made at nβ = n/ln n and the γ that is chosen by default, and compared with E[nβ (L − L*)] there.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import llckit as lk
from llckit.environment import environment
from llckit.toys import catalog

RESULTS = Path(__file__).parent / "results" / "coverage.json"
Z95 = 1.959964


def main() -> None:
    """Run all estimates, write them with their summary."""
    parser = argparse.ArgumentParser(description="coverage of the 95 % interval")
    parser.add_argument("--seeds", type=int, default=9)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for toy in tqdm([toy for toy in catalog() if toy.exact is not None], desc="toys"):
        assert toy.exact is not None
        n = len(toy.data[0])
        estimates = [
            lk.estimate_llc(toy.model, toy.data, toy.loss_fn, n_beta=n / np.log(n), seed=seed, progress=False)
            for seed in range(arguments.seeds)
        ]
        exact = toy.exact(estimates[0].n_beta, estimates[0].localization)
        llc, mcse = np.array([e.llc for e in estimates]), np.array([e.mcse for e in estimates])
        row = {"name": toy.name, "exact": exact, "llc": llc.tolist(), "mcse": mcse.tolist()}
        rows.append(row | {"outcome": [e.outcome.value for e in estimates]})
    llc, mcse = np.array([row["llc"] for row in rows]), np.array([row["mcse"] for row in rows])
    error = llc - np.array([[row["exact"]] for row in rows])
    relative = np.abs(error / (llc - error))
    by_toy = llc.std(axis=1, ddof=1) / mcse.mean(axis=1)
    summary = {
        "estimates": llc.size,
        "covered": float((np.abs(error) <= Z95 * mcse).mean()),
        "spread_to_mcse": float(np.sqrt(np.mean(by_toy**2))),
        "median_error": float(np.median(relative)),
        "percentile_95": float(np.percentile(relative, 95)),
        "worst": float(relative.max()),
        "median_mcse": float(np.median(mcse / llc)),
        "least_covered": rows[int(np.argmin((np.abs(error) <= Z95 * mcse).mean(axis=1)))]["name"],
    }
    print(json.dumps(summary, indent=1))
    arguments.out.write_text(json.dumps({"environment": environment(), "summary": summary, "toys": rows}) + "\n")


if __name__ == "__main__":
    main()
