"""Spin systems with known exponents: exact ones, and Ising and Potts models on the square lattice by cluster moves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from llckit.errors import InputError
from llckit.toys.lattice import (
    Array,
    ScalingData,
    Torus,
    checked_sizes,
    control_grid,
    from_moments,
    scaling_window,
)

ISING_CRITICAL = 2 / math.log(1 + math.sqrt(2))  # Onsager
SPREAD = 6.0  # how far a first-order transition is looked at, as the difference of free energies in units of T


def potts_critical(states: int) -> float:
    """T_c = 1/ln(1 + √q) of the q-state Potts model on the square lattice, by duality.

    Args:
        states: q.

    Returns:
        T_c, in units of the coupling.
    """
    return 1 / math.log(1 + math.sqrt(states))


def curie_weiss(sizes: Sequence[int], temperatures: ArrayLike | None = None) -> ScalingData:
    """The Curie–Weiss magnet E = −M²/2N, summed over its N + 1 magnetisations: no errors beyond rounding.

    T_c = 1; mean-field exponents α = 0 (a jump), β = 1/2, γ = 1, hence ν* = 2 (Botet, Jullien & Pfeuty, Phys. Rev.
    Lett. 49, 1982). Corrections to scaling fall as N^{−1/2}.

    Args:
        sizes: N.
        temperatures: T, shape (points,) for all sizes or (sizes, points); None means |T − 1| √N ≤ 2.

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
        size: N.
        temperature: T, of any shape.

    Returns:
        m from 1 down to −1, shape (N + 1,), and p(m), shape (*shape of T, N + 1).
    """
    checked_sizes([size])
    t = _checked_temperatures(np.asarray(temperature, dtype=np.float64))[..., None]
    m = 1 - 2 * np.arange(size + 1) / size
    return m, special.softmax(_log_binomial(size) + size * m**2 / (2 * t), axis=-1)


def ising_chain(sizes: Sequence[int], temperatures: ArrayLike | None = None) -> ScalingData:
    """The closed Ising chain E = −Σ s_i s_{i+1}, exact: order appears smoothly, with no transition at any T > 0.

    The law of M is the Fourier transform of Z(iθ)/Z(0), Z(h) = λ₊^N + λ₋^N, with the transfer matrix's eigenvalues
    λ± = e^K cosh h ± √(e^{2K} sinh² h + e^{−2K}), K = 1/T; that of the energy is C(N, w) e^{−2Kw} over the even
    numbers w of walls. The correlation length −1/ln tanh K is 27 at T = 0.5 and grows as e^{2/T}/2.

    Args:
        sizes: N.
        temperatures: T, as in `curie_weiss`; None means 0.4 … 2.8, the same for all.

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
    peak in the specific heat; neither knows of N. Nothing grows with N but what counts units, N<m²>.

    Args:
        sizes: N.
        temperatures: T, as in `curie_weiss`; None means 1/T = ln g (1 ± 1/2), the same for all.
        degeneracy: g.

    Returns:
        The data, with <m> as the order parameter.

    Raises:
        InputError: g is below 2.
    """
    checked_sizes(sizes)
    if degeneracy < 2:
        raise InputError(f"the degeneracy is {degeneracy}; expected at least 2")

    def moments(size: int, temperature: float) -> Array:
        excited = np.arange(size + 1)
        weight = _log_binomial(size) + excited * (math.log(degeneracy) - 1 / temperature)
        return _exact(weight, 1 - excited / size, excited / size)

    default = 1 / (math.log(degeneracy) * np.linspace(1.5, 0.5, 13))
    return _enumerated(sizes, default if temperatures is None else temperatures, moments)


def two_basins(sizes: Sequence[int], control: ArrayLike | None = None, *, llc_difference: float = 0.5) -> ScalingData:
    """Two basins with the free-energy difference nΔL + Δλ ln n (Watanabe 2009): a first-order transition, exact.

    Basin ± has the loss ±τ/2 per sample and the weight exp(∓(nτ + Δλ ln n)/2), τ the control. In the ordered one, +,
    m is normal about ±1 with either sign, in the other about 0, both with variance 1/n; e = ∂L/∂τ is normal about
    ±1/2 with variance 1/n. So n Var(e) = 1 + n p(1 − p) with p the ordered basin's weight, and every width in τ is
    1/n: ν* = α = γ/ν* = 1, β = 0. The basins weigh the same at τ = −Δλ ln n/n: a logarithm that no collapse absorbs.

    Args:
        sizes: n, the number of samples.
        control: τ, as the temperatures in `curie_weiss`; None means within 6/n of equal weights.
        llc_difference: Δλ, the ordered basin's λ less the other's.

    Returns:
        The data, with T = 1 in the specific heat.
    """
    n = checked_sizes(sizes)
    default = (scaling_window(sizes, SPREAD) - llc_difference * np.log(n)) / n
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


def ising(
    lengths: Sequence[int],
    temperatures: ArrayLike | None = None,
    *,
    sweeps: int = 1000,
    replicas: int = 32,
    seed: int = 0,
) -> ScalingData:
    """The Ising model E = −Σ_<ij> s_i s_j on L × L sites with periodic boundaries, by Swendsen–Wang (see `potts`).

    T_c = 2/ln(1 + √2); α = 0 (a logarithm), β = 1/8, γ = 7/4, ν = 1, hence ν* = 2.

    Args:
        lengths: L.
        temperatures: T, shape (points,) for all lengths or (lengths, points); None means |t| L ≤ 1.5,
            t = T/T_c − 1.
        sweeps: Measured ones, in each replica.
        replicas: Independent runs at each point, at least 2.
        seed: Of the random numbers.

    Returns:
        The data.
    """
    default = ISING_CRITICAL * (1 + scaling_window(lengths, 1.5) / checked_sizes(lengths, 3))
    grid = control_grid(default if temperatures is None else temperatures, len(lengths))
    return _simulated(2, lengths, grid, 2.0, (2.0, 2.0), sweeps, replicas, seed)


def potts(
    lengths: Sequence[int],
    states: int = 3,
    temperatures: ArrayLike | None = None,
    *,
    sweeps: int = 1000,
    replicas: int = 32,
    seed: int = 0,
) -> ScalingData:
    """The q-state Potts model E = −Σ_<ij> δ(s_i, s_j) on L × L sites with periodic boundaries, by Swendsen–Wang.

    One move (Phys. Rev. Lett. 58, 1987) binds equal neighbours with probability 1 − e^{−1/T} and gives each cluster a
    state drawn afresh. The order parameter is the length of the vector of q − 1 components that points to a corner of
    the simplex where all spins are alike: m² = (q Σ_a f_a² − 1)/(q − 1), f_a the share of spins in state a.

    T_c = 1/ln(1 + √q). q = 3: α = 1/3, β = 1/9, γ = 13/9, ν = 5/6, hence ν* = 5/3 (Wu, Rev. Mod. Phys. 54, 1982). From
    q = 5 on the transition is first-order; q = 10 has the latent heat 0.696 and the correlation length 10.6. Half of
    the replicas start ordered and half disordered: where the runs are too short to pass between the phases, which
    takes longer exponentially in L, the halves disagree, and the standard errors say so.

    Args:
        lengths: L.
        states: q.
        temperatures: T, as in `ising`; None means |t| L^{1/ν} ≤ 1.5 up to q = 4, |t L² − ln q| ≤ 6 beyond, for the
            q ordered phases together outweigh the disordered one at T_c.
        sweeps: Measured ones, in each replica.
        replicas: Independent runs at each point, at least 2.
        seed: Of the random numbers.

    Returns:
        The data.

    Raises:
        InputError: q is below 2 or above 127.
    """
    if not 2 <= states <= 127:
        raise InputError(f"{states} states were given; expected 2 to 127")
    inverse_nu = {2: 1.0, 3: 6 / 5, 4: 3 / 2}.get(states, 2.0)
    x = scaling_window(lengths, 1.5) if states <= 4 else scaling_window(lengths, SPREAD) + math.log(states)
    default = potts_critical(states) * (1 + x / checked_sizes(lengths, 3) ** inverse_nu)
    grid = control_grid(default if temperatures is None else temperatures, len(lengths))
    return _simulated(states, lengths, grid, 1.0, (0.0, 1.0), sweeps, replicas, seed)


def _simulated(
    states: int,
    lengths: Sequence[int],
    temperatures: Array,
    coupling: float,
    energy: tuple[float, float],
    sweeps: int,
    replicas: int,
    seed: int,
) -> ScalingData:
    """Equal neighbours gain `coupling`; the energy per site is energy[0] − energy[1] · (equal pairs)/N."""
    if sweeps < 1 or replicas < 2:
        raise InputError(f"{sweeps} sweeps of {replicas} replicas were given; expected at least 1 and 2")
    _checked_temperatures(temperatures)
    moments = [
        _swendsen_wang(length, states, coupling / grid, energy, sweeps, replicas, np.random.default_rng([seed, length]))
        for length, grid in zip(lengths, temperatures, strict=True)
    ]
    size = np.repeat(np.square(lengths), temperatures.shape[1])
    control = temperatures.ravel()
    return from_moments(size, control, np.concatenate(moments), temperature=control, components=states - 1)


def _swendsen_wang(
    length: int,
    states: int,
    coupling: Array,
    energy: tuple[float, float],
    sweeps: int,
    replicas: int,
    random: np.random.Generator,
) -> Array:
    """Moments of shape (points, replicas, 5), as `from_moments` takes them."""
    rows, sites = len(coupling) * replicas, length**2
    torus = Torus(length, rows)
    binding = np.repeat(-np.expm1(-coupling), replicas).astype(np.float32)[:, None, None, None]
    spins = random.integers(states, size=torus.shape, dtype=np.int8)
    spins[::2] = 0
    row = states * np.arange(rows, dtype=np.int32)[:, None, None]
    alike = torus.alike(spins)
    burn_in = 50 + sweeps // 10  # several autocorrelation times: these grow as L^{1/2} or slower for q = 2 and 3
    sums = np.zeros((rows, 5))
    for sweep in range(burn_in + sweeps):
        bonds = alike & (random.random(alike.shape, dtype=np.float32) < binding)
        number, cluster = torus.clusters(bonds)
        spins = random.integers(states, size=number, dtype=np.int8)[cluster]
        alike = torus.alike(spins)
        if sweep < burn_in:
            continue
        counts = np.bincount((spins + row).ravel(), minlength=states * rows).reshape(rows, states)
        m2 = (states * np.square(counts).sum(axis=1) - sites**2) / ((states - 1) * sites**2)
        pairs = np.count_nonzero(alike.reshape(rows, -1), axis=1)
        e = energy[0] - energy[1] * pairs / sites
        sums += np.stack([np.sqrt(m2), m2, m2**2, e, e**2], axis=1)
    return (sums / sweeps).reshape(len(coupling), replicas, 5)


def _enumerated(sizes: Sequence[int], control: ArrayLike, moments: Callable[[int, float], Array]) -> ScalingData:
    grid = _checked_temperatures(control_grid(control, len(sizes)))
    found = np.stack([moments(size, t) for size, row in zip(sizes, grid, strict=True) for t in row])
    control = grid.ravel()
    return from_moments(np.repeat(sizes, grid.shape[1]), control, found[:, None, :], temperature=control)


def _checked_temperatures(temperatures: Array) -> Array:
    if not (temperatures > 0).all():
        raise InputError(f"a temperature of {temperatures.min():.4g} was given; expected positive ones")
    return temperatures


def _exact(log_weight: Array, m: Array, e: Array) -> Array:
    return _moments(special.softmax(log_weight), m, e)


def _moments(chance: Array, m: Array, e: Array) -> Array:
    return np.concatenate([_averages(chance, m), [chance @ e, chance @ e**2]])


def _averages(chance: Array, m: Array) -> Array:
    return np.array([chance @ np.abs(m), chance @ m**2, chance @ m**4])


def _log_binomial(size: int) -> Array:
    k = np.arange(size + 1)
    return special.gammaln(size + 1) - special.gammaln(k + 1) - special.gammaln(size - k + 1)
