"""Attention layers that are recognised: those of torch, and some of Hugging Face transformers."""

from __future__ import annotations

from typing import Any

from torch import nn

from llckit.geometry.attention import Heads, attention_symmetries
from llckit.geometry.symmetry import Symmetry

__all__ = ["attention_in", "unit_dim"]

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")


def attention_in(module: nn.Module, prefix: str) -> list[Symmetry]:
    """The symmetries of a module if it is a known attention layer.

    Known are `nn.MultiheadAttention`, the attention of GPT-2, that of GPT-NeoX (Pythia), and any layer of transformers
    with the projections of Llama. A layer of transformers with parameters of its own, or with further trained parts
    such as a normalisation of queries, is not known.

    Args:
        module: The module.
        prefix: Prefix of its parameters' names in the model.

    Returns:
        The symmetries; none for any other module.
    """
    if isinstance(module, nn.MultiheadAttention):
        return _multihead(module, prefix)
    theirs: Any = module
    is_theirs = type(module).__module__.startswith("transformers.")
    if not is_theirs or any(True for _ in module.parameters(recurse=False)):
        return []
    if hasattr(theirs, "c_attn") and hasattr(theirs, "c_proj") and unit_dim(theirs.c_attn) == 1:
        return _gpt2(theirs, prefix)
    if type(module).__name__ == "GPTNeoXAttention":
        return _gpt_neox(theirs, prefix)
    trained = {name for name, child in module.named_children() if any(True for _ in child.parameters())}
    if trained == {*PROJECTIONS} and all(isinstance(getattr(theirs, name), nn.Linear) for name in PROJECTIONS):
        return _llama(theirs, prefix)
    return []


def unit_dim(layer: nn.Module) -> int | None:
    """The dimension of an affine layer's weight along which its outputs lie; None where it is not known."""
    if isinstance(layer, nn.Linear):
        return 0
    is_conv1d = type(layer).__module__.startswith("transformers.") and type(layer).__name__ == "Conv1D"
    return 1 if is_conv1d else None


def _parameters(layer: Any, prefix: str) -> tuple[str, str | None]:
    """The names of a layer's weight and bias."""
    return f"{prefix}weight", None if layer.bias is None else f"{prefix}bias"


def _multihead(module: nn.MultiheadAttention, prefix: str) -> list[Symmetry]:
    if module.bias_k is not None or module.add_zero_attn:  # a key or value that no projection makes
        return []
    size, width, count = module.head_dim, module.embed_dim, module.num_heads
    bias = None if module.in_proj_bias is None else f"{prefix}in_proj_bias"
    shared = module._qkv_same_embed_dim
    query, key, value = (
        Heads(
            f"{prefix}{'in' if shared else one}_proj_weight",
            bias,
            num_heads=count,
            size=size,
            start=part * width * shared,
            bias_start=part * width,
        )
        for part, one in enumerate("qkv")
    )
    output = Heads(*_parameters(module.out_proj, f"{prefix}out_proj."), count, size, 1)
    return attention_symmetries(query, key, value, output)


def _gpt2(module: Any, prefix: str) -> list[Symmetry]:
    width, made = module.c_attn.weight.shape
    if made != 3 * width or getattr(module, "is_cross_attention", False):
        return []
    size, count = module.head_dim, module.num_heads
    fused = _parameters(module.c_attn, f"{prefix}c_attn.")
    query, key, value = (Heads(*fused, count, size, 1, part * width) for part in range(3))
    output = Heads(*_parameters(module.c_proj, f"{prefix}c_proj."), count, size, 0)
    return attention_symmetries(query, key, value, output)


def _gpt_neox(module: Any, prefix: str) -> list[Symmetry]:
    size, count = module.head_size, module.config.num_attention_heads
    fused = _parameters(module.query_key_value, f"{prefix}query_key_value.")  # of each head: queries, keys, values
    query, key, value = (Heads(*fused, count, size, 0, part * size, 3 * size) for part in range(3))
    output = Heads(*_parameters(module.dense, f"{prefix}dense."), count, size, 1)
    return attention_symmetries(query, key, value, output, rotary=True)


def _llama(module: Any, prefix: str) -> list[Symmetry]:
    size = module.head_dim
    parts = []
    for name in PROJECTIONS:
        layer = getattr(module, name)
        dim = 1 if name == "o_proj" else 0
        count, rest = divmod(layer.weight.shape[dim], size)
        if rest:
            return []
        parts.append(Heads(*_parameters(layer, f"{prefix}{name}."), count, size, dim))
    query, key, value, output = parts
    if query.num_heads != output.num_heads or key.num_heads != value.num_heads or query.num_heads % key.num_heads:
        return []
    return attention_symmetries(query, key, value, output, rotary=True)
