"""Following the run of a trainer, which may be killed and resumed: what the callbacks of all trainers share."""

import importlib
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from torch import nn

from llckit.errors import InputError
from llckit.store.encoding import encode
from llckit.store.manifest import Manifest
from llckit.store.metadata import Scalar, as_scalar
from llckit.store.plain_state import plain_state
from llckit.store.step_saver import StepSaver

__all__ = ["RunFollower", "import_class"]


class RunFollower:
    """Follows the global step of a run, and saves each scheduled step once.

    A run that is killed, and resumed from a checkpoint that the trainer made earlier, passes some steps again. Stored
    checkpoints are immutable, so they stay; missing ones are added. Each scheduled step is stored once.

    If the weights of a step differ from the stored ones, a resumed run warns, once. A run from scratch is then another
    run, which is an InputError. Checkpoints that a resumed run adds have `resumed_from` in their metadata, so that the
    seam between the two runs is not mistaken for a transition.

    Args:
        saver: Saves the steps.
    """

    def __init__(self, saver: StepSaver):
        self.saver = saver
        self.last_step = 0
        self._first_step: int | None = None  # None: this process records nothing
        self._warned = False

    def start(self, step: int, model: nn.Module) -> None:
        """Start to record: a run from scratch at step 0, a resumed one at a later step.

        Args:
            step: Global step of the trainer.
            model: The module that is trained.
        """
        self._first_step, self.last_step, self._warned = step, step - 1, False
        self.follow(step, model, dict)

    def follow(self, step: int, model: nn.Module, metadata: Callable[[], Mapping[str, object]]) -> None:
        """Save the model if a scheduled step has been reached since the last call.

        Args:
            step: Global step of the trainer.
            model: The module that is trained.
            metadata: Gives what is known about this step; called only if the step is saved.

        Raises:
            InputError: The step is stored with other weights and this run is from scratch, or a write has failed.
        """
        if self._first_step is None or step == self.last_step:
            return
        self.saver.raise_failures()
        # Lightning counts the steps of every optimizer, so with two of them every other step is passed over.
        passed, self.last_step = range(self.last_step + 1, step + 1), step
        if not self.saver.is_scheduled(passed):
            return
        if step in self.saver.store:
            self._compare(step, model, self._first_step)
        else:
            seam = {"resumed_from": self._first_step} if self._first_step else {}
            self.saver.save(step, model, {**_scalars(metadata()), **seam})

    def _compare(self, step: int, model: nn.Module, first_step: int) -> None:
        if self._warned:
            return
        store = self.saver.store
        manifest = Manifest.from_json(encode(step, plain_state(model), {}).document)
        if manifest.weights_hash == store.manifest(step).weights_hash:
            return
        if not first_step:
            raise InputError(
                f"step {step} is already in {store.path} with other weights; expected the same run, but this one "
                f"starts from scratch; give the recorder another folder, or resume from a checkpoint"
            )
        self._warned = True
        warnings.warn(
            f"step {step} is already in {store.path} with other weights: this run, resumed from step {first_step}, "
            f"does not repeat exactly what was recorded. Stored steps are kept and missing ones added, with "
            f"resumed_from={first_step} in their metadata: the record has a seam where they meet",
            stacklevel=2,
        )


def import_class(name: str, modules: Sequence[str], extra: str) -> Any:
    """Import a class of a package that is not always installed.

    Args:
        name: Name of the class.
        modules: Modules that may have it; the first that can be imported counts.
        extra: The extra of llckit that installs the package.

    Returns:
        The class.

    Raises:
        InputError: None of the modules can be imported.
    """
    for module in modules:
        with suppress(ImportError):
            return getattr(importlib.import_module(module), name)
    raise InputError(f"the package {extra} is missing; this callback needs it; pip install llckit[{extra}]")


def _scalars(values: Mapping[str, object]) -> dict[str, Scalar]:
    """The values that a checkpoint can hold, under names that can be keywords."""
    scalars = {}
    for name, value in values.items():
        with suppress(InputError):
            if (scalar := as_scalar(name, value)) is not None:
                scalars[re.sub(r"\W|^(?=\d)", "_", name)] = scalar
    return scalars
