"""What gradient flow conserves along a training run: one quantity for each continuous symmetry.

Under ẇ = −∇L(w) with one learning rate for all weights, Noether's argument gives for V → gV, b → gb, V′ → g⁻ᵀV′

    d/dt (V′V′ᵀ − VVᵀ − bbᵀ) = 0 for all g in GL_h,    d/dt (‖V_i‖² + b_i² − ‖V′_i‖²) = 0 for scales of units

(Saxe et al. 2014, arXiv 1312.6120; Du, Hu & Lee 2018, arXiv 1806.00900; Kunin et al. 2021, arXiv 2012.04728), that is
W₂ᵀW₂ − W₁W₁ᵀ − b₁b₁ᵀ between linear layers and W_QW_Qᵀ + b_Qb_Qᵀ − W_KW_Kᵀ in a head. What a softmax does not see
conserves sums: of the last layer over the classes, and the key's bias as it is.

A step of gradient descent changes the matrix by η²(G′G′ᵀ − GGᵀ − g_b g_bᵀ) exactly, G = ∂L/∂V and so on, and one of
stochastic gradients likewise with theirs. So over a fixed time ηT the drift grows as η, and its part from gradient
noise as η divided by the batch size. Weight decay λ shrinks the matrix as e^{−2λt}; Adam and other optimizers that
scale single weights conserve nothing of the kind, and the drift says how far the run is from gradient flow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from llckit.errors import InputError
from llckit.geometry.group import Symmetry, check_symmetries
from llckit.geometry.symmetry import find_symmetries

CONSERVING = ("linear", "homogeneous", "softmax", "free")

Weights = nn.Module | Mapping[str, Tensor]


def conserved(weights: Weights, symmetries: Sequence[Symmetry] | None = None) -> dict[str, Tensor]:
    """The quantities that gradient flow conserves.

    Args:
        weights: A model, or its parameters by name, such as a checkpoint's.
        symmetries: Found by `find_symmetries` or declared; None finds them in a model.

    Returns:
        By symmetry (`str(symmetry)`), in float64: (h, h) for "linear", V′V′ᵀ − VVᵀ − bbᵀ; (h,) for "homogeneous",
        ‖V_i‖² + b_i² − ‖V′_i‖²; 1ᵀV for "softmax", V for "free". Discrete symmetries conserve nothing.

    Raises:
        InputError: No symmetries for weights that are no model, or some that do not fit the weights.
    """
    tensors, known = _checked(weights, symmetries)
    return {str(symmetry): _quantity(tensors, symmetry, -1) for symmetry in known}


def conserved_drift(start: Weights, symmetries: Sequence[Symmetry] | None = None) -> Callable[[Weights], float]:
    """How far a run has left what gradient flow conserves, as one number for each checkpoint.

    drift(w) = (Σ ‖C(w) − C(w₀)‖² / Σ ‖S(w₀)‖²)^½ over the matrices and vectors C of `conserved` that general linear
    groups and scales have, with S the sum of the terms whose difference C is (V′V′ᵀ + VVᵀ + bbᵀ and ‖V_i‖² + b_i² +
    ‖V′_i‖²), since C itself may well be zero at the start.

    It can be recorded with the checkpoints (`recorder(step, model, drift=drift(model))`), which `detect_transitions`
    then sees beside the LLC, or computed from them afterwards:
    `detect_transitions(curve, observables={"drift": [drift(store.load(step)) for step in curve.step]})`.

    Args:
        start: The model or its parameters by name at the run's start, w₀; a copy is made.
        symmetries: Found by `find_symmetries` or declared; None finds them in a model.

    Returns:
        A function of a model or of parameters by name; 0 at the start, dimensionless.

    Raises:
        InputError: Nothing is conserved, or the weights concerned are all zero; and see `conserved`.
    """
    tensors, known = _checked(start, symmetries)
    known = [symmetry for symmetry in known if symmetry.kind in {"linear", "homogeneous"}]
    first = [_quantity(tensors, symmetry, -1) for symmetry in known]
    size = sum(float(_quantity(tensors, symmetry, 1).square().sum()) for symmetry in known) ** 0.5
    if not size > 0:
        raise InputError(
            "gradient flow conserves nothing here: no general linear group or scale is known, or all weights that it "
            "acts on are zero"
        )

    def drift(weights: Weights) -> float:
        there, _ = _checked(weights, known)
        change = [_quantity(there, symmetry, -1) - before for symmetry, before in zip(known, first, strict=True)]
        return sum(float(c.square().sum()) for c in change) ** 0.5 / size

    return drift


def _checked(weights: Weights, symmetries: Sequence[Symmetry] | None) -> tuple[dict[str, Tensor], list[Symmetry]]:
    if symmetries is None and not isinstance(weights, nn.Module):
        raise InputError("no symmetries were given for weights by name; expected those of find_symmetries(model)")
    known = find_symmetries(weights) if symmetries is None else list(symmetries)  # pyright: ignore
    named = dict(weights.named_parameters()) if isinstance(weights, nn.Module) else weights
    check_symmetries(known, named)
    unknown = [view.name for symmetry in known for view in symmetry.views if view.name not in named]
    if unknown:
        raise InputError(
            f"symmetries act on {unknown[0]}, which is not among the weights ({', '.join([*named][:5])}, …)"
        )
    names = {view.name for symmetry in known for view in symmetry.views}
    return {name: named[name].detach().double() for name in names}, [s for s in known if s.kind in CONSERVING]


def _quantity(weights: Mapping[str, Tensor], symmetry: Symmetry, sign: int) -> Tensor:
    """What is conserved (sign −1), or the sum of the terms that it is the difference of (sign 1)."""
    if symmetry.kind in {"softmax", "free"}:
        matrices = [view.read(weights) for view in symmetry.into]
        return torch.cat([(m.sum(0) if symmetry.kind == "softmax" else m.reshape(-1)) for m in matrices])
    made, taken = (torch.cat([view.read(weights) for view in side], 1) for side in (symmetry.producers, symmetry.out))
    if symmetry.kind == "linear":
        return taken @ taken.T + sign * made @ made.T
    return made.square().sum(1) + sign * taken.square().sum(1)
