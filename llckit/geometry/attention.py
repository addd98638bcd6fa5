"""Symmetries of attention: two general linear groups a head, permutations of heads, and what softmax does not see.

Scores are (W_Q x + b_Q)·(W_K x′ + b_K) and outputs Σ W_O (W_V x′ + b_V), head by head, with d_k (d_v) hidden units
between both matrices of a pair: GL_{d_k} acts by W_K → gW_K, (W_Q, b_Q) → g⁻ᵀ(W_Q, b_Q), and GL_{d_v} by
(W_V, b_V) → g(W_V, b_V), W_O → W_Og⁻¹ (Zhao, Walters & Yu, arXiv 2506.13018). Since attention sums to one there are two
more: b_V → b_V + v, b_O → b_O − W_Ov; and b_K, which adds the same to all scores of a query, can be anything.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn

from llckit.errors import InputError
from llckit.geometry.group import Symmetry, View

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")


class Heads(NamedTuple):
    """Where the heads of one projection lie in its parameters.

    Attributes:
        weight: Name of the matrix.
        bias: Name of the vector, or None. Of the output projection it belongs to no head.
        number: Of heads.
        size: Units of a head, d_k or d_v.
        dim: The matrix's dimension along which these units lie: of an `nn.Linear` 0 for queries, keys and values and 1
            for the output.
        start: Where the first head begins, in a matrix that several projections share.
        step: From one head to the next where projections take turns, which then begin at a multiple of it; None for
            `size`.
        bias_start: Where it begins in the bias; None for `start`.
    """

    weight: str
    bias: str | None
    number: int
    size: int
    dim: int = 0
    start: int = 0
    step: int | None = None
    bias_start: int | None = None

    def units(self, head: int) -> View:
        """The entries of the matrix that belong to one head."""
        start = self.start + head * (self.step or self.size)
        return View(self.weight, self.dim, start, start + self.size)

    def bias_of(self, head: int) -> View | None:
        """The entries of the bias that belong to one head."""
        own = self._of_bias()
        return None if own is None else own.units(head)

    def blocks(self, first: int, stop: int, group: int) -> list[View]:
        """The matrix, and the bias if it belongs to heads, with every `group` heads out of first … stop as one unit."""
        step = self.step or self.size
        start = self.start - (self.start % step if self.step else 0)  # projections that take turns move together
        weight = View(self.weight, self.dim, start + first * step, start + stop * step, group * step)
        own = self._of_bias()
        return [weight] if own is None else [weight, *own.blocks(first, stop, group)]

    def _of_bias(self) -> Heads | None:
        if self.bias is None:
            return None
        start = self.start if self.bias_start is None else self.bias_start
        return self._replace(weight=self.bias, bias=None, dim=0, start=start)


def attention_symmetries(
    query: Heads, key: Heads, value: Heads, output: Heads, *, rotary: bool = False
) -> list[Symmetry]:
    """The symmetries of one attention layer, declared by where its heads are.

    With fewer heads for keys and values than for queries (grouped-query attention) each of them has one group, which
    acts on all its queries and outputs. It is taken for granted that nothing lies between the projections and the
    scores or the weighted sum, that every query's attention sums to one, and that all heads are treated alike.

    Args:
        query: W_Q, b_Q.
        key: W_K, b_K.
        value: W_V, b_V.
        output: W_O, b_O, with as many heads as queries.
        rotary: Whether positions rotate queries and keys, or anything else lies between them and their product: then
            nothing is said of GL_{d_k} and of b_K.

    Returns:
        The symmetries of each head, then the permutations of heads.

    Raises:
        InputError: Numbers or sizes of heads do not fit.
    """
    counts = (query.number, key.number, value.number, output.number)
    fits = (
        key.number > 0
        and query.number % key.number == 0
        and counts == (query.number, key.number, key.number, query.number)
    )
    if not fits or query.size != key.size or value.size != output.size:
        raise InputError(
            f"attention has {counts} heads of sizes {(query.size, key.size, value.size, output.size)} for queries, "
            "keys, values and outputs; expected as many of keys as of values, as many of queries as of outputs, one a "
            "multiple of the other, and equal sizes within both pairs"
        )
    group = query.number // key.number
    found = []
    for head in range(key.number):
        members = range(head * group, (head + 1) * group)
        if not rotary:
            queries = [view for h in members for view in (query.units(h), query.bias_of(h)) if view is not None]
            found.append(Symmetry("linear", into=(key.units(head),), out=tuple(queries)))
            bias = key.bias_of(head)
            found += [] if bias is None else [Symmetry("free", into=(bias,))]
        found.append(
            Symmetry(
                "linear",
                into=(value.units(head),),
                out=tuple(output.units(h) for h in members),
                bias=value.bias_of(head),
                out_bias=View(output.bias) if value.bias and output.bias else None,
            )
        )
    inputs = output._replace(bias=None)  # its bias is that of the model's coordinates, which no head owns
    if key.number > 1:
        pairs = [view for side in (key, value) for view in side.blocks(0, key.number, 1)]
        found.append(
            _permuted([view for side in (query, inputs) for view in side.blocks(0, query.number, group)] + pairs)
        )
    for head in range(key.number if group > 1 else 0):
        first, stop = head * group, (head + 1) * group
        found.append(_permuted([view for side in (query, inputs) for view in side.blocks(first, stop, 1)]))
    return found


def attention_in(module: nn.Module, prefix: str) -> list[Symmetry]:
    """The symmetries of a module if it is an attention layer that is known.

    Args:
        module: Any.
        prefix: Of its parameters' names in the model.

    Returns:
        The symmetries; none for anything else.
    """
    if isinstance(module, nn.MultiheadAttention):
        return _multihead(module, prefix)
    theirs: Any = module
    kind, name = type(module).__module__, type(module).__name__
    if not kind.startswith("transformers.") or any(True for _ in module.parameters(recurse=False)):
        return []
    if hasattr(theirs, "c_attn") and hasattr(theirs, "c_proj") and unit_dim(theirs.c_attn) == 1:
        return _gpt2(theirs, prefix)
    if name == "GPTNeoXAttention":
        size, count = theirs.head_size, theirs.config.num_attention_heads
        fused = _parameters(theirs.query_key_value, f"{prefix}query_key_value.")
        query, key, value = (Heads(*fused, count, size, 0, part * size, 3 * size) for part in range(3))
        output = Heads(*_parameters(theirs.dense, f"{prefix}dense."), count, size, 1)
        return attention_symmetries(query, key, value, output, rotary=True)
    trained = {name for name, child in module.named_children() if any(True for _ in child.parameters())}
    if trained == {*PROJECTIONS} and all(isinstance(getattr(theirs, name), nn.Linear) for name in PROJECTIONS):
        return _projected(theirs, prefix)
    return []


def unit_dim(layer: nn.Module) -> int | None:
    """Along which dimension of an affine layer's weight its outputs lie; None where that is not known."""
    if isinstance(layer, nn.Linear):
        return 0
    theirs = type(layer).__module__.startswith("transformers.") and type(layer).__name__ == "Conv1D"
    return 1 if theirs else None


def _permuted(views: list[View]) -> Symmetry:
    return Symmetry("heads", into=tuple(dict.fromkeys(views)))


def _parameters(layer: Any, prefix: str) -> tuple[str, str | None]:
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
            number=count,
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


def _projected(module: Any, prefix: str) -> list[Symmetry]:
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
    if query.number != output.number or key.number != value.number or query.number % key.number:
        return []
    return attention_symmetries(query, key, value, output, rotary=True)
