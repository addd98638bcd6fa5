"""Jumps between two checkpoints: found in their gap with their height, and nothing beside them."""

import numpy as np
import pytest

from llckit.transitions import detect_transitions
from llckit.transitions.smooth import fit_smooth

pytestmark = pytest.mark.slow

LINEAR = 10.0 * np.arange(60)
LOG = np.unique(np.expm1(np.linspace(0, np.log(1e5), 100)).round())


def jump(step, before, height):
    """A jump between checkpoint `before` and the next."""
    return height * (np.arange(len(step)) > before)


def logistic(step, centre, width, height):
    """A smooth stage, in checkpoints."""
    return height / (1 + np.exp(-(np.arange(len(step)) - centre) / width))


def noisy(curve, deviation, seed):
    return curve + deviation * np.random.default_rng([40, seed]).standard_normal(len(curve))


def check_gap(found, step, before, height):
    """A transition is the jump after a checkpoint, as far as its own standard error allows."""
    gap = (step[before], step[before + 1])
    assert (found.start, found.end) == gap
    assert found.location_interval == gap
    assert gap[0] < found.location < gap[1]
    assert found.start_interval == found.end_interval == gap
    assert found.delta_llc == pytest.approx(height, abs=4 * found.delta_llc_se)
    assert found.delta_llc_se < 0.25 * abs(height)


@pytest.mark.parametrize("height", [5, -5])
@pytest.mark.parametrize(("step", "axis"), [(LINEAR, "linear"), (LINEAR, "log"), (LOG, "log"), (LOG, "linear")])
def test_one_jump_is_one_transition(step, axis, height):
    for seed, deviation in enumerate((0.02, 0.1, 0.5)):
        before = len(step) // 2 + seed
        loss = noisy(2 - jump(step, before, 1), 0.01, 10 + seed)
        llc = noisy(20 + jump(step, before, height), deviation, seed)
        (found,) = detect_transitions(step=step, loss=loss, llc=llc, axis=axis)
        check_gap(found, step, before, height)
        assert (found.kind, found.hidden) == ("A" if height > 0 else "unclassified", False)
        assert found.delta_loss == pytest.approx(-1, abs=4 * found.delta_loss_se)
        (move,) = found.moves
        assert move.location_interval == found.location_interval
        assert 0.4 < move.leads < 0.6  # which of the two was first, nobody saw


def test_the_height_of_a_jump_has_no_bias_and_an_honest_error():
    errors = []
    for seed in range(60):
        x = np.arange(60.0)
        (found,) = fit_smooth(x, noisy(10 + jump(x, 30, 5.0), 0.3, [29, seed]), x).jumps
        errors.append((found.height - 5) / found.height_draws.std())
    assert abs(np.mean(errors)) < 4 / np.sqrt(len(errors))
    assert np.mean(np.square(errors)) == pytest.approx(1, abs=3 * np.sqrt(2 / len(errors)))


@pytest.mark.parametrize(("step", "axis"), [(LINEAR, "linear"), (LOG, "log")])
@pytest.mark.parametrize("heights", [(5, 5), (5, -5), (-5, -5)])
def test_two_jumps_five_checkpoints_apart(heights, step, axis):
    llc = noisy(20 + jump(step, 30, heights[0]) + jump(step, 35, heights[1]), 0.2, 2)
    found = detect_transitions(step=step, loss=noisy(2 - jump(step, 30, 1), 0.01, 3), llc=llc, axis=axis)
    assert len(found) == 2
    for one, before, height in zip(found, (30, 35), heights, strict=True):
        check_gap(one, step, before, height)


@pytest.mark.parametrize("before", [0, 1, 2, -4, -3, -2])
@pytest.mark.parametrize("height", [5, -5])
@pytest.mark.parametrize(("step", "axis"), [(LINEAR, "linear"), (LOG, "log")])
def test_a_jump_near_an_end_of_the_run(before, height, step, axis):
    at = before % len(step)
    llc = noisy(20 + jump(step, at, height), 0.1, 4)
    (found,) = detect_transitions(step=step, loss=noisy(2 - jump(step, at, 1), 0.01, 5), llc=llc, axis=axis)
    check_gap(found, step, at, height)


def test_a_jump_beside_a_smooth_hidden_stage():
    for seed in range(3):
        llc = noisy(20 + jump(LOG, 30, 8) + logistic(LOG, 70, 4, -8), 0.3, [6, seed])
        loss = noisy(3 - jump(LOG, 30, 2.5), 0.01, [7, seed])
        sudden, smooth = detect_transitions(step=LOG, loss=loss, llc=llc)
        check_gap(sudden, LOG, 30, 8)
        assert (sudden.kind, sudden.hidden) == ("A", False)
        assert (smooth.kind, smooth.hidden) == ("B", True)
        assert LOG[31] <= smooth.start < LOG[66]
        assert LOG[74] < smooth.end
        assert smooth.delta_llc == pytest.approx(-8, abs=0.8)


def test_a_jump_of_the_loss_alone_is_no_transition_and_leaves_the_smooth_one_what_it_is():
    smooth = noisy(20 + logistic(LOG, 60, 4, 8), 0.3, 8)
    still = noisy(np.full(len(LOG), 20.0), 0.3, 9)
    loss = noisy(3 - jump(LOG, 25, 2), 0.01, 10)
    assert len(detect_transitions(step=LOG, loss=loss, llc=still)) == 0
    (found,) = detect_transitions(step=LOG, loss=loss, llc=smooth)
    assert found.kind == "A"
    assert found.hidden  # the loss had jumped before, and rests
    assert abs(found.delta_loss) < 0.02
    assert not found.moves


def test_a_jump_of_the_loss_inside_a_smooth_stage_shows_it():
    llc = noisy(20 + logistic(LOG, 60, 5, 8), 0.3, 11)
    loss = noisy(3 - jump(LOG, 20, 2) - jump(LOG, 60, 0.1), 0.005, 12)
    (found,) = detect_transitions(step=LOG, loss=loss, llc=llc)
    assert not found.hidden
    assert found.delta_loss == pytest.approx(-0.1, abs=0.02)


@pytest.mark.parametrize("width", [1.5, 2, 4])
def test_a_narrow_stage_that_checkpoints_resolve_stays_smooth(width):
    covered = []
    for seed in range(12):
        centre = 30 + seed / 12
        llc = noisy(20 + logistic(LINEAR, centre, width, 10), 1.0, [13, seed])
        loss = noisy(2 - logistic(LINEAR, centre, width, 1), 0.01, 14)
        found = detect_transitions(step=LINEAR, loss=loss, llc=llc, axis="linear")
        assert len(found) == 1
        assert found[0].end - found[0].start > 20 * width  # jumps would be 10 long
        assert found[0].delta_llc == pytest.approx(10, abs=4 * found[0].delta_llc_se + 0.5)
        covered.append(found[0].location_interval[0] <= 10 * centre <= found[0].location_interval[1])
    assert np.mean(covered) >= 0.9 - 3 * np.sqrt(0.9 * 0.1 / len(covered))


@pytest.mark.parametrize("width", [0.3, 0.6])
def test_a_change_over_a_few_gaps_is_one_transition(width):
    for seed, deviation in enumerate((0.05, 0.5)):
        llc = noisy(20 + logistic(LINEAR, 30.2, width, 5), deviation, [15, seed])
        loss = noisy(2 - logistic(LINEAR, 30.2, width, 1), 0.01, [16, seed])
        (found,) = detect_transitions(step=LINEAR, loss=loss, llc=llc, axis="linear")
        assert found.start <= 300
        assert found.end >= 310
        assert found.location == pytest.approx(302, abs=10)
        # up to a tenth of the change is too slow to be told from rest
        assert found.delta_llc == pytest.approx(5, abs=4 * found.delta_llc_se + 0.25)


@pytest.mark.parametrize(("bend", "kinds"), [(30, "A"), (15, "A")])
def test_a_kink_is_where_one_move_begins(bend, kinds):
    done = np.clip((np.arange(60) - bend) / (59 - bend), 0, 1)
    for seed, deviation in enumerate((0.01, 0.1, 0.3)):
        llc = noisy(20 + 10 * done, deviation, [17, seed])
        found = detect_transitions(step=LINEAR, loss=noisy(2 - done, 0.01, [18, seed]), llc=llc, axis="linear")
        assert [t.kind for t in found] == list(kinds)
        assert found[0].delta_llc == pytest.approx(10, abs=0.6)


def test_one_wild_estimate_is_no_transition():
    llc = noisy(np.full(60, 20.0), 0.2, 19)
    llc[25] += 8
    assert len(detect_transitions(step=LINEAR, loss=noisy(np.full(60, 2.0), 0.01, 20), llc=llc, axis="linear")) == 0


def test_a_trend_beside_a_jump_stays_its_own_stage():
    llc = noisy(20 + 4 * LINEAR / LINEAR[-1] + jump(LINEAR, 30, 5), 0.1, 21)
    loss = noisy(2 - LINEAR / LINEAR[-1] - jump(LINEAR, 30, 1), 0.01, 22)
    before, sudden, after = detect_transitions(step=LINEAR, loss=loss, llc=llc, axis="linear")
    check_gap(sudden, LINEAR, 30, 5)
    assert (before.start, before.end) == (0, 300)
    assert (after.start, after.end) == (310, 590)
    assert [t.delta_llc for t in (before, after)] == pytest.approx([2, 2], abs=0.3)


@pytest.mark.parametrize("first", [1_000_000_007, 2**53 - 60_000, 1_700_000_000_000_000_000])
def test_huge_steps(first):
    step = first + 1_000_000_000 * np.arange(60, dtype=np.int64)
    llc, loss = noisy(20 + jump(step, 30, 5), 0.1, 23), noisy(2 - jump(step, 30, 1), 0.01, 24)
    for axis in ("linear", "log"):
        (found,) = detect_transitions(step=step, loss=loss, llc=llc, axis=axis)
        assert (found.start, found.end) == pytest.approx((step[30], step[31]), abs=0.1e9)
        assert found.delta_llc == pytest.approx(5, abs=4 * found.delta_llc_se)


def test_gaps_and_repeated_checkpoints_beside_a_jump():
    llc, loss = noisy(20 + jump(LINEAR, 30, 5), 0.1, 25), noisy(2 - jump(LINEAR, 30, 1), 0.01, 26)
    llc[31] = np.nan
    (found,) = detect_transitions(step=LINEAR, loss=loss, llc=llc, axis="linear")
    assert (found.start, found.end) == (300, 320)
    assert found.delta_loss == pytest.approx(-1, abs=0.05)
    step = np.repeat(LINEAR, 2)
    llc, loss = noisy(20 + jump(step, 61, 5), 0.1, 27), noisy(2 - jump(step, 61, 1), 0.01, 28)
    (found,) = detect_transitions(step=step, loss=loss, llc=llc, axis="linear")
    assert (found.start, found.end) == (300, 310)


def test_a_jump_without_any_noise():
    for height in (5.0, -5.0):
        (found,) = detect_transitions(
            step=LINEAR, loss=2 - jump(LINEAR, 30, 1.0), llc=20 + jump(LINEAR, 30, height), axis="linear"
        )
        assert (found.start, found.end) == (300, 310)
        assert found.delta_llc == pytest.approx(height, abs=1e-3)
