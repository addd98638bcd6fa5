"""Tables for the terminal: curves, their scale, and transitions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from llckit.llc import LLCCurve, Outcome
from llckit.report import free_energy
from llckit.transitions import ScaleTransitions, Transition

__all__ = [
    "curve_row",
    "describe_scale",
    "loss_kind",
    "print_curve",
    "print_linked_transitions",
    "print_transitions",
    "scale_of",
]


def print_curve(curve: LLCCurve) -> None:
    """Print one line per checkpoint, then what failed and what to do about it.

    Args:
        curve: A curve that was estimated here.
    """
    print(f"{'step':>9} {'loss':>12} {'llc':>9} {'± mcse':>8}  outcome")
    for index in range(len(curve)):
        print(curve_row(curve, index))
    print(describe_scale(curve))
    for outcome, count in Counter(curve.outcome).items():
        if outcome is not Outcome.CONVERGED:
            print(f"{count} x {outcome.value}: {outcome.advice}")


def curve_row(curve: LLCCurve, index: int) -> str:
    """One checkpoint as a line of `print_curve`.

    Args:
        curve: A curve.
        index: Place of the checkpoint in it.

    Returns:
        The line.
    """
    outcome = "" if curve.outcome is None else curve.outcome[index].value
    mcse = np.nan if curve.mcse is None else curve.mcse[index]
    return f"{curve.step[index]:9} {curve.loss[index]:12.6g} {curve.llc[index]:9.4g} {mcse:8.2g}  {outcome}"


def print_transitions(transitions: Sequence[Transition]) -> None:
    """Print one line per stage, then what else moves in it and which end has the lower free energy.

    Args:
        transitions: Stages of a curve.
    """
    if not transitions:
        print("no transition found")
        return
    print(
        f"{'start':>8} {'end':>8}  {'kind':12} {'hidden':6} {'Δloss':>10} {'ΔLLC':>8} {'probability':>11}  steepest at"
    )
    for stage in transitions:
        low, high = stage.location_interval
        print(
            f"{stage.start:8.0f} {stage.end:8.0f}  {stage.kind:12} {'yes' if stage.hidden else 'no':6} "
            f"{stage.delta_loss:10.4g} {stage.delta_llc:8.4g} {stage.probability:11.2f}  {stage.location:.0f} "
            f"({low:.0f} … {high:.0f})"
        )
    print(
        "A: loss down, complexity up. B: complexity down while the loss is nearly flat. hidden: the loss shows no sign."
    )
    for index, stage in enumerate(transitions, 1):
        order = ", ".join(
            f"{move.name} {move.delta:+.3g} at {move.location:.0f} (before λ̂: {move.leads:.2f})" for move in stage.moves
        )
        print(f"stage {index}: {f'with it move {order}; ' if order else ''}{free_energy(stage)}")


def print_linked_transitions(found: ScaleTransitions) -> None:
    """Print one line per transition of a spectrogram.

    Args:
        found: Transitions linked across scales.
    """
    if not len(found):
        print(f"no transition found at any of {len(found.n_beta)} scales")
        return
    print(f"{'steepest at':>11}  {'kind':12} {'at its scales':>19}  nβ")
    for linked in found:
        low, high = linked.location_range
        print(
            f"{linked.location:11.0f}  {linked.kind:12} {f'{low:.0f} … {high:.0f}':>19}  {linked.n_beta[0]:.4g} … "
            f"{linked.n_beta[-1]:.4g} ({len(linked.n_beta)} of {len(found.n_beta)} scales)"
        )


def describe_scale(curve: LLCCurve) -> str:
    """The loss of a curve and the scale at which it was estimated.

    Args:
        curve: A curve that was estimated here.

    Returns:
        Such as "task loss, n_beta = 14.654, localization = 1".
    """
    scale = scale_of(curve)
    kind = loss_kind(curve.behavioral)
    return f"{kind} loss, n_beta = {scale['n_beta']:.5g}, localization = {scale['localization']:.4g}"


def scale_of(curve: LLCCurve) -> dict[str, float]:
    """n_beta and localization of a curve that was estimated here, by name."""
    return {name: float(curve.details[name][0]) for name in ("n_beta", "localization")}


def loss_kind(behavioral: bool) -> str:
    """The word for a kind of loss, as in `--json` and in the column loss_kind of a curve."""
    return "behavioral" if behavioral else "task"
