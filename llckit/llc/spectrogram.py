"""λ̂ over training step and scale of loss: the complexity spectrogram of a run."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from llckit.errors import InputError
from llckit.llc.curve import LLCCurve, write_table


@dataclass(frozen=True)
class Spectrogram:
    """Curves of one run at a ladder of nβ, all at the same γ; what is measured at a cell is λ̂ at loss scale 1/nβ.

    Attributes:
        curves: one a scale, at ascending nβ.
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
    def localization(self) -> float:
        """γ, the same everywhere."""
        return float(self.curves[0].details["localization"][0])

    @property
    def llc(self) -> np.ndarray:
        """λ̂, shape (steps, scales)."""
        return np.stack([curve.llc for curve in self.curves], axis=1)

    @property
    def mcse(self) -> np.ndarray:
        """Its standard error, shape (steps, scales)."""
        return np.stack([_known(curve.mcse) for curve in self.curves], axis=1)

    @property
    def llc_variance(self) -> np.ndarray:
        """Var[nβ L], shape (steps, scales); equal to λ̂ on a plateau."""
        return np.stack([curve.details["llc_variance"] for curve in self.curves], axis=1)

    @property
    def llc_per_chain(self) -> np.ndarray:
        """Shape (steps, scales, chains)."""
        return np.stack([_known(curve.llc_per_chain) for curve in self.curves], axis=1)

    @property
    def is_minimum(self) -> np.ndarray:
        """Whether w* is a minimum of the loss at that scale, shape (steps, scales); elsewhere λ̂ is no LLC."""
        return np.stack([curve.is_minimum for curve in self.curves], axis=1)

    def __len__(self) -> int:
        return len(self.step)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one line a cell, with columns step, loss, n_beta, localization, llc, llc_se, llc_variance, outcome.

        Args:
            path: a new file.

        Raises:
            InputError: the file exists, or its folder does not.
        """
        rows = [
            {
                "step": step,
                "loss": loss,
                "n_beta": curve.details["n_beta"][i],
                "localization": curve.details["localization"][i],
                "llc": curve.llc[i],
                "llc_se": _known(curve.mcse)[i],
                "llc_variance": curve.details["llc_variance"][i],
                "outcome": "" if curve.outcome is None else curve.outcome[i].value,
                "loss_kind": "behavioral" if curve.behavioral else "task",
            }
            for i, (step, loss) in enumerate(zip(self.step.tolist(), self.loss.tolist(), strict=True))
            for curve in self.curves
        ]
        write_table(path, {name: [row[name] for row in rows] for name in rows[0]})


def _known(column: np.ndarray | None) -> np.ndarray:
    if column is None:
        raise InputError("a curve of the spectrogram has no errors or chains; expected what estimate_curve gives")
    return column
