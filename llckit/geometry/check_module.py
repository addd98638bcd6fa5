"""One check for what every function of a model needs: a model."""

from __future__ import annotations

from torch import nn

from llckit.errors import InputError

__all__ = ["check_module"]


def check_module(model: object) -> nn.Module:
    """Refuse what is not a torch module.

    Args:
        model: The value a user gave as the model.

    Returns:
        The model.

    Raises:
        InputError: It is something else, such as a state dict.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model is a {type(model).__name__}; expected a torch.nn.Module")
    return model
