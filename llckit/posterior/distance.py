"""`Distance`: how far a model's outputs are from those of the checkpoint, in the unit of the user's loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from llckit.errors import InputError
from llckit.posterior.outputs import Outputs
from llckit.posterior.trees import Tree

SAME = 1e-5  # relative change of a loss that is rounding
LOG_ONE = 1e-4  # how far from 0 the logarithm of a sum of probabilities may be


class OutputSpace(NamedTuple):
    """What outputs stand for.

    Attributes:
        class_dim: The dimension of classes; None if outputs are numbers of their own.
        are_log: Whether they are logarithms of probabilities, and not free.
    """

    class_dim: int | None
    are_log: bool = False

    def outputs(self, numbers: Tensor) -> Tensor:
        """Outputs that a model could give, from any numbers."""
        if not self.are_log:
            return numbers
        assert self.class_dim is not None
        return torch.log_softmax(numbers, self.class_dim)

    def between(self, output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """KL(p_target ‖ p_output), the mean over positions of a sample; without classes ‖output − target‖².

        Args:
            output: The model's, shape (batch, …).
            target: The checkpoint's, of the same shape.
            weight: What each position counts, of the same shape but for classes; None for 1.

        Returns:
            One float64 distance per sample, shape (batch,).
        """
        if self.class_dim is None:
            each = (output - target).double().square()
        else:
            log_p = torch.log_softmax(target.double(), self.class_dim)
            log_q = torch.log_softmax(output.double(), self.class_dim)
            each = (log_p.exp() * (log_p - log_q)).sum(self.class_dim)
        each = each if weight is None else each * weight
        if each.dim() == 1:
            return each
        return each.flatten(1).sum(1) if self.class_dim is None else each.flatten(1).mean(1)


class Distance:
    """c · the distance of outputs, as a loss whose batches are pairs (batch of the user's, target).

    A target is the checkpoint's outputs, or a tuple of these and the weights of their positions.

    Args:
        outputs: How the model's outputs are found.
        space: What they stand for.
        scale: c.
    """

    def __init__(self, outputs: Outputs, space: OutputSpace, scale: float) -> None:
        self._outputs, self._space, self._scale = outputs, space, scale

    def __call__(self, model: nn.Module, batch: Tree) -> Tensor:
        """The distance of each sample, shape (batch,)."""
        inputs, target = batch
        target, weight = target if isinstance(target, tuple) else (target, None)
        return self._scale * self._space.between(self._outputs(model, inputs), target, weight)


class Curved:
    """How the user's loss is curved in the outputs, found by trying random ones on a few samples.

    Args:
        outputs: How the model's outputs are found.
        model: The model.
        batch: A few samples.

    Attributes:
        space: What outputs stand for.

    Raises:
        InputError: The loss is not curved in the outputs.
    """

    def __init__(self, outputs: Outputs, model: nn.Module, batch: Tree) -> None:
        own = outputs(model, batch).detach()
        generator = torch.Generator().manual_seed(0)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64, device="cpu").to(own)

        @torch.no_grad()
        def loss(numbers: Tensor) -> float:
            return float(outputs.loss_of(model, batch, lambda _: self.space.outputs(numbers)))

        self.space = OutputSpace(None)
        self._at, self._shift = normal(*own.shape), 0.1 * normal(*own.shape)
        self.space = OutputSpace(_class_dim(loss, self._at, normal))
        self._rise, is_curved = self._tried(loss)
        dim = None if is_curved else _log_dim(own)
        if dim is not None:
            self.space = OutputSpace(dim, are_log=True)
            self._rise, is_curved = self._tried(loss)
        if not is_curved:
            raise InputError(
                "the loss is not curved in the model's outputs, so their distance has no unit; expected a loss such as "
                "cross-entropy or squared error of what model(...) returns: logits or log-probabilities, and not "
                "probabilities"
            )

    def _tried(self, loss: Callable[[Tensor], float]) -> tuple[float, bool]:
        values = [loss(self._at + self._shift), loss(self._at - self._shift), loss(self._at)]
        rise = values[0] + values[1] - 2 * values[2]
        return rise, rise > 8 * torch.finfo(self._at.dtype).eps * max(map(abs, values))

    def scale(self, weight: Tensor | None) -> float:
        """The factor that gives a distance the curvature of the user's loss.

        Args:
            weight: What each position of these samples counts.

        Returns:
            c.
        """
        at, shift = self._at, self._shift
        ours = self.space.between(at + shift, at, weight) + self.space.between(at - shift, at, weight)
        return self._rise / float(ours.mean())


def _class_dim(loss: Callable[[Tensor], float], at: Tensor, normal: Callable[..., Tensor]) -> int | None:
    """The dimension along which a constant added to a sample's outputs leaves the loss as it is, as in a softmax."""
    for dim in dict.fromkeys((at.dim() - 1, 1)):
        if 0 < dim < at.dim() and at.shape[dim] > 1:
            constant = normal(*(1 if d == dim else s for d, s in enumerate(at.shape)))
            if abs(loss(at + constant) - loss(at)) <= SAME * abs(loss(at)):
                return dim
    return None


def _log_dim(output: Tensor) -> int | None:
    """The dimension along which outputs are logarithms of probabilities."""
    for dim in dict.fromkeys((output.dim() - 1, 1)):
        is_classes = 0 < dim < output.dim() and output.shape[dim] > 1
        if is_classes and float(output.double().logsumexp(dim).abs().max()) < LOG_ONE:
            return dim
    return None
