"""What gradient flow conserves along a training run: one quantity for each continuous symmetry.

Let ẇ = −∇L(w), with one learning rate for all weights, and let V → gV, b → gb, V′ → g⁻ᵀV′ be a symmetry. Noether's
argument gives

    d/dt (V′V′ᵀ − VVᵀ − bbᵀ) = 0 for all g in GL_h,    d/dt (‖V_i‖² + b_i² − ‖V′_i‖²) = 0 for scales of units

(Saxe et al. 2014, arXiv 1312.6120; Du, Hu & Lee 2018, arXiv 1806.00900; Kunin et al. 2021, arXiv 2012.04728). For
linear layers the matrix is W₂ᵀW₂ − W₁W₁ᵀ − b₁b₁ᵀ, for an attention head W_QW_Qᵀ + b_Qb_Qᵀ − W_KW_Kᵀ. A softmax
conserves what it does not see: the sum of the last layer over the classes, and the bias of the keys.

How other training leaves these values is in docs/notes/conserved-quantities.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from llckit.errors import InputError
from llckit.geometry.find_symmetries import find_symmetries
from llckit.geometry.symmetry import Symmetry, check_symmetries

__all__ = ["conserved", "conserved_drift"]

Weights = nn.Module | Mapping[str, Tensor]


def conserved(weights: Weights, symmetries: Sequence[Symmetry] | None = None) -> dict[str, Tensor]:
    """The quantities that gradient flow conserves.

    Args:
        weights: A model, or its parameters by name (those of a checkpoint, for example).
        symmetries: Symmetries, found by `find_symmetries` or declared; None finds them in a model.

    Returns:
        float64 tensors by symmetry, with `str(symmetry)` as the key:

        * "linear": V′V′ᵀ − VVᵀ − bbᵀ, shape (h, h)
        * "homogeneous": ‖V_i‖² + b_i² − ‖V′_i‖², shape (h,)
        * "softmax": 1ᵀV, shape (entries of a unit,)
        * "free": V, as one vector

        Discrete symmetries conserve nothing and are left out.

    Raises:
        InputError: Weights by name came without symmetries, or symmetries do not fit the weights.
    """
    tensors, known = _continuous(weights, symmetries)
    return {str(symmetry): _conserved(tensors, symmetry) for symmetry in known}


def conserved_drift(start: Weights, symmetries: Sequence[Symmetry] | None = None) -> Callable[[Weights], float]:
    """How far a run has left what gradient flow conserves, as one number for each checkpoint.

        drift(w) = (Σ ‖C(w) − C(w₀)‖² / Σ ‖S(w₀)‖²)^½

    The sums run over the general linear groups and the scales. C is their conserved matrix or vector (`conserved`), a
    difference of two terms. S is the sum of these terms, V′V′ᵀ + VVᵀ + bbᵀ or ‖V_i‖² + b_i² + ‖V′_i‖², since C itself
    may be zero at the start.

    The drift can be recorded with the checkpoints, `recorder(step, model, drift=drift(model))`, and
    `detect_transitions` then takes it as an observable beside the LLC. It can also be computed afterwards:
    `detect_transitions(curve, observables={"drift": [drift(store.load(step)) for step in curve.step]})`.

    Args:
        start: The model at the start of the run, or its parameters w₀ by name. They are copied.
        symmetries: Symmetries, found by `find_symmetries` or declared; None finds them in a model.

    Returns:
        A function of a model or of parameters by name. It is dimensionless, and 0 at the start.

    Raises:
        InputError: Nothing is conserved, or the weights concerned are all zero; and as `conserved`.
    """
    tensors, known = _continuous(start, symmetries)
    known = [symmetry for symmetry in known if symmetry.multiplies]
    first = [_conserved(tensors, symmetry) for symmetry in known]
    size = sum(float((plus + minus).square().sum()) for plus, minus in (_terms(tensors, one) for one in known)) ** 0.5
    if not size > 0:
        raise InputError(
            "symmetries conserve nothing at these weights; expected a general linear group or scales of units that act "
            "on weights other than zero"
        )

    def drift(weights: Weights) -> float:
        tensors, _ = _continuous(weights, known)
        change = [_conserved(tensors, symmetry) - before for symmetry, before in zip(known, first, strict=True)]
        return sum(float(c.square().sum()) for c in change) ** 0.5 / size

    return drift


def _continuous(weights: Weights, symmetries: Sequence[Symmetry] | None) -> tuple[dict[str, Tensor], list[Symmetry]]:
    """The weights that symmetries act on, in float64, and the continuous ones among the symmetries."""
    if isinstance(weights, nn.Module):
        named: Mapping[str, Tensor] = dict(weights.named_parameters())
        known = find_symmetries(weights) if symmetries is None else list(symmetries)
    elif symmetries is None:
        raise InputError("symmetries is None for weights by name; expected those of find_symmetries(model)")
    else:
        named, known = weights, list(symmetries)
    check_symmetries(known, named)
    names = {view.name: None for symmetry in known for view in symmetry.views}
    unknown = [name for name in names if name not in named]
    if unknown:
        raise InputError(
            f"symmetries act on {unknown[0]}; expected only names of weights ({', '.join([*named][:5])}, …)"
        )
    return {name: named[name].detach().double() for name in names}, [s for s in known if not s.is_discrete]


def _conserved(weights: Mapping[str, Tensor], symmetry: Symmetry) -> Tensor:
    if symmetry.adds:
        matrices = [view.read(weights) for view in symmetry.into]
        return torch.cat([(m.sum(0) if symmetry.kind == "softmax" else m.reshape(-1)) for m in matrices])
    plus, minus = _terms(weights, symmetry)
    return plus - minus


def _terms(weights: Mapping[str, Tensor], symmetry: Symmetry) -> tuple[Tensor, Tensor]:
    """The two terms whose difference a general linear group, or scales of units, conserve."""
    made, taken = (torch.cat([view.read(weights) for view in side], 1) for side in (symmetry.producers, symmetry.out))
    if symmetry.kind == "linear":
        return taken @ taken.T, made @ made.T
    return made.square().sum(1), taken.square().sum(1)
