"""The outputs that `same_numbers.py` compares; it runs this file once for each checkout.

Only public names are used here, so that the same file runs before and after files of the package have moved: those of
`llckit.__all__` and `llckit.toys.__all__`, attributes of results, and the command line. All budgets are small: the
numbers have to be the same, not good.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import same_numbers_nets as nets
import torch
from same_numbers_nets import FEW, Made, teacher
from same_numbers_record import SEPARATOR, Case, case, fields, flattened, numbers, of_estimate, of_store
from same_numbers_runs import CASES
from tqdm import tqdm

import llckit as lk

BRACKET = (
    "lower", "upper", "lower_finite", "rank", "rank_is_exact", "orbit_dim", "dim", "eigenvalues", "grad_norm"
)  # fmt: skip
TOYS = {  # by name, the steps of sgld and sgnht where their own are too large, as where all curvatures are zero
    "quadratic, rank 5 of 10, far from the origin": None,
    "quadratic, curvatures 1e-2 to 1e3": None,
    "w1^4": (1e-4, 1e-2),
    "w1^2 w2^2": (1e-4, 1e-2),
    "|w|^6, 2 weights": (1e-4, 1e-2),
    "w1^6 + w1^2 w2^2 + w2^6": (1e-4, 1e-2),
    "(w1 - 1)^2 |w|^8 at (1, 0)": (1e-4, 1e-2),
    "w1^2 w2^4 + |v|^4, 6 weights": (1e-4, 1e-2),
    "linear 3-3-3 at zero": (1e-4, 1e-2),
    "linear 5-3-5, rank 3, deepest point": None,
    "linear 6-7-5, product rank 2, layer ranks 4 and 3": None,
    "tanh 1-2-2 at zero": (1e-4, 1e-2),
    "superposition 5-gon": None,
    "quadratic net, 2 units, 3 classes, pairs": None,
}
SAMPLERS = {
    "hmc": lk.hmc, "baoab": lk.baoab, "sgld": lk.sgld, "mala": lk.mala, "sgnht": lk.sgnht,
    "rmsprop_sgld": lk.rmsprop_sgld,
}  # fmt: skip


def _toy(name: str, sampler: str) -> Case:
    def estimate(folder: Path) -> Any:
        toy = next(toy for toy in lk.toys.catalog() if toy.name == name)
        steps = dict(zip(("sgld", "sgnht"), TOYS[name] or (), strict=False))
        given = {"step_size": steps[sampler]} if sampler in steps else {}
        settings = {"n_beta": 1000.0, "sampler": SAMPLERS[sampler](**given)}
        found = lk.estimate_llc(toy.model, toy.data, toy.loss_fn, **settings, **FEW)
        return of_estimate(found) | {"exact": toy.exact and toy.exact(found.n_beta, found.localization)}

    return estimate


for number, name in enumerate(TOYS):
    for sampler in SAMPLERS if number % 5 == 2 else ("hmc", "baoab", "sgld"):
        CASES[f"estimate, {sampler}, {name}"] = _toy(name, sampler), number in (2, 12)


def _search(name: str, **settings: Any) -> Case:
    def estimate(folder: Path) -> Any:
        toy = next(toy for toy in lk.toys.catalog() if toy.name == name)
        return of_estimate(lk.estimate_llc(toy.model, toy.data, toy.loss_fn, progress=False, **settings))

    return estimate


CASES["estimate, search for n_beta, w1^4"] = _search("w1^4"), False
for name in ("w1^2 w2^2", "tanh 1-1-1 at zero"):
    CASES[f"estimate, search for n_beta, {name}"] = _search(name, max_grad_evals=800, num_chains=8), True


SCALE: dict[str, Any] = {"n_beta": 100.0, "localization": 1.0}
HALF = {"0.weight": torch.arange(15).reshape(5, 3) % 2 == 0, "2.bias": torch.tensor([True, True])}
NETS: dict[str, tuple[Callable[[], Made], dict[str, Any], bool]] = {
    "all samples": (lambda: teacher(200), {}, True),
    "label noise": (lambda: teacher(200, 0.3), {"seed": 5}, False),
    "fixed subset": (lambda: teacher(400), {"subset": 100}, True),
    "minibatches, baoab": (lambda: teacher(400, 0.3), {"sampler": lk.baoab(), "batch_size": 32}, True),
    "minibatches, sgld": (lambda: teacher(400, 0.3), {"sampler": lk.sgld(), "batch_size": 32}, True),
    "minibatches, sgnht": (lambda: teacher(400, 0.3), {"sampler": lk.sgnht(), "batch_size": 32}, False),
    "minibatches, rmsprop_sgld": (lambda: teacher(400, 0.3), {"sampler": lk.rmsprop_sgld(), "batch_size": 32}, False),
    "guided, batch size given": (lambda: teacher(400, 0.3), {"batch_size": 64}, True),
    "guided, chosen": (lambda: teacher(5000, 0.3), {}, False),
    "subset, chosen": (lambda: teacher(5000), {}, False),
    "minibatches, chosen": (lambda: (*teacher(5000, 0.3)[:2], nets.decayed), {}, False),
    "a million weights": (nets.million, {"sampler": lk.sgld(), "num_draws": 4, "num_burnin": 4}, False),
    "compiled": (lambda: teacher(100), {"compile": True}, False),
    "settings of baoab": (lambda: teacher(100), {"sampler": lk.baoab(step_size=0.01, friction=2.0)}, False),
    "n_beta searched": (lambda: teacher(300), {"n_beta": None, "localization": None, "max_grad_evals": 2000}, False),
    "up to a tolerance": (lambda: teacher(200), {"num_draws": None, "rel_tol": 0.05, "max_grad_evals": 4000}, False),
    "observe": (lambda: teacher(100), {"observe": {"norm": nets.norm}}, True),
    "params by pattern": (lambda: teacher(100), {"params": ["2.*"]}, True),
    "params by mask": (lambda: teacher(100), {"params": HALF}, False),
    "behavioral": (lambda: teacher(100, 0.5), {"behavioral": True}, True),
    "behavioral, images": (nets.images, {"behavioral": True}, False),
    "behavioral, tokens": (nets.tokens, {"behavioral": True}, False),
    "float64": (lambda: teacher(100, dtype=torch.float64), {}, True),
    "half precision": (lambda: teacher(100, dtype=torch.bfloat16), {}, False),
    "row by row": (nets.branching, {}, True),
    "data loader": (nets.loader, {}, False),
    "own n": (lambda: teacher(100), {"n": 1000, "localization": None}, False),
    "no minimum": (lambda: (nets.drawn(teacher(100)[0], 7), *teacher(100)[1:]), {}, False),
    "diverged": (lambda: teacher(100), {"sampler": lk.sgld(step_size=10.0)}, False),
    "too hot": (lambda: teacher(100), {"sampler": lk.sgld(step_size=0.01), "num_draws": 200}, False),
    "settings of hmc": (lambda: teacher(100), {"sampler": lk.hmc(step_size=0.02)}, False),
    "one chain, short burn-in": (lambda: teacher(100), {"num_chains": 1, "num_burnin": 10}, False),
}  # fmt: skip


def _net(make: Callable[[], Made], settings: dict[str, Any]) -> Case:
    return lambda folder: of_estimate(lk.estimate_llc(*make(), **(FEW | SCALE | settings)))


for name, (make, settings, in_quick) in NETS.items():
    CASES[f"estimate, net, {name}"] = _net(make, settings), in_quick


@case("scale profile", quick=True)
def _profile(folder: Path) -> Any:
    names = "n_beta", "llc", "mcse", "llc_variance", "is_minimum", "plateau", "llc_plateau", "localization"
    found = lk.scale_profile(*teacher(200), n_beta=[30, 100, 300, 1000, 3000], **FEW)
    numbered = {"summary": numbers(found.summary()), "limit": found.limit(2)}
    return fields(found, names) | numbered | {"rungs": [of_estimate(one) for one in found.estimates]}


def _bracket(make: Callable[[], Made], settings: dict[str, Any]) -> Case:
    return lambda folder: fields(lk.bracket(*make(), progress=False, **settings), BRACKET)


def _of_catalog(name: str) -> Made:
    toy = next(toy for toy in lk.toys.catalog() if toy.name == name)
    return toy.model, toy.data, toy.loss_fn


BRACKETS: dict[str, tuple[Callable[[], Made], dict[str, Any]]] = {
    "tanh net": (lambda: teacher(50), {"n_beta": 100.0, "localization": 1.0}),
    "tanh net with noise": (lambda: teacher(50, 0.5), {}),
    "ReLU net": (lambda: nets.relu(True), {}),
    "ReLU net without biases": (lambda: nets.relu(False), {"n_beta": 10.0}),
    "images": (nets.images, {}),
    "tokens": (nets.tokens, {}),
    "single precision": (lambda: teacher(50), {"double": False}),
    "matrix-free": (nets.wide, {}),
    **{name: (functools.partial(_of_catalog, name), {}) for name in list(TOYS)[9:13]},
}
for name, (make, settings) in BRACKETS.items():
    CASES[f"bracket, {name}"] = _bracket(make, settings), name != "matrix-free"


@case("toys, answers", quick=True)
def _answers(folder: Path) -> Any:
    toys = lk.toys.catalog()
    few = [toy for toy in toys if toy.exact is not None][::4]
    return {
        "llc": np.array([toy.llc for toy in toys]),
        "multiplicity": np.array([toy.multiplicity for toy in toys]),
        "weights": [list(toy.model.parameters()) for toy in toys],
        "exact": [toy.exact(100.0, 1.0) for toy in few if toy.exact],
        "matrix product": lk.toys.matrix_product_energy((2, 3, 2), 100.0, 1.0),
        "monomial": [lk.toys.monomial_llc([1, 2, 2]), lk.toys.monomial_energy([1, 2], 100.0, 1.0)],
        "deep linear": [lk.toys.deep_linear_llc(*lk.toys.random_widths(seed)) for seed in range(20)],
        "relu": lk.toys.relu_pieces_llc([-0.5, 0.0, 0.5], [1.0, 0.0, 1.0]),
        "rises": [lk.toys.staircase_rise(mode) for mode in range(4)],
    }


@case("toys, systems")
def _systems(folder: Path) -> Any:
    toys = lk.toys
    return {
        "curie_weiss": toys.curie_weiss([16, 64]),
        "ising_chain": toys.ising_chain([16, 64]),
        "two_level_units": toys.two_level_units([16, 64]),
        "two_basins": toys.two_basins([16, 64]),
        "ising": toys.ising([4, 8], sweeps=30, replicas=4),
        "potts": toys.potts([4, 8], sweeps=30, replicas=4),
        "percolation": toys.percolation([4, 8], samples=30, replicas=4),
        "binary_perceptron": toys.binary_perceptron([8, 10], seeds=6),
        "grokking_runs": toys.grokking_runs(5, [0.5], [0, 1], steps=60),
    }


@case("toys, training")
def _training(folder: Path) -> Any:
    runs = {
        "staircase": lk.toys.staircase(),
        "modular addition": lk.toys.modular_addition(7),
        "richness": lk.toys.richness_run(6, 0.5, outputs=2),
    }
    found = {}
    for name, run in runs.items():
        store = lk.CheckpointStore(folder / name)
        lk.toys.train(run._replace(last_step=60), lk.Recorder(store, lk.mixed_schedule(60, 4)))
        found[name] = of_store(store)
    return found


def main() -> None:
    """Compute the outputs chosen and write them to one file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--checkout", type=Path, required=True, help="where the package has to come from")
    parser.add_argument("--position", type=int, default=0, help="line of the progress bar")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    if Path(lk.__file__).resolve().parents[1] != arguments.checkout.resolve():
        parser.error(f"llckit is imported from {lk.__file__}, not from {arguments.checkout}")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    chosen = [
        name
        for name, (_, in_quick) in CASES.items()
        if (in_quick or not arguments.quick) and re.search(arguments.only, name)
    ]
    stored: dict[str, np.ndarray] = {}
    with (
        tqdm(chosen, unit="output", position=arguments.position) as bar,
        tempfile.TemporaryDirectory(prefix="same_numbers_") as folder,
    ):
        for number, name in enumerate(bar):
            bar.set_postfix_str(name)
            own = Path(folder).resolve() / str(number)
            own.mkdir()
            try:
                found = dict(flattened(CASES[name][0](own)))
            except (Exception, SystemExit) as error:
                tqdm.write(f"{name}: {type(error).__name__}: {error}")
                found = {"exception": np.array(type(error).__name__)}
            shutil.rmtree(own)
            for place, array in found.items():
                apart = re.search(r"(^|\.)(settings|text)(\.|$)", place)
                stored[f"{name}{f', {apart[2]}' if apart else ''}{SEPARATOR}{place}"] = array
    np.savez_compressed(arguments.file, **stored)  # pyright: ignore[reportArgumentType]
    print(f"{arguments.checkout}: {len(chosen)} outputs in {sum(os.times()[:4]):.0f} s of CPU time", file=sys.stderr)


if __name__ == "__main__":
    main()
