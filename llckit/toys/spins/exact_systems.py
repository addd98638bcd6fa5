"""Systems with known exponents whose observables are sums or integrals: no errors beyond rounding."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from llckit.checks import check_integer
from llckit.toys.spins.control_grid import (
    FIRST_ORDER_WINDOW,
    check_temperatures,
    checked_sizes,
    control_grid,
    scaling_window,
)
from llckit.toys.spins.scaling_data import Array, ScalingData, from_moments

__all__ = ["curie_weiss", "curie_weiss_law", "ising_chain", "two_basins", "two_level_units"]


def curie_weiss(sizes: Sequence[int], temperatures: ArrayLike | None = None) -> ScalingData:
    """The Curie–Weiss magnet E = −M²/2N, summed over its N + 1 magnetisations.

    T_c = 1, and the exponents are those of mean-field theory: α = 0 (a jump), β = 1/2, γ = 1, hence ν* = 2 (Botet,
    Jullien & Pfeuty, Phys. Rev. Lett. 49, 1982). Corrections to scaling fall as N^{−1/2}.

    Args:
        sizes: Numbers of sites N.
        temperatures: Temperatures T, shape (points,) for all sizes or (sizes, points); None: |T − 1| √N ≤ 2.

    Returns:
        The data; the energy per site is −m²/2.
    """

    def moments(size: int, temperature: float) -> Array:
        m, chance = curie_weiss_law(size, temperature)
        return _moments(chance, m, -(m**2) / 2)

    default = 1 + scaling_window(sizes, 2.0) / np.sqrt(checked_sizes(sizes))
    return _enumerated(sizes, default if temperatures is None else temperatures, moments)


def curie_weiss_law(size: int, temperature: ArrayLike) -> tuple[Array, Array]:
    """The law of the magnetisation in `curie_weiss`: p(m) ∝ C(N, N(1 − m)/2) exp(N m²/2T).

    Args:
        size: Number of sites N.
        temperature: Temperatures T, of any shape.

    Returns:
        Magnetisations m from 1 down to −1, shape (N + 1,), and p(m), shape (*shape of T, N + 1).
    """
    checked_sizes([size])
    t = check_temperatures(np.asarray(temperature, dtype=np.float64))[..., None]
    m = 1 - 2 * np.arange(size + 1) / size
    return m, special.softmax(_log_binomial(size) + size * m**2 / (2 * t), axis=-1)


def ising_chain(sizes: Sequence[int], temperatures: ArrayLike | None = None) -> ScalingData:
    """The closed Ising chain E = −Σ s_i s_{i+1}, exact: order appears smoothly, with no transition at any T > 0.

    The law of M is the Fourier transform of Z(iθ)/Z(0), Z(h) = λ₊^N + λ₋^N, with the transfer matrix's eigenvalues
    λ± = e^K cosh h ± √(e^{2K} sinh² h + e^{−2K}), K = 1/T. The law of the energy is C(N, w) e^{−2Kw} over the even
    numbers w of walls. The correlation length −1/ln tanh K is 27 at T = 0.5 and grows as e^{2/T}/2.

    Args:
        sizes: Numbers of sites N.
        temperatures: Temperatures T, shape (points,) for all sizes or (sizes, points); None: 0.4 … 2.8 for all sizes.

    Returns:
        The data.
    """
    checked_sizes(sizes)

    def moments(size: int, temperature: float) -> Array:
        m = 1 - 2 * np.arange(size + 1) / size
        angle = math.pi * np.arange(size + 1) / (size + 1)
        root = np.sqrt(math.exp(-4 / temperature) - np.sin(angle) ** 2 + 0j)
        scale = 1 + math.exp(-2 / temperature)  # λ₊(0)/e^K
        transform = sum(((np.cos(angle) + sign * root) / scale) ** size for sign in (1, -1))
        chance = np.fft.ifft(transform * np.exp(-1j * angle * size)).real.clip(0)
        walls = np.arange(0.0, size + 1, 2)
        by_walls = _exact(_log_binomial(size)[::2] - 2 * walls / temperature, walls, 2 * walls / size - 1)
        return np.concatenate([_averages(chance / chance.sum(), m), by_walls[3:]])

    default = np.linspace(0.4, 2.8, 13)
    return _enumerated(sizes, default if temperatures is None else temperatures, moments)


def two_level_units(
    sizes: Sequence[int], temperatures: ArrayLike | None = None, *, degeneracy: int = 64
) -> ScalingData:
    """N independent units, each with one state of energy 0 and g of energy 1, exact: a crossover at T = 1/ln g.

    The share m of units in their one state falls from 1 to 1/(1 + g) along a logistic curve in 1/T, with a Schottky
    peak in the specific heat. Neither depends on N; only N<m²>, which counts units, grows with N.

    Args:
        sizes: Numbers of units N.
        temperatures: Temperatures T, shape (points,) for all sizes or (sizes, points); None: 1/T = ln g (1 ± 1/2) for
            all sizes.
        degeneracy: Number of states of energy 1, g.

    Returns:
        The data, with <m> as the order parameter.
    """
    checked_sizes(sizes)
    check_integer("degeneracy", degeneracy, 2)

    def moments(size: int, temperature: float) -> Array:
        excited = np.arange(size + 1)
        weight = _log_binomial(size) + excited * (math.log(degeneracy) - 1 / temperature)
        return _exact(weight, 1 - excited / size, excited / size)

    default = 1 / (math.log(degeneracy) * np.linspace(1.5, 0.5, 13))
    return _enumerated(sizes, default if temperatures is None else temperatures, moments)


def two_basins(sizes: Sequence[int], control: ArrayLike | None = None, *, llc_difference: float = 0.5) -> ScalingData:
    """Two basins with the free-energy difference nΔL + Δλ ln n (Watanabe 2009): a first-order transition, exact.

    Basin ± has the loss ±τ/2 per sample and the weight exp(∓(nτ + Δλ ln n)/2), where τ is the control. In the ordered
    basin, +, m is normal about ±1 with either sign; in the other one it is normal about 0; both have variance 1/n. And
    e = ∂L/∂τ is normal about ±1/2 with variance 1/n. So n Var(e) = 1 + n p(1 − p) with p the weight of the ordered
    basin, and every width in τ is 1/n: ν* = α = γ/ν* = 1, β = 0. The basins weigh the same at τ = −Δλ ln n/n; no
    collapse absorbs this logarithm.

    Args:
        sizes: Numbers of samples n.
        control: Control τ, shape (points,) for all sizes or (sizes, points); None: within 6/n of equal weights.
        llc_difference: λ of the ordered basin minus that of the other, Δλ.

    Returns:
        The data, with T = 1 in the specific heat.
    """
    n = checked_sizes(sizes)
    default = (scaling_window(sizes, FIRST_ORDER_WINDOW) - llc_difference * np.log(n)) / n
    tau = control_grid(default if control is None else control, len(sizes))
    ordered = special.expit(-(n * tau + llc_difference * np.log(n)))
    rest, spread = 1 - ordered, 1 / np.sqrt(n)
    folded = spread * math.sqrt(2 / math.pi)
    first = folded * np.exp(-n / 2) + special.erf(np.sqrt(n / 2))  # <|m|> of a normal m about 1
    moments = [
        ordered * first + rest * folded,
        ordered + 1 / n + 0 * tau,
        ordered * (1 + 6 / n) + 3 / n**2,
        (ordered - rest) / 2,
        1 / 4 + 1 / n + 0 * tau,
    ]
    stacked = np.stack([part.ravel() for part in moments], axis=1)[:, None, :]
    return from_moments(np.broadcast_to(n, tau.shape).ravel(), tau.ravel(), stacked)


def _enumerated(sizes: Sequence[int], control: ArrayLike, moments: Callable[[int, float], Array]) -> ScalingData:
    """The data from a function (size, temperature) that gives the five exact moments."""
    grid = check_temperatures(control_grid(control, len(sizes)))
    found = np.stack([moments(size, t) for size, row in zip(sizes, grid, strict=True) for t in row])
    control = grid.ravel()
    return from_moments(np.repeat(sizes, grid.shape[1]), control, found[:, None, :], temperature=control)


def _exact(log_weight: Array, m: Array, e: Array) -> Array:
    """The five moments of states with these weights."""
    return _moments(special.softmax(log_weight), m, e)


def _moments(chance: Array, m: Array, e: Array) -> Array:
    return np.concatenate([_averages(chance, m), [chance @ e, chance @ e**2]])


def _averages(chance: Array, m: Array) -> Array:
    return np.array([chance @ np.abs(m), chance @ m**2, chance @ m**4])


def _log_binomial(size: int) -> Array:
    k = np.arange(size + 1)
    return special.gammaln(size + 1) - special.gammaln(k + 1) - special.gammaln(size - k + 1)
