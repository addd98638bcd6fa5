"""A language model of 0.4 M weights: are its LLCs right, and does its curve show when induction heads form?

    python -m benchmarks.curves.language_model [--only losses reference accuracy curve]

Two layers of attention without MLPs and 26 400 sequences of 64 tokens (see `benchmarks/_language_model.py`). It is
trained once, in some ten minutes, and kept in the folder `--data`. There are four kinds of cases:

* `losses`: what was recorded while it trained, and where the loss on repeats falls fastest;
* `reference`: the LLC at nβ = 30 and γ = 100 by a long run of plain Langevin dynamics, which shares no code with
  llckit's samplers (see `benchmarks/curves/_long_run.py`); some four minutes a checkpoint;
* `accuracy`: `estimate_llc` at the same nβ and γ without any further setting, at the same checkpoints, with several
  seeds. The error of the long run is added to its own before both are compared;
* `curve`: `estimate_curve`, `detect_transitions` and the report of the whole run, without any setting.

Estimates and the curve run in a process of their own, which is ended after `--limit` seconds, its start included. The
long runs are the settings of the document; `--limit` and `--seeds` are not, so that what is new can be measured beside
the long runs that are there: `--only accuracy curve`. Sequences are per chain, in gradients and decisions. The fall of
the loss on repeats is that of its difference from the loss on the same tokens at first sight, over ln(step + 1).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

import llckit as lk
from benchmarks import _language_model
from benchmarks._curves import columns_of, curve_from
from benchmarks._documents import plain
from benchmarks._estimates import Z95, spread, timed_estimate
from benchmarks._harness import Document, begin, in_own_process, module_of, positive_integer
from benchmarks._language_model import opened, recorded, sequence_loss
from benchmarks._tables import digits, either, of, percent, spread_text, table
from benchmarks.cost.samples_to_error import samples_processed
from benchmarks.curves._long_run import Chains, Potential, long_run
from llckit.report import write_report

SCALE = {"n_beta": 30.0, "localization": 100.0}
LONG = {
    "chains": 8,
    "warm_up": 60,
    "draws": 100,
    "tolerance": 0.005,
    "rounds": 4,
    "batch": 64,
    "stiffness": 0.1,
    "curvature_batch": 256,
}
SHORT = LONG | {"chains": 2, "warm_up": 10, "draws": 20, "rounds": 1, "batch": 16, "curvature_batch": 32}
FEW = {"num_chains": 2, "num_burnin": 4, "num_draws": 8, "max_grad_evals": 40}
SEEDS, LIMIT = 3, 180
CACHE = Path.home() / ".cache" / "llckit-benchmarks"
LOSSES = ("loss", "loss_before_repeats", "loss_on_repeats")


class Study:
    """What is measured of one recorded run.

    Args:
        folder: Of the run.
        sizes: Those of the benchmark.
        limit: Seconds of an estimate or the curve.
    """

    def __init__(self, folder: Path, sizes: Mapping[str, Any], limit: int) -> None:
        self.folder, self.sizes, self.limit = folder, sizes, limit
        self.run = opened(folder)
        steps = self.run.store.steps
        self.steps = [steps[index] for index in np.linspace(0, len(steps) - 1, sizes["references"]).round().astype(int)]

    def losses(self) -> dict[str, Any]:
        """The recorded losses by step."""
        metadata = self.run.store.metadata()
        found: dict[str, Any] = {"step": [*metadata]}
        found |= {name: [each[name] for each in metadata.values()] for name in LOSSES}
        steepest = steepest_fall(found["step"], found["loss_on_repeats"], found["loss_before_repeats"])
        return found | {"steepest": steepest}

    def reference(self, step: int) -> dict[str, Any]:
        """The long run at one checkpoint."""
        task, start = self.run.task, time.perf_counter()
        task.model.load_state_dict(self.run.store.load(step))
        (tokens,) = task.samples.first(task.n)
        potential = Potential(task.model, sequence_loss, tokens, **SCALE)
        found = long_run(potential, Chains(**self.sizes["long_run"]), 1_000_003, f"long run at step {step}")
        return {"step": step} | found | {"seconds": time.perf_counter() - start}

    def accuracy(self, step: int, seed: int) -> dict[str, Any]:
        """One estimate at one checkpoint."""
        arguments = [step, SCALE | {"seed": seed} | self.sizes["estimate"]]
        return {"step": step, "seed": seed, "limit": self.limit} | self._limited("estimate_step", *arguments)

    def curve(self) -> dict[str, Any]:
        """The whole run, from a copy of its store that holds no estimates yet."""
        with TemporaryDirectory() as folder:
            for name in ("sizes.json", "tokens.pt", "run.ckpts"):
                source, target = self.folder / name, Path(folder) / name
                if source.is_dir():
                    shutil.copytree(source, target, ignore=shutil.ignore_patterns("estimates"))
                else:
                    shutil.copyfile(source, target)
            return {"limit": self.limit} | self._limited("estimate_run", self.sizes["estimate"], folder=folder)

    def _limited(self, function: str, *arguments: Any, folder: str | Path | None = None) -> dict[str, Any]:
        given = (str(folder or self.folder), torch.get_num_threads(), *arguments)
        return in_own_process(f"{module_of(__file__)}:{function}", *given, limit=self.limit) or {"llc": None}


def steepest_fall(step: list[int], loss: list[float], other: list[float]) -> float:
    """The step between two checkpoints at which a loss falls fastest below another, over ln(step + 1)."""
    x, gap = np.log1p(step), np.subtract(loss, other)
    at = int(np.argmin(np.diff(gap) / np.diff(x)))
    return float(np.expm1((x[at] + x[at + 1]) / 2))


def estimate_step(folder: str, threads: int, step: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """One estimate, in a process of its own."""
    torch.set_num_threads(threads)
    task, store, _ = opened(Path(folder))
    task.model.load_state_dict(store.load(step))
    found, numbers = timed_estimate(task, None, None, **settings)
    return plain(numbers | {"interval": found.interval, "sequences": samples_processed(found, task.n)})


def estimate_run(folder: str, threads: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The way of the README, in a process of its own: a curve, its transitions, and the report."""
    torch.set_num_threads(threads)
    task, store, _ = opened(Path(folder))
    times = [time.perf_counter()]
    curve = lk.estimate_curve(store, task, progress=False, **settings)
    times.append(time.perf_counter())
    try:
        transitions = lk.detect_transitions(curve)
    except lk.InputError:  # too few checkpoints
        transitions = []
    times.append(time.perf_counter())
    write_report(Path(folder) / "report.html", curve, transitions)
    times.append(time.perf_counter())
    seconds = dict(zip(("curve", "transitions", "report"), np.diff(times), strict=True))
    kept = ("kind", "hidden", "start", "end", "start_interval", "end_interval", "location", "location_interval")
    found = [{name: getattr(one, name) for name in kept} for one in transitions]
    return plain({"llc": curve.llc, "seconds": seconds, "transitions": found, "columns": columns_of(curve)})


def summarize(cases: dict[str, Any]) -> dict[str, Any]:
    """Errors of long runs and of estimates, and what the curve found."""
    found: dict[str, Any] = {}
    references = {case["step"]: case for case in _cases(cases, "reference")}
    if references:
        errors = [case["se"] / case["llc"] for case in references.values()]
        found["references"] = {"count": len(errors), "median": np.median(errors), "worst": max(errors)}
    estimates = [case for case in _cases(cases, "accuracy") if case["step"] in references]
    if estimates:
        found["accuracy"] = _accuracy(estimates, references)
    if "curve" in cases and "losses" in cases and cases["curve"]["llc"] is not None:
        found["curve"] = _boundaries(cases["curve"], cases["losses"]["steepest"])
    return found


def _cases(cases: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    return [case for name, case in cases.items() if name.startswith(kind)]


def _accuracy(estimates: list[dict[str, Any]], references: Mapping[int, Any]) -> dict[str, Any]:
    done = [case for case in estimates if case["llc"] is not None]
    found: dict[str, Any] = {"estimates": len(estimates), "done": len(done)}
    if not done:
        return found
    known = [references[case["step"]] for case in done]
    differences = np.array([case["llc"] - one["llc"] for case, one in zip(done, known, strict=True)])
    errors = np.array([np.hypot(case["mcse"], one["se"]) for case, one in zip(done, known, strict=True)])
    return found | {
        "covered": int((np.abs(differences) <= Z95 * errors).sum()),
        **spread(differences / [one["llc"] for one in known]),
        "sequences": np.median([case["sequences"] for case in done]),
        "seconds": np.median([case["seconds"] for case in done]),
    }


def _boundaries(curve: Mapping[str, Any], steepest: float) -> dict[str, Any]:
    """The boundaries, and which of them, and of the steepest points of λ̂, hold a step in their interval."""
    boundaries = {(one[end], *one[f"{end}_interval"]) for one in curve["transitions"] for end in ("start", "end")}
    return {
        "seconds": sum(curve["seconds"].values()),
        "boundaries": sorted(boundaries),
        "steepest": steepest,
        "held_by_boundary": any(low <= steepest <= high for _, low, high in boundaries),
        "held_by_location": any(
            low <= steepest <= high for low, high in (one["location_interval"] for one in curve["transitions"])
        ),
    }


def report(document: Document) -> str:
    """A sentence on each kind of cases, and a row a checkpoint."""
    cases, found, parts = document["cases"], document.get("summary", {}), []
    if "losses" in cases:
        losses = cases["losses"]
        first, last = (f"{losses['loss_on_repeats'][at]:.2f}" for at in (0, -1))
        parts.append(
            f"The loss on repeats falls from {first} to {last} nats, fastest at step {losses['steepest']:.0f}."
        )
    if "references" in found:
        errors = found["references"]
        parts.append(
            f"The standard error of {errors['count']} long runs is {percent(errors['median'], 2)} in the median and "
            f"{percent(errors['worst'], 2)} at worst."
        )
    if "accuracy" in found:
        parts.append(_accuracy_text(found["accuracy"]))
    if "curve" in cases:
        parts.append(_curve_text(cases["curve"], found.get("curve")))
    return " ".join(parts) + "\n\n" + _rows(cases)


def _accuracy_text(found: Mapping[str, Any]) -> str:
    if not found["done"]:
        return f"None of {found['estimates']} estimates was done within the limit."
    return (
        f"{of(found['done'], found['estimates'])} estimates were done within the limit. Their error is "
        f"{spread_text(found)}, and {of(found['covered'], found['done'])} 95 % intervals hold the long run. In the "
        f"median an estimate takes {digits(found['sequences'])} sequences a chain and {digits(found['seconds'])} s."
    )


def _curve_text(case: Mapping[str, Any], found: Mapping[str, Any] | None) -> str:
    if found is None:
        return f"The curve gives none within {case['limit']} s." if case["llc"] is None else ""
    ends = ", ".join(f"{step:.0f} ({low:.0f} … {high:.0f})" for step, low, high in found["boundaries"])
    return (
        f"The curve, its transitions and its report take {found['seconds']:.0f} s. Boundaries: {ends or 'none'}. "
        f"The interval of a boundary holds the step at which the loss on repeats falls fastest: "
        f"{either(found['held_by_boundary'])}; that of a steepest point: {either(found['held_by_location'])}."
    )


def _rows(cases: Mapping[str, Any]) -> str:
    losses = cases.get("losses", {"step": []})
    recorded_at = {step: [losses[name][at] for name in LOSSES] for at, step in enumerate(losses["step"])}
    known = {case["step"]: case for case in _cases(cases, "reference")}
    rows = []
    for step in sorted({*known, *(case["step"] for case in _cases(cases, "accuracy"))}):
        reference = known.get(step)
        run = None if reference is None else f"{digits(reference['llc'], 4)} ± {digits(reference['se'], 2)}"
        estimates = [case for case in _cases(cases, "accuracy") if case["step"] == step]
        shown = ", ".join(_estimate_text(case) for case in estimates) or None
        rows.append([step, *(digits(loss) for loss in recorded_at.get(step, [None] * 3)), run, shown])
    return table(["step", "loss", "on repeats at first sight", "on repeats", "long run", "estimates"], rows)


def _estimate_text(case: Mapping[str, Any]) -> str:
    if case["llc"] is None:
        return f"none within {case['limit']} s"
    return f"{digits(case['llc'], 4)} ± {digits(case['mcse'], 2)} ({case['outcome']}, {case['seconds']:.0f} s)"


def figures(document: Document) -> dict[str, Any]:
    """Losses above, long runs and the curve below."""
    from matplotlib.figure import Figure

    cases = document["cases"]
    figure = Figure(figsize=(5.8, 5.8), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    losses = cases.get("losses", {"step": []} | {name: [] for name in LOSSES})
    for name, color in zip(LOSSES, ("black", "#0072B2", "#D55E00"), strict=True):
        top.plot(losses["step"], losses[name], label=name.replace("_", " "), color=color)
    top.set(ylabel="nats", ylim=(0, None))
    top.legend(frameon=False)
    known = _cases(cases, "reference")
    step, llc, se = ([case[name] for case in known] for name in ("step", "llc", "se"))
    bottom.errorbar(step, llc, Z95 * np.array(se), fmt="o", color="black", markersize=4, label="long run")
    if cases.get("curve", {}).get("llc") is not None:
        curve = curve_from(cases["curve"]["columns"])
        assert isinstance(curve, lk.LLCCurve)
        at = f"curve at nβ = {digits(curve.details['n_beta'][0])}"
        bottom.plot(curve.step, curve.llc, color="#009E73", label=at)
    bottom.set(xlabel="step", ylabel="LLC", xscale="symlog", ylim=(0, None))
    bottom.legend(frameon=False)
    return {"language_model": figure}


def main() -> None:
    """Train or find the model, then measure."""
    sizes = {
        "language_model": (_language_model.FULL, _language_model.TINY),
        "references": (8, 1),
        "long_run": (LONG, SHORT),
        "estimate": ({}, FEW),
    }
    options = {
        "--data": {"type": Path, "metavar": "DIR", "help": f"where runs are kept, default {CACHE}"},
        "--seeds": {"type": positive_integer, "metavar": "N", "help": f"estimates a checkpoint, default {SEEDS}"},
        "--limit": {"type": positive_integer, "metavar": "SECONDS", "help": f"of an estimate, default {LIMIT}"},
    }
    run = begin(__file__, __doc__, report, sizes=sizes, settings=SCALE, options=options)
    seeds = run.arguments.seeds or (1 if run.quick else SEEDS)
    keep_nothing = run.quick and run.arguments.data is None
    with TemporaryDirectory() if keep_nothing else nullcontext(run.arguments.data or CACHE) as data:
        folder, found = recorded(Path(data), run.sizes["language_model"])
        run.document["settings"]["run"] = found.digest
        study = Study(folder, run.sizes, run.arguments.limit or LIMIT)
        cases = {"losses": study.losses}
        cases |= {f"reference, step {step}": partial(study.reference, step) for step in study.steps}
        several = {(step, seed): partial(study.accuracy, step, seed) for step in study.steps for seed in range(seeds)}
        cases |= {f"accuracy, step {step}, seed {seed}": case for (step, seed), case in several.items()}
        run.measure(cases | {"curve": study.curve}, lambda measure: measure(), summarize)


if __name__ == "__main__":
    main()
