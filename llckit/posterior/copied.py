"""`copied`: a copy of a model without the wrappers of training, and without the graphs of what it keeps."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from types import FunctionType, ModuleType

import torch
from torch import Tensor, nn

from llckit.errors import InputError
from llckit.unwrap import unwrapped


def copied(model: nn.Module) -> nn.Module:
    """Copy a model without wrappers around it or parts of it; activations that it keeps are cut off their graph.

    Args:
        model: A module, which stays as it is.

    Returns:
        The copy of the bare module.

    Raises:
        InputError: An attribute cannot be copied; says which.
    """
    model = unwrapped(model)
    memo: dict[int, object] = {}
    for value in _kept(model, set()):
        # Activations, which are computed anew at the next forward: deepcopy refuses those with a graph, and those that
        # a function transform such as vmap has left are without values.
        if not _has_memory(value):
            memo[id(value)] = torch.empty(0)
        elif not value.is_leaf:
            memo[id(value)] = value.detach().clone()
    try:
        model = copy.deepcopy(model, memo)
    except Exception as error:
        raise InputError(
            f"the model cannot be copied{_culprit(model, memo)} ({error}); expected a torch.nn.Module that "
            f"copy.deepcopy accepts: make the attribute anew where it is used, or delete it first"
        ) from error
    for parent in [*model.modules()]:
        for name, child in parent._modules.items():
            if child is not None:
                parent._modules[name] = unwrapped(child)
    return model


def _kept(value: object, known: set[int]) -> Iterator[Tensor]:
    """All tensors that an object holds in attributes and containers."""
    if id(value) in known:
        return
    known.add(id(value))
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _kept(part, known)
    elif isinstance(value, list | tuple | set | frozenset):
        for part in value:
            yield from _kept(part, known)
    elif hasattr(value, "__dict__") and not isinstance(value, type | FunctionType | ModuleType):
        yield from _kept(vars(value), known)


def _has_memory(value: Tensor) -> bool:
    try:
        value.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return value.layout is not torch.strided  # sparse tensors have none of their own
    return True


def _culprit(model: nn.Module, memo: Mapping[int, object]) -> str:
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name != "_modules":
                try:
                    copy.deepcopy(value, dict(memo))
                except Exception:
                    return f", because of its attribute {f'{path}.{name}'.removeprefix('.')}"
    return ""
