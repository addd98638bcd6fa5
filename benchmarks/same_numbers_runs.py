"""Outputs of `same_numbers.py` that are about runs: curves, commands, transitions, exponents."""

from __future__ import annotations

import csv
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from same_numbers_nets import FEW, TASK, regression, trained
from same_numbers_record import CASES, Case, case, command, fields, numbers, of_store, of_transitions, page, table

import llckit as lk

CURVE = ("step", "loss", "llc", "mcse", "llc_per_chain", "details", "outcome", "behavioral", "recorded", "is_minimum")
SPECTROGRAM = ("step", "loss", "llc", "mcse", "llc_per_chain", "llc_variance", "n_beta", "localization", "is_minimum")


def recorded(folder: Path, first: int = 0) -> lk.CheckpointStore:
    """A new store of the run, from its `first` checkpoint on."""
    store = lk.CheckpointStore(folder / "run.ckpts")
    recorder = lk.Recorder(store)
    for step, (weights, metadata) in list(trained().items())[first:]:
        recorder(step, weights, **metadata)
    return store


def of_curve(curve: lk.LLCCurve, folder: Path) -> dict[str, Any]:
    """A curve and its CSV."""
    curve.to_csv(folder / "curve.csv")
    return fields(curve, CURVE) | {"csv": table(folder / "curve.csv")}


@case("curve, behavioral, one process")
def _curve(folder: Path) -> Any:
    task = lk.behavioral_task(lk.load_task(TASK))
    return of_curve(lk.estimate_curve(recorded(folder), task, **FEW), folder)


@case("curve, behavioral, two workers")
def _curve_of_workers(folder: Path) -> Any:
    task = lk.behavioral_task(lk.load_task(TASK))
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        return of_curve(lk.estimate_curve(recorded(folder), task, **FEW, executor=executor), folder)


@case("curve, task loss, sgld on minibatches")
def _curve_sgld(folder: Path) -> Any:
    store = recorded(folder)
    settings = FEW | {"sampler": lk.sgld(), "batch_size": 32, "n_beta": 30.0}
    return of_curve(lk.estimate_curve(store, regression(), store.steps[4::5], **settings), folder)


@case("spectrogram")
def _spectrogram(folder: Path) -> Any:
    store, task = recorded(folder), lk.behavioral_task(regression())
    found = lk.estimate_curve(store, task, store.steps[-2:], n_beta=[10, 100], **FEW)
    found.to_csv(folder / "cells.csv")
    return fields(found, SPECTROGRAM) | {"csv": table(folder / "cells.csv")}


@case("command, estimate with two workers, watch")
def _estimate_command(folder: Path) -> Any:
    store, curve, cells = recorded(folder, first=-2), folder / "curve.csv", folder / "cells.csv"
    words = (store.path, "--task", TASK, "--behavioral", "--localization", 1, "--n-beta")
    printed = {
        "curve": command("estimate", *words, 30, "--workers", 2, "--out", curve),
        "cells": command("estimate", *words, "10,30", "--params", "2.*", "--out", cells),
        "watch": command("watch", *words, 30, "--idle", 0.1),  # finds what the first has kept
    }
    texts = {name: numbers(text.replace(str(folder), "")) for name, text in printed.items()}
    return {"printed": texts, "curve": table(curve), "cells": table(cells)}


@case("curve, and the commands info, verify, export, detect, report", quick=True)
def _commands(folder: Path) -> Any:
    store, html = recorded(folder), folder / "page.html"
    curve = of_curve(lk.estimate_curve(store, lk.behavioral_task(regression()), n_beta=30.0, **FEW), folder)
    words = {
        "info": ("info", store.path),
        "verify": ("verify", store.path),
        "export": ("export", store.path, folder / "run.h5"),
        "detect": ("detect", folder / "curve.csv", "--axis", "linear"),
        "report": ("report", store.path, "-o", html),
    }
    printed = {name: command(*of) for name, of in words.items()}
    info = json.loads(command("info", store.path, "--json"))
    return {
        "printed": {name: numbers(text.replace(str(folder), "")) for name, text in printed.items()},
        "curve": curve,
        "info": info | {"metadata": np.array(info["metadata"])},
        "detect": json.loads(command("detect", folder / "curve.csv", "--json")),
        "exported": of_store(lk.CheckpointStore(folder / "run.h5")),
        "report": page(html, folder),
    }


@case("command, import")
def _imported(folder: Path) -> Any:
    (folder / "files").mkdir()
    for step, (weights, _) in trained().items():
        torch.save({f"module.{name}": tensor for name, tensor in weights.items()}, folder / "files" / f"step_{step}.pt")
    listed = command("import", folder / "files", folder / "run.ckpts", "--dry-run")
    command("import", folder / "files", folder / "run.ckpts")
    return {
        "listed": numbers(listed.replace(str(folder), "")),
        "store": of_store(lk.CheckpointStore(folder / "run.ckpts")),
    }


def _trend(step: np.ndarray, *moves: tuple[float, float, float]) -> np.ndarray:
    """Sigmoids over ln(step + 1): (height, place, width) each."""
    x = np.log1p(step)[:, None]
    height, place, width = np.array(moves).T
    return (height / (1 + np.exp(-(x - np.log1p(place)) / width))).sum(axis=1)


def _synthetic(points: int, *, errors: bool, chains: int, axis: str, seed: int) -> dict[str, Any]:
    """A run with two transitions and one observable, as `detect_transitions` takes it."""
    random = np.random.default_rng(seed)
    step = np.arange(points) * 20
    if axis == "log":
        step = np.unique(np.round(np.geomspace(1, 5000, points))).astype(np.int64)
    llc = 5 + _trend(step, (20, 60, 0.3), (-8, 900, 0.25))
    se = 0.3 * (1 + 0.5 * random.random(len(step)))
    scatter = np.sqrt(chains or 1) * se[:, None] * random.standard_normal((len(step), chains or 1))
    per_chain = llc[:, None] + scatter + (random.standard_normal(chains) if chains else 0.0)
    return {
        "step": step,
        "loss": 3 + _trend(step, (-2.5, 60, 0.4)) + 0.01 * random.standard_normal(len(step)),
        "llc": per_chain.mean(axis=1),
        "llc_se": se if errors else None,
        "llc_per_chain": per_chain if chains else None,
        "observables": {"accuracy": _trend(step, (1, 800, 0.2)) + 0.02 * random.standard_normal(len(step))},
    }


def _detection(points: int, *, errors: bool, chains: int, axis: Any, seed: int) -> Case:
    arrays = _synthetic(points, errors=errors, chains=chains, axis=axis, seed=seed)
    return lambda folder: of_transitions(lk.detect_transitions(**arrays, axis=axis))


def _written(path: Path, columns: dict[str, Any]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [list(columns), *zip(*(column.tolist() for column in columns.values()), strict=True)]
        )
    return path


@case("command, detect and report of a curve and a spectrogram", quick=True)
def _found(folder: Path) -> Any:
    made = _synthetic(50, errors=True, chains=4, axis="log", seed=6)
    chains = {f"llc_chain_{c}": values for c, values in enumerate(made["llc_per_chain"].T)}
    columns = {name: made[name] for name in ("step", "loss", "llc", "llc_se")} | chains
    columns |= {"n_beta": np.full(len(made["step"]), 100.0), "localization": np.ones(len(made["step"]))}
    curve = _written(folder / "curve.csv", columns | {"recorded_accuracy": made["observables"]["accuracy"]})
    scales = [columns | {"n_beta": columns["n_beta"] * f, "llc": columns["llc"] * f**0.1} for f in (0.1, 1.0, 10.0)]
    cells = _written(folder / "cells.csv", {name: np.concatenate([s[name] for s in scales]) for name in columns})
    command("report", curve, "--spectrogram", cells, "-o", folder / "page.html")
    return {
        "curve": json.loads(command("detect", curve, "--json")),
        "linear": json.loads(command("detect", curve, "--json", "--axis", "linear", "--false-boundaries", 0.05)),
        "cells": json.loads(command("detect", cells, "--json")),
        "printed": [numbers(command("detect", path)) for path in (curve, cells)],
        "report": page(folder / "page.html", folder),
    }


CASES["detection, no errors"] = _detection(40, errors=False, chains=0, axis="log", seed=0), True
CASES["detection, errors"] = _detection(60, errors=True, chains=0, axis="log", seed=1), False
CASES["detection, errors and chains"] = _detection(60, errors=True, chains=6, axis="log", seed=2), True
CASES["detection, linear axis"] = _detection(80, errors=False, chains=0, axis="linear", seed=3), False
CASES["detection, chains, linear axis"] = _detection(80, errors=False, chains=5, axis="linear", seed=4), False


@case("detection, across scales", quick=True)
def _across(folder: Path) -> Any:
    random = np.random.default_rng(5)
    step = np.unique(np.round(np.geomspace(1, 4000, 50))).astype(np.int64)
    heights = np.array([4.0, 10.0, 12.0])
    llc = np.stack([_trend(step, (h, 80, 0.3), (-h / 3, 1000, 0.2)) for h in heights], axis=1)
    llc += 0.2 * random.standard_normal(llc.shape)
    loss = 2 + _trend(step, (-1.5, 80, 0.4))
    found = lk.detect_across_scales(
        step=step, loss=loss, llc=llc, n_beta=[10, 100, 1000], llc_se=np.full(llc.shape, 0.2)
    )
    return found.to_dict() | {"by_scale": [None if one is None else of_transitions(one) for one in found.by_scale]}


@case("crossover", quick=True)
def _crossover(folder: Path) -> Any:
    pairs = (-0.1, 5.0), (0.1, -5.0), (0.2, 3.0), (-0.2, -3.0), (-4.0, 1.0)
    return [lk.crossover_samples(a, b, delta_loss_se=0.01, delta_llc_se=0.5).to_dict() for a, b in pairs]


def _noisy(system: str, sizes: list[int], noise: float) -> dict[str, np.ndarray]:
    data = getattr(lk.toys, system)(sizes)._asdict()
    random = np.random.default_rng(6)
    names = "order_parameter", "susceptibility", "binder", "specific_heat"
    found = {"size": np.asarray(data["size"], dtype=float), "control": data["control"]}
    for name in names:
        se = noise * np.abs(data[name]) + 1e-6
        found |= {name: data[name] + se * random.standard_normal(len(se)), f"{name}_se": se}
    return found


TABLES = {
    "curie_weiss": ([64, 128, 256, 512, 1024], 0.003),
    "two_basins": ([32, 64, 128, 256], 0.01),
    "ising_chain": ([32, 64, 128, 256], 0.003),
}


def _criticality(system: str) -> Case:
    def test(folder: Path) -> Any:
        data = _noisy(system, *TABLES[system])
        path = _written(folder / "runs.csv", data)
        names = [name for name in data if f"{name}_se" in data]
        common: dict[str, Any] = {"size": data["size"], "control": data["control"]}
        value, value_se = data["order_parameter"], data["order_parameter_se"]
        observables, se = {name: data[name] for name in names}, {name: data[f"{name}_se"] for name in names}
        return {
            "data": data,
            "test": lk.hyperscaling_test(**common, observables=observables, se=se, seed=1).to_dict(),
            "collapse": lk.finite_size_scaling(**common, value=value, value_se=value_se).to_dict(),
            "command": json.loads(command("criticality", path, "--json")),
            "printed": numbers(command("criticality", path)),
        }

    return test


for name in TABLES:
    CASES[f"criticality, {name}"] = _criticality(name), name == "ising_chain"


@case("scaling relations", quick=True)
def _relations(folder: Path) -> Any:
    exponents = {"alpha": 0.1, "beta": 0.3, "gamma": 1.2, "delta": 4.8, "nu": 0.6, "eta": 0.04, "nu_star": 1.9}
    found = lk.scaling_relations(**exponents, standard_errors={"beta": 0.01, "nu_star": 0.1})
    return [fields(one, ("name", "residual", "standard_error", "z")) for one in found]
