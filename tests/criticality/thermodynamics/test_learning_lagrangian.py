"""The learning Lagrangian: its parts, the fitted coefficients, trends and transitions, bad records."""

import json
import math

import numpy as np
import pytest

from llckit.criticality import learning_lagrangian
from llckit.errors import InputError

STEP = np.arange(0.0, 1010.0, 10.0)


def run(kinetic, loss=None, batch=32.0, rate=0.1):
    """A record with the given kinetic energy."""
    loss = 0.2 + 2.0 * np.exp(-STEP / 200) if loss is None else loss
    return {
        "step": STEP,
        "learning_rate": rate,
        "batch_size": batch,
        "grad_norm": np.sqrt(2 * kinetic) / rate,
        "loss": loss,
    }


def left_to_learn(loss, batch):
    used = np.concatenate([[0], np.cumsum(10 * (batch[1:] + batch[:-1]) / 2)])
    return 1 - (1 - loss / loss[0]) * np.log(1 + used) / np.log(1 + used[-1])


def noisy(seed, level=1.0, noise=0.1):
    return level * (1 + noise * np.random.default_rng(seed).uniform(-1, 1, len(STEP)))


def test_the_parts_are_what_their_equations_say():
    rate, batch = np.linspace(0.2, 0.1, len(STEP)), np.linspace(16, 64, len(STEP))
    norm, loss = np.linspace(3, 1, len(STEP)), 1 / (1 + STEP / 100)
    found = learning_lagrangian(STEP, rate, batch, norm, loss, noise_coefficient=2.0, potential_scale=0.3)
    kinetic = rate**2 * norm**2 / 2
    potential = 2.0 / batch + 0.3 * left_to_learn(loss, batch)
    assert found.kinetic == pytest.approx(kinetic)
    assert found.potential == pytest.approx(potential)
    assert found.lagrangian == pytest.approx(kinetic - potential)
    assert found.energy == pytest.approx(kinetic + potential)
    assert (found.noise_coefficient, found.potential_scale) == (2.0, 0.3)
    action = np.sum(10 * (found.lagrangian[1:] + found.lagrangian[:-1]) / 2)
    assert found.action == pytest.approx(action)
    assert found.at_transitions == ()
    assert found.transitions_p_value is None


def test_kinetic_energy_is_half_the_squared_step_of_gradient_descent():
    curvature, rate, w = np.array([1.0, 0.3]), 0.1, np.array([2.0, -1.0])
    lengths, norms, losses = [], [], []
    for _ in range(30):
        gradient = curvature * w
        norms.append(np.linalg.norm(gradient))
        losses.append(curvature @ w**2 / 2)
        moved = w - rate * gradient
        lengths.append(np.sum((moved - w) ** 2) / 2)
        w = moved
    assert learning_lagrangian(np.arange(30), rate, 1, norms, losses).kinetic == pytest.approx(np.array(lengths))


def test_coefficients_of_a_run_that_conserves_energy_are_found():
    batch = np.where(STEP < 400, 16.0, 64.0)
    loss = run(STEP)["loss"]
    kinetic = 5 - 12 / batch - 3 * left_to_learn(loss, batch)
    found = learning_lagrangian(**run(kinetic, loss, batch))
    assert found.noise_coefficient == pytest.approx(12, rel=1e-6)
    assert found.potential_scale == pytest.approx(3, rel=1e-6)
    assert found.energy == pytest.approx(np.full(len(STEP), 5.0), rel=1e-6)
    assert found.energy_variation < 1e-6
    assert found.balanced == pytest.approx(1)
    one_given = learning_lagrangian(**run(kinetic, loss, batch), noise_coefficient=12.0)
    assert one_given.potential_scale == pytest.approx(3, rel=1e-6)
    other_given = learning_lagrangian(**run(kinetic, loss, batch), potential_scale=3.0)
    assert other_given.noise_coefficient == pytest.approx(12, rel=1e-6)


def test_coefficients_are_found_under_noise_within_their_error():
    batch = np.full(len(STEP), 32.0)
    loss = run(STEP)["loss"]
    left = left_to_learn(loss, batch)
    estimates = [
        learning_lagrangian(
            **run(5 - 3 * left + 0.2 * np.random.default_rng(seed).standard_normal(len(STEP)), loss)
        ).potential_scale
        for seed in range(50)
    ]
    error = 0.2 / math.sqrt(np.sum((left - left.mean()) ** 2))
    assert np.std(estimates) == pytest.approx(error, rel=0.4)
    assert abs(np.mean(estimates) - 3) < 4 * error / math.sqrt(50)


def test_a_batch_size_that_never_changes_leaves_its_coefficient_at_zero():
    found = learning_lagrangian(**run(noisy(0)))
    assert found.noise_coefficient == 0
    given = learning_lagrangian(**run(noisy(0)), noise_coefficient=64.0)
    assert given.noise_coefficient == 64
    assert given.energy - found.energy == pytest.approx(np.full(len(STEP), 2.0), abs=1e-6)


def test_kinetic_energy_that_falls_with_the_loss_is_not_balanced():
    found = learning_lagrangian(**run(np.exp(-STEP / 200)))
    assert found.noise_coefficient == found.potential_scale == 0
    assert (found.potential == 0).all()
    assert found.balanced == 0
    assert found.energy_trend == pytest.approx(-1)
    assert found.energy_trend_p_value == pytest.approx(2 / math.factorial(10))
    forced = learning_lagrangian(**run(np.exp(-STEP / 200)), potential_scale=1.0)
    assert forced.balanced < 0


def test_variation_and_trend_of_constants_and_of_known_curves():
    still = learning_lagrangian(**run(np.full(len(STEP), 2.0)))
    assert still.energy_variation == still.lagrangian_variation == 0
    assert still.energy_trend_p_value == still.lagrangian_trend_p_value == 1
    assert still.balanced == 0
    rising = learning_lagrangian(**run(1 + STEP / 1000), potential_scale=0.0)
    # Uniform on [1, 2]: mean 3/2, standard deviation 1/√12; the trapezoidal rule adds a little of order 1/steps².
    assert rising.energy_variation == pytest.approx(1 / math.sqrt(12) / 1.5, rel=1e-3)
    assert rising.lagrangian_variation == rising.energy_variation
    assert rising.lagrangian_trend == pytest.approx(1)
    nothing = learning_lagrangian(**run(np.zeros(len(STEP))))
    assert nothing.energy_variation == 0
    assert json.loads(json.dumps(nothing.to_dict()))["balanced"] == 0


@pytest.mark.slow
def test_trend_has_its_level_under_noise_and_finds_a_slow_drift():
    fixed = {"noise_coefficient": 0.0, "potential_scale": 0.0}
    runs = 200
    p_values = np.array([learning_lagrangian(**run(noisy(seed)), **fixed).energy_trend_p_value for seed in range(runs)])
    assert np.mean(p_values < 0.05) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    assert np.mean(p_values < 0.5) > 0.5 - 0.1 - 3 * math.sqrt(0.25 / runs)  # ten blocks: tau is discrete
    drift = [learning_lagrangian(**run(noisy(seed) + STEP / 5000), **fixed) for seed in range(20)]
    assert all(one.energy_trend_p_value < 0.01 for one in drift)


def test_places_where_the_lagrangian_jumps_rank_first():
    kinetic = noisy(1, noise=0.01) + 1 / (1 + np.exp(-(STEP - 300) / 5)) + 1 / (1 + np.exp(-(STEP - 700) / 5))
    found = learning_lagrangian(**run(kinetic), potential_scale=0.0, transitions=[300.0, 700.0])
    for at, place in zip(found.at_transitions, (300.0, 700.0), strict=True):
        assert at.step == place
        assert at.value == found.lagrangian[place == STEP]
        assert at.rank > 0.95
        # Slope ¼ per 5 steps at the jump, less what intervals of 10 on both sides average, per d ln(1 + step).
        assert at.rate == pytest.approx((1 + place) * math.tanh(1) / 20, rel=0.1)
    assert found.transitions_p_value < 0.01
    elsewhere = learning_lagrangian(**run(kinetic), potential_scale=0.0, transitions=[500.0])
    assert elsewhere.transitions_p_value == pytest.approx(1 - elsewhere.at_transitions[0].rank, abs=0.02)
    between = learning_lagrangian(**run(kinetic), potential_scale=0.0, transitions=[304.9])
    assert between.at_transitions == found.at_transitions[:1]


@pytest.mark.slow
def test_random_places_get_uniform_p_values():
    runs = 100
    p_values = []
    for seed in range(runs):
        places = np.random.default_rng(seed).choice(STEP, 3, replace=False)
        p_values.append(learning_lagrangian(**run(noisy(seed)), transitions=places).transitions_p_value)
    for level in (0.05, 0.5):
        assert abs(np.mean(np.array(p_values) < level) - level) < 3.5 * math.sqrt(level * (1 - level) / runs)


def test_a_constant_lagrangian_ranks_every_place_alike():
    found = learning_lagrangian(**run(np.full(len(STEP), 2.0)), potential_scale=0.0, transitions=[500.0])
    ties = learning_lagrangian(**run(np.zeros(len(STEP))), potential_scale=0.0, transitions=[500.0])
    assert ties.at_transitions[0].rank == 0.5
    assert ties.transitions_p_value == 1
    assert abs(found.at_transitions[0].rate) < 1e-12


def test_units_of_the_weights_only_scale():
    kinetic = 5 - 2 * run(STEP)["loss"] + 0.1 * noisy(0)
    one = learning_lagrangian(**run(kinetic), transitions=[300.0])
    other = learning_lagrangian(**(run(kinetic) | {"learning_rate": 1e-4}), transitions=[300.0])
    assert other.potential_scale == pytest.approx(1e-6 * one.potential_scale)
    assert other.action == pytest.approx(1e-6 * one.action)
    for name in ("energy_variation", "lagrangian_variation", "balanced", "energy_trend", "transitions_p_value"):
        assert getattr(other, name) == pytest.approx(getattr(one, name))


def test_same_seed_same_result():
    one, again, other = (
        learning_lagrangian(**run(noisy(0)), transitions=[300.0, 500.0], seed=seed).transitions_p_value
        for seed in (1, 1, 2)
    )
    assert one == again != other
    assert one == pytest.approx(other, abs=0.05)


RECORD = run(noisy(0))
BAD = {
    "short": ({name: v[:19] for name, v in RECORD.items() if np.ndim(v)}, "step has 19 entries"),
    "lengths": ({"loss": RECORD["loss"][:-1]}, r"loss has shape \(100,\).*expected 101"),
    "scalar loss": ({"loss": 1.0}, r"loss has shape \(\)"),
    "nan": (("loss", 3, np.nan), r"loss\[3\] is nan"),
    "order": (("step", 3, 5.0), "increase strictly"),
    "negative step": (("step", 0, -1.0), "from 0 or later"),
    "negative rate": ({"learning_rate": -0.1}, "learning_rate has the entry -0.1"),
    "negative norm": (("grad_norm", 3, -1.0), "grad_norm has the entry -1; expected numbers >= 0"),
    "empty batch": ({"batch_size": 0}, "batch_size has the entry 0"),
    "first loss": (("loss", 0, 0.0), r"loss\[0\] is 0"),
    "text": ({"loss": ["a"] * len(STEP)}, "loss has shape"),
    "coefficient": ({"noise_coefficient": -1.0}, "noise_coefficient is -1"),
    "scale": ({"potential_scale": np.nan}, "potential_scale is nan"),
    "outside": ({"transitions": [2000.0]}, "expected a list of steps between 0 and 1000"),
    "table": ({"transitions": [[200.0]]}, "expected a list of steps between"),
    "seed": ({"seed": 0.5}, "seed is 0.5"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD.keys())
def test_bad_records_are_refused(spoiled, change, message):
    with pytest.raises(InputError, match=message):
        learning_lagrangian(**spoiled(RECORD, change))
