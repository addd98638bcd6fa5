"""The weights of a module without the wrappers that training puts around it."""

from collections.abc import Mapping

from torch import Tensor, nn

from llckit.errors import InputError

__all__ = ["plain_state", "refuse_sharded"]

# Compared by name, since importing torch's own class takes a second, and other libraries have classes of the same name.
_SHARDED = {"FullyShardedDataParallel", "XlaFullyShardedDataParallel", "DTensor"}


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of a module under the names that it has without wrappers.

    Args:
        model: A module; it or parts of it may be wrapped by DistributedDataParallel, DataParallel or torch.compile.

    Returns:
        Tensors by name.
    """
    wrapped = set()
    for path, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            wrapped.add(f"{path}.module".removeprefix("."))
        elif "_orig_mod" in module._modules:
            wrapped.add(f"{path}._orig_mod".removeprefix("."))
    state = model.state_dict()
    return {_without(wrapped, name): value for name, value in state.items()} if wrapped else state


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
    for name, part in parts:
        kinds = [kind.__name__ for kind in type(part).__mro__ if kind.__name__ in _SHARDED]
        if isinstance(part, Tensor) and hasattr(part, "ds_id"):  # DeepSpeed's mark
            kinds = ["ZeRO-3 partition"]
        if kinds:
            raise InputError(
                f"the model is sharded ({name or 'it'} is a {kinds[0]}); expected a process that holds all weights; "
                f"gather them on all ranks, by get_model_state_dict(model, options=StateDictOptions("
                f"full_state_dict=True, cpu_offload=True)) of torch.distributed.checkpoint.state_dict, and give "
                f"the recorder that state dict"
            )


def _without(wrapped: set[str], name: str) -> str:
    parts = name.split(".")
    return ".".join(part for index, part in enumerate(parts) if ".".join(parts[: index + 1]) not in wrapped)
