"""The weights of a module as they are without what wraps it for training."""

from collections.abc import Mapping

from torch import Tensor, nn

from llckit.errors import InputError

__all__ = ["plain_state", "refuse_sharded"]

# By name, since importing torch's own takes a second, and others have classes of the same name.
_SHARDED = {"FullyShardedDataParallel", "XlaFullyShardedDataParallel", "DTensor"}


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of a module under the names it has without wrappers, its own or those of its parts.

    Args:
        model: A module, possibly within DistributedDataParallel, DataParallel or torch.compile.

    Returns:
        Tensors by name.
    """
    within = set()
    for path, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            within.add(f"{path}.module".removeprefix("."))
        elif "_orig_mod" in module._modules:
            within.add(f"{path}._orig_mod".removeprefix("."))
    state = model.state_dict()
    return {_without(within, name): value for name, value in state.items()} if within else state


def refuse_sharded(model: nn.Module | Mapping[str, Tensor]) -> None:
    """Make sure that this process holds the weights whole.

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
                f"the model is sharded ({name or 'it'} is a {kinds[0]}), so no process holds its weights whole: "
                f"gather them on all ranks, by get_model_state_dict(model, options=StateDictOptions("
                f"full_state_dict=True, cpu_offload=True)) of torch.distributed.checkpoint.state_dict, and give "
                f"the recorder that state dict"
            )


def _without(within: set[str], name: str) -> str:
    parts = name.split(".")
    return ".".join(part for index, part in enumerate(parts) if ".".join(parts[: index + 1]) not in within)
