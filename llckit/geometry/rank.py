"""The number of Hessian eigenvalues that are not zero: counted in small models, searched for in large."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from llckit.checks import check_bool, check_integer, check_seed
from llckit.errors import InputError
from llckit.geometry.check_module import check_module
from llckit.geometry.hessian import gradient_and_products
from llckit.geometry.range_search import RangeSearch
from llckit.posterior import Checkpoint, LossFunction, Task, behavioral_task
from llckit.posterior.copied import copied
from llckit.posterior.trees import Tree, tree_map

__all__ = [
    "MAX_DENSE",
    "MEMORY",
    "TOLERANCE",
    "AllEigenvalues",
    "Method",
    "PartialSearch",
    "Rank",
    "RitzValues",
    "counted",
    "find_rank",
    "hessian_rank",
    "make_task",
    "resolution_of",
]

MAX_DENSE = 3000  # parameters: a float64 Hessian of 72 MB, whose eigenvalues take seconds
TOLERANCE = 1e-6  # relative to the largest eigenvalue; float32 weights leave about 1e-7 in place of zeros
RESOLUTION_FLOAT64 = 1e-12  # relative to the largest: what float64 weights leave in place of zeros is smaller
TOLERANCE_FLOAT32 = 1e-4  # the same for products with random vectors in float32, whose rounding errors are up to 1e-5
NEGATIVE_MARGIN = 10.0  # an eigenvalue has to exceed the most negative one, the size of the errors, by this factor
GAP = 10.0  # ratio of neighbouring eigenvalues that separates those that count from the others
MEMORY = 2**30  # bytes of the vectors kept
BLOCK = 16  # vectors multiplied at a time


@dataclass(frozen=True)
class AllEigenvalues:
    """All eigenvalues were computed."""

    missed: ClassVar[float] = 0.0

    def __str__(self) -> str:
        return "all eigenvalues"


@dataclass(frozen=True)
class RitzValues:
    """Block Lanczos searched until nothing was left.

    Attributes:
        num_directions: Number of directions searched.
        missed: Bound on the eigenvalues that were not found.
    """

    num_directions: int
    missed: float

    def __str__(self) -> str:
        return f"Ritz values of {self.num_directions} directions; what is left is below {self.missed:.2g}"


@dataclass(frozen=True)
class PartialSearch:
    """Block Lanczos searched until memory ended; nothing is known about the eigenvalues that it did not find.

    Attributes:
        num_directions: Number of directions searched.
    """

    num_directions: int
    missed: ClassVar[None] = None

    def __str__(self) -> str:
        return f"a lower bound: max_bytes holds {self.num_directions} directions, and there are more"


Method = AllEigenvalues | RitzValues | PartialSearch


@dataclass(frozen=True)
class Rank:
    """The numerical rank of a symmetric matrix that should be positive semidefinite, such as a minimum's Hessian.

    An eigenvalue h counts if h > tolerance · h_max and h > 10 |h_min|, where h_min is the most negative eigenvalue. A
    minimum has no negative eigenvalues, so the size of h_min is that of the errors. Both rules leave out too many
    rather than too few, so ½ rank <= λ holds in any case.

    Attributes:
        rank: Number of eigenvalues that count.
        gap: The smallest eigenvalue that counts over the largest that does not, or over the bound on what was missed if
            that is larger; inf if all count, and NaN if none does.
        eigenvalues: Eigenvalues, ascending, float64, in the loss's unit: all of them, or the Ritz values of the space
            searched, shape (found,). The i-th largest Ritz value never exceeds the i-th largest eigenvalue (Cauchy).
        tolerance: Tolerance, relative to the largest eigenvalue.
        method: How the eigenvalues were found.
        resolution: Relative size above which an eigenvalue is more than rounding of the weights, at most `tolerance`.
    """

    rank: int
    gap: float
    eigenvalues: Tensor
    tolerance: float
    method: Method
    resolution: float

    @property
    def is_exact(self) -> bool:
        """Whether the rank is more than a lower bound.

        Four things must hold: all eigenvalues above the tolerance were found, the smallest that counts is at least 10
        times the largest that does not, none is more negative than the tolerance, and none that does not count is
        known to differ from zero. Otherwise the memory, or the choice of a tolerance within a spectrum without a gap or
        over many decades, set the rank.
        """
        has_gap = self.rank == 0 or self.gap >= GAP
        return self.method.missed is not None and has_gap and not self.is_saddle and not self.num_small

    @property
    def num_small(self) -> int:
        """Number of eigenvalues that do not count, but exceed what rounding and errors leave in place of zeros."""
        low, high = self._extremes
        floor = max(self.resolution * high, -NEGATIVE_MARGIN * low, 0.0)
        return max(0, int((self.eigenvalues > floor).sum()) - self.rank)

    @property
    def is_saddle(self) -> bool:
        """Whether an eigenvalue is more negative than the tolerance, so that w* is no minimum."""
        low, high = self._extremes
        return low < -self.tolerance * high

    @property
    def note(self) -> str:
        """How the eigenvalues were found, and whether w* is no minimum or some are too small to count, in words."""
        low, high = self._extremes
        if not self.is_saddle:
            small = f"; {self.num_small} more are small, but not zero: features may have different scales"
            return f"{self.method}{small if self.num_small else ''}"
        share = f"-{-low / high:.2g} of the largest" if high > 0 else "no positive one"
        return f"{self.method}; no minimum: eigenvalues down to {low:.2g}, {share}"

    @property
    def _extremes(self) -> tuple[float, float]:
        return float(self.eigenvalues[0]), float(self.eigenvalues[-1])


def hessian_rank(
    model: nn.Module,
    data: Any,
    loss_fn: LossFunction,
    *,
    gauss_newton: bool = False,
    double: bool | None = None,
    max_bytes: int = MEMORY,
    seed: int = 0,
    progress: bool = True,
) -> Rank:
    """The numerical rank of ∇²L(w*), or of the Gauss-Newton matrix.

    Up to 3000 parameters all eigenvalues are computed. Above that, block Lanczos finds the eigenvalues over the
    tolerance from Hessian-vector products, by double backward (`RangeSearch`). If memory ends the search first, the
    rank found is a lower bound.

    Args:
        model: The model at w*.
        data: Data as for `Task`.
        loss_fn: `loss_fn(model, batch)`, twice differentiable.
        gauss_newton: Whether to take the rank of Jᵀ H_out J in place of the Hessian's, with the outputs' derivatives J
            and the loss's curvature H_out in the outputs. That is the Hessian of the behavioral loss;
            `behavioral_task` says which losses allow it. Both ranks agree if the loss is at its minimum for every
            sample.
        double: Whether to work in float64, which the loss must be able to; None does so up to 3000 parameters.
        max_bytes: Bytes of the vectors kept, 1 GiB by default. The loss's own activations take at most 256 MiB more.
        seed: Seed of the random vectors.
        progress: Whether a bar is shown (on a terminal).

    Returns:
        The rank, whether it is exact, and the eigenvalues found.

    Raises:
        InputError: `max_bytes` holds no four vectors, the loss is not twice differentiable or not finite, or `Task` or
            `behavioral_task` refuses something.
    """
    check_seed(seed)
    check_integer("max_bytes", max_bytes, 1)
    resolution = resolution_of(model)
    task = make_task(model, data, loss_fn, double=double)
    task = behavioral_task(task) if gauss_newton else task
    with closing(task.samples):
        checkpoint = task.checkpoint()
        if task.dim > MAX_DENSE:
            return find_rank(task, checkpoint, resolution=resolution, max_bytes=max_bytes, seed=seed, progress=progress)
        _, hessian = gradient_and_products(task, checkpoint, None)
    values = torch.linalg.eigvalsh((hessian + hessian.T).double() / 2).cpu()
    return counted(values, TOLERANCE, resolution=resolution)


def resolution_of(model: nn.Module) -> float:
    """Relative size of what rounding of a user's weights makes of zeros; inf stands for the tolerance."""
    check_module(model)
    types = {p.dtype for p in model.parameters() if p.requires_grad}
    return RESOLUTION_FLOAT64 if types == {torch.float64} else math.inf


def make_task(model: nn.Module, data: Any, loss_fn: LossFunction, *, double: bool | None) -> Task:
    """The task, on a float64 copy of model and data if asked.

    Args:
        model: Model as for `Task`.
        data: Data as for `Task`.
        loss_fn: Loss as for `Task`.
        double: Whether to work in float64; None does so for models that are small enough for all eigenvalues.

    Returns:
        The task.

    Raises:
        InputError: `model` is no module, or `Task` refuses something.
    """
    check_module(model)
    if double is None:
        double = sum(p.numel() for p in model.parameters() if p.requires_grad) <= MAX_DENSE
    if not check_bool("double", double):
        return Task(model, data, loss_fn)
    return Task(copied(model).double(), data, lambda model, batch: loss_fn(model, _in_double(batch)))


def _in_double(batch: Tree) -> Tree:
    return tree_map(lambda x: x.double() if x.is_floating_point() else x, batch)


def counted(
    values: Tensor, tolerance: float, method: Method = AllEigenvalues(), *, resolution: float = math.inf
) -> Rank:
    """The rank that eigenvalues or Ritz values give.

    Args:
        values: Eigenvalues, ascending, float64.
        tolerance: Tolerance, relative to the largest.
        method: How they were found.
        resolution: See `Rank`.

    Returns:
        The rank.
    """
    low, high = float(values[0]), float(values[-1])
    counts = values > max(tolerance * high, -NEGATIVE_MARGIN * low, 0.0)
    kept, left = values[counts], values[~counts]
    rest = max(float(left.abs().max()) if len(left) else 0.0, method.missed or 0.0)
    gap = math.nan if not len(kept) else math.inf if rest == 0 else float(kept[0]) / rest
    return Rank(len(kept), gap, values, tolerance, method, min(resolution, tolerance))


def find_rank(
    task: Task,
    checkpoint: Checkpoint,
    *,
    resolution: float = math.inf,
    max_bytes: int = MEMORY,
    seed: int = 0,
    progress: bool = False,
) -> Rank:
    """The rank of ∇²L(w*) by block Lanczos; see `hessian_rank`.

    Args:
        task: Model and loss.
        checkpoint: w* and the samples.
        resolution: See `Rank`.
        max_bytes: Bytes of the vectors kept.
        seed: Seed of the random vectors.
        progress: Whether a bar is shown (on a terminal).

    Returns:
        The rank, from Ritz values.

    Raises:
        InputError: `max_bytes` holds no four vectors.
    """
    bytes_each = checkpoint.weights.element_size() * task.dim
    block = max(1, min(BLOCK, max_bytes // (16 * bytes_each)))
    size = min(task.dim, max_bytes // bytes_each - 3 * block)  # a block, its image and its remainder beside the basis
    if size < 1:
        raise InputError(
            f"max_bytes is {max_bytes}; expected room for four vectors of {task.dim} weights, {4 * bytes_each} bytes"
        )
    tolerance = TOLERANCE if task.dtype == torch.float64 else TOLERANCE_FLOAT32

    def multiply(rows: Tensor) -> Tensor:
        return gradient_and_products(task, checkpoint, rows)[1]

    search = RangeSearch(multiply, checkpoint.weights, size, tolerance)
    generator = torch.Generator().manual_seed(seed)
    with tqdm(total=size, desc="rank", unit="direction", disable=None if progress else True) as bar:
        missed = search.run(block, generator, bar)
    found = search.num_found
    method = PartialSearch(found) if missed is None else RitzValues(found, missed)
    return counted(search.ritz(), tolerance, method, resolution=resolution)
