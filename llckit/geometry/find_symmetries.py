"""Symmetries of parameter space, found in a model's modules; the loss is constant along their orbits.

What lies between a layer and the next decides the group that acts on the h hidden units between them:

* nothing ("linear"): GL_h, and with two biases also shifts of the units
* ReLU, LeakyReLU or max-pooling ("homogeneous"): a positive scale for each unit
* tanh and other odd functions ("odd"): a sign for each unit
* any other function of single units ("pointwise"): permutations of units, which the three groups above have as well

Attention adds two general linear groups per head (`attention`). A softmax over logits adds one shift of all logits
(Zhao, Walters & Yu, arXiv 2506.13018).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from llckit.geometry.activations import activation_kind, common_kind
from llckit.geometry.check_module import check_module
from llckit.geometry.known_attention import attention_in
from llckit.geometry.known_feed_forward import feed_forward_in
from llckit.geometry.layers import Layer, LayerSequence
from llckit.geometry.symmetry import Kind, Symmetry, View, untied

__all__ = ["find_layers", "find_symmetries"]

AVERAGES = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
MAXIMA = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
LOG_PROBABILITIES = (nn.LogSoftmax, nn.Softmax, nn.Identity)


def find_layers(model: nn.Module) -> LayerSequence:
    """The linear layers of a model, and which of them follow one another directly.

    Recognised are `nn.Linear` within `nn.Sequential` (nested or not) with nothing, Identity, Dropout, ReLU or
    LeakyReLU in between, and an `nn.ParameterList` of matrices that can be multiplied in order. The modules do not
    show whether the model really uses them that way; `bracket` checks the symmetries on the loss.

    Args:
        model: Any module.

    Returns:
        The layers; empty for an unknown architecture.
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
    return LayerSequence(layers, kinds)


def find_symmetries(model: nn.Module, *, cross_entropy: bool = False) -> list[Symmetry]:
    """The symmetries that a model's modules have.

    Recognised are:

    * `nn.Linear` and `nn.Conv1d` … `nn.Conv3d` within `nn.Sequential`
    * an `nn.ParameterList` of matrices that can be multiplied in order
    * `nn.MultiheadAttention`, and the feed-forward part of torch's transformer layers
    * attention and feed-forward blocks of GPT-2, Llama (and others with its names) and GPT-NeoX (Pythia) in Hugging
      Face transformers; with rotary embeddings, which mix queries and keys by position, only values and outputs

    Anything else can be declared with `Symmetry`, `chain_symmetries` and `attention_symmetries`. Parameters that the
    model uses under two names (tied weights) are left out. The modules do not show whether the model really uses them
    that way; `bracket` checks the symmetries on the loss.

    Args:
        model: Any module.
        cross_entropy: Whether the loss stays the same if a constant is added to all logits, as the cross-entropy of the
            model's outputs does. If so, the last layer of an `nn.Sequential`, and the output embeddings of a Hugging
            Face model, have that symmetry as well.

    Returns:
        The symmetries; empty for an unknown architecture.

    Raises:
        InputError: `model` is no module.
    """
    maps = _affine_maps(check_module(model))
    found = [
        _pair(first, second, second.between)
        for first, second in itertools.pairwise(maps)
        if second.between is not None and _units_fit(first, second)
    ]
    for name, module in model.named_modules():
        prefix = f"{name}." if name else ""
        found += attention_in(module, prefix)
        found += feed_forward_in(module, prefix)
    if cross_entropy:
        found += _logits_of(model)
    return list(untied(model, found))


class _Affine(NamedTuple):
    """One affine map of a model, and what lies between the map before and this one.

    Attributes:
        layer: Its parameter names.
        shape: Shape of its weight.
        between: Kind of the group that passes from the map before to this one; None if none does.
        flattened: Whether images were flattened to vectors on the way, all pixels of a channel together.
    """

    layer: Layer
    shape: tuple[int, ...]
    between: Kind | None
    flattened: bool


def _affine_maps(model: nn.Module) -> list[_Affine]:
    walk = _Walk()
    walk.visit(model, "")
    return walk.maps


class _Walk:
    """Collects the affine maps of a model in the order in which its modules are listed.

    Attributes:
        maps: The maps met so far.
        between: Kind of the group that passes from the last map to here; None if none does.
        flattened: Whether images were flattened to vectors since the last map.
    """

    def __init__(self) -> None:
        self.maps: list[_Affine] = []
        self.between: Kind | None = None
        self.flattened = False

    def visit(self, module: nn.Module, prefix: str) -> None:
        if isinstance(module, nn.Linear) or (isinstance(module, CONVOLUTIONS) and module.groups == 1):
            bias = None if module.bias is None else f"{prefix}bias"
            self._add(Layer(f"{prefix}weight", bias), module.weight)
        elif isinstance(module, nn.Sequential):
            # named_children() would skip the second use of one activation module.
            for name, child in module._modules.items():
                if child is not None:
                    self.visit(child, f"{prefix}{name}.")
        elif isinstance(module, nn.ParameterList):
            self._visit_matrices(module, prefix)
        elif isinstance(module, nn.Flatten):
            # All pixels of a channel stay together if images are flattened; otherwise units may be shuffled.
            self.flattened = self._is_after_images() and module.start_dim == 1
            self.between = self.between if self.flattened else None
        elif isinstance(module, AVERAGES + MAXIMA):
            kind = "linear" if isinstance(module, AVERAGES) else "homogeneous"
            self.between = common_kind(self.between, kind if self._is_after_images() else None)
        elif (kind := activation_kind(module)) is not None:
            self.between = common_kind(self.between, kind)
        else:  # its forward may use the children in any way
            self.between = None
            for name, child in module.named_children():
                self.visit(child, f"{prefix}{name}.")
                self.between = None

    def _visit_matrices(self, parameters: nn.ParameterList, prefix: str) -> None:
        self.between = None
        matrices = [p for p in parameters if isinstance(p, Tensor)]
        if _multiply(matrices):
            for index, matrix in enumerate(matrices):
                self._add(Layer(f"{prefix}{index}", None), matrix)
        self.between = None

    def _add(self, layer: Layer, weight: Tensor) -> None:
        self.maps.append(_Affine(layer, tuple(weight.shape), self.between, self.flattened))
        self.between, self.flattened = "linear", False

    def _is_after_images(self) -> bool:
        return bool(self.maps) and len(self.maps[-1].shape) > 2 and not self.flattened


def _multiply(matrices: Sequence[Tensor]) -> bool:
    """Whether these are matrices, and each can be multiplied by the next from the left."""
    return all(m.dim() == 2 for m in matrices) and all(
        a.shape[0] == b.shape[1] for a, b in itertools.pairwise(matrices)
    )


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


def _logits_of(model: nn.Module) -> Iterator[Symmetry]:
    """The shift of all logits, if it is certain which layer makes them."""
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
