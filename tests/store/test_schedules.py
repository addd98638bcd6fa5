"""Schedules: exact counts, even spacing, clear refusals."""

import math
from itertools import pairwise

import numpy as np
import pytest

from llckit.errors import InputError
from llckit.store import linear_schedule, log_schedule, mixed_schedule

SCHEDULES = [log_schedule, linear_schedule, mixed_schedule]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("last_step", [0, 1, 2, 7, 50, 999, 10_000, 1_234_567])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 10, 99, 100, 1000])
def test_schedules_are_exact(schedule, last_step, count):
    steps = schedule(last_step, count)
    assert len(steps) == min(count, last_step + 1)
    assert steps == sorted(set(steps))
    assert all(type(step) is int for step in steps)
    assert steps[-1] == last_step
    assert steps[0] == (0 if len(steps) > 1 else last_step)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_count_of_a_short_run(schedule):
    for last_step in range(40):
        for count in range(1, last_step + 3):
            assert len(schedule(np.int64(last_step), count)) == min(count, last_step + 1)


def test_linear_spacing_is_the_rounded_grid():
    assert linear_schedule(10, 5) == [0, 3, 5, 8, 10]
    assert {b - a for a, b in pairwise(linear_schedule(10_000, 333))} == {30, 31}


def test_log_spacing_is_geometric_once_steps_are_far_apart():
    assert log_schedule(999, 4) == [0, 9, 99, 999]
    steps = log_schedule(10_000, 100)
    assert steps[:6] == [0, 1, 2, 3, 4, 5]
    wide = [step + 1 for step in steps if step > 300]
    ratios = [math.log(b / a) for a, b in pairwise(wide)]
    assert max(ratios) / min(ratios) < 1.05


def test_mixed_schedule_holds_both_halves():
    steps = set(mixed_schedule(10_000, 100))
    assert steps >= set(log_schedule(10_000, 51))
    assert steps >= set(linear_schedule(10_000, 51))
    assert max(b - a for a, b in pairwise(sorted(steps))) <= 200


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("last_step", "count"), [(-1, 5), (10, 0), (10.0, 5), (10, 2.5), (True, 5), ("10", 5)])
def test_schedules_refuse_what_is_no_count(schedule, last_step, count):
    with pytest.raises(InputError, match="expected an integer >="):
        schedule(last_step, count)
