"""Symmetries of attention, declared by where the heads lie in the parameters.

A head has scores (W_Q x + b_Q)·(W_K x′ + b_K) and adds W_O (W_V x′ + b_V) to the output, with d_k hidden units between
the matrices of the first pair and d_v between those of the second. The continuous symmetries of each head are:

* GL_{d_k}: W_K → gW_K, (W_Q, b_Q) → g⁻ᵀ(W_Q, b_Q)
* GL_{d_v}: (W_V, b_V) → g(W_V, b_V), W_O → W_O g⁻¹ (both: Zhao, Walters & Yu, arXiv 2506.13018)
* b_V → b_V + v, b_O → b_O − W_O v, since attention sums to one
* b_K → anything, since it adds the same to all scores of a query and softmax does not see that
"""

from __future__ import annotations

from typing import NamedTuple

from llckit.errors import InputError
from llckit.geometry.symmetry import Symmetry, View

__all__ = ["Heads", "attention_symmetries"]


class Heads(NamedTuple):
    """Where the heads of one projection lie in its parameters.

    Attributes:
        weight: Name of the matrix.
        bias: Name of the bias vector, or None. The bias of the output projection belongs to no head.
        num_heads: Number of heads.
        size: Number of units in a head, d_k or d_v.
        dim: Dimension of the matrix along which the units lie. For an `nn.Linear` it is 0 for queries, keys and values
            and 1 for the output.
        start: Index of the first head's first unit, for a matrix that several projections share.
        step: Distance from one head to the next, for a matrix in which the projections alternate head by head; they
            then begin at a multiple of it. None for `size`.
        bias_start: Index of the first head's first unit in the bias; None for `start`.
    """

    weight: str
    bias: str | None
    num_heads: int
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
        """The entries of the heads first … stop − 1, with every `group` neighbouring heads as one unit.

        Args:
            first: Index of the first head.
            stop: Index after the last head.
            group: Number of heads in one unit.

        Returns:
            The view of the matrix, then that of the bias if there is one.
        """
        step = self.step or self.size
        start = self.start - (self.start % step if self.step else 0)  # alternating projections move together
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
    """The symmetries of one attention layer.

    With grouped-query attention (fewer heads for keys and values than for queries), each head of keys and values has
    one group, which acts on all its queries and outputs.

    Three things are assumed and not checked: nothing lies between the projections and the scores or the weighted sum,
    the attention of every query sums to one, and all heads are treated alike.

    Args:
        query: Heads of W_Q and b_Q.
        key: Heads of W_K and b_K.
        value: Heads of W_V and b_V.
        output: Heads of W_O and b_O, as many as of queries.
        rotary: Whether something lies between queries, keys and their product, such as a rotation by position. If so,
            GL_{d_k} and the symmetry of b_K are left out.

    Returns:
        The symmetries of each head, then the permutations of heads.

    Raises:
        InputError: The numbers or the sizes of the heads do not fit.
    """
    counts = (query.num_heads, key.num_heads, value.num_heads, output.num_heads)
    fits = (
        key.num_heads > 0
        and query.num_heads % key.num_heads == 0
        and counts == (query.num_heads, key.num_heads, key.num_heads, query.num_heads)
    )
    if not fits or query.size != key.size or value.size != output.size:
        raise InputError(
            f"attention has {counts} heads of sizes {(query.size, key.size, value.size, output.size)} for queries, "
            "keys, values and outputs; expected as many of keys as of values, as many of queries as of outputs, one a "
            "multiple of the other, and equal sizes within both pairs"
        )
    group = query.num_heads // key.num_heads
    found = []
    for head in range(key.num_heads):
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
    return found + _permutations(query, key, value, output)


def _permutations(query: Heads, key: Heads, value: Heads, output: Heads) -> list[Symmetry]:
    """The permutations of heads of keys, each with its queries, then those of the queries of each key."""
    group = query.num_heads // key.num_heads
    inputs = output._replace(bias=None)  # its bias is a vector of the model's coordinates, which no head owns
    found = []
    if key.num_heads > 1:
        views = [view for side in (query, inputs) for view in side.blocks(0, query.num_heads, group)]
        views += [view for side in (key, value) for view in side.blocks(0, key.num_heads, 1)]
        found.append(_permuted(views))
    for head in range(key.num_heads if group > 1 else 0):
        first, stop = head * group, (head + 1) * group
        found.append(_permuted([view for side in (query, inputs) for view in side.blocks(first, stop, 1)]))
    return found


def _permuted(views: list[View]) -> Symmetry:
    return Symmetry("heads", into=tuple(dict.fromkeys(views)))
