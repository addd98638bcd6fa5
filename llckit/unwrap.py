"""The wrappers that training puts around a model or parts of it, and the names that they add to its tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import Tensor, nn

__all__ = ["bare_names", "is_counter", "is_extra_state", "name_to_match", "sharded_part", "unwrapped", "wrapper_names"]

# By the name of a class, the attribute that holds the module within. Names are compared, since importing the classes
# takes seconds, and libraries have classes of the same name.
_INNER = {
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "DistributedDataParallelCPU": "module",
    "AveragedModel": "module",
    "ModelEmaV2": "module",
    "ModelEmaV3": "module",
    "AbstractGradSampleModule": "_module",  # Opacus
    "DeepSpeedEngine": "module",
}
# Attributes that only wrappers have: torch.compile, FSDP, activation checkpoints, Lightning's Fabric and strategies.
_PRIVATE = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
_SHARDED = {"FullyShardedDataParallel", "XlaFullyShardedDataParallel", "DTensor"}

_PRIVATE_PART = re.compile(rf"(?:^|(?<=\.))(?:{'|'.join(_PRIVATE)})\.")
_ANY_PART = re.compile(rf"(?:^|(?<=\.))(?:{'|'.join((*_PRIVATE, *sorted({*_INNER.values()})))})\.")
_COUNTER = "n_averaged"  # which AveragedModel keeps beside the module


def unwrapped(module: nn.Module) -> nn.Module:
    """The module within all wrappers around it; the module itself if there are none."""
    while (attribute := _inner_attribute(module)) is not None:
        module = getattr(module, attribute)
    return module


def wrapper_names(model: nn.Module) -> tuple[set[str], set[str]]:
    """What wrappers add to the state dict of a model.

    Args:
        model: A module; it or parts of it may be wrapped.

    Returns:
        The paths whose last part is to be left out of names, and the names of tensors that are the wrappers' own.
    """
    paths: set[str] = set()
    own: set[str] = set()
    for path, module in model.named_modules(remove_duplicate=False):
        if (attribute := _inner_attribute(module)) is not None:
            paths.add(f"{path}.{attribute}".removeprefix("."))
            own |= {f"{path}.{name}".removeprefix(".") for name in (*module._parameters, *module._buffers)}
    return paths, own


def bare_names(names: Iterable[str]) -> dict[str, str]:
    """The names of a state dict without what wrappers add, as far as names alone show it.

    `module.` and `_module.` are taken off if all names begin so, and as often as they do: a part of the model may have
    the same name. The counter of an AveragedModel is left out.

    Args:
        names: Names of a state dict.

    Returns:
        Bare names by name.
    """
    bare = {name: _PRIVATE_PART.sub("", name) for name in names}
    for prefix in ("module.", "_module.") * 2:
        while True:
            inner = {name: short for name, short in bare.items() if short != _COUNTER}
            if not inner or not all(short.startswith(prefix) for short in inner.values()):
                break
            bare = {name: short.removeprefix(prefix) for name, short in inner.items()}
    return bare


def name_to_match(name: str) -> str:
    """A name without every part that may be a wrapper's, by which a checkpoint's names are compared with a model's."""
    return _ANY_PART.sub("", name)


def is_extra_state(name: str) -> bool:
    """Whether an entry of a state dict is a module's extra state: never sampled, and often no tensor."""
    return name.rpartition(".")[2] == "_extra_state"


def is_counter(name: str) -> bool:
    """Whether an entry of a state dict is the count that an AveragedModel keeps beside the module."""
    return name.rpartition(".")[2] == _COUNTER


def sharded_part(parts: Iterable[tuple[str, object]]) -> tuple[str, str] | None:
    """Find something of which this process holds only a part.

    Args:
        parts: Modules and tensors by name.

    Returns:
        The name of the first, and its kind; None if all of it is here.
    """
    for name, part in parts:
        if isinstance(part, Tensor) and hasattr(part, "ds_id"):  # DeepSpeed's mark
            return name, "ZeRO-3 partition"
        for kind in type(part).__mro__:
            if kind.__name__ in _SHARDED:
                return name, kind.__name__
    return None


def _inner_attribute(module: nn.Module) -> str | None:
    known = (_INNER[kind.__name__] for kind in type(module).__mro__ if kind.__name__ in _INNER)
    parts = {name for name, _ in module.named_children()}
    return next((name for name in (*known, *_PRIVATE) if name in parts), None)
