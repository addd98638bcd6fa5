"""λ̂ of the staircase (`llckit.toys.staircase`) at every step, without training, checkpoints or any of our samplers.

The weights follow a closed form. The posterior around them is a product of two matrices, of which each is Gaussian
given the other: an exact Gibbs sampler draws both in turn.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llckit.toys import TrainingRun, staircase_rise

Array = NDArray[np.float64]
CHAINS = 64
LEARNING_RATE = 2e-3  # of `staircase_rise`


class Staircase(NamedTuple):
    """What a run learns, and from where.

    Attributes:
        strengths: Singular values of the target, descending.
        start: Singular value at which all modes start.
        widths: Inputs, hidden units and outputs.
    """

    strengths: Array
    start: float
    widths: tuple[int, int, int]

    @classmethod
    def of(cls, run: TrainingRun) -> Staircase:
        """Read off a run at its first step."""
        inputs, outputs = run.task.samples.first(run.task.samples.n)
        first, second = run.task.model.parameters()
        target = torch.linalg.lstsq(inputs.double(), outputs.double()).solution
        strengths = torch.linalg.svdvals(target)
        start = float(torch.linalg.svdvals(second.detach() @ first.detach())[0])
        modes: Tensor = strengths[strengths > 1e-3 * strengths[0]]
        return cls(modes.numpy(), start, (first.shape[1], first.shape[0], second.shape[0]))

    def half_way(self) -> list[float]:
        """The steps at which the modes stand half-way."""
        return [staircase_rise(mode) for mode in range(len(self.strengths))]

    def weights_at(self, times: Array) -> tuple[Array, Array]:
        """The two layers along the closed form, up to rotations.

        Args:
            times: Steps, shape (times,).

        Returns:
            Shapes (times, 1, hidden, inputs) and (times, 1, outputs, hidden).
        """
        grown = np.exp(4 * LEARNING_RATE * np.outer(times, self.strengths))
        roots = np.sqrt(self.strengths * grown / (grown - 1 + self.strengths / self.start))
        n, h, m = self.widths
        first, second = np.zeros((len(times), 1, h, n)), np.zeros((len(times), 1, m, h))
        for mode in range(len(self.strengths)):
            first[:, 0, mode, mode] = second[:, 0, mode, mode] = roots[:, mode]
        return first, second

    def exact_llc(self, times: Array, n_beta: float, localization: float, sweeps: int) -> tuple[Array, Array]:
        """nβ E‖BA − B₀A₀‖² under exp(−nβ ‖BA − B₀A₀‖² − γ/2 ‖A − A₀‖² − γ/2 ‖B − B₀‖²).

        Given A, B is Gaussian, and the other way round: both are drawn exactly in turn, and the energy is averaged over
        B in closed form. All times see the same random numbers, so that λ̂ is smooth in time.

        Args:
            times: Steps, shape (times,).
            n_beta: nβ.
            localization: γ.
            sweeps: How often both are drawn; the first fifth is warm-up.

        Returns:
            λ̂ and its standard error, shape (times,) each.
        """
        random = np.random.default_rng(0)
        first_0, second_0 = self.weights_at(times)
        product, hidden = second_0 @ first_0, np.eye(first_0.shape[-2])

        def drawn(mean: Array, precision: Array) -> Array:
            """Rows with this precision."""
            noise = random.standard_normal((CHAINS, *mean.shape[-2:]))
            return mean + noise @ np.linalg.inv(np.linalg.cholesky(precision))

        first, energies = np.repeat(first_0, CHAINS, axis=1), []
        for sweep in range(sweeps):
            precision = 2 * n_beta * first @ first.swapaxes(-1, -2) + localization * hidden
            covariance = np.linalg.inv(precision)
            mean = (2 * n_beta * product @ first.swapaxes(-1, -2) + localization * second_0) @ covariance
            if sweep >= sweeps // 5:
                spread = mean.shape[-2] * (first * (covariance @ first)).sum((-1, -2))
                energies.append(n_beta * (((mean @ first - product) ** 2).sum((-1, -2)) + spread))
            second = drawn(mean, precision)
            precision = 2 * n_beta * second.swapaxes(-1, -2) @ second + localization * hidden
            mean = 2 * n_beta * second.swapaxes(-1, -2) @ product + localization * first_0
            mean = np.linalg.inv(precision) @ mean
            first = drawn(mean.swapaxes(-1, -2), precision).swapaxes(-1, -2)
        chains: Any = np.stack(energies).mean(axis=0)
        return chains.mean(axis=1), chains.std(axis=1, ddof=1) / np.sqrt(CHAINS)

    def known_rises(self, n_beta: float, localization: float, sweeps: int, count: int) -> list[float]:
        """The step before each half-way time, and after the last rise, at which λ̂ is steepest in ln(step + 1).

        Args:
            n_beta: nβ.
            localization: γ.
            sweeps: Of the Gibbs sampler.
            count: Number of steps at which λ̂ is evaluated.

        Returns:
            A step a mode.
        """
        half_way = self.half_way()
        times = np.geomspace(half_way[0] / 3, half_way[-1], count)
        slopes = np.gradient(self.exact_llc(times, n_beta, localization, sweeps)[0], np.log1p(times))
        slopes = np.convolve(slopes, np.full(5, 0.2), "same")  # less than a spacing of checkpoints
        ends = [times[0], *half_way]
        inside = [np.flatnonzero((times > low) & (times < high)) for low, high in itertools.pairwise(ends)]
        return [float(times[here[slopes[here].argmax()]]) for here in inside]
