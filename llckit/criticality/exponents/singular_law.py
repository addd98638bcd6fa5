"""One form of a power law on one side of a critical point: least squares, information criterion, resampling."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares

from llckit.criticality.arrays import Array

__all__ = ["LawNumbers", "SingularLaw"]

GRID = 40
NEAREST, FARTHEST = 1e-3, 3.0  # of the critical point from the measurements, in units of their range
LOGARITHMIC = 1e-6  # a smaller power counts as a logarithm
SMALLEST = 1e-200  # keeps the logarithm of a perfect fit finite


class LawNumbers(NamedTuple):
    """A fitted law in the units of the measurements.

    Attributes:
        power: Power of the distance from the critical point.
        critical_point: Critical value of the control.
        amplitude: Amplitude of the power.
        correction: Amplitude of the correction relative to `amplitude`, 0 without one.
    """

    power: float
    critical_point: float
    amplitude: float
    correction: float


@dataclass(frozen=True)
class SingularLaw:
    """One form of the law for one side of the critical point; theta is (ln distance of the critical point, power).

    Attributes:
        control: Controls, shape (n,).
        se: Standard errors of the values, shape (n,).
        known_se: Whether standard errors were given.
        edge: The control nearest to the critical point.
        side: 1 if the measurements lie above it, -1 if they lie below.
        unit: Range of the controls.
        given: The critical point, if it is given.
        powers: Lowest and highest power that is searched.
        background: Whether there is a constant beside the power.
        correction: Exponent of the correction, or None.
        power: The power, if it is fixed.
    """

    control: Array
    se: Array
    known_se: bool
    edge: float
    side: int
    unit: float
    given: float | None
    powers: tuple[float, float]
    background: bool
    correction: float | None
    power: float | None

    @property
    def bounds(self) -> tuple[Array, Array]:
        """Lowest and highest theta that is searched."""
        return np.array([np.log(NEAREST), self.powers[0]]), np.array([np.log(FARTHEST), self.powers[1]])

    @property
    def free(self) -> list[int]:
        """Indices of the free parameters."""
        return [index for index, fixed in enumerate((self.given, self.power)) if fixed is None]

    def critical_point(self, theta: Array) -> float:
        """Critical value of the control."""
        return self.edge - self.side * self.unit * float(np.exp(theta[0])) if self.given is None else self.given

    def best_fit(self, weighted: Array) -> Array:
        """Least squares from the best place of a grid.

        Args:
            weighted: Values in units of their standard errors, shape (n,).

        Returns:
            Theta, shape (2,).
        """
        low, high = self.bounds
        distances = np.linspace(low[0], high[0], GRID) if self.given is None else [0.0]
        powers = np.linspace(low[1], high[1], GRID) if self.power is None else [self.power]
        places = [np.array([distance, power]) for distance in distances for power in powers]
        stacked = np.stack([np.column_stack([self._columns(theta), weighted]) for theta in places])
        triangle = np.asarray(np.linalg.qr(stacked, mode="r"))
        return self.fit(weighted, places[int(np.abs(triangle[:, -1, -1]).argmin())])

    def fit(self, weighted: Array, start: Array) -> Array:
        """Least squares from one place.

        Args:
            weighted: Values in units of their standard errors, shape (n,).
            start: Theta to start from, shape (2,).

        Returns:
            Theta, shape (2,).
        """
        free = self.free
        if not free:
            return start

        def misfit(some: Array) -> Array:
            theta = start.copy()
            theta[free] = some
            return self._residual(theta, weighted)

        low, high = self.bounds
        inside = np.clip(start, low + 1e-9, high - 1e-9)
        found = least_squares(misfit, inside[free], bounds=(low[free], high[free]))
        theta = start.copy()
        theta[free] = found.x
        return theta

    def information(self, theta: Array, weighted: Array) -> float:
        """Schwarz's criterion; infinite if the correction is larger than the law, hence another law in disguise."""
        columns = self._columns(theta)
        if self.correction is not None:
            parts = columns[:, :2] * np.linalg.lstsq(columns, weighted, rcond=None)[0][:2] * self.se[:, None]
            leading, correction = np.ptp(parts, axis=0) if self.background else np.abs(parts).max(axis=0)
            if correction > leading:
                return np.inf
        squares, count = float((self._residual(theta, weighted) ** 2).sum()), len(weighted)
        parameters = len(self.free) + 1 + self.background + (self.correction is not None)
        misfit = squares if self.known_se else count * np.log(max(squares / count, SMALLEST))
        return misfit + parameters * np.log(count)

    def reduced_chi_square(self, theta: Array, weighted: Array) -> tuple[float, int]:
        """Reduced chi-square, and degrees of freedom."""
        columns = 1 + self.background + (self.correction is not None)
        freedom = max(len(weighted) - len(self.free) - columns, 1)
        return float((self._residual(theta, weighted) ** 2).sum() / freedom), freedom

    def resampled(
        self, theta: Array, weighted: Array, count: int, random: np.random.Generator
    ) -> list[tuple[Array, Array]]:
        """Fits to data sets drawn from the law.

        Args:
            theta: The law, shape (2,).
            weighted: Measured values in units of their standard errors, shape (n,).
            count: Number of data sets.
            random: Source of randomness.

        Returns:
            Theta and weighted values of each data set.
        """
        residual = self._residual(theta, weighted)
        reduced, freedom = self.reduced_chi_square(theta, weighted)
        scale = np.full(count, max(reduced, 1.0))
        if not self.known_se:
            scale = reduced * freedom / random.chisquare(freedom, count)
        draws = []
        for variance in scale:
            sample = weighted - residual + np.sqrt(variance) * random.standard_normal(len(weighted))
            draws.append((self.fit(sample, theta), sample))
        return draws

    def numbers(self, theta: Array, weighted: Array) -> LawNumbers:
        """The fitted law in the units of the measurements."""
        coefficient = np.linalg.lstsq(self._columns(theta), weighted, rcond=None)[0]
        power = float(theta[1])
        amplitude = -coefficient[0] if self.background else coefficient[0]
        correction = coefficient[1] / amplitude if self.correction is not None and amplitude else 0.0
        return LawNumbers(power, self.critical_point(theta), float(amplitude * self.unit**-power), float(correction))

    def _columns(self, theta: Array) -> Array:
        """Weighted columns of amplitude, correction and background, shape (n, 1 to 3)."""
        t = self.side * (self.control - self.critical_point(theta)) / self.unit
        power = float(theta[1]) if self.power is None else self.power
        if not self.background:
            parts = [t**power]
        else:  # (t^e - 1) / e becomes ln t as the power becomes a logarithm
            parts = [np.log(t) if abs(power) < LOGARITHMIC else np.expm1(power * np.log(t)) / power]
        if self.correction is not None:
            parts.append(t ** (power + self.correction))
        if self.background:
            parts.append(np.ones_like(t))
        return np.stack(parts, axis=-1) / self.se[:, None]

    def _residual(self, theta: Array, weighted: Array) -> Array:
        basis = np.linalg.qr(self._columns(theta))[0]
        return weighted - basis @ (weighted @ basis)
