"""The weights of a module without the wrappers that training puts around it."""

from collections.abc import Mapping

from torch import Tensor, nn

from llckit.errors import InputError
from llckit.unwrap import sharded_part, unwrapped, wrapper_names

__all__ = ["plain_state", "refuse_sharded"]


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of a module under the names that it has without wrappers.

    Args:
        model: A module; it or parts of it may be wrapped, see `llckit.unwrap`.

    Returns:
        Tensors by name.
    """
    model = unwrapped(model)
    paths, own = wrapper_names(model)
    state = model.state_dict()
    return {_without(paths, name): value for name, value in state.items() if name not in own} if paths else state


def refuse_sharded(model: nn.Module | Mapping[str, Tensor]) -> None:
    """Check that this process holds all of the weights.

    Args:
        model: A module or a state dict.

    Raises:
        InputError: The weights are sharded over processes; says how to gather them.
    """
    parts: list[tuple[str, object]] = []
    if isinstance(model, nn.Module):
        parts = [*model.named_modules(), *model.named_parameters()]
    elif isinstance(model, Mapping):
        parts = [*model.items()]
    if (found := sharded_part(parts)) is not None:
        name, kind = found
        raise InputError(
            f"the model is sharded ({name or 'it'} is a {kind}); expected a process that holds all weights; "
            f"gather them on all ranks, by get_model_state_dict(model, options=StateDictOptions("
            f"full_state_dict=True, cpu_offload=True)) of torch.distributed.checkpoint.state_dict, and give "
            f"the recorder that state dict"
        )


def _without(wrapped: set[str], name: str) -> str:
    parts = name.split(".")
    return ".".join(part for index, part in enumerate(parts) if ".".join(parts[: index + 1]) not in wrapped)
