"""The expected energy of ‖BA‖_F² at the origin, exact at finite nβ for matrices with few singular values."""

from __future__ import annotations

import math

import numpy as np
from scipy.integrate import cumulative_simpson, simpson

from llckit.errors import InputError

__all__ = ["matrix_product_energy"]

WORST = 1e13  # condition number of S; above it cancellation leaves the Pfaffian no digits
STEP = 0.01  # of the grid in the logarithm of a squared singular value
TAIL = 25.0  # a part of the integrand e^-25 below the rest is left out


def matrix_product_energy(shape: tuple[int, int, int], n_beta: float, localization: float) -> float:
    """E[nβ ‖BA‖_F²] for A (H × N) and B (M × H) under the localization γ/2 (‖A‖² + ‖B‖²).

    Given A, B is Gaussian. With t = nβ this leaves −t ∂_t ln Z, Z = E_A det(I + (2t/γ) AAᵀ)^{−M/2}, A_ij ~ N(0, 1/γ).
    The k = min(H, N) non-zero eigenvalues x of γAAᵀ have the density ∏ x_i^{(|H−N|−1)/2} e^{−x_i/2} ∏_{i<j} |x_i − x_j|
    of the real Wishart ensemble. So by de Bruijn's formula (J. Indian Math. Soc. 19, 1955) Z is the Pfaffian of

        S_ij = ∫∫ sgn(y − x) φ_i(x) φ_j(y) dx dy,    φ_i(x) = q_i(x) v(x),
        v(x) = x^{(|H−N|−1)/2} e^{−x/2} (1 + cx)^{−M/2},    c = 2t/γ²,

    with any polynomials q_i of degree i < k, and for odd k a last column ∫ φ_i. Then E = −½ tr S⁻¹ t ∂_t S.

    Args:
        shape: Input, hidden and output width (N, H, M).
        n_beta: nβ.
        localization: γ > 0.

    Returns:
        The expected energy, to about 1e-5 of its value.

    Raises:
        InputError: k or nβ/γ² is too large for float64. The limit of nβ/γ² is beyond 1e13 for k = 3, and 1e8, 1e5,
            1e4 and 1e2 for equal widths 4, 5, 6 and 7.
    """
    (width_in, width_out), hidden = sorted((shape[0], shape[2])), shape[1]  # E is the same for AᵀBᵀ
    k, gap = min(width_in, hidden), abs(width_in - hidden)
    c = 2 * n_beta / localization**2
    slowest = (gap + 1) / 2  # v(x) dx goes as x to this power
    top = math.log(2 * (math.sqrt(width_in) + math.sqrt(hidden) + 6) ** 2)
    u = np.arange(min(-math.log(c), 0.0) - TAIL / slowest - 5, top, STEP)
    x = np.exp(u)
    log_v = slowest * u - x / 2 - width_out / 2 * np.log1p(c * x)
    v = np.exp(log_v - log_v.max())  # dx = x du is inside
    phi = _orthogonal(x, np.sqrt(v), k) * np.sqrt(v)
    slope = -width_out / 2 * (c * x / (1 + c * x)) * phi  # t ∂_t φ
    s, change = _skew(phi, phi), _skew(slope, phi) + _skew(phi, slope)
    if k % 2:
        s, change = _bordered(s, phi), _bordered(change, slope)
    scale = 1 / np.sqrt(np.abs(s).max(axis=1))
    if np.linalg.cond(s * scale * scale[:, None]) > WORST:
        raise InputError(
            f"shape is {tuple(shape)} at n_beta = {n_beta:.4g}, localization = {localization:.4g}, beyond float64; "
            "expected smaller widths, a smaller n_beta or a larger localization"
        )
    return float(-0.5 * np.trace(np.linalg.solve(s, change)))


def _orthogonal(x: np.ndarray, root: np.ndarray, count: int) -> np.ndarray:
    """q_i(x) √v(x), orthonormal on the grid: with such polynomials S loses fewer digits than with plain powers."""
    found = [root / np.linalg.norm(root)]
    while len(found) < count:
        following = x * found[-1]
        for _ in range(2):  # once leaves rounding errors
            for earlier in found:
                following = following - (earlier @ following) * earlier
        found.append(following / np.linalg.norm(following))
    return np.array(found)


def _skew(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """∫∫ sgn(y − x) l_i(x) r_j(y) dx dy for functions on the grid."""
    below = cumulative_simpson(left, dx=STEP, initial=0.0)
    inner = 2 * below - below[:, -1:]  # ∫ sgn(y − x) l(x) dx
    return np.asarray(simpson(inner[:, None] * right[None, :], dx=STEP))


def _bordered(s: np.ndarray, functions: np.ndarray) -> np.ndarray:
    column = np.asarray(simpson(functions, dx=STEP))[:, None]
    return np.block([[s, column], [-column.T, np.zeros((1, 1))]])
