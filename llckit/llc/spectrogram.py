"""λ̂ over training step and scale of loss: the complexity spectrogram of a run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llckit.errors import InputError
from llckit.llc.curve import REQUIRED, LLCCurve
from llckit.tables import read_tracked_table, table_column, write_table


@dataclass(frozen=True)
class Spectrogram:
    """Curves of one run at a ladder of nβ, all at the same γ; what is measured at a cell is λ̂ at loss scale 1/nβ.

    Attributes:
        curves: One a scale, at ascending nβ.
    """

    curves: tuple[LLCCurve, ...]

    @property
    def step(self) -> np.ndarray:
        """Training steps, shape (steps,)."""
        return self.curves[0].step

    @property
    def loss(self) -> np.ndarray:
        """L(w*) on the task, shape (steps,)."""
        return self.curves[0].loss

    @property
    def behavioral(self) -> bool:
        """Whether the loss was the behavioral one."""
        return self.curves[0].behavioral

    @property
    def n_beta(self) -> np.ndarray:
        """nβ of each scale, shape (scales,)."""
        return np.array([curve.details["n_beta"][0] for curve in self.curves])

    @property
    def localization(self) -> float | None:
        """γ, the same everywhere; None if unknown."""
        known = self.curves[0].details.get("localization")
        return None if known is None else float(known[0])

    @property
    def llc(self) -> np.ndarray:
        """λ̂, shape (steps, scales)."""
        return np.stack([curve.llc for curve in self.curves], axis=1)

    @property
    def mcse(self) -> np.ndarray | None:
        """Its standard error, shape (steps, scales); None if unknown."""
        return _stacked([curve.mcse for curve in self.curves])

    @property
    def llc_variance(self) -> np.ndarray | None:
        """Var[nβ L], shape (steps, scales); equal to λ̂ on a plateau; None if unknown."""
        return _stacked([curve.details.get("llc_variance") for curve in self.curves])

    @property
    def llc_per_chain(self) -> np.ndarray | None:
        """Shape (steps, scales, chains); None if unknown."""
        return _stacked([curve.llc_per_chain for curve in self.curves])

    @property
    def is_minimum(self) -> np.ndarray:
        """Whether w* is a minimum of the loss at that scale, shape (steps, scales); elsewhere λ̂ is no LLC."""
        return np.stack([curve.is_minimum for curve in self.curves], axis=1)

    def __len__(self) -> int:
        return len(self.step)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one line a cell, with the columns of a curve; n_beta tells the scales apart.

        Args:
            path: A new file.

        Raises:
            InputError: The file exists, or its folder does not.
        """
        tables = [curve.columns() for curve in self.curves]
        write_table(
            path,
            {
                name: [cell for row in zip(*(t[name] for t in tables), strict=True) for cell in row]
                for name in tables[0]
            },
        )

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str]) -> Spectrogram:
        """Read a spectrogram from a file with columns step, loss, llc, n_beta and any others of a curve.

        Args:
            path: a CSV file with a header, one line a cell.

        Returns:
            The spectrogram.

        Raises:
            InputError: No such file, a column missing, fewer than two scales, a cell that is missing, or what
                `LLCCurve.from_csv` refuses.
        """
        names, rows = read_tracked_table(path, REQUIRED)
        if "n_beta" not in names:
            raise InputError(f"{path} has no column n_beta, which tells the scales of a spectrogram apart")
        n_beta = table_column(path, rows, "n_beta")
        scales = np.unique(n_beta)
        if not np.isfinite(scales).all():
            line = int(np.flatnonzero(~np.isfinite(n_beta))[0]) + 2
            raise InputError(f"{path}, line {line}: column n_beta is empty or not finite; expected a number")
        if len(scales) < 2:
            raise InputError(f"{path}: n_beta takes the values {scales.tolist()}; a spectrogram needs two or more")
        parts = [[row for row, at in zip(rows, n_beta, strict=True) if at == scale] for scale in scales]
        curves = tuple(LLCCurve.from_rows(path, names, part) for part in parts)
        if any(not np.array_equal(curve.step, curves[0].step) for curve in curves):
            raise InputError(f"{path}: the scales hold different steps; expected one line for each step at each n_beta")
        return cls(curves)


def read_curve(path: str | os.PathLike[str]) -> LLCCurve | Spectrogram:
    """Read what `llckit estimate --out` wrote: a spectrogram if a step comes at several nβ, else a curve.

    Args:
        path: a CSV file with a header.

    Returns:
        The one or the other.

    Raises:
        InputError: It holds neither.
    """
    names, rows = read_tracked_table(path, REQUIRED)
    seen: dict[str, str] = {}
    if {"step", "n_beta"} <= {*names} and any(seen.setdefault(r["step"], r["n_beta"]) != r["n_beta"] for r in rows):
        return Spectrogram.from_csv(path)
    return LLCCurve.from_rows(path, names, rows)


def _stacked(columns: Sequence[np.ndarray | None]) -> np.ndarray | None:
    known = [column for column in columns if column is not None]
    return np.stack(known, axis=1) if len(known) == len(columns) else None
