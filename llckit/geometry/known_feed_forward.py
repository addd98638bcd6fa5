"""Feed-forward blocks that are recognised: those of torch's transformer layers, and of Hugging Face transformers."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from llckit.geometry.activations import activation_kind
from llckit.geometry.known_attention import unit_dim
from llckit.geometry.symmetry import Symmetry, View

__all__ = ["feed_forward_in"]

# Attributes of a block: first layer, activation, second layer.
PLAIN = (
    ("linear1", "activation", "linear2"),  # torch
    ("c_fc", "act", "c_proj"),  # GPT-2
    ("dense_h_to_4h", "act", "dense_4h_to_h"),  # GPT-NeoX
)
GATED = ("gate_proj", "up_proj", "down_proj")  # Llama


def feed_forward_in(module: nn.Module, prefix: str) -> Iterator[Symmetry]:
    """The symmetries of a module if it is a known feed-forward block.

    Args:
        module: The module.
        prefix: Prefix of its parameters' names in the model.

    Yields:
        The symmetries; none for any other module.
    """
    is_theirs = type(module).__module__.startswith("transformers.")
    if not is_theirs and not isinstance(module, (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)):
        return
    for names in PLAIN:
        if all(hasattr(module, name) for name in names):
            first, activation, second = (getattr(module, name) for name in names)
            kind, made, taken = activation_kind(activation), unit_dim(first), unit_dim(second)
            if kind is not None and made is not None and taken is not None:
                bias = None if first.bias is None else View(f"{prefix}{names[0]}.bias")
                into, out = View(f"{prefix}{names[0]}.weight", made), View(f"{prefix}{names[2]}.weight", 1 - taken)
                yield Symmetry(kind, (into,), (out,), bias)
    gate, up, down = (getattr(module, name, None) for name in GATED)
    if isinstance(gate, nn.Linear) and isinstance(up, nn.Linear) and isinstance(down, nn.Linear):
        # down(act(gate x) ⊙ (up x)): scales pass from up to down; the gate's units take part in permutations only.
        yield Symmetry(
            "homogeneous",
            into=(View(f"{prefix}up_proj.weight"),),
            out=(View(f"{prefix}down_proj.weight", 1),),
            bias=None if up.bias is None else View(f"{prefix}up_proj.bias"),
            along=tuple(View(f"{prefix}gate_proj.{name}") for name, _ in gate.named_parameters()),
        )
