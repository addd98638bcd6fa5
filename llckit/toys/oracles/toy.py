"""A toy: a model at a point whose local learning coefficient is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from llckit.posterior import LossFunction
from llckit.toys.oracles.potentials import potential_loss

__all__ = ["Energy", "Toy", "population_toy"]

SAMPLES = 10_000  # n; losses are population losses, so the data only say how many samples there would be

Energy = Callable[[float, float], float]  # E[nβ (L − L*)] of (n_beta, localization)


class Toy(NamedTuple):
    """A model at a point whose LLC is known; `estimate_llc(toy.model, toy.data, toy.loss_fn)` estimates it.

    Attributes:
        name: Name, unique in the catalogue.
        family: Kind of model that it is an example of.
        model: Model at w*.
        data: One column of n rows that the loss does not use.
        loss_fn: Population loss, a function of the model and the batch.
        llc: Local learning coefficient λ at w*.
        multiplicity: Multiplicity m at w*.
        exact: E[nβ (L − L*)] as a function of (n_beta, localization); None if no closed form is known.
        source: Where the answer comes from.
    """

    name: str
    family: str
    model: nn.Module
    data: tuple[Tensor, ...]
    loss_fn: LossFunction
    llc: float
    multiplicity: int
    exact: Energy | None
    source: str


def population_toy(
    name: str,
    family: str,
    model: nn.Module,
    answer: tuple[float, int],
    source: str,
    *,
    loss_fn: LossFunction = potential_loss,
    exact: Energy | None = None,
) -> Toy:
    """A toy whose loss is a population loss, so that its data are only a number of samples.

    Args:
        name: Name, unique in the catalogue.
        family: Kind of model that it is an example of.
        model: Model at w*, in float32.
        answer: (λ, m) at w*.
        source: Where the answer comes from.
        loss_fn: Loss as a function of the model and an unused batch; by default the model is its own loss.
        exact: E[nβ (L − L*)] as a function of (n_beta, localization), if a closed form is known.

    Returns:
        The toy.
    """
    return Toy(name, family, model, (torch.zeros(SAMPLES, 1),), loss_fn, *answer, exact, source)
