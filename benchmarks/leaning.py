"""How far nβ and γ carry λ̂ from λ: does the estimate say so, and where m > 1, does a ladder's limit undo it?

    python benchmarks/leaning.py [--out benchmarks/results/leaning.json]

Toys with a closed form at n/ln n and the γ chosen by default: where λ̂ changes by more than 3 % per e-fold of nβ or γ,
the sensitivity that the estimate gives beside the derivative of the closed form. Then toys with m > 1: the limit of the
default ladder of `scale_profile` beside λ. Left out there are nets of more than two layers with hundreds of weights,
which take minutes a rung.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

import llckit as lk
from llckit.environment import environment
from llckit.toys import Toy, catalog

RESULTS = Path(__file__).parent / "results" / "leaning.json"
LEANS = 0.03  # of λ̂ per e-fold
FACTOR = 1.5
STEP = 0.01  # of ln nβ and ln γ, for differences of the closed form
MOST_WEIGHTS = 200  # two layers of 100


def slope(curve: Callable[[float], float], at: float) -> float:
    """The derivative with respect to ln `at`."""
    return (curve(at * math.exp(STEP)) - curve(at * math.exp(-STEP))) / (2 * STEP)


def sensitivities(toy: Toy) -> list[dict[str, Any]]:
    """What the estimate says of nβ and of γ, with standard errors, and what the closed form says."""
    exact = toy.exact
    assert exact is not None
    n = len(toy.data[0])
    found = lk.estimate_llc(toy.model, toy.data, toy.loss_fn, n_beta=n / math.log(n), progress=False)
    t, g = found.n_beta, found.localization
    known = {"n_beta": slope(lambda x: exact(x, g), t), "localization": slope(lambda x: exact(t, x), g)}
    rows = []
    for name, derivative in known.items():
        said, mcse = getattr(found, f"sensitivity_{name}"), getattr(found, f"sensitivity_{name}_mcse")
        relative = {"exact": derivative / exact(t, g), "said": said / found.llc, "mcse": mcse / found.llc}
        rows.append({"name": toy.name, "of": name} | relative)
    return rows


def limit(toy: Toy) -> dict[str, Any]:
    """The limit of the default ladder with the toy's m, and the last usable rung."""
    profile = lk.scale_profile(toy.model, toy.data, toy.loss_fn, progress=False)
    row: dict[str, Any] = {"name": toy.name, "lambda": toy.llc, "multiplicity": toy.multiplicity}
    row |= {"n_beta": profile.n_beta.tolist(), "llc": profile.llc.tolist(), "mcse": profile.mcse.tolist()}
    try:
        found = profile.limit(toy.multiplicity)
    except lk.InputError as error:
        return row | {"limit": None, "why": str(error)}
    return row | {"limit": found.llc, "se": found.se, "error": found.llc / toy.llc - 1}


def main() -> None:
    """Run both parts, print what was found, write it."""
    parser = argparse.ArgumentParser(description="how far nβ and γ carry an estimate")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    toys = catalog()
    rows = [row for toy in tqdm(toys, desc="sensitivities") if toy.exact is not None for row in sensitivities(toy)]
    leaning = [row for row in rows if abs(row["exact"]) > LEANS]
    ratios = np.array([row["said"] / row["exact"] for row in leaning])
    singular = [toy for toy in toys if toy.multiplicity > 1 and is_small(toy)]
    limits = [limit(toy) for toy in tqdm(singular, desc="ladders")]
    errors = np.array([abs(row["error"]) for row in limits if row["limit"] is not None])
    summary = {
        "leaning": len(leaning),
        "within_factor": float(((ratios >= 1 / FACTOR) & (ratios <= FACTOR)).mean()),
        "ladders": len(limits),
        "limits": len(errors),
        "within_5_percent": int((errors <= 0.05).sum()),
        "median_error": float(np.median(errors)),
        "worst": float(errors.max()),
    }
    for row, ratio in zip(leaning, ratios, strict=True):
        said = f"{row['exact']:+.3f}, said {row['said']:+.3f} ± {row['mcse']:.3f}: {ratio:.2f}"
        print(f"{row['name']:50s} {row['of']:12s} {said}")
    for row in limits:
        told = row.get("why") or f"{row['limit']:.4g} ± {row['se']:.2g} ({row['error']:+.1%})"
        print(f"{row['name']:50s} λ = {row['lambda']:g}, m = {row['multiplicity']}: {told}")
    print(json.dumps(summary, indent=1))
    document = {"environment": environment(), "summary": summary, "sensitivities": rows, "ladders": limits}
    arguments.out.write_text(json.dumps(document) + "\n")


def is_small(toy: Toy) -> bool:
    """Whether its ladder takes minutes at most."""
    return sum(parameter.numel() for parameter in toy.model.parameters()) <= MOST_WEIGHTS


if __name__ == "__main__":
    main()
