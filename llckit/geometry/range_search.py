"""Block Lanczos for the range of a symmetric matrix of low rank, which is known by its products with vectors only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from tqdm import tqdm

__all__ = ["RangeSearch"]

PIECE = 2**18  # columns that are added up in float64 at a time
PROBES = 8
POWERS = 4  # of what is left of the matrix: many small eigenvalues together look less like a large one
NORM_BOUND = 10 * math.sqrt(2 / math.pi)
NEGLIGIBLE = 0.1  # share of the tolerance below which what a block leaves behind is no new direction


class RangeSearch:
    """An orthonormal basis Q of a matrix's range, grown block by block, and the matrix within it, QᵀHQ.

    The method is block Lanczos with full reorthogonalisation (Golub & Van Loan, Matrix Computations, 10.3.6). When a
    block brings nothing new, random vectors ω are sent through what is left of the matrix, A = (1 − QQᵀ) H (1 − QQᵀ):

        ‖Aᵏ‖ <= 10 √(2/π) max ‖Aᵏω‖, but for one chance in 10⁸ with 8 vectors

    (Halko, Martinsson & Tropp, arXiv 0909.4061, lemma 4.1; k up to 4). If this bound is below the tolerance, the search
    ends; else the images start a new block, which finds eigenvalues of any multiplicity.

    Args:
        multiply: H times vectors, as rows: (k, dim) to (k, dim).
        like: A vector with the size, type and device of those that H is multiplied with, shape (dim,).
        size: Largest number of directions kept.
        tolerance: What counts as nothing, relative to the largest eigenvalue.

    """

    def __init__(self, multiply: Callable[[Tensor], Tensor], like: Tensor, size: int, tolerance: float) -> None:
        self._multiply, self._like, self._size, self._tolerance = multiply, like, size, tolerance
        self._basis: list[Tensor] = []
        self._projected = torch.zeros(0, 0, dtype=torch.float64)
        self._largest = 0.0

    @property
    def num_found(self) -> int:
        """Number of directions in the basis."""
        return len(self._projected)

    def run(self, block_size: int, generator: torch.Generator, bar: tqdm) -> float | None:
        """Grow the basis until nothing is left, or its memory is full.

        Args:
            block_size: Largest number of vectors multiplied at a time.
            generator: Source of the random vectors.
            bar: Progress bar, which counts directions.

        Returns:
            A bound on the norm of what is left of the matrix, and so on every eigenvalue that was not found; None if
            memory ended the search.
        """
        remainder = self._like.new_zeros(0, len(self._like))
        while True:
            if not len(remainder):
                remainder, bound = self._probe(block_size, generator)
                if bound <= self._tolerance * self._largest:
                    return bound
            if (room := self._size - self.num_found) == 0:
                return None
            block = self._orthonormal(remainder)[:room]
            bar.update(len(block))
            remainder = self._extend(block) if len(block) else block

    def ritz(self) -> Tensor:
        """The eigenvalues of QᵀHQ, ascending, float64, shape (found,); one zero if nothing was found."""
        if not len(self._projected):
            return torch.zeros(1, dtype=torch.float64)
        return torch.linalg.eigvalsh((self._projected + self._projected.T) / 2)

    def _outside(self, rows: Tensor) -> Tensor:
        """The part of vectors that is orthogonal to the basis."""
        rows = rows.clone() if self._basis else rows
        for known in self._basis:
            inside = _inner_products(rows, known)
            for part in _pieces(rows):
                rows[:, part] -= (inside @ known[:, part].double()).to(rows.dtype)
        return rows

    def _rest(self, rows: Tensor) -> Tensor:
        """What is left of the matrix, A, times vectors."""
        return self._outside(self._multiply(self._outside(rows)))

    def _probe(self, block_size: int, generator: torch.Generator) -> tuple[Tensor, float]:
        """Images of random vectors under what is left of the matrix, A, and the bound on ‖A‖ that they give."""
        like, worst, probes = self._like, 0.0, 0
        # An A below the tolerance cannot give more than this; one that does has directions that are worth a block.
        hopeless = NORM_BOUND * math.sqrt(len(like)) * self._tolerance * self._largest
        while True:
            rows = min(block_size, PROBES - probes)
            random = torch.randn(rows, len(like), generator=generator, dtype=like.dtype).to(like)
            image = power = self._rest(random)
            if (bound := _norm_bound(image, 1)) > hopeless:
                return image, bound
            for exponent in range(2, POWERS + 1):
                if bound <= self._tolerance * self._largest:
                    break
                power = self._rest(power / self._largest)
                bound = self._largest * _norm_bound(power / self._largest, exponent)
            worst, probes = max(worst, bound), probes + rows
            if probes == PROBES or worst > self._tolerance * self._largest:
                return image, worst

    def _orthonormal(self, rows: Tensor) -> Tensor:
        """An orthonormal basis of what vectors span outside of the basis; directions that are too short are dropped."""
        floor = NEGLIGIBLE * self._tolerance * self._largest
        for _ in range(2):  # twice is enough
            rows = self._outside(rows)
            squares, rotation = torch.linalg.eigh(_inner_products(rows, rows))
            lengths = squares.clamp_min(0).sqrt()
            long = lengths > max(floor, 1e-30)
            mix = (rotation[:, long] / lengths[long]).T
            mixed = rows.new_empty(len(mix), rows.shape[1])
            for part in _pieces(rows):
                mixed[:, part] = (mix @ rows[:, part].double()).to(rows.dtype)
            rows, floor = mixed, 0.5  # what the second pass finds much shorter than one was in the basis already
        return rows

    def _extend(self, block: Tensor) -> Tensor:
        """Take a block into the basis.

        Args:
            block: Orthonormal vectors outside of the basis, as rows.

        Returns:
            The part of their images outside of the new basis, without what is negligible.
        """
        image = self._multiply(block)
        self._largest = max(self._largest, float(torch.linalg.matrix_norm(_inner_products(image, image), 2).sqrt()))
        self._basis.append(block)
        inside = torch.cat([_inner_products(known, image).cpu() for known in self._basis])
        old, new = len(self._projected), len(self._projected) + len(block)
        grown = torch.zeros(new, new, dtype=torch.float64)
        grown[:old, :old] = self._projected
        grown[:, old:], grown[old:, :] = inside, inside.T
        self._projected = grown
        remainder = self._outside(image)
        return remainder[remainder.norm(dim=1) > NEGLIGIBLE * self._tolerance * self._largest]


def _pieces(rows: Tensor) -> Iterator[slice]:
    return (slice(start, start + PIECE) for start in range(0, rows.shape[1], PIECE))


def _inner_products(one: Tensor, other: Tensor) -> Tensor:
    """All inner products of rows, float64."""
    # Sums of millions of float32 products are off by 1e-4: enough to make a minimum a saddle.
    total = torch.zeros(len(one), len(other), dtype=torch.float64, device=one.device)
    for part in _pieces(one):
        total += one[:, part].double() @ other[:, part].double().T
    return total


def _norm_bound(images: Tensor, power: int) -> float:
    """‖A‖ <= (10 √(2/π) max ‖Aᵏω‖)^(1/k), but for one chance in ten for each random ω."""
    return (NORM_BOUND * float(images.double().norm(dim=1).max())) ** (1 / power)
