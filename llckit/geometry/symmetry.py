"""Symmetries of parameter space, found in a model's modules: along their orbits the loss is constant.

Between a layer and the next, with h hidden units:

* nothing in between ("linear"): GL_h, and with two biases shifts of the units;
* ReLU, LeakyReLU or max-pooling ("homogeneous"): a positive scale for each unit;
* tanh and the like ("odd"): a sign for each unit;
* any other function of single units ("pointwise"): permutations, which all of the above have too.

Attention adds two general linear groups a head (`attention`), a softmax over logits one shift of them all (Zhao,
Walters & Yu, arXiv 2506.13018).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llckit.errors import InputError
from llckit.geometry.attention import attention_in, unit_dim
from llckit.geometry.group import Chain, Kind, Layer, Symmetry, View, untied

__all__ = ["Chain", "Layer", "find_layers", "find_symmetries"]

TRANSPARENT = (nn.Identity, nn.modules.dropout._DropoutNd)
AVERAGES = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
HOMOGENEOUS = (nn.ReLU, nn.LeakyReLU)
MAXIMA = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
ODD = (nn.Tanh, nn.Softsign, nn.Tanhshrink, nn.Softshrink, nn.Hardshrink)
POINTWISE = (nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.Softplus, nn.ELU, nn.CELU, nn.SELU, nn.ReLU6, nn.Hardtanh)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
LOG_PROBABILITIES = (nn.LogSoftmax, nn.Softmax, nn.Identity)

# First layer, activation and second layer of the feed-forward blocks that are known by their attributes.
FEED_FORWARD = (
    ("linear1", "activation", "linear2"),
    ("c_fc", "act", "c_proj"),
    ("dense_h_to_4h", "act", "dense_4h_to_h"),
)
GATED = ("gate_proj", "up_proj", "down_proj")


class _Affine(NamedTuple):
    """One affine map of a model, and what the units have gone through since."""

    layer: Layer
    shape: tuple[int, ...]
    between: Kind | None  # from the map before to this one
    flattened: bool


def find_layers(model: nn.Module) -> Chain:
    """The linear layers of a model, and which of them follow one another directly.

    Recognised are `nn.Linear` within `nn.Sequential` (nested or not) with nothing, Identity, Dropout, ReLU or
    LeakyReLU in between, and an `nn.ParameterList` of matrices that can be multiplied in order. Whether the model
    uses them that way cannot be seen from its modules: `bracket` checks the symmetries on the loss.

    Args:
        model: Any module.

    Returns:
        The chain; empty for an unknown architecture.
    """
    layers: list[Layer] = []
    kinds: list[Kind | None] = []
    before: _Affine | None = None
    for affine in _affine_maps(model):
        if len(affine.shape) == 2:
            if layers:
                directly = before is not None and len(before.shape) == 2
                kinds.append(affine.between if directly and affine.between in {"linear", "homogeneous"} else None)
            layers.append(affine.layer)
        before = affine
    return Chain(layers, kinds)


def find_symmetries(model: nn.Module, *, cross_entropy: bool = False) -> list[Symmetry]:
    """The symmetries that a model's modules tell of.

    Recognised are chains of `nn.Linear` and `nn.Conv1d` … `nn.Conv3d` within `nn.Sequential`, an `nn.ParameterList` of
    matrices that can be multiplied in order, `nn.MultiheadAttention`, the feed-forward part of
    `nn.TransformerEncoderLayer` and `nn.TransformerDecoderLayer`, and attention and feed-forward blocks of GPT-2, Llama
    (and others with its names) and GPT-NeoX (Pythia) in Hugging Face transformers; under rotary embeddings, which mix
    queries and keys by position, only what values and outputs have. Anything else can be declared: `Symmetry`,
    `chain_symmetries`, `attention_symmetries`. Parameters that the model uses under two names (tied weights) are left
    alone. Whether a model uses its modules that way cannot be seen from them: `bracket` checks it on the loss.

    Args:
        model: Any module.
        cross_entropy: Whether the loss is the cross-entropy of the model's outputs, or anything else that a constant
            added to all logits leaves as it is; then the last layer of an `nn.Sequential`, and what a Hugging Face
            model names its output embeddings, have that symmetry as well.

    Returns:
        The symmetries; empty for an unknown architecture.

    Raises:
        InputError: `model` is no module.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model is a {type(model).__name__}; expected a torch.nn.Module")
    maps = _affine_maps(model)
    found = [
        _pair(first, second, second.between)
        for first, second in itertools.pairwise(maps)
        if second.between is not None and _units_fit(first, second)
    ]
    for name, module in model.named_modules():
        prefix = f"{name}." if name else ""
        found += attention_in(module, prefix)
        found += _feed_forward_in(module, prefix)
    if cross_entropy:
        found += _logits_of(model)
    return list(untied(model, found))


def _affine_maps(model: nn.Module) -> list[_Affine]:
    maps: list[_Affine] = []
    between: Kind | None = None
    flattened = False

    def add(layer: Layer, weight: Tensor) -> None:
        nonlocal between, flattened
        maps.append(_Affine(layer, tuple(weight.shape), between, flattened))
        between, flattened = "linear", False

    def after_images() -> bool:
        return bool(maps) and len(maps[-1].shape) > 2 and not flattened

    def visit(module: nn.Module, prefix: str) -> None:
        nonlocal between, flattened
        if isinstance(module, nn.Linear) or (isinstance(module, CONVOLUTIONS) and module.groups == 1):
            add(Layer(f"{prefix}weight", None if module.bias is None else f"{prefix}bias"), module.weight)
        elif isinstance(module, nn.Sequential):
            # named_children() would skip the second use of one activation module.
            for name, child in module._modules.items():
                if child is not None:
                    visit(child, f"{prefix}{name}.")
        elif isinstance(module, nn.ParameterList):
            between = None
            matrices = [p for p in module if isinstance(p, Tensor)]
            if _multiply(matrices):
                for index, matrix in enumerate(matrices):
                    add(Layer(f"{prefix}{index}", None), matrix)
            between = None
        elif isinstance(module, nn.Flatten):
            # Of images all pixels of a channel stay together; of anything else units may be shuffled.
            flattened = after_images() and module.start_dim == 1
            between = between if flattened else None
        elif isinstance(module, AVERAGES + MAXIMA):
            kind = "linear" if isinstance(module, AVERAGES) else "homogeneous"
            between = _meet(between, kind if after_images() else None)
        elif (kind := _kind_of(module)) is not None:
            between = _meet(between, kind)
        else:
            between = None
            for name, child in module.named_children():
                visit(child, f"{prefix}{name}.")
                between = None

    visit(model, "")
    return maps


def _kind_of(activation: nn.Module | Callable[[Tensor], Tensor]) -> Kind | None:
    """The largest group that an activation lets through."""
    if isinstance(activation, TRANSPARENT):
        return "linear"
    if isinstance(activation, HOMOGENEOUS) or activation in {F.relu, F.leaky_relu, torch.relu}:
        return "homogeneous"
    if isinstance(activation, ODD) or activation in {F.tanh, torch.tanh}:
        return "odd"
    theirs = type(activation).__module__ == "transformers.activations"
    return "pointwise" if theirs or isinstance(activation, POINTWISE) or activation in {F.gelu, F.silu} else None


def _meet(one: Kind | None, other: Kind | None) -> Kind | None:
    """What two activations after one another let through."""
    if one is None or other is None or one == other:
        return one and other
    if "linear" in {one, other}:
        return other if one == "linear" else one
    return "pointwise"


def _units_fit(first: _Affine, second: _Affine) -> bool:
    units, takes = first.shape[0], second.shape[1]
    return takes % units == 0 if second.flattened else takes == units


def _pair(first: _Affine, second: _Affine, kind: Kind) -> Symmetry:
    (weight, bias), (next_weight, next_bias) = first.layer, second.layer
    # What a convolution pads with does not shift with the units.
    shifts = kind == "linear" and bias and len(first.shape) == len(second.shape) == 2
    return Symmetry(
        kind,
        into=(View(weight),),
        out=(View(next_weight, 1, block=second.shape[1] // first.shape[0]),),
        bias=View(bias) if bias else None,
        out_bias=View(next_bias) if shifts and next_bias else None,
    )


def _feed_forward_in(module: nn.Module, prefix: str) -> Iterator[Symmetry]:
    if not isinstance(module, (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)) and not type(
        module
    ).__module__.startswith("transformers."):
        return
    for names in FEED_FORWARD:
        if all(hasattr(module, name) for name in names):
            first, activation, second = (getattr(module, name) for name in names)
            kind, made, taken = _kind_of(activation), unit_dim(first), unit_dim(second)
            if kind is not None and made is not None and taken is not None:
                bias = None if first.bias is None else View(f"{prefix}{names[0]}.bias")
                into, out = View(f"{prefix}{names[0]}.weight", made), View(f"{prefix}{names[2]}.weight", 1 - taken)
                yield Symmetry(kind, (into,), (out,), bias)
    gate, up, down = (getattr(module, name, None) for name in GATED)
    if isinstance(gate, nn.Linear) and isinstance(up, nn.Linear) and isinstance(down, nn.Linear):
        # down(act(gate x) ⊙ (up x)): scales pass from up to down; the gate's units go along with permutations only.
        yield Symmetry(
            "homogeneous",
            into=(View(f"{prefix}up_proj.weight"),),
            out=(View(f"{prefix}down_proj.weight", 1),),
            bias=None if up.bias is None else View(f"{prefix}up_proj.bias"),
            along=tuple(View(f"{prefix}gate_proj.{name}") for name, _ in gate.named_parameters()),
        )


def _logits_of(model: nn.Module) -> Iterator[Symmetry]:
    """The shift of all logits, where it is certain which layer makes them."""
    last, name = model, ""
    if type(model).__module__.startswith("transformers."):
        last = getattr(model, "get_output_embeddings", lambda: None)()
        name = next((name for name, module in model.named_modules() if module is last), "")
    while isinstance(last, nn.Sequential):
        children = [(key, child) for key, child in last.named_children() if not isinstance(child, LOG_PROBABILITIES)]
        if not children:
            return
        key, last = children[-1]
        name = f"{name}.{key}" if name else key
    if isinstance(last, nn.Linear) and name:
        into = [View(f"{name}.{key}") for key, _ in last.named_parameters()]
        yield Symmetry("softmax", tuple(into))


def _multiply(matrices: Sequence[Tensor]) -> bool:
    return all(m.dim() == 2 for m in matrices) and all(
        a.shape[0] == b.shape[1] for a, b in itertools.pairwise(matrices)
    )
