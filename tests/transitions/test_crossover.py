import json
import math

import numpy as np
import pytest

from llckit.errors import InputError
from llckit.transitions.crossover import CASES, crossover_samples


def free_energy(n, delta_loss, delta_llc):
    return n * delta_loss + delta_llc * np.log(n)


@pytest.mark.parametrize(
    ("delta_loss", "delta_llc", "case"),
    [
        (-0.1, -3.0, "always"),
        (-0.1, 0.0, "always"),
        (0.0, -3.0, "always"),
        (0.1, 3.0, "never"),
        (0.1, 0.0, "never"),
        (0.0, 3.0, "never"),
        (0.0, 0.0, "never"),
        (-0.1, 3.0, "outside"),
        (-1.0, 2.7, "always"),
        (-1.0, 2.8, "outside"),
        (0.1, -3.0, "between"),
        (1.0, -2.7, "never"),
        (1.0, -2.8, "between"),
        (-1e-9, 50.0, "outside"),
        (-2.21, 149.0, "outside"),
    ],
)
def test_the_sign_of_the_free_energy_agrees_with_the_case_at_every_size(delta_loss, delta_llc, case):
    found = crossover_samples(delta_loss, delta_llc)
    assert found.case == case
    n = np.geomspace(2, 1e13, 400)
    wins = free_energy(n, delta_loss, delta_llc) < 0
    if case in ("always", "never"):
        assert (wins == (case == "always")).all()
        assert found.lower is None
        assert found.upper is None
        return
    assert 1 < found.lower < math.e < found.upper
    inside = (n > found.lower) & (n < found.upper)
    assert (wins == (inside if case == "between" else ~inside)).all()
    for root in (found.lower, found.upper):
        assert free_energy(root, delta_loss, delta_llc) == pytest.approx(0, abs=1e-12 * root * abs(delta_loss) + 1e-12)


def test_the_roots_meet_at_e():
    found = crossover_samples(-1.0, math.e * (1 + 1e-8))
    # n - r ln n has curvature 1/e at its minimum, so the roots lie at e (1 ± √(2 · 1e-8)) to first order.
    assert found.upper / math.e - 1 == pytest.approx(math.sqrt(2e-8), rel=1e-3)
    assert 1 - found.lower / math.e == pytest.approx(math.sqrt(2e-8), rel=1e-3)


def test_without_errors_the_case_is_certain():
    found = crossover_samples(-0.01, 2.0)
    assert found.probabilities == {name: float(name == "outside") for name in CASES}
    assert found.lower_interval is None
    assert found.upper_interval is None
    assert crossover_samples(-0.01, 2.0, delta_loss_se=0.0, delta_llc_se=0.0) == found


def test_small_errors_are_propagated_as_the_derivatives_say():
    delta_loss, delta_llc, loss_se, llc_se = -0.01, 2.0, 1e-4, 0.03
    found = crossover_samples(delta_loss, delta_llc, delta_loss_se=loss_se, delta_llc_se=llc_se)
    n = found.upper
    slope = delta_loss + delta_llc / n
    expected = math.hypot(n * loss_se, math.log(n) * llc_se) / abs(slope)
    low, high = found.upper_interval
    # The quantiles of 4000 normal draws have a relative error of about 2 % each.
    assert (high - low) / (2 * 1.645) == pytest.approx(expected, rel=0.06)
    assert low < n < high
    assert found.probabilities["outside"] == 1


def test_a_loss_that_may_not_have_fallen_splits_between_the_cases():
    found = crossover_samples(-0.01, 2.0, delta_loss_se=0.02)
    # P(ΔL > 0) = P(z > 1/2)
    assert found.probabilities["never"] == pytest.approx(0.3085, abs=4 * math.sqrt(0.3085 * 0.6915 / 4000))
    assert sum(found.probabilities.values()) == pytest.approx(1)
    assert found.case == "outside"
    assert found.upper_interval[0] < found.upper < found.upper_interval[1]


def test_seeds():
    one, again, other = (crossover_samples(-0.01, 2.0, delta_llc_se=0.1, seed=seed) for seed in (3, 3, 4))
    assert one == again
    assert one != other
    assert json.loads(json.dumps(one.to_dict()))["upper_interval"] == list(one.upper_interval)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"delta_loss": math.nan}, "delta_loss is nan"),
        ({"delta_llc": math.inf}, "delta_llc is inf"),
        ({"delta_llc": "3"}, "delta_llc is '3'"),
        ({"delta_loss_se": -1.0}, "delta_loss_se is -1"),
        ({"delta_llc_se": math.nan}, "delta_llc_se is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": True}, "seed is True"),
    ],
)
def test_bad_input_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        crossover_samples(**({"delta_loss": -0.01, "delta_llc": 2.0} | change))
