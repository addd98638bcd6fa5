"""`check_model`: refuses a model whose weights are not all its own, before any work starts."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import torch
from torch import Tensor, nn

from llckit.errors import InputError
from llckit.posterior.copied import copied
from llckit.unwrap import sharded_part

NAMES_SHOWN = 5
SCALES = 1.0, 10.0  # of the weights at which a forward is watched: limits on norms may bind at the larger ones only


def check_model(model: nn.Module) -> None:
    """Refuse a model that cannot be sampled as it is: sharded, lazy, meta, quantized, or one that limits its weights.

    Args:
        model: The user's model.

    Raises:
        InputError: The model is such; says which part, and what to do.
    """
    if (found := sharded_part([*model.named_modules(), *model.named_parameters()])) is not None:
        name, kind = found
        raise InputError(
            f"the model is sharded ({name or 'it'} is a {kind}); expected the plain module: build it without FSDP or "
            f"ZeRO-3, and load the full state dict"
        )
    tensors = [*model.named_parameters(), *model.named_buffers()]
    if any(nn.parameter.is_lazy(tensor) for _, tensor in tensors):
        raise InputError(
            "the model has lazy parameters; expected parameters with a shape: run one batch through it first"
        )
    if names := [name for name, tensor in tensors if tensor.is_meta]:
        raise InputError(
            f"{_listed(names)} on the meta device, without values; expected weights: load a checkpoint with "
            f"load_state_dict(..., assign=True), or call to_empty() and initialise"
        )
    if names := [name for name, tensor in tensors if tensor.layout is not torch.strided]:
        raise InputError(f"{_listed(names)} sparse; expected dense tensors: use to_dense()")
    quantized = {name for name, module in model.named_modules() if _is_quantized(module)}
    if names := sorted(name for name in quantized if name.rpartition(".")[0] not in quantized - {name}):
        raise InputError(
            f"{_listed(names)} quantized, without gradients; expected floating-point weights: give the model from "
            f"before the conversion"
        )
    limited = (nn.Embedding, nn.EmbeddingBag)
    if names := [n for n, m in model.named_modules() if isinstance(m, limited) and m.max_norm is not None]:
        raise InputError(
            f"{_listed(names)} limited by max_norm, which changes the weights in each forward; expected a model "
            f"that leaves its weights alone: scale the rows once, and set max_norm=None"
        )


def set_evaluating(model: nn.Module) -> None:
    """Put a model in evaluation mode, and see that its weights are the same in both modes.

    Args:
        model: The copy to be sampled.

    Raises:
        InputError: Weights change with the mode, as where `eval()` merges low-rank parts into them.
    """
    switches = [(type(module).train, type(module).eval) for module in model.modules()]
    if set(switches) != {(nn.Module.train, nn.Module.eval)}:  # else nothing can happen, and nothing need be copied
        names: set[str] = set()
        for switch in (model.train, model.eval):
            before = _values(model)
            switch()
            names.update(_changed(model, before))
        if names:
            raise InputError(
                f"{_listed(sorted(names))} changed by train() or eval(), as where low-rank parts are merged; expected "
                f"the same weights in both modes, else a checkpoint of one is another model in the other: switch the "
                f"merging off (merge_weights=False in loralib)"
            )
    model.eval()


def check_forward(model: nn.Module, forward: Callable[[nn.Module], object]) -> None:
    """Refuse a model that writes into its own weights, or a loss that does.

    Args:
        model: The copy to be sampled; it is left as it is.
        forward: The loss on a few samples; what else may be wrong with it is not judged here.

    Raises:
        InputError: Parameters are other ones after a forward.
    """
    state = torch.get_rng_state()
    probe = copied(model)
    for scale in SCALES:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            for parameter in probe.parameters():
                parameter.mul_(scale)
            before = _values(probe)
            with suppress(Exception):
                forward(probe)
        if names := [name for name, _ in probe.named_parameters() if name in _changed(probe, before)]:
            raise InputError(
                f"{_listed(names)} changed by the forward itself; expected a model that leaves its weights alone: do "
                f"what limits or normalises them out of place, or in the training loop"
            )
    torch.set_rng_state(state)


def _values(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in (*model.named_parameters(), *model.named_buffers())}


def _changed(model: nn.Module, before: Mapping[str, Tensor]) -> list[str]:
    """The tensors that have come, gone or taken other values, NaN being equal to itself."""
    after = {name: tensor.detach() for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    same = {
        name
        for name in before.keys() & after.keys()
        if before[name].shape == after[name].shape
        and bool(((before[name] == after[name]) | (before[name] != before[name])).all())
    }
    return [name for name in {**before, **after} if name not in same]


def _is_quantized(module: nn.Module) -> bool:
    """Whether a module is one of torch's quantized ones, whose weights are packed; those for training are not."""
    return re.match(r"torch(\.ao)?\.nn\.(intrinsic\.)?quantized\.", type(module).__module__) is not None


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return (
        f"{', '.join(name or 'the model' for name in names[:NAMES_SHOWN])}{more} {'is' if len(names) == 1 else 'are'}"
    )
