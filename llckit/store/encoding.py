"""Turning a state dict into the bits of a checkpoint file; values without bits of their own are refused."""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from llckit.checks import shown
from llckit.errors import InputError
from llckit.store.manifest import DTYPES, MAX_MANIFEST_BYTES, Manifest, TensorEntry
from llckit.store.metadata import as_scalar
from llckit.unwrap import is_extra_state

__all__ = ["EncodedCheckpoint", "as_bits", "copied", "encode"]

# Copying elements as integers keeps every bit; as floats, a signalling NaN could become a quiet one.
_CONTAINERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class EncodedCheckpoint(NamedTuple):
    """A checkpoint ready to be written.

    Attributes:
        document: Bytes of the manifest.
        tensors: Bits of each unique tensor, uint8 (bytes,), in the memory of the weights if possible.
    """

    document: bytes
    tensors: list[np.ndarray]


def encode(step: int, state: Mapping[str, Tensor], metadata: Mapping[str, object]) -> EncodedCheckpoint:
    """Check a state dict and its metadata, and turn them into a manifest and bits.

    Args:
        step: Training step.
        state: Tensors by name.
        metadata: Scalars to keep beside the weights.

    Returns:
        The manifest and the bits.

    Raises:
        InputError: A value in the state dict or the metadata cannot be stored; says which.
    """
    state = _checked(state)
    scalars = {key: as_scalar(key, value) for key, value in metadata.items()}

    groups: dict[object, list[str]] = {}
    for name, tensor in state.items():
        groups.setdefault(_identity(name, tensor), []).append(name)
    entries, arrays = [], []
    for names in groups.values():
        tensor = state[names[0]]
        bits = as_bits(tensor)
        array = bits.numpy()
        digest = hashlib.sha256(array.data).hexdigest()
        finite = _is_finite(bits.view(tensor.dtype))
        entries.append(TensorEntry(names[0], tuple(names[1:]), tensor.dtype, tuple(tensor.shape), digest, finite))
        arrays.append(array)
    document = Manifest(step, tuple(entries), scalars).to_json()
    if len(document) > MAX_MANIFEST_BYTES:
        raise InputError(
            f"names and metadata take {len(document)} bytes; expected at most {MAX_MANIFEST_BYTES}; "
            f"shorten the metadata"
        )
    return EncodedCheckpoint(document, arrays)


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy a state dict to the CPU, bit for bit; tied tensors stay tied.

    Args:
        state: Tensors by name.

    Returns:
        Copies by name.

    Raises:
        InputError: A value in the state dict cannot be stored; says which.
    """
    state = _checked(state)
    copies: dict[object, Tensor] = {}
    for name, tensor in state.items():
        identity = _identity(name, tensor)
        if identity not in copies:
            copies[identity] = as_bits(tensor).clone().view(tensor.dtype).reshape(tensor.shape)
    return {name: copies[_identity(name, tensor)] for name, tensor in state.items()}


def _checked(state: object) -> dict[str, Tensor]:
    if not isinstance(state, Mapping):
        raise InputError(f"model is {shown(state)}; expected an nn.Module or a dict from names to tensors")
    # Once: a mapping that makes its tensors anew might reuse the same memory for them. What modules keep as extra state
    # is not sampled, so that it is no loss if it is no tensor.
    state = {
        name: value
        for name, value in state.items()
        if isinstance(value, Tensor) or not (isinstance(name, str) and is_extra_state(name))
    }
    if not state:
        raise InputError("the state dict is empty; expected at least one tensor")
    refused = [f"{name!r} {reason}" for name, value in state.items() if (reason := _refusal(name, value))]
    if refused:
        more = f"; and {len(refused) - 5} more" if len(refused) > 5 else ""
        raise InputError(
            f"the state dict cannot be saved: {'; '.join(refused[:5])}{more}; expected dense, plain tensors by name"
        )
    return state


def _refusal(name: object, value: object) -> str | None:
    if not isinstance(name, str):
        return f"is a name of type {type(name).__name__}"
    if not isinstance(value, Tensor):
        return f"is a {type(value).__name__}, not a tensor"
    if type(value).__torch_dispatch__ is not Tensor.__torch_dispatch__:  # pyright: ignore[reportAttributeAccessIssue]
        return f"is a {type(value).__name__}, whose bits are not its own"
    if is_lazy(value):
        return "is a lazy parameter that has no values yet"
    if value.is_nested or value.layout is not torch.strided:
        return f"is {'nested' if value.is_nested else f'sparse or opaque ({value.layout})'}"
    if value.is_quantized or value.dtype not in DTYPES.values():
        return f"is quantized ({value.dtype})"
    if value.is_meta:
        return "is on the meta device and has no values"
    try:
        stored_bytes = value.untyped_storage().nbytes()
    except NotImplementedError:
        return "is inside a function transform such as vmap"
    if value.numel() and not stored_bytes:
        return "has had its memory freed, as sharded models do"
    return None


def _identity(name: str, tensor: Tensor) -> object:
    """A value that only tied tensors share; a tensor without memory is tied to none."""
    address = tensor.untyped_storage().data_ptr()
    if address == 0:
        return name
    layout = (tensor.storage_offset(), tensor.dtype, tensor.shape, tensor.stride())
    return (tensor.device, address, *layout, tensor.is_conj(), tensor.is_neg())


def as_bits(tensor: Tensor) -> Tensor:
    """The elements of a tensor in row-major order, as bytes.

    Args:
        tensor: A tensor that `encode` accepts.

    Returns:
        A uint8 row on the CPU, in the tensor's own memory if possible.
    """
    if not tensor.numel():
        return torch.empty(0, dtype=torch.uint8, device="cpu")  # the strides of an empty tensor may forbid a view
    plain = tensor.detach().cpu().resolve_conj().resolve_neg()
    plain = plain.view(_CONTAINERS.get(plain.dtype.itemsize, plain.dtype))
    return plain.contiguous().reshape(-1).view(torch.uint8)


def _is_finite(values: Tensor) -> bool:
    if values.is_complex():
        values = torch.view_as_real(values)
    always = not values.is_floating_point() or values.dtype == DTYPES.get("float4_e2m1fn_x2")
    if always or values.numel() == 0:
        return True
    if values.dtype.itemsize == 1:
        values = values.float()
    # NaN propagates to both extremes, and an infinity is one of them. Much faster than isfinite on every element.
    return all(bool(extreme.isfinite()) for extreme in torch.aminmax(values))
