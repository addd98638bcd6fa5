"""What each command does; every one takes the parsed arguments and returns an exit code."""

from __future__ import annotations

import json
import math
import sys
import time
from argparse import Namespace
from collections import Counter
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from llckit.environment import environment
from llckit.errors import InputError
from llckit.files import check_new_file
from llckit.llc import (
    Z95,
    LLCCurve,
    Outcome,
    Spectrogram,
    WorkerPool,
    dask_executor,
    estimate_curve,
    estimate_llc,
    kept_curves,
    read_curve,
)
from llckit.plotting import FIGURE_ENDINGS, plot_curve, plot_spectrogram, save_figure
from llckit.posterior import behavioral_task, load_task
from llckit.report import free_energy, write_report
from llckit.store import CheckpointStore, import_checkpoints
from llckit.store.importers import checkpoints_by_step
from llckit.toys import catalog
from llckit.transitions import MIN_CHECKPOINTS, Transition, detect_across_scales, detect_transitions


def import_files(arguments: Namespace) -> int:
    """`llckit import SRC... STORE`: copy foreign checkpoints into a store."""
    missing = [source for source in arguments.sources if not Path(source).exists()]
    if missing:
        raise InputError(f"{', '.join(missing)}: no such file or folder")
    if arguments.dry_run:
        return _show_import(arguments)
    made = not Path(arguments.store).exists()
    store = CheckpointStore(arguments.store)
    try:
        steps = import_checkpoints(arguments.sources, store, progress=True)
    except InputError:
        if made and not len(store):
            store.path.rmdir()
        raise
    print(f"imported {len(steps)} checkpoints into {store.path}: steps {steps[0]} … {steps[-1]}")
    return 0


def _show_import(arguments: Namespace) -> int:
    # Opening a store makes its folder.
    there = CheckpointStore(arguments.store).steps if Path(arguments.store).exists() else []
    found = checkpoints_by_step(arguments.sources)
    for step, source in found.items():
        print(f"step {step}: {source}{' (already there)' if step in there else ''}")
    print(f"{len(found)} checkpoints for {arguments.store}, {len(found.keys() & there)} of them already there")
    return 0


def info(arguments: Namespace) -> int:
    """`llckit info STORE`: what is there, without reading weights."""
    store = CheckpointStore(arguments.store, create=False)
    manifests = [store.manifest(step) for step in store.steps]
    last, curves = manifests[-1], kept_curves(store)
    found: dict[str, Any] = {
        "store": str(store.path),
        "checkpoints": len(manifests),
        "first_step": manifests[0].step,
        "last_step": last.step,
        "tensors": len(last.tensors),
        "numbers": sum(math.prod(tensor.shape) for tensor in last.tensors),
        "bytes": sum(tensor.nbytes for manifest in manifests for tensor in manifest.tensors),
        "metadata": sorted({key for manifest in manifests for key in manifest.metadata}),
        "steps_with_nan_or_inf": [manifest.step for manifest in manifests if manifest.nonfinite],
        "estimated": {
            _kind(behavioral): {"checkpoints": len(curve)} | _scale(curve) for behavioral, curve in curves.items()
        },
    }
    if arguments.json:
        print(json.dumps(found))
        return 0
    print(f"{found['store']}: {found['checkpoints']} checkpoints, steps {found['first_step']} … {found['last_step']}")
    print(f"{found['numbers']} numbers in {found['tensors']} tensors each, {found['bytes'] / 1e6:.1f} MB in all")
    print(f"metadata: {', '.join(found['metadata']) or 'none'}")
    if found["steps_with_nan_or_inf"]:
        print(f"NaN or inf in the weights of steps {', '.join(map(str, found['steps_with_nan_or_inf']))}")
    done = [f"{len(curve)} ({_about(curve)})" for curve in curves.values()]
    print(f"estimated: {'; '.join(done) or 'none'}")
    return 0


def verify(arguments: Namespace) -> int:
    """`llckit verify STORE`: read everything, compare checksums."""
    store = CheckpointStore(arguments.store, create=False)
    damages = store.verify(progress=True)
    for damage in damages:
        print(f"step {damage.step}: {damage.message}")
    print(f"{len(store)} checkpoints, {len({damage.step for damage in damages})} damaged")
    return 1 if damages else 0


def export(arguments: Namespace) -> int:
    """`llckit export STORE FILE.h5`: all checkpoints in one file."""
    store = CheckpointStore(arguments.store, create=False)
    store.export(arguments.file, progress=True)
    size = Path(arguments.file).stat().st_size
    print(f"{len(store)} checkpoints exported to {arguments.file}, {size / 1e6:.1f} MB; read it as any store")
    return 0


def estimate(arguments: Namespace) -> int:
    """`llckit estimate STORE --task FILE.py:NAME`: the LLC along the run."""
    if arguments.out is not None:
        check_new_file(arguments.out, [".csv"])
    if arguments.plot is not None:
        check_new_file(arguments.plot, FIGURE_ENDINGS)
    store = CheckpointStore(arguments.store, create=False)
    task = load_task(arguments.task, compile=arguments.compile)
    if arguments.params is not None:
        task = task.restricted(arguments.params.split(","))
    with _executor(arguments) as executor:
        found = estimate_curve(
            store,
            behavioral_task(task) if arguments.behavioral else task,
            steps=arguments.steps,
            n_beta=arguments.n_beta,
            localization=arguments.localization,
            executor=executor,
        )
    for curve in found.curves if isinstance(found, Spectrogram) else [found]:
        print_curve(curve)
    if arguments.out is not None:
        found.to_csv(arguments.out)
        print(f"written to {arguments.out}")
    if arguments.plot is not None:
        title = store.path.name
        is_curve = isinstance(found, LLCCurve)
        save_figure(
            plot_curve(found, title=title) if is_curve else plot_spectrogram(found, title=title), arguments.plot
        )
        print(f"drawn in {arguments.plot}")
    return 1 if np.isnan(found.llc).all() else 0


def _executor(arguments: Namespace) -> AbstractContextManager[Executor | None]:
    if arguments.workers is not None:
        return WorkerPool(arguments.workers)
    return nullcontext() if arguments.scheduler is None else dask_executor(arguments.scheduler)


def detect(arguments: Namespace) -> int:
    """`llckit detect CURVE.csv`: the transitions of a curve, or of a spectrogram across its scales."""
    if arguments.plot is not None:
        check_new_file(arguments.plot, FIGURE_ENDINGS)
    curve = read_curve(arguments.curve)
    if isinstance(curve, Spectrogram):
        return _detect_across_scales(curve, arguments)
    doubts = [] if curve.outcome is None else list(zip(curve.step.tolist(), curve.outcome, strict=True))
    for outcome, meaning in (
        (
            Outcome.NOT_A_MINIMUM,
            "are no LLC (w* is no minimum; see llckit estimate --behavioral) and left out",
        ),
        (Outcome.NOT_MIXED, "have error bars that are too small, since their chains have not mixed"),
        (Outcome.NOT_SPREAD, "see a part of the neighbourhood only, since flat directions have not been explored"),
        (Outcome.OVERHEATED, "are too high, since their chains are too hot"),
        (Outcome.OUTSIDE_BRACKET, "lie outside the bracket of their checkpoint, so that they are not its LLC"),
    ):
        steps = [str(step) for step, found in doubts if found is outcome]
        if steps:
            print(f"{len(steps)} of {len(curve)} estimates {meaning}: steps {', '.join(steps)}", file=sys.stderr)
    transitions = detect_transitions(curve, axis=arguments.axis, false_boundaries=arguments.false_boundaries)
    if arguments.plot is not None:
        figure = plot_curve(curve, transitions, title=Path(arguments.curve).name, axis=arguments.axis)
        save_figure(figure, arguments.plot)
    if arguments.json:
        print(json.dumps(transitions.to_dict()))
    else:
        print_transitions(list(transitions))
    return 0


def _detect_across_scales(spectrogram: Spectrogram, arguments: Namespace) -> int:
    found = detect_across_scales(spectrogram, axis=arguments.axis, false_boundaries=arguments.false_boundaries)
    if arguments.plot is not None:
        title = Path(arguments.curve).name
        save_figure(plot_spectrogram(spectrogram, found, title=title), arguments.plot)
    if arguments.json:
        print(json.dumps(found.to_dict()))
        return 0
    if not len(found):
        print(f"no transition found at any of {len(found.n_beta)} scales")
        return 0
    print(f"{'steepest at':>11}  {'kind':12} {'at its scales':>19}  nβ")
    for linked in found:
        low, high = linked.location_range
        print(
            f"{linked.location:11.0f}  {linked.kind:12} {f'{low:.0f} … {high:.0f}':>19}  {linked.n_beta[0]:.4g} … "
            f"{linked.n_beta[-1]:.4g} ({len(linked.n_beta)} of {len(found.n_beta)} scales)"
        )
    return 0


def report(arguments: Namespace) -> int:
    """`llckit report STORE|CURVE.csv [--spectrogram CELLS.csv] -o report.html`."""
    check_new_file(arguments.out, [".html", ".htm"])
    cells = None if arguments.spectrogram is None else Spectrogram.from_csv(arguments.spectrogram)
    source = Path(arguments.source)
    if source.is_dir() or source.suffix == ".h5":
        curves = kept_curves(CheckpointStore(source, create=False))
        if not curves:
            raise InputError(f"{source} has not been estimated yet; run llckit estimate {source} --task FILE.py:NAME")
    else:
        curve = read_curve(arguments.source)
        if isinstance(curve, Spectrogram):
            raise InputError(
                f"{source} is a spectrogram, of {len(curve.n_beta)} scales; a report needs a store or a curve, with "
                f"--spectrogram {source} beside it"
            )
        curves = {curve.behavioral: curve}
    # The curve of the training loss first, unless only the behavioral one is long enough to hold transitions.
    order = sorted(curves, key=lambda behavioral: (_usable(curves[behavioral]) < MIN_CHECKPOINTS, behavioral))
    main, second = curves[order[0]], curves[True] if order[0] is False and True in curves else None
    if _usable(main) < MIN_CHECKPOINTS:
        raise InputError(
            f"{source} holds {_usable(main)} estimates at minima of the {_kind(main.behavioral)} loss; a report needs "
            f"{MIN_CHECKPOINTS} or more: run llckit estimate without --steps, or with --behavioral"
        )
    if cells is not None and not np.isin(cells.step, main.step).any():
        raise InputError(f"{arguments.spectrogram} and {source} have no step in common; expected the same run")
    title = f"llckit: {source.name}"
    write_report(arguments.out, main, detect_transitions(main), title=title, behavioral=second, spectrogram=cells)
    print(f"written to {arguments.out}")
    return 0


def _usable(curve: LLCCurve) -> int:
    return int((np.isfinite(curve.llc) & curve.is_minimum).sum())


def bench(arguments: Namespace) -> int:
    """`llckit bench`: every toy with default settings, beside its closed form."""
    rows: list[dict[str, Any]] = []
    for toy in tqdm(catalog(), desc="toys", disable=None):
        begin = time.perf_counter()
        found = estimate_llc(toy.model, toy.data, toy.loss_fn, progress=False)
        exact = None if toy.exact is None else toy.exact(found.n_beta, found.localization)
        rows.append(
            {
                "name": toy.name,
                "lambda": toy.llc,
                "multiplicity": toy.multiplicity,
                "exact": exact,
                "llc": found.llc,
                "mcse": found.mcse,
                "z": None if exact is None else (found.llc - exact) / found.mcse,
                "error": found.llc / toy.llc - 1,
                "n_beta": found.n_beta,
                "localization": found.localization,
                "outcome": found.outcome.value,
                "seconds": time.perf_counter() - begin,
            }
        )
    if arguments.json:
        print(json.dumps({"environment": environment(), "summary": _accuracy(rows), "toys": rows}))
        return 0
    print(f"{'toy':54} {'λ':>6} {'m':>2} {'exact':>8} {'llc':>8} {'± mcse':>7} {'z':>5} {'vs λ':>7}  outcome")
    for row in rows:
        exact, z = (f"{row['exact']:.3f}", f"{row['z']:.1f}") if row["exact"] is not None else ("", "")
        print(
            f"{row['name']:54} {row['lambda']:6.3g} {row['multiplicity']:2} {exact:>8} {row['llc']:8.3f} "
            f"{row['mcse']:7.2g} {z:>5} {100 * row['error']:+6.1f}%  {row['outcome']}"
        )
    print("exact: E[nβ (L − L*)] at the nβ and γ used; z: distance from it in standard errors; vs λ: against nβ → ∞")
    found = _accuracy(rows)
    print(
        f"{found['cases']} toys with an exact value: error {found['median']:.1%} median, {found['percentile_95']:.1%} "
        f"95th percentile, {found['worst']:.1%} worst; {found['covered']:.0%} of the 95 % intervals hold it"
    )
    return 0


def _accuracy(rows: list[dict[str, Any]]) -> dict[str, float]:
    """How far the estimates are from the exact value at their own nβ and γ, where there is one."""
    rows = [row for row in rows if row["exact"] is not None]
    errors = [abs(row["llc"] / row["exact"] - 1) for row in rows]
    return {
        "cases": len(rows),
        "median": float(np.median(errors)),
        "percentile_95": float(np.percentile(errors, 95)),
        "worst": max(errors),
        "covered": float(np.mean([abs(row["z"]) <= Z95 for row in rows])),
    }


def print_curve(curve: LLCCurve) -> None:
    """One line a checkpoint, then what failed and what to do about it."""
    assert curve.mcse is not None  # it was estimated here
    assert curve.outcome is not None
    print(f"{'step':>9} {'loss':>12} {'llc':>9} {'± mcse':>8}  outcome")
    for i, (step, loss, llc) in enumerate(curve):
        print(f"{step:9} {loss:12.6g} {llc:9.4g} {curve.mcse[i]:8.2g}  {curve.outcome[i].value}")
    print(_about(curve))
    for outcome, count in Counter(curve.outcome).items():
        if outcome is not Outcome.CONVERGED:
            print(f"{count} x {outcome.value}: {outcome.advice}")


def print_transitions(transitions: list[Transition]) -> None:
    """The stages as a table."""
    if not transitions:
        print("no transition found")
        return
    print(
        f"{'start':>8} {'end':>8}  {'kind':12} {'hidden':6} {'Δloss':>10} {'ΔLLC':>8} {'probability':>11}  steepest at"
    )
    for t in transitions:
        low, high = t.location_interval
        print(
            f"{t.start:8.0f} {t.end:8.0f}  {t.kind:12} {'yes' if t.hidden else 'no':6} {t.delta_loss:10.4g} "
            f"{t.delta_llc:8.4g} {t.probability:11.2f}  {t.location:.0f} ({low:.0f} … {high:.0f})"
        )
    print(
        "A: loss down, complexity up. B: complexity down while the loss is nearly flat. hidden: the loss shows no sign."
    )
    for index, t in enumerate(transitions, 1):
        order = ", ".join(
            f"{move.name} {move.delta:+.3g} at {move.location:.0f} (before λ̂: {move.leads:.2f})" for move in t.moves
        )
        print(f"stage {index}: {f'with it move {order}; ' if order else ''}{free_energy(t)}")


def _about(curve: LLCCurve) -> str:
    scale = _scale(curve)
    return f"{_kind(curve.behavioral)} loss, n_beta = {scale['n_beta']:.5g}, localization = {scale['localization']:.4g}"


def _scale(curve: LLCCurve) -> dict[str, float]:
    return {name: float(curve.details[name][0]) for name in ("n_beta", "localization")}


def _kind(behavioral: bool) -> str:
    return "behavioral" if behavioral else "task"
