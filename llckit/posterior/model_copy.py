"""`copy_model`: a copy of the user's model that can be sampled, in evaluation mode and of one floating type."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from llckit.errors import InputError
from llckit.posterior.check_model import check_model, set_evaluating
from llckit.posterior.copied import copied
from llckit.posterior.restriction import Selection, restrict


def copy_model(model: nn.Module, params: Selection) -> tuple[nn.Module, dict[str, Tensor]]:
    """Copy a model without the wrappers of training; all sampled parameters of the copy share one real floating type.

    Args:
        model: The user's model, which stays as it is.
        params: Which parameters are sampled, see `restrict`.

    Returns:
        The copy in evaluation mode, and for each parameter sampled in part the indices of its sampled entries.

    Raises:
        InputError: The model cannot be copied or has nothing to sample, or `check_model` or `restrict` refuses it.
    """
    check_model(model)
    model = copied(model)
    set_evaluating(model)
    _separate(model, set())
    _one_function(model)
    indices = restrict(model, params)
    sampled = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not sum(p.numel() for p in sampled.values()):
        raise InputError(
            "the model has no parameter with requires_grad=True; expected at least one, else there is nothing to sample"
        )
    odd = [f"{name} ({p.dtype})" for name, p in sampled.items() if not p.is_floating_point()]
    if odd:
        raise InputError(f"parameters are not real numbers ({', '.join(odd)}); expected floating-point parameters")
    types = {p.dtype for p in sampled.values()}
    if types != {torch.float64} and types != {torch.float32}:
        model = model.double() if torch.float64 in types else model.float()
    return model, indices


def _one_function(model: nn.Module) -> None:
    """Let the copy compute the same with and without recorded gradients, and give dense gradients."""
    for module in model.modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag):
            module.sparse = False
        # Without gradients torch takes a fast path that sets the outputs of padded positions to zero.
        elif isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False
        elif isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0  # read by the choice of the fast path alone


def _separate(parent: nn.Module, known: set[int]) -> None:
    """Where one module stands under two names, put a second one with the same parameters there."""
    # functional_call cannot restore a parameter that it meets twice in one module, only one that two modules share.
    for name, module in list(parent._modules.items()):
        if module is None:
            continue
        if id(module) in known and any(True for _ in module.parameters()):
            module = copy.copy(module)
            for kind in ("_parameters", "_buffers", "_modules"):
                setattr(module, kind, dict(getattr(module, kind)))
            parent._modules[name] = module
        known.add(id(module))
        _separate(module, known)
