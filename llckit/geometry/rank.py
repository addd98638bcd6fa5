"""How many eigenvalues of the Hessian are not zero: counted in full for small models, by block Lanczos for large."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from llckit.errors import InputError
from llckit.geometry.hessian import gradient_and_products
from llckit.posterior import Checkpoint, LossFunction, Task, behavioral_task
from llckit.posterior.trees import Tree, tree_map

MAX_DENSE = 3000  # parameters: a float64 Hessian of 72 MB, whose eigenvalues take seconds
TOLERANCE = 1e-6  # of the largest eigenvalue; float32 weights leave about 1e-7 where the exact minimum has zeros
TOLERANCE_FLOAT32 = 1e-4  # … of products with random vectors in float32, whose rounding errors are up to 1e-5
NEGATIVE_MARGIN = 10.0
GAP = 10.0
MEMORY = 2**30
BLOCK = 16  # vectors multiplied at a time
PIECE = 2**18  # columns that are added up in float64 at a time
PROBES = 8
POWERS = 4  # of what is left of the matrix: many small eigenvalues together look less like a large one
NORM_BOUND = 10 * math.sqrt(2 / math.pi)
NEGLIGIBLE = 0.1  # of the tolerance: what a block leaves behind below that is no new direction


@dataclass(frozen=True)
class Rank:
    """The numerical rank of a symmetric matrix that should be positive semidefinite, such as a minimum's Hessian.

    An eigenvalue h counts if h > tolerance · h_max and h > 10 |h_min|, h_min the most negative one: a minimum has none,
    so its size is that of the errors. Both rules leave out too many rather than too few, so ½ rank <= λ holds in any
    case.

    Attributes:
        rank: How many eigenvalues count.
        is_exact: Whether all eigenvalues above the tolerance were found, the least that counts is at least 10 times the
            largest that does not, and none is more negative than the tolerance. Otherwise the rank is a lower bound: of
            the memory, or of the choice of a tolerance within a spectrum without a gap.
        gap: The least that counts over the largest that does not (or over what may have been missed, if that is more);
            inf where all count and NaN where none does.
        eigenvalues: Ascending, float64, in the loss's unit: all of them, or the Ritz values of the space searched,
            shape (found,). The i-th largest of these never exceeds the i-th largest eigenvalue (Cauchy).
        tolerance: Relative to the largest eigenvalue.
        note: How they were found, in words.
    """

    rank: int
    is_exact: bool
    gap: float
    eigenvalues: Tensor
    tolerance: float
    note: str


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

    Up to 3000 parameters all eigenvalues are computed. Above that: block Lanczos with full reorthogonalisation (Golub &
    Van Loan, Matrix Computations, 10.3.6), begun within the matrix's range, with Hessian-vector products by double
    backward. When a block brings nothing new, 8 random vectors ω are sent through what is left of the matrix, A =
    (1 − QQᵀ) H (1 − QQᵀ): ‖Aᵏ‖ <= 10 √(2/π) max ‖Aᵏω‖ but for one chance in 10⁸ (Halko, Martinsson & Tropp, arXiv
    0909.4061, lemma 4.1; k up to 4). Below the tolerance the search ends; else the images go on as a new block, which
    finds eigenvalues of any multiplicity. If memory ends first, what was found is a lower bound.

    Args:
        model: At w*.
        data: As for `Task`.
        loss_fn: `loss_fn(model, batch)`, twice differentiable.
        gauss_newton: The rank of Jᵀ H_out J, J the outputs' derivatives and H_out the loss's curvature in the outputs,
            in place of the Hessian's. It is the Hessian of the behavioral loss, see `behavioral_task`, which says what
            losses allow it; both ranks agree where the loss is at its minimum for every sample.
        double: Whether to work in float64, which the loss must be able to; None does so up to 3000 parameters.
        max_bytes: Of the vectors kept, 1 GiB unless told; the loss's own activations are bounded at 256 MiB more.
        seed: Of the random vectors.
        progress: Whether a bar is shown (on a terminal).

    Returns:
        The rank, whether it is exact, and the eigenvalues found.

    Raises:
        InputError: `max_bytes` holds no four vectors, a loss that is not twice differentiable or not finite, or
            anything that `Task` or `behavioral_task` refuses.
    """
    task = make_task(model, data, loss_fn, double=double)
    task = behavioral_task(task) if gauss_newton else task
    with closing(task.samples):
        point = task.checkpoint()
        if task.dim > MAX_DENSE:
            return find_rank(task, point, max_bytes=max_bytes, seed=seed, progress=progress)
        _, hessian = gradient_and_products(task, point, None)
    values = torch.linalg.eigvalsh((hessian + hessian.T).double() / 2).cpu()
    return counted(values, TOLERANCE, "all eigenvalues")


def make_task(model: nn.Module, data: Any, loss_fn: LossFunction, *, double: bool | None) -> Task:
    """The task, on a float64 copy of model and data where asked.

    Args:
        model: As for `Task`.
        data: As for `Task`.
        loss_fn: As for `Task`.
        double: Whether to; None does so for models that are small enough for all eigenvalues.

    Returns:
        The task.

    Raises:
        InputError: As `Task`.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model is a {type(model).__name__}; expected a torch.nn.Module")
    if double is None:
        double = sum(p.numel() for p in model.parameters() if p.requires_grad) <= MAX_DENSE
    if not double:
        return Task(model, data, loss_fn)
    return Task(copy.deepcopy(model).double(), data, lambda model, batch: loss_fn(model, _in_double(batch)))


def _in_double(batch: Tree) -> Tree:
    return tree_map(lambda x: x.double() if x.is_floating_point() else x, batch)


def counted(values: Tensor, tolerance: float, note: str, missed: float | None = 0.0) -> Rank:
    """The rank that eigenvalues or Ritz values tell.

    Args:
        values: Ascending, float64.
        tolerance: Relative to the largest.
        note: How they were found.
        missed: A bound on eigenvalues that were not found; None where there is no such bound.

    Returns:
        The rank.
    """
    low, high = float(values[0]), float(values[-1])
    counts = values > max(tolerance * high, -NEGATIVE_MARGIN * low, 0.0)
    kept, left = values[counts], values[~counts]
    rest = max(float(left.abs().max()) if len(left) else 0.0, missed or 0.0)
    gap = math.nan if not len(kept) else math.inf if rest == 0 else float(kept[0]) / rest
    is_saddle = low < -tolerance * high
    is_exact = missed is not None and (not len(kept) or gap >= GAP) and not is_saddle
    if is_saddle:
        share = f"-{-low / high:.2g} of the largest" if high > 0 else "no positive one"
        note += f"; no minimum: eigenvalues down to {low:.2g}, {share}"
    return Rank(len(kept), is_exact, gap, values, tolerance, note)


def find_rank(
    task: Task,
    point: Checkpoint,
    *,
    max_bytes: int = MEMORY,
    seed: int = 0,
    progress: bool = False,
) -> Rank:
    """The rank of ∇²L(w*) by block Lanczos; see `hessian_rank`.

    Args:
        task: Model and loss.
        point: w* and the samples.
        max_bytes: Of vectors.
        seed: Of the random vectors.
        progress: Whether a bar is shown (on a terminal).

    Returns:
        The rank, of Ritz values.

    Raises:
        InputError: `max_bytes` holds no four vectors.
    """
    bytes_each = point.weights.element_size() * task.dim
    block = max(1, min(BLOCK, max_bytes // (16 * bytes_each)))
    size = min(task.dim, max_bytes // bytes_each - 3 * block)  # a block, its image and its remainder beside the basis
    if size < 1:
        raise InputError(
            f"max_bytes is {max_bytes}; expected room for four vectors of {task.dim} weights, {4 * bytes_each} bytes"
        )
    tolerance = TOLERANCE if task.dtype == torch.float64 else TOLERANCE_FLOAT32
    search = _Search(task, point, size, tolerance)
    generator = torch.Generator().manual_seed(seed)
    with tqdm(total=size, desc="rank", unit="direction", disable=None if progress else True) as bar:
        missed = search.run(block, generator, bar)
    if missed is None:
        note = f"a lower bound: max_bytes holds {size} directions, and there are more"
    else:
        note = f"Ritz values of {len(search.projected)} directions; what is left is below {missed:.2g}"
    return counted(search.ritz(), search.tolerance, note, missed)


class _Search:
    """An orthonormal basis of the Hessian's range, grown block by block, and the Hessian within it."""

    def __init__(self, task: Task, point: Checkpoint, size: int, tolerance: float) -> None:
        self.task, self.point, self.size, self.tolerance = task, point, size, tolerance
        self.basis: list[Tensor] = []
        self.projected = torch.zeros(0, 0, dtype=torch.float64)
        self.largest = 0.0

    def run(self, block_size: int, generator: torch.Generator, bar: tqdm) -> float | None:
        """Grow until nothing is left, or memory is; gives the bound on what is left, None without one."""
        remainder = torch.zeros(0, self.task.dim).to(self.point.weights)
        while True:
            if not len(remainder):
                remainder, bound = self._probe(block_size, generator)
                if bound <= self.tolerance * self.largest:
                    return bound
            if (room := self.size - len(self.projected)) == 0:
                return None
            block = self._orthonormal(remainder)[:room]
            bar.update(len(block))
            remainder = self._extend(block) if len(block) else block

    def ritz(self) -> Tensor:
        if not len(self.projected):
            return torch.zeros(1, dtype=torch.float64)
        return torch.linalg.eigvalsh((self.projected + self.projected.T) / 2)

    def _outside(self, rows: Tensor) -> Tensor:
        rows = rows.clone() if self.basis else rows
        for known in self.basis:
            inside = _products_of(rows, known)
            for part in _pieces(rows):
                rows[:, part] -= (inside @ known[:, part].double()).to(rows.dtype)
        return rows

    def _probe(self, block_size: int, generator: torch.Generator) -> tuple[Tensor, float]:
        """Images of random vectors under what is left of the matrix, A, and the bound on ‖A‖ that they give."""
        weights, worst, probes = self.point.weights, 0.0, 0
        # More than that an A below the tolerance cannot give: it holds directions that are worth a block.
        hopeless = NORM_BOUND * math.sqrt(self.task.dim) * self.tolerance * self.largest
        while True:
            rows = min(block_size, PROBES - probes)
            random = torch.randn(rows, self.task.dim, generator=generator, dtype=weights.dtype).to(weights)
            image = power = self._left(random)
            if (bound := _norm_bound(image, 1)) > hopeless:
                return image, bound
            for exponent in range(2, POWERS + 1):
                if bound <= self.tolerance * self.largest:
                    break
                power = self._left(power / self.largest)
                bound = self.largest * _norm_bound(power / self.largest, exponent)
            worst, probes = max(worst, bound), probes + rows
            if probes == PROBES or worst > self.tolerance * self.largest:
                return image, worst

    def _left(self, rows: Tensor) -> Tensor:
        return self._outside(gradient_and_products(self.task, self.point, self._outside(rows))[1])

    def _orthonormal(self, rows: Tensor) -> Tensor:
        floor = NEGLIGIBLE * self.tolerance * self.largest
        for _ in range(2):  # twice is enough
            rows = self._outside(rows)
            squares, turn = torch.linalg.eigh(_products_of(rows, rows))
            lengths = squares.clamp_min(0).sqrt()
            kept = lengths > max(floor, 1e-30)
            mix = (turn[:, kept] / lengths[kept]).T
            turned = rows.new_empty(len(mix), rows.shape[1])
            for part in _pieces(rows):
                turned[:, part] = (mix @ rows[:, part].double()).to(rows.dtype)
            rows, floor = turned, 0.5  # what the second pass finds much shorter than one was in the basis already
        return rows

    def _extend(self, block: Tensor) -> Tensor:
        """Take a block into the basis; gives what of its image lies outside, or nothing if that is negligible."""
        image = gradient_and_products(self.task, self.point, block)[1]
        self.largest = max(self.largest, float(torch.linalg.matrix_norm(_products_of(image, image), 2).sqrt()))
        self.basis.append(block)
        inside = torch.cat([_products_of(known, image).cpu() for known in self.basis])
        old, new = len(self.projected), len(self.projected) + len(block)
        grown = torch.zeros(new, new, dtype=torch.float64)
        grown[:old, :old] = self.projected
        grown[:, old:], grown[old:, :] = inside, inside.T
        self.projected = grown
        remainder = self._outside(image)
        return remainder[remainder.norm(dim=1) > NEGLIGIBLE * self.tolerance * self.largest]


def _pieces(rows: Tensor) -> Iterator[slice]:
    return (slice(start, start + PIECE) for start in range(0, rows.shape[1], PIECE))


def _products_of(one: Tensor, other: Tensor) -> Tensor:
    """All inner products of rows, float64."""
    # Sums of millions of float32 products are off by 1e-4: enough to make a minimum a saddle.
    total = torch.zeros(len(one), len(other), dtype=torch.float64, device=one.device)
    for part in _pieces(one):
        total += one[:, part].double() @ other[:, part].double().T
    return total


def _norm_bound(images: Tensor, power: int) -> float:
    """‖A‖ <= (10 √(2/π) max ‖Aᵏω‖)^(1/k), but for one chance in ten for each random ω."""
    return (NORM_BOUND * float(images.double().norm(dim=1).max())) ** (1 / power)
