import numpy as np
import pytest
from scipy.optimize import approx_fprime

from llckit.transitions.spline_model import JUMP_SCALE, SplineModel, spline_basis


def test_gradient_of_the_marginal_likelihood():
    rng = np.random.default_rng(8)
    x = np.linspace(0, 1, 60)
    y = np.sin(8 * x) + 0.1 * rng.standard_normal(60)
    model = SplineModel(spline_basis(40)(x, 0), y)
    levels = np.stack([np.ones(60), y**2], axis=1)
    parameters = np.array([*rng.normal(10, 2, model.num_knots), -4.0, -5.0])
    numerical = approx_fprime(parameters, lambda p: model.fit(p, levels)[1], 1e-5)
    np.testing.assert_allclose(model.fit(parameters, levels)[2], numerical, rtol=1e-3, atol=1e-3)


def test_what_a_jump_would_be_worth_is_what_it_is_worth():
    rng = np.random.default_rng(9)
    x = np.linspace(0, 1, 60)
    y = np.sin(4 * x) + 2 * (x > 0.4) + 0.1 * rng.standard_normal(60)
    columns = np.stack([x > 0.4, x > 0.7], axis=1).astype(float)
    parameters, levels = np.array([8.0, 10.0, 9.0, -4.0]), np.ones((60, 1))
    model = SplineModel(spline_basis(40)(x, 0), y)
    fit, cost, _ = model.fit(parameters, levels)
    _, score, precision = model.beside(fit, columns)
    precision[np.diag_indices(2)] += JUMP_SCALE**-2
    one = model.with_jumps(columns[:, :1])
    of_one, with_one, _ = one.fit(parameters, levels)
    of_both, with_both, _ = one.with_jumps(columns).fit(parameters, levels)
    predicted = np.log(JUMP_SCALE**2 * precision[0, 0]) - score[0] ** 2 / precision[0, 0]
    assert with_one - cost == pytest.approx(predicted, rel=1e-6)
    predicted = np.linalg.slogdet(JUMP_SCALE**2 * precision)[1] - score @ np.linalg.solve(precision, score)
    assert with_both - cost == pytest.approx(predicted, rel=1e-6)
    assert one.jump_evidence(of_one) == pytest.approx([cost - with_one], rel=1e-6)
    assert one.with_jumps(columns).jump_evidence(of_both)[1] == pytest.approx(with_one - with_both, rel=1e-6)
