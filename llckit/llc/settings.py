"""What the user asked for, apart from nβ and γ: it finds an estimate and does not define it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from llckit.checks import check_integer, check_seed, is_finite_number, shown
from llckit.errors import InputError
from llckit.posterior import Checkpoint
from llckit.sampling import FixedDraws, Sampler, UntilError

REL_TOL = 0.01
MAX_GRAD_EVALS = 30_000  # per chain

FEWEST, MOST = 8, 256  # chains
SMALL_STATE, SMALL_PASS = 2**16, 2**18  # numbers and bytes below which more chains cost next to nothing


@dataclass(frozen=True)
class Budget:
    """What one estimate may cost.

    Attributes:
        max_grad_evals: Gradients per chain after which sampling ends.
    """

    max_grad_evals: int = MAX_GRAD_EVALS

    def __post_init__(self) -> None:
        check_integer("max_grad_evals", self.max_grad_evals, 1)


@dataclass(frozen=True)
class Settings:
    """What was asked for; see `estimate_llc` for the meaning of each."""

    num_chains: int | None = None
    num_draws: int | None = None
    num_burnin: int | None = None
    sampler: Sampler | Literal["auto"] = "auto"
    rel_tol: float = REL_TOL
    budget: Budget = Budget()
    seed: int = 0
    batch_size: int | None = None
    subset: int | None = None

    def __post_init__(self) -> None:
        least = {"num_chains": 1, "num_draws": 4, "num_burnin": 0, "batch_size": 1, "subset": 1}
        for name in least:
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), least[name])
        check_seed(self.seed)
        if self.subset is not None and self.batch_size is not None:
            raise InputError(f"subset is {self.subset} and batch_size {self.batch_size}; expected one of them at most")
        if not (is_finite_number(self.rel_tol) and 0 < self.rel_tol < 1):
            raise InputError(f"rel_tol is {shown(self.rel_tol)}; expected a number between 0 and 1, such as 0.01")
        if not isinstance(self.sampler, Sampler) and self.sampler != "auto":
            raise InputError(f'sampler is {self.sampler!r}; expected "auto" or a sampler such as llckit.hmc()')

    @property
    def stopping(self) -> FixedDraws | UntilError:
        """When sampling ends: after a number of draws, or at an error."""
        if self.num_draws is not None:
            return FixedDraws(self.num_draws, self.budget.max_grad_evals)
        return UntilError(self.rel_tol, self.budget.max_grad_evals)

    def chains_for(self, checkpoint: Checkpoint) -> int:
        """The number of chains asked for; else 8, or up to 256 on small models.

        More chains are free as long as one batched gradient is so small that its cost is the call, not the arithmetic.

        Args:
            checkpoint: Any checkpoint of the task.

        Returns:
            The number of chains.
        """
        if self.num_chains is not None:
            return self.num_chains
        pass_bytes = max(1, checkpoint.samples.n * checkpoint.bytes_per_sample)
        return int(np.clip(min(SMALL_STATE // checkpoint.dim, SMALL_PASS // pass_bytes), FEWEST, MOST))
