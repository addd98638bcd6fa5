"""Matrix products: the exact energy against products of norms, the joint density, and draws."""

import math

import numpy as np
import pytest

import llckit as lk
from llckit.toys import NormProduct, matrix_product_energy


@pytest.mark.parametrize("shape", [(2, 1, 5), (1, 4, 3), (4, 1, 1)])
@pytest.mark.parametrize(("t", "gamma"), [(10.0, 3.0), (1086.0, 1.0), (1e7, 0.1)])
def test_matrix_products_of_one_singular_value_are_norm_products(shape, t, gamma):
    n, h, m = shape
    if h == 1:
        assert matrix_product_energy(shape, t, gamma) == pytest.approx(NormProduct([n, m], [1, 1]).energy(t, gamma))
    else:  # an h-vector a, and m rows b: Z = E_a (1 + 2t|a|²/γ)^{−m/2}
        x = np.exp(np.linspace(-60, 7, 20_001))
        weight = x ** (h / 2) * np.exp(-x / 2) * (1 + 2 * t / gamma**2 * x) ** (-m / 2)
        value = m / 2 * (1 - 1 / (1 + 2 * t / gamma**2 * x))
        assert matrix_product_energy(shape, t, gamma) == pytest.approx((weight * value).sum() / weight.sum(), rel=1e-6)


@pytest.mark.parametrize("shape", [(2, 2, 2), (2, 3, 4), (3, 2, 4)])
@pytest.mark.parametrize(("t", "gamma"), [(10.0, 3.0), (1086.0, 1.0)])
def test_matrix_products_of_two_singular_values_against_the_joint_density(shape, t, gamma):
    n, h, m = shape
    u = np.linspace(-45, 5, 2001)
    x, y = np.exp(u)[:, None], np.exp(u)[None, :]
    c = 2 * t / gamma**2
    weight = (x * y) ** ((abs(h - n) + 1) / 2) * np.exp(-(x + y) / 2) * np.abs(x - y)
    weight = weight * ((1 + c * x) * (1 + c * y)) ** (-m / 2)
    value = m / 2 * (2 - 1 / (1 + c * x) - 1 / (1 + c * y))
    assert matrix_product_energy(shape, t, gamma) == pytest.approx((weight * value).sum() / weight.sum(), rel=2e-4)


def test_matrix_products_beyond_float64_are_refused():
    assert matrix_product_energy((8, 5, 10), 1e3, 1.0) == pytest.approx(18.644283, rel=1e-6)
    for shape, t in (((8, 5, 10), 1e9), ((10, 10, 10), 1e4)):
        with pytest.raises(lk.InputError, match="beyond float64"):
            matrix_product_energy(shape, t, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "h", "m"), [(2, 2, 2), (3, 2, 4), (2, 3, 1), (1, 4, 2)])
@pytest.mark.parametrize(("t", "gamma"), [(5.0, 1.0), (100.0, 3.0)])
def test_a_matrix_product_is_the_mean_of_a_determinant(n, h, m, t, gamma):
    """E = −t ∂_t ln Z with Z = E_A det(I + (2t/γ) A Aᵀ)^(−M/2), A (H × N) of variance 1/γ: over draws of A."""
    a = np.random.default_rng(0).standard_normal((200_000, h, n)) / math.sqrt(gamma)
    x = np.linalg.svd(a, compute_uv=False) ** 2 * 2 * t / gamma
    weight = np.exp(-m / 2 * np.log1p(x).sum(1))
    value = m / 2 * (x / (1 + x)).sum(1)
    mean = (weight * value).sum() / weight.sum()
    error = np.sqrt(np.square(weight * (value - mean)).sum()) / weight.sum()
    assert error < 0.02 * mean
    assert matrix_product_energy((n, h, m), t, gamma) == pytest.approx(mean, abs=4 * error)
