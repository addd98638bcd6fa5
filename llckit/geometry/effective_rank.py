"""The rank of what is learned: effective and stable rank of weights, activations and the Fisher matrix.

Each is a function of a model, and of inputs where it needs them, so that it can be recorded beside a checkpoint, be
evaluated along a store, or be observed at posterior draws. Along a run `detect_transitions(observables=…)` says
whether it moves with λ̂.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from llckit.errors import InputError
from llckit.posterior import LossFunction, Task
from llckit.posterior.trees import tree_map

ROWS_BYTES = 2**30  # of the per-sample gradients that `gradient_gram` holds


def _check_module(model: object) -> None:
    if not isinstance(model, nn.Module):
        raise InputError(f"model is a {type(model).__name__}; expected a torch.nn.Module")


def effective_rank(matrix: Tensor) -> float:
    """exp(−Σ p_i ln p_i), p_i = σ_i/Σσ: the exponential of the entropy of the singular values.

    Between 1 and the rank, which it is where all non-zero singular values are equal (Roy & Vetterli, The effective
    rank: a measure of effective dimensionality, EUSIPCO 2007). It is the same for cA, and no threshold is needed.

    Args:
        matrix: A, shape (m, n), finite.

    Returns:
        The effective rank; 0 for a zero matrix.
    """
    values = _singular_values(matrix)
    if not values.any():
        return 0.0
    shares = values / values.sum()
    return float(torch.special.entr(shares).sum().exp())


def stable_rank(matrix: Tensor) -> float:
    """‖A‖_F²/‖A‖₂² = Σσ_i²/σ_1², between 1 and the rank; small singular values count less than in `effective_rank`.

    Args:
        matrix: A, shape (m, n), finite.

    Returns:
        The stable rank (Rudelson & Vershynin, arXiv math/0503442); 0 for a zero matrix.
    """
    values = _singular_values(matrix)
    return float((values / values[0]).square().sum()) if len(values) and values[0] > 0 else 0.0


def weight_ranks(model: nn.Module, rank: Callable[[Tensor], float] = effective_rank) -> dict[str, float]:
    """The rank of every weight matrix.

    Args:
        model: Any.
        rank: `effective_rank`, `stable_rank` or any other function of a matrix.

    Returns:
        By the parameter's name; a convolution's kernel counts as a matrix (outputs, inputs × places), and parameters
        of fewer than two dimensions are left out.

    Raises:
        InputError: No module.
    """
    _check_module(model)
    return {name: rank(p.detach().flatten(1)) for name, p in model.named_parameters() if p.dim() > 1}


def activation_ranks(
    model: nn.Module, inputs: Any, rank: Callable[[Tensor], float] = effective_rank
) -> dict[str, float]:
    """The rank of the activations that inputs cause, at the outputs of all modules that hold no others.

    Args:
        model: Any; called once as `model(inputs)`, in evaluation mode and without gradients, and left as it was.
        inputs: What the model takes, a batch first.
        rank: Of a matrix (samples, features): `effective_rank`, `stable_rank` or another.

    Returns:
        By module name; further dimensions of an output count as features, and of several outputs the first counts.
        Modules that give no floating-point tensor with a batch dimension are left out; of one that is used repeatedly
        the last use counts.

    Raises:
        InputError: No module.
    """
    _check_module(model)
    seen: dict[str, Tensor] = {}
    leaves = {name: module for name, module in model.named_modules() if not any(True for _ in module.children())}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            output = output[0] if isinstance(output, tuple) and output else output
            if isinstance(output, Tensor) and output.is_floating_point() and output.dim() > 1:
                seen[name] = output.detach().flatten(1)

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in leaves.items()]
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
    return {name: rank(seen[name]) for name in leaves if name in seen}


def fisher_rank(
    model: nn.Module, data: Any, loss_fn: LossFunction, rank: Callable[[Tensor], float] = effective_rank
) -> float:
    """The rank of the empirical Fisher matrix F = (1/n) Σ_i g_i g_iᵀ, g_i the gradient of sample i's loss.

    F has the non-zero eigenvalues of the Gram matrix g_i·g_j/n, so n × n numbers are enough: see `gradient_gram`. Where
    all samples are fitted exactly the gradients vanish, and so does F; the outputs' derivatives do not, whose Gram
    matrix `gradient_gram` forms as well.

    Args:
        model: At w*.
        data: n samples, as for `Task`.
        loss_fn: As for `Task`.
        rank: `effective_rank`, `stable_rank` or another function of a matrix.

    Returns:
        The rank.
    """
    return rank(gradient_gram(model, data, loss_fn))


def gradient_gram(model: nn.Module, data: Any, function: LossFunction) -> Tensor:
    """The Gram matrix ∇f_i·∇f_j of one number f_i for each sample, over all parameters that train.

    Of the loss, divided by n, it has the spectrum of the empirical Fisher matrix; of a scalar output it is the neural
    tangent kernel (Jacot et al., arXiv 1806.07572), and 2/n of that has the spectrum of the Gauss-Newton matrix of the
    mean squared error.

    Args:
        model: At w*.
        data: n samples, as for `Task`, which can be taken one by one.
        function: `function(model, batch)` gives f, one number for each sample or their mean, of any batch of samples.

    Returns:
        float64, shape (n, n).

    Raises:
        InputError: The samples' gradients take more than 1 GiB together, or anything that `Task` refuses.
    """
    task = Task(model, data, function)
    with closing(task.samples):
        point = task.checkpoint()
        size = point.samples.n * task.dim * point.weights.element_size()
        if size > ROWS_BYTES:
            raise InputError(
                f"the gradients of {point.samples.n} samples by {task.dim} parameters take {size / 2**30:.1f} GiB; "
                f"expected at most {ROWS_BYTES / 2**30:.0f} GiB: give {ROWS_BYTES * point.samples.n // size} samples"
            )
        # Each sample is a batch of its own, so that a mean over the batch is its own value.
        batch = tree_map(lambda x: x.unsqueeze(1), point.samples.gather(torch.arange(point.samples.n)))
        gradient = grad(task.flat_loss.mean)
        with torch.enable_grad():
            if task.flat_loss.vmaps:
                rows = vmap(gradient, in_dims=(None, None, 0))(point.weights, point.fixed, batch)
            else:
                singles = (tree_map(lambda x, i=i: x[i], batch) for i in range(point.samples.n))
                rows = torch.stack([gradient(point.weights, point.fixed, single) for single in singles])
    rows = rows.detach().double()
    return rows @ rows.T


def _singular_values(matrix: Tensor) -> Tensor:
    if not isinstance(matrix, Tensor) or matrix.dim() != 2 or not torch.isfinite(matrix).all():
        found = f"shape {tuple(matrix.shape)}" if isinstance(matrix, Tensor) else type(matrix).__name__
        raise InputError(f"matrix has {found}; expected a tensor of two dimensions without NaN or inf")
    return torch.linalg.svdvals(matrix.detach().to(torch.complex128 if matrix.is_complex() else torch.float64))
