import numpy as np
from scipy.optimize import approx_fprime

from llckit.transitions.spline_model import SplineModel, spline_basis


def test_gradient_of_the_marginal_likelihood():
    rng = np.random.default_rng(8)
    x = np.linspace(0, 1, 60)
    y = np.sin(8 * x) + 0.1 * rng.standard_normal(60)
    model = SplineModel(spline_basis(40)(x, 0), y)
    levels = np.stack([np.ones(60), y**2], axis=1)
    parameters = np.array([*rng.normal(10, 2, model.num_knots), -4.0, -5.0])
    numerical = approx_fprime(parameters, lambda p: model.fit(p, levels)[1], 1e-5)
    np.testing.assert_allclose(model.fit(parameters, levels)[2], numerical, rtol=1e-3, atol=1e-3)
