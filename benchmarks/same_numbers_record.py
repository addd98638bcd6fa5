"""What `same_numbers.py` stores of each kind of result: its numbers, by names that are public."""

from __future__ import annotations

import contextlib
import csv
import enum
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

import llckit as lk
from llckit.cli import main as llckit_main

SEPARATOR = " | "
WORDS = ("outcome", "kind", "verdict", "order", "case", "name", "specific_heat_form", "undetermined", "sources")
ESTIMATE = (
    "llc", "mcse", "llc_per_chain", "llc_variance", "sensitivity_n_beta", "sensitivity_n_beta_mcse",
    "sensitivity_localization", "sensitivity_localization_mcse", "observed", "depth", "virial", "rhat", "ess",
    "outcome", "loss", "grad_norm", "n_beta", "localization", "bracket", "lower_finite", "bracket_margin", "interval",
    "llc_about_minimum",
)  # fmt: skip
TRACE = (
    "excess", "distance2", "virial", "acceptance", "heat", "observed", "grad_evals", "num_burnin", "step_size",
    "diverged",
)  # fmt: skip
Case = Callable[[Path], Any]
CASES: dict[str, tuple[Case, bool]] = {}


def case(name: str, *, quick: bool = False) -> Callable[[Case], Case]:
    """Add a function to the list; it is given a folder of its own and returns numbers, nested in any way."""

    def add(function: Case) -> Case:
        CASES[name] = function, quick
        return function

    return add


def fields(result: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Attributes by name; one that is gone is not there."""
    return {name: getattr(result, name) for name in names if hasattr(result, name)}


def numbers(text: str) -> np.ndarray:
    """The numbers in a text, as they are written."""
    return np.array(re.findall(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?", text) or [""])


def _settings(
    gradients: dict[str, Any], turning_length: float, scale_ratio: float, compiled: bool, **same: Any
) -> dict[str, Any]:
    """What version 0.1.0 calls `settings`, from what is called `how_found` since."""
    size = {"subset" if gradients["kind"] == "fixed subset" else "batch_size": gradients["size"]}
    return same | size | {"turn": turning_length, "stretch": scale_ratio, "compile": compiled}


def of_estimate(estimate: lk.LLCEstimate) -> dict[str, Any]:
    """All of an estimate."""
    plain = json.loads(json.dumps(estimate.to_dict()))
    settings = plain.pop("settings") if "settings" in plain else _settings(**plain.pop("how_found"))
    return {
        "estimate": fields(estimate, ESTIMATE),
        "trace": fields(estimate.trace, TRACE),
        "to_dict": plain,
        "summary": numbers(estimate.summary()),
        "settings": {key: value for key, value in sorted(settings.items()) if isinstance(value, bool | int | float)},
    }


def of_transitions(found: lk.Transitions) -> dict[str, Any]:
    """The transitions, the smooth behind them, and where each phase comes to win."""
    return {
        "to_dict": found.to_dict(),
        "smooth": fields(found, ("step", "llc", "llc_interval", "loss")),
        "crossover": [one.crossover().to_dict() for one in found],
    }


def of_store(store: lk.CheckpointStore) -> dict[str, Any]:
    """Tensors and metadata of all steps."""
    return {str(step): {"tensors": store.load(step), "metadata": store.metadata(step)} for step in store.steps}


def table(path: Path) -> dict[str, np.ndarray]:
    """The cells of a CSV as they are written."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return {"columns": np.array(header)} | {name: np.array([row[i] for row in rows]) for i, name in enumerate(header)}


def command(*words: object) -> str:
    """What a command prints; one that fails is an error here."""
    out, log = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(log):
        code = llckit_main([str(word) for word in words])
    if code:
        raise RuntimeError(f"llckit {words[0]} ended with {code}: {log.getvalue()}")
    return out.getvalue()


def flattened(value: Any, place: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Arrays by their place in what a case returned; words are left out unless they are results."""
    if isinstance(value, enum.Enum):
        value = np.array(value.value)
    if isinstance(value, str) and place.rpartition(".")[2] in WORDS:
        value = np.array(value)
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(value, Tensor):
        value = value.detach().numpy()
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from flattened(item, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list | tuple):
        yield from _listed(list(value), place)
    elif value is None:
        yield place, np.array("None")
    elif isinstance(value, np.ndarray | np.generic | bool | int | float):
        yield place, np.asarray(value)
    elif not isinstance(value, str):
        raise TypeError(f"{place} is a {type(value).__name__}, which cannot be recorded")


def _listed(values: list[Any], place: str) -> Iterator[tuple[str, np.ndarray]]:
    kinds = {type(value) for value in values}
    if kinds in ({int}, {float}, {bool}):
        yield place, np.array(values)
    elif not values:
        yield place, np.array("empty")
    else:
        for i, value in enumerate(values):
            name = f"{place}.{i}"
            is_result = isinstance(value, str) and place.rpartition(".")[2] in WORDS
            yield from [(name, np.array(value))] if is_result else flattened(value, name)


def page(path: Path, folder: Path) -> dict[str, Any]:
    """Text and numbers of an HTML page, without pictures, style, and lines of a date or a version."""
    text = path.read_text(encoding="utf-8").replace(str(folder), "")
    text = re.sub(r"<(style|script|svg)\b.*?</\1>|<[^>]*>", "\n", text, flags=re.DOTALL)
    lines = [line.strip() for line in text.splitlines()]
    kept = [line for line in lines if line and not re.search(r"\d{4}-\d\d-\d\d|\bversion\b|llckit \d", line)]
    return {"numbers": numbers("\n".join(kept)), "text": np.array(kept)}
