"""`check_loss`: refuses a loss that cannot be sampled, before any work starts."""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from torch import Tensor

from llckit.errors import InputError
from llckit.posterior.flat_loss import Fixed, FlatLoss
from llckit.posterior.samples import Samples
from llckit.posterior.trees import Tree, cut

PROBE = 8  # samples in the batch on which the loss is tried
CALLS = 20  # of a loss that draws random numbers, to see whether they change it


def check_loss(flat_loss: FlatLoss, samples: Samples) -> bool:
    """Refuse a loss that cannot be sampled: wrong in shape or value, random, without gradient, or no mean over samples.

    Args:
        flat_loss: The loss; it is tried at the model's own weights.
        samples: The data, of which the first few samples are tried, and some from all over.

    Returns:
        Whether it is a plain mean over samples. Otherwise it weighs those of a batch against each other, as a mean over
        tokens or class weights do, and its value depends on how samples are put into batches.

    Raises:
        InputError: The loss is wrong; the message says what it gave, and what was expected.
    """
    center, fixed = flat_loss.own_weights()
    batch, size = next(samples.chunks(PROBE))
    away = torch.randn(center.shape, generator=torch.Generator().manual_seed(0), device="cpu").to(center)
    elsewhere = center + 0.1 * (float(center.square().mean().sqrt()) or 1.0) * away
    per_sample = _check_values(flat_loss, center.clone().requires_grad_(), fixed, batch, size)
    _check_modes(flat_loss, elsewhere, fixed, batch)
    is_mean = _is_mean(flat_loss, (center, elsewhere), fixed, batch, size, per_sample=per_sample)
    if samples.block is not None and samples.n > size:
        spread = np.unique(np.linspace(0, samples.n - 1, 2 * PROBE).astype(int))
        more = samples.gather(torch.as_tensor(spread, device="cpu"))
        is_mean &= _is_mean(flat_loss, (center, elsewhere), fixed, more, len(spread), per_sample=per_sample)
    if samples.reread is not None:
        once, again = (flat_loss.mean(center, fixed, batch).item() for batch in samples.reread)
        if not math.isclose(once, again, rel_tol=1e-6):
            raise InputError(
                f"reading the same indices twice gives two losses ({once:.8g}, {again:.8g}): the data set augments at "
                "random; expected one fixed value per index: switch the augmentation off"
            )
    return is_mean


def _check_values(flat_loss: FlatLoss, weights: Tensor, fixed: Fixed, batch: Tree, size: int) -> bool:
    """Refuse a loss that is wrong on one batch; otherwise say whether it gives one loss per sample."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            state = torch.get_rng_state()
            raw = flat_loss.module(batch)
            draws = not torch.equal(state, torch.get_rng_state())
            is_real = isinstance(raw, Tensor) and not raw.is_complex()
            values = [flat_loss.mean(weights, fixed, batch) for _ in range(2)] if is_real else []
        except Exception as error:
            reason = str(error).strip().splitlines() or [""]
            raise InputError(
                f"loss_fn failed on the first {size} samples: {type(error).__name__}: {reason[0]}; "
                "expected loss_fn(model, batch) to give a loss"
            ) from error
    if not values or raw.dim() > 1 or (raw.dim() == 1 and len(raw) != size):
        given = type(raw).__name__
        if isinstance(raw, Tensor):
            given = f"{'complex numbers of ' if raw.is_complex() else ''}shape {tuple(raw.shape)}"
        raise InputError(
            f"loss_fn gave {given} for a batch of {size}; expected a mean loss (a scalar) or one loss per sample "
            f"({size},)"
        )
    first, second = values
    if not (math.isfinite(first.item()) and math.isfinite(second.item())):
        raise InputError(f"the loss is {first.item()} on the first {size} samples; expected a finite number")
    for _ in range(CALLS if draws else 0):  # few samples may be dropped alike twice
        if torch.isclose(first, second, rtol=1e-6, atol=0):
            second = flat_loss.mean(weights, fixed, batch)
    if not torch.isclose(first, second, rtol=1e-6, atol=0):
        raise InputError(
            f"the loss differs between two calls on the same samples ({first.item():.8g}, {second.item():.8g}); "
            "expected a deterministic loss: remove dropout, noise or random augmentation from loss_fn"
        )
    try:
        depends = first.requires_grad and torch.autograd.grad(first, weights, allow_unused=True)[0] is not None
    except Exception as error:
        raise InputError(
            f"the gradient of the loss fails on the first {size} samples: {type(error).__name__}: "
            f"{str(error).strip().splitlines()[0]}; expected a loss that autograd can differentiate, with dense "
            "gradients (sparse=False)"
        ) from error
    if not depends:
        raise InputError(
            "the loss does not depend on the parameters of the model given to loss_fn; expected a loss that does: use "
            "that argument (not a model from outside), and neither detach() nor no_grad()"
        )
    return raw.dim() == 1


def _check_modes(flat_loss: FlatLoss, weights: Tensor, fixed: Fixed, batch: Tree) -> None:
    """Refuse a loss that is another function where no gradients are recorded."""
    try:
        recorded = flat_loss.mean(weights.clone().requires_grad_(), fixed, batch).item()
        with torch.no_grad():
            bare = flat_loss.mean(weights, fixed, batch).item()
    except Exception:
        return  # tried elsewhere than at the checkpoint: whoever goes there will see the error
    if math.isfinite(recorded) and math.isfinite(bare) and not math.isclose(recorded, bare, rel_tol=1e-3):
        raise InputError(
            f"the loss differs with and without recorded gradients ({recorded:.8g}, {bare:.8g}); expected one "
            "function: see that neither the model nor loss_fn asks torch.is_grad_enabled(), and switch off fast paths "
            "that only run without gradients"
        )


def _is_mean(
    flat_loss: FlatLoss, at: tuple[Tensor, Tensor], fixed: Fixed, batch: Tree, size: int, *, per_sample: bool
) -> bool:
    """Whether the loss of a batch is the mean of those of its two halves; False for a weighted mean, else refused."""
    half = size // 2
    pieces = [cut(batch, *part) for part in ((0, 2 * half), (0, half), (half, 2 * half))]
    try:
        with torch.no_grad():
            here, there = ([flat_loss.mean(w, fixed, piece).item() for piece in pieces] for w in at)
    except Exception:
        return True  # a loss made for one size of batch: nothing to compare with
    whole, first, second = here
    if not np.isfinite(here).all():
        return not math.isfinite(whole)  # a half in which no sample counts
    if _are_means(here):
        # Where all outputs are alike, as in a model that is zero, every weighted mean is a plain one.
        return not np.isfinite(there).all() or _are_means(there)
    if math.isclose(whole, first + second, rel_tol=1e-3):
        raise InputError(
            f"the loss of {2 * half} samples is the sum of the losses of its two halves; expected a mean: use "
            'reduction="mean", or one loss per sample'
        )
    weighted = not np.isfinite(there).all() or _are_weighted_means(here, there)
    if per_sample or not weighted:
        raise InputError(
            f"the loss of {2 * half} samples ({whole:.6g}) is no mean of the losses of its two halves ({first:.6g}, "
            f"{second:.6g}); expected a mean over independent samples: see that samples of a batch do not act on each "
            "other, as by batch normalisation in training mode, or by targets whose shape is broadcast against the "
            "outputs'"
        )
    return False


def _are_means(values: list[float]) -> bool:
    """Whether a triple is ((a + b)/2, a, b)."""
    whole, a, b = values
    return abs(2 * whole - a - b) <= 1e-3 * (abs(a) + abs(b)) + 1e-12


def _are_weighted_means(here: list[float], there: list[float]) -> bool:
    """Whether both triples are (t a + (1 − t) b, a, b) with one t, as where samples count unequally (tokens do)."""
    (whole, a, b), (other, c, d) = here, there
    if abs(a - b) <= 1e-2 * abs(whole):
        return min(a, b) <= whole <= max(a, b)
    share = (whole - b) / (a - b)
    return 0 <= share <= 1 and abs(share * c + (1 - share) * d - other) <= 1e-3 * max(abs(c), abs(d))
