"""Potentials: λ and exact energies in closed form and against quadrature."""

import math

import pytest
from scipy import integrate, special

import llckit as lk
from llckit.toys import DisjointSum, Monomial, NormProduct, monomial_energy, monomial_llc


@pytest.mark.parametrize(("localization", "expected"), [(1.0, 0.4252916), (100.0, 0.2779219)])
def test_product_of_squares_closed_form(localization, expected):
    t = 72380.0
    z = localization**2 / (8 * t)
    closed = 0.5 + z * (1 - special.kve(1, z) / special.kve(0, z))
    assert closed == pytest.approx(expected, abs=1e-6)
    assert monomial_energy((1, 1), t, localization) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("power", [1, 2, 3])
def test_single_monomials_against_plain_quadrature(power):
    t, gamma = 300.0, 2.0

    def density(w):
        return math.exp(-t * w ** (2 * power) - gamma / 2 * w * w)

    zero = integrate.quad(density, 0, 5, points=[0.1, 0.5], limit=200)[0]
    one = integrate.quad(lambda w: t * w ** (2 * power) * density(w), 0, 5, points=[0.1, 0.5], limit=200)[0]
    assert monomial_energy((power,), t, gamma) == pytest.approx(one / zero, rel=1e-6)
    assert monomial_energy((power,), 1e12, 1.0) == pytest.approx(1 / (2 * power), rel=1e-3)


def test_monomials():
    assert monomial_llc((2,)) == (0.25, 1)
    assert monomial_llc((1, 1)) == (0.5, 2)
    assert monomial_llc((1, 2)) == (0.25, 1)
    with pytest.raises(lk.InputError, match="powers"):
        lk.toys.Monomial((0,))


@pytest.mark.parametrize(("size", "power"), [(1, 1), (3, 2), (2, 3), (10, 4)])
def test_norm_powers_against_the_radial_integral(size, power):
    t, gamma = 300.0, 2.0

    def density(r):
        return r ** (size - 1) * math.exp(-t * r ** (2 * power) - gamma / 2 * r * r)

    zero = integrate.quad(density, 0, 6, points=[0.1, 0.5, 1], limit=200)[0]
    one = integrate.quad(lambda r: t * r ** (2 * power) * density(r), 0, 6, points=[0.1, 0.5, 1], limit=200)[0]
    assert NormProduct([size], [power]).energy(t, gamma) == pytest.approx(one / zero, rel=1e-6)


def test_sums_add_and_products_take_the_least():
    single, pair = Monomial([2]), Monomial([1, 1])
    both = DisjointSum(single, pair)
    assert both.energy(500.0, 3.0) == single.energy(500.0, 3.0) + pair.energy(500.0, 3.0)
    assert both.answer == (3 / 4, 2)
    assert NormProduct([3, 4, 6], [1, 2, 2]).answer == (1, 1)
    assert NormProduct([3, 6, 9], [1, 2, 2]).answer == (3 / 2, 2)
    assert Monomial([1, 3], [0, 2.0]).answer == (1 / 2, 1)  # the factor that is not zero does not count


def test_a_strong_localization_gives_the_local_lambda_and_a_weak_one_the_smaller_one_nearby():
    point = Monomial([1, 2], [0, 1.0])
    assert point.energy(1e12, 300.0) == pytest.approx(1 / 2, rel=1e-4)
    assert point.energy(1e12, 1e-3) == pytest.approx(1 / 4, rel=1e-3)


@pytest.mark.parametrize(("n", "mean", "variance"), [(1e4, 0.38831, 0.37584), (1e6, 0.42397, 0.41819)])
def test_a_product_of_squares_on_a_box(n, mean, variance):
    t = n / math.log(n)

    # With s = x²y² on the box of density −ln(s)/(4√s): moments of te^{−ts}.
    def moment(power):
        def integrand(u):  # u = ln s
            s = math.exp(u)
            return -u * math.exp(u / 2) * (t * s) ** power * math.exp(-t * s)

        return integrate.quad(integrand, -80, 0, points=[-math.log(t), -math.log(t) + 2], limit=400)[0]

    first, second = moment(1) / moment(0), moment(2) / moment(0)
    assert first == pytest.approx(mean, abs=1e-5)
    assert second - first**2 == pytest.approx(variance, abs=1e-5)
    closed = 0.5 - 1 / (math.log(t) - special.psi(0.5))
    assert closed == pytest.approx(mean, abs=1e-5)
    assert -special.psi(0.5) == pytest.approx(1.96351, abs=1e-5)


def test_impossible_potentials():
    with pytest.raises(lk.InputError, match="distances"):
        Monomial([1, 1], [1.0, 2.0])
    with pytest.raises(lk.InputError, match="for each block"):
        NormProduct([2, 3], [1])
