"""The LLC along training: arrays over checkpoints, and the CSV that other tools read and write."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from llckit.errors import InputError
from llckit.llc.llc_estimate import LLCEstimate
from llckit.llc.outcome import Outcome
from llckit.tables import naming, read_tracked_table, table_column, table_words, write_table

REQUIRED = ("step", "loss", "llc")
NUMBERS = (
    "grad_norm", "llc_variance", "rhat", "ess", "n_beta", "localization", "bracket_lower", "bracket_upper"
)  # fmt: skip
LOSS_KINDS = ("task", "behavioral")
RECORDED = "recorded_"  # before the names of what was saved with the checkpoints
SAME = 1e-6  # relative difference of scales that are the same
CHAIN = re.compile(r"llc_chain_(\d+)$")


@dataclass(frozen=True)
class LLCCurve:
    """λ̂ at a sequence of checkpoints, all at the same nβ and γ.

    Attributes:
        step: Ascending integers, shape (steps,).
        loss: L(w*) on the task.
        llc: λ̂; NaN where an estimate failed.
        mcse: Monte Carlo standard error of λ̂; None if unknown.
        llc_per_chain: Shape (steps, chains); None if unknown. Chains see the same noise at every checkpoint.
        details: Further columns by name: grad_norm, llc_variance, rhat, ess, n_beta, localization, and the ends of the
            bracket, NaN where there is none (see `LLCEstimate.bracket`).
        outcome: How each estimate ended; None if unknown.
        behavioral: Whether the loss was the behavioral one.
        recorded: The numbers saved with the checkpoints, such as the training loss or a test accuracy, by name; NaN
            where a checkpoint has none.

    Raises:
        InputError: Columns of different lengths, several scales, or steps that are not ascending integers >= 0.
    """

    step: np.ndarray
    loss: np.ndarray
    llc: np.ndarray
    mcse: np.ndarray | None
    llc_per_chain: np.ndarray | None
    details: dict[str, np.ndarray]
    outcome: tuple[Outcome, ...] | None = None
    behavioral: bool = False
    recorded: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {"step": len(self.step), "loss": len(self.loss), "llc": len(self.llc)}
        lengths |= {"mcse": len(self.mcse)} if self.mcse is not None else {}
        if len(set(lengths.values())) > 1:
            raise InputError(f"columns have different lengths: {lengths}")
        if not len(self.step):
            raise InputError("the curve has no checkpoints")
        for name in ("n_beta", "localization"):
            given = np.asarray(self.details.get(name, ()))
            given = given[np.isfinite(given)]
            if len(given) and given.max() > given.min() * (1 + SAME):
                raise InputError(
                    f"{name} takes values from {given.min():.5g} to {given.max():.5g}; expected one for all, "
                    "since λ̂ of checkpoints at several scales is no one curve"
                )
        gaps = np.diff(self.step)
        if self.step[0] < 0 or (gaps <= 0).any():
            at = int(np.argmax(gaps <= 0)) + 1 if (gaps <= 0).any() else 0
            raise InputError(
                f"step {self.step[at]} (row {at + 1}) does not follow: expected ascending steps >= 0, each once"
            )

    def __len__(self) -> int:
        return len(self.step)

    def __iter__(self) -> Iterator[tuple[int, float, float]]:
        return iter(zip(self.step.tolist(), self.loss.tolist(), self.llc.tolist(), strict=True))

    @property
    def grad_norm(self) -> np.ndarray | None:
        """‖∇L(w*)‖ at every checkpoint; None if unknown."""
        return self.details.get("grad_norm")

    @property
    def is_minimum(self) -> np.ndarray:
        """Where λ̂ is a learning coefficient at all: not where chains found lower loss than the checkpoint has."""
        if self.outcome is None:
            return np.ones(len(self), dtype=bool)
        return np.array([outcome is not Outcome.NOT_A_MINIMUM for outcome in self.outcome])

    @classmethod
    def from_estimates(
        cls, steps: Sequence[int], estimates: Sequence[LLCEstimate], metadata: Sequence[Mapping[str, object]]
    ) -> LLCCurve:
        """Put estimates of one store side by side.

        Args:
            steps: Ascending.
            estimates: One a step.
            metadata: What each checkpoint was saved with.

        Returns:
            The curve.
        """

        def column(name: str) -> np.ndarray:
            return np.array([getattr(estimate, name) for estimate in estimates], dtype=float)

        return cls(
            step=np.array(steps, dtype=np.int64),
            loss=column("loss"),
            llc=column("llc"),
            mcse=column("mcse"),
            llc_per_chain=np.stack([estimate.llc_per_chain for estimate in estimates]),
            details={name: column(name) for name in NUMBERS},
            outcome=tuple(estimate.outcome for estimate in estimates),
            behavioral=any(estimate.how_found.behavioral for estimate in estimates),
            recorded=_numbers(metadata),
        )

    def columns(self) -> dict[str, Sequence[object] | np.ndarray]:
        """What `to_csv` writes: one sequence of shape (steps,) by the name of its column."""
        chains = np.empty((len(self), 0)) if self.llc_per_chain is None else self.llc_per_chain
        columns: dict[str, Sequence[object] | np.ndarray] = {
            "step": self.step.tolist(),
            "loss": self.loss,
            "llc": self.llc,
        }
        if self.mcse is not None:
            columns["llc_se"] = self.mcse
        columns |= {f"llc_chain_{c}": chains[:, c] for c in range(chains.shape[1])}
        columns |= dict(self.details)
        columns |= {RECORDED + name: values for name, values in self.recorded.items()}
        if self.outcome is not None:
            columns["outcome"] = [outcome.value for outcome in self.outcome]
        columns["loss_kind"] = ["behavioral" if self.behavioral else "task"] * len(self)
        return columns

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write step, loss, llc, llc_se, llc_chain_0 …, the details and recorded_NAME …; a NaN is an empty cell.

        Args:
            path: A new file.

        Raises:
            InputError: The file exists, or its folder does not.
        """
        write_table(path, self.columns())

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str]) -> LLCCurve:
        """Read a curve from a file with columns step, loss, llc[, llc_se][, llc_chain_*] and any others.

        Exports of experiment trackers are read, too (`llckit.tables.read_tracked_table`).

        Args:
            path: a CSV file with a header.

        Returns:
            The curve.

        Raises:
            InputError: No such file, a column missing, a cell that is no number or an unknown word, several scales or
                kinds of loss, or steps not ascending.
        """
        return cls.from_rows(path, *read_tracked_table(path, REQUIRED))

    @classmethod
    def from_rows(cls, path: str | os.PathLike[str], names: Sequence[str], rows: Sequence[dict[str, str]]) -> LLCCurve:
        """The same from a table that has been read.

        Args:
            path: Of the table, for messages.
            names: Of its columns.
            rows: What `read_tracked_table` gave, or some of it.

        Returns:
            The curve.

        Raises:
            InputError: As for `from_csv`.
        """
        missing = [name for name in REQUIRED if name not in names]
        if missing:
            raise InputError(
                f"{path} has no column {', '.join(missing)}; expected step, loss, llc[, llc_se][, llc_chain_*], found "
                f"{', '.join(names) or 'nothing'}"
            )
        if not rows:
            raise InputError(f"{path} has a header but no checkpoints")

        def numbers(name: str) -> np.ndarray:
            return table_column(path, rows, name)

        step = numbers("step")
        if not (np.abs(step) < 2**53).all() or (step != np.round(step)).any():
            raise InputError(f"{path}: column step holds values that are not integers, or too large for one")
        chains = sorted((name for name in names if CHAIN.match(name)), key=lambda name: int(name.rsplit("_", 1)[1]))
        words = table_words(path, rows, "outcome", [o.value for o in Outcome]) if "outcome" in names else []
        kinds = table_words(path, rows, "loss_kind", LOSS_KINDS) if "loss_kind" in names else []
        if len({*kinds}) > 1:
            raise InputError(
                f"{path}: column loss_kind holds both {' and '.join(LOSS_KINDS)}; expected one curve a file"
            )
        with naming(path):
            return cls(
                step=step.astype(np.int64),
                loss=numbers("loss"),
                llc=numbers("llc"),
                mcse=numbers("llc_se") if "llc_se" in names else None,
                llc_per_chain=np.stack([numbers(name) for name in chains], axis=1) if chains else None,
                details={name: numbers(name) for name in NUMBERS if name in names},
                outcome=tuple(map(Outcome, words)) or None,
                behavioral="behavioral" in kinds,
                recorded={name.removeprefix(RECORDED): numbers(name) for name in names if name.startswith(RECORDED)},
            )


def _numbers(metadata: Sequence[Mapping[str, object]]) -> dict[str, np.ndarray]:
    """Those metadata that are numbers (or bools) wherever they are given."""
    columns: dict[str, list[float]] = {}
    for name in dict.fromkeys(name for saved in metadata for name in saved):
        values = [saved.get(name) for saved in metadata]
        if all(value is None or isinstance(value, bool | int | float) for value in values):
            columns[name] = [math.nan if value is None else float(value) for value in values]  # pyright: ignore
    return {name: np.array(values) for name, values in columns.items() if not np.isnan(values).all()}
