"""Where all randomness of sampling comes from: one generator for each chain, and one that all chains share."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class Noise:
    """Random numbers for a group of chains: chain r draws from a generator that (seed, r, stream) alone determine.

    So chain r sees the same numbers at every checkpoint and beside any number of other chains (common random numbers).
    This makes the differences along a curve sharper than its values.

    Args:
        seed: An integer >= 0.
        rows: Number of chains.
        like: A tensor of the type and on the device that draws should have.
        first: Number of the first of these chains.
        stream: An even number; the same chains draw other numbers from another stream.
    """

    def __init__(self, seed: int, rows: int, like: Tensor, first: int = 0, stream: int = 0) -> None:
        self._like = like
        self._rows = [_generator(seed, r, stream) for r in range(first, first + rows)]
        self._shared = _generator(seed, 0, stream + 1)

    def normal(self, dim: int) -> Tensor:
        """Standard normal numbers, shape (rows, dim)."""
        draws = torch.empty(len(self._rows), dim, dtype=self._like.dtype, device="cpu")
        for row, generator in zip(draws, self._rows, strict=True):
            row.normal_(generator=generator)
        return draws.to(self._like.device)

    def uniform(self) -> Tensor:
        """Uniform numbers in [0, 1), float64, shape (rows,)."""
        draws = torch.empty(len(self._rows), 1, dtype=torch.float64, device="cpu")
        for row, generator in zip(draws, self._rows, strict=True):
            row.uniform_(generator=generator)
        return draws[:, 0].to(self._like.device)

    def integers(self, high: int, size: int) -> Tensor:
        """Integers below `high`, shape (rows, size)."""
        draws = [torch.randint(high, (size,), generator=generator, device="cpu") for generator in self._rows]
        return torch.stack(draws).to(self._like.device)

    def common_integers(self, high: int, size: int) -> Tensor:
        """Integers below `high`, shape (size,), the same for all rows."""
        return torch.randint(high, (size,), generator=self._shared, device="cpu").to(self._like.device)

    def common(self) -> float:
        """One uniform number in [0, 1), the same for all rows."""
        return float(torch.rand((), generator=self._shared, dtype=torch.float64, device="cpu"))


class PairedNoise(Noise):
    """The same random numbers for both chains of a pair: the second half of the rows repeats the first.

    Args:
        noise: Random numbers for the first half.
    """

    def __init__(self, noise: Noise) -> None:
        self._like, self._rows, self._shared = noise._like, noise._rows, noise._shared

    def normal(self, dim: int) -> Tensor:
        """Standard normal numbers, shape (2 × rows, dim)."""
        return super().normal(dim).repeat(2, 1)

    def uniform(self) -> Tensor:
        """Uniform numbers in [0, 1), float64, shape (2 × rows,)."""
        return super().uniform().repeat(2)


def _generator(*words: int) -> torch.Generator:
    state = np.random.SeedSequence(words).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))
