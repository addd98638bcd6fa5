"""`OutputWeights`: how much the user's loss looks at each output: not at all at padding, more at a heavy class."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from llckit.errors import InputError
from llckit.posterior.distance import OutputSpace
from llckit.posterior.outputs import Outputs
from llckit.posterior.trees import Tree, length

WIDE, WIDE_LOGITS = 1e6, 30.0  # at such numbers losses such as Huber's and the hinge are straight lines on both sides
PROPORTIONAL = 1e-3  # how far apart two measurements of the same weights may be
EQUAL = 3e-3  # relative difference of weights that count as the same


class OutputWeights:
    """w_p ∝ s·(∇_p ℓ(s) − ∇_p ℓ(−s)), how much gradients of the user's loss in output p differ between two outputs.

    The same numbers s stand in for the outputs at every position p, so what differs between positions is what the loss
    makes of them: 0 where it does not look (ignored labels, padding, masked pixels), more for a class or sample of
    larger weight. For cross-entropy and squared error w_p depends neither on s nor on the targets' values.

    For other losses the weights from two s must agree, near 0 or far from it. If they do not, the loss's curvature
    depends on its targets; all positions then count alike, and a loss that leaves some out is refused.

    Args:
        outputs: How the model's outputs are found.
        space: What they stand for.
        model: The model.
        batch: A few samples.

    Raises:
        InputError: See `__call__`.
    """

    def __init__(self, outputs: Outputs, space: OutputSpace, model: nn.Module, batch: Tree) -> None:
        self._outputs, self._space = outputs, space
        own = outputs(model, batch).detach()
        near = self._patterns(own)
        wide = WIDE_LOGITS if space.class_dim is not None else WIDE
        self._are_near = True
        self._first = 1.0
        self._is_definite = self._agree(near, model, batch)
        if not self._is_definite:
            self._are_near = False
            self._is_definite = self._agree([wide * s for s in near], model, batch)
        if not self._is_definite:
            self._are_near, self._numbers = True, near[0]

    def __call__(self, model: nn.Module, batch: Tree) -> Tensor:
        """The weights of all positions of a batch; exactly 1 where they are those of the first that counts.

        Args:
            model: The model.
            batch: A batch of the user's.

        Returns:
            float64, of the outputs' shape but for classes.

        Raises:
            InputError: The loss leaves out some classes, or some positions and its weights depend on the targets.
        """
        found, seen = self._measured(model, batch)
        if (seen & ~(found > 0)).any() if self._is_definite else not seen.all():
            raise InputError(
                "the loss leaves out some of the model's outputs or weighs them, and its curvature depends on the "
                "targets, so there is no telling what each output counts; expected cross-entropy or squared error "
                "where outputs are masked, or a model that returns what counts alone"
            )
        if not self._is_definite:
            return torch.ones_like(found)
        found = found / self._first
        return torch.where((found - 1).abs() <= EQUAL, 1.0, found)

    def _agree(self, patterns: list[Tensor], model: nn.Module, batch: Tree) -> bool:
        """Whether two choices of s give the same weights, up to a factor."""
        found = []
        for self._numbers in patterns:
            weights, seen = self._measured(model, batch)
            if not seen.any() or not (weights[seen] > 0).all():
                return False
            found.append(weights[seen])
        one, other = found
        if len(one) != len(other):
            return False
        ratio, self._first = one / other, float(other[0])
        return bool(ratio.max() - ratio.min() <= PROPORTIONAL * ratio.mean())

    def _patterns(self, own: Tensor) -> list[Tensor]:
        """Two choices of s near 0, numbers that are alike at every position."""
        if self._space.class_dim is None:
            size = max(1.0, float(own.double().square().mean().sqrt()))
            return [own.new_tensor(size), own.new_tensor(0.6 * size)]
        generator = torch.Generator().manual_seed(1)
        shape = [size if dim == self._space.class_dim else 1 for dim, size in enumerate(own.shape)]
        return [torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu").to(own) for _ in range(2)]

    def _measured(self, model: nn.Module, batch: Tree) -> tuple[Tensor, Tensor]:
        """Weights of all positions, and whether the loss looks there at all."""
        dim, s = self._space.class_dim, self._numbers.double()
        up, down = (self._gradient(sign * self._numbers, model, batch) for sign in (1, -1))
        found, seen = s * (up - down), (up != 0) | (down != 0)
        if dim is None:
            return length(batch) * found / s.square(), seen
        found, any_seen = found.sum(dim), seen.any(dim, keepdim=True)
        if self._are_near and (any_seen & ~seen).any():
            raise InputError(
                "the loss leaves out some classes at some positions; expected a loss of all classes: let the model "
                "return logits with its mask applied, such as -inf for what is not allowed"
            )
        return length(batch) * found[0].numel() * found, any_seen.squeeze(dim)

    def _gradient(self, numbers: Tensor, model: nn.Module, batch: Tree) -> Tensor:
        put: list[Tensor] = []

        def other(output: Tensor) -> Tensor:
            put.append(numbers.expand_as(output).clone().requires_grad_())
            return self._space.outputs(put[0])

        with torch.enable_grad():
            (grad,) = torch.autograd.grad(self._outputs.loss_of(model, batch, other), put[0])
        grad = grad.double()
        return torch.zeros_like(grad) if grad.isnan().all() else grad  # 0/0: nothing in this batch counts
