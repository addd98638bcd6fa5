"""The answer at the top of the page: how many transitions, which, and how much to trust them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llckit.llc import LLCCurve
from llckit.plotting import depends_on_scale, is_doubtful
from llckit.report.numbers import number, step_number

if TYPE_CHECKING:
    from llckit.transitions import Transition

__all__ = ["answer"]

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


def answer(curve: LLCCurve, transitions: Sequence[Transition]) -> str:
    """The answer in plain sentences.

    Args:
        curve: The curve of the page.
        transitions: Stages of the curve.

    Returns:
        Text without markup.
    """
    span = f"{len(curve)} checkpoints from step {step_number(curve.step[0])} to {step_number(curve.step[-1])}"
    if not transitions:
        sentences = [f"No transition was found in {span}: the LLC shows no move that stands out from its noise."]
    else:
        count = "1 transition" if len(transitions) == 1 else f"{len(transitions)} transitions"
        sentences = [f"{count} in {span}."]
        sentences += [_stage_sentence(index, stage) for index, stage in enumerate(transitions)]
    doubtful = int(is_doubtful(curve).sum())
    if doubtful:
        sentences.append(
            f"{doubtful} of the {len(curve)} estimates failed a check (see the diagnostics): doubt what rests on them."
        )
    dependent = int(depends_on_scale(curve).sum())
    if dependent:
        sentences.append(
            f"{dependent} of the {len(curve)} estimates depend on the scale at which they were measured: compare them "
            "with each other, but take none for the learning coefficient."
        )
    return " ".join(sentences)


def _stage_sentence(index: int, stage: Transition) -> str:
    name = f"The {ORDINALS[index]}" if index < len(ORDINALS) else f"Number {index + 1}"
    kind = "unclassified" if stage.kind == "unclassified" else f"type {stage.kind}"
    direction = "rises" if stage.delta_llc > 0 else "falls"
    loss = "falls" if stage.delta_loss < 0 else "rises"
    return (
        f"{name}, {'hidden, ' if stage.hidden else ''}{kind}, runs from step {step_number(stage.start)} to "
        f"{step_number(stage.end)}: the LLC {direction} by {number(abs(stage.delta_llc), 3)} while the loss {loss} by "
        f"{number(abs(stage.delta_loss), 3)}."
    )
