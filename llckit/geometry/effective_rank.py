"""The rank of what is learned: effective and stable rank of matrices, of a model's weights and of its activations.

Each is a function of a model, and of inputs if it needs them. It can be recorded beside a checkpoint, evaluated along a
store, or observed at posterior draws. `detect_transitions(observables=…)` says whether it moves with λ̂ along a run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from llckit.errors import InputError
from llckit.geometry.check_module import check_module

__all__ = ["activation_ranks", "effective_rank", "stable_rank", "weight_ranks"]


def effective_rank(matrix: Tensor) -> float:
    """exp(−Σ p_i ln p_i), p_i = σ_i/Σσ: the exponential of the entropy of the singular values.

    It lies between 1 and the rank, and equals the rank if all non-zero singular values are equal (Roy & Vetterli, The
    effective rank: a measure of effective dimensionality, EUSIPCO 2007). It is the same for A and cA, and needs no
    threshold.

    Args:
        matrix: Finite matrix A, shape (m, n).

    Returns:
        The effective rank; 0 for a zero matrix.

    Raises:
        InputError: `matrix` is no finite tensor of two dimensions.
    """
    values = _singular_values(matrix)
    if not values.any():
        return 0.0
    shares = values / values.sum()
    return float(torch.special.entr(shares).sum().exp())


def stable_rank(matrix: Tensor) -> float:
    """‖A‖_F²/‖A‖₂² = Σσ_i²/σ_1², between 1 and the rank; small singular values count less than in `effective_rank`.

    Args:
        matrix: Finite matrix A, shape (m, n).

    Returns:
        The stable rank (Rudelson & Vershynin, arXiv math/0503442); 0 for a zero matrix.

    Raises:
        InputError: `matrix` is no finite tensor of two dimensions.
    """
    values = _singular_values(matrix)
    return float((values / values[0]).square().sum()) if len(values) and values[0] > 0 else 0.0


def weight_ranks(model: nn.Module, rank: Callable[[Tensor], float] = effective_rank) -> dict[str, float]:
    """The rank of every weight matrix.

    Args:
        model: Any module.
        rank: `effective_rank`, `stable_rank` or any other function of a matrix.

    Returns:
        Ranks by the parameter's name. A convolution's kernel counts as a matrix (outputs, inputs × places). Parameters
        of fewer than two dimensions are left out.

    Raises:
        InputError: `model` is no module.
    """
    check_module(model)
    return {name: rank(p.detach().flatten(1)) for name, p in model.named_parameters() if p.dim() > 1}


def activation_ranks(
    model: nn.Module, inputs: Any, rank: Callable[[Tensor], float] = effective_rank
) -> dict[str, float]:
    """The rank of the activations that inputs cause, at the outputs of all modules without submodules.

    Args:
        model: Any module. It is called once as `model(inputs)`, in evaluation mode and without gradients, and left as
            it was.
        inputs: The model's input, a batch.
        rank: Function of a matrix (samples, features): `effective_rank`, `stable_rank` or another.

    Returns:
        Ranks by module name. All dimensions of an output after the first count as features. If a module has several
        outputs, the first counts; if it is used repeatedly, the last use. Modules whose output is no floating-point
        tensor with a batch dimension are left out.

    Raises:
        InputError: `model` is no module.
    """
    check_module(model)
    activations: dict[str, Tensor] = {}
    leaves = {name: module for name, module in model.named_modules() if not any(True for _ in module.children())}

    def recording(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            output = output[0] if isinstance(output, tuple) and output else output
            if isinstance(output, Tensor) and output.is_floating_point() and output.dim() > 1:
                activations[name] = output.detach().flatten(1)

        return hook

    handles = [module.register_forward_hook(recording(name)) for name, module in leaves.items()]
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        with torch.no_grad():
            model(inputs)
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
    return {name: rank(activations[name]) for name in leaves if name in activations}


def _singular_values(matrix: Tensor) -> Tensor:
    if not isinstance(matrix, Tensor) or matrix.dim() != 2 or not torch.isfinite(matrix).all():
        shape = f" of shape {tuple(matrix.shape)}" if isinstance(matrix, Tensor) else ""
        raise InputError(
            f"matrix is a {type(matrix).__name__}{shape}; expected a tensor of two dimensions without NaN or inf"
        )
    return torch.linalg.svdvals(matrix.detach().to(torch.complex128 if matrix.is_complex() else torch.float64))
