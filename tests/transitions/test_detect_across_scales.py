"""Transitions at several scales: found where they were planted, linked where they are the same."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from llckit import detect_across_scales
from llckit.errors import InputError
from llckit.transitions.synthetic import planted_curve

STEP = np.unique(np.geomspace(1, 20_000, 80).round())
N_BETA = np.array([10.0, 100.0, 1000.0, 1e4])


def cells(planted, noise=1.0, seed=0):
    """λ̂ (steps, scales): `planted[scale]` has the location and the size of each planted transition."""
    columns = [
        planted_curve(
            STEP, [at for at, _ in moves], [by for _, by in moves], [0] * len(moves), llc_noise=noise, seed=[seed, i]
        ).llc
        for i, moves in enumerate(planted)
    ]
    return np.stack(columns, axis=1)


LOSS = planted_curve(STEP, [100], [0], [-2], loss_noise=0.003, seed=1).loss


@pytest.mark.slow
def test_one_transition_is_linked_over_the_scales_that_show_it():
    llc = cells([[], [(100, 20)], [(130, 20), (2000, -20)], [(160, 20), (2000, -20)]])
    found = detect_across_scales(step=STEP, loss=LOSS, llc=llc, n_beta=N_BETA)
    rise, fall = found
    assert rise.n_beta == (100.0, 1000.0, 1e4)
    assert fall.n_beta == (1000.0, 1e4)
    assert (rise.kind, fall.kind) == ("A", "B")
    assert rise.location_range[0] < 130 < rise.location_range[1]
    assert [len(one) for one in found.by_scale] == [0, 1, 2, 2]
    assert len(found) == 2
    assert found[0] == rise
    assert found[:] == (rise, fall)
    assert json.loads(json.dumps(found.to_dict()))["transitions"][1]["n_beta"] == [1000.0, 1e4]


@pytest.mark.slow
def test_opposite_moves_and_distant_ones_are_not_linked():
    llc = cells([[(100, 20)], [(100, -20)], [(3000, -20)], [(100, -20)]])
    found = detect_across_scales(step=STEP, loss=LOSS, llc=llc, n_beta=N_BETA)
    assert sorted(linked.n_beta for linked in found) == [(10.0,), (100.0,), (1000.0,), (1e4,)]


@pytest.mark.slow
def test_a_scale_without_estimates_is_no_scale():
    llc = cells([[(100, 20)]] * 4)
    llc[5:, 1] = np.nan
    found = detect_across_scales(step=STEP, loss=LOSS, llc=llc, n_beta=N_BETA)
    assert found.by_scale[1] is None
    assert sorted(linked.n_beta for linked in found) == [(10.0,), (1000.0, 1e4)]


@pytest.mark.slow
def test_a_spectrogram_gives_what_its_arrays_give():
    llc = cells([[(100, 20)]] * 4)
    chains = llc[:, :, None] + np.random.default_rng(2).standard_normal((*llc.shape, 4))
    minimum = np.ones(llc.shape, dtype=bool)
    minimum[:3] = False
    spectrogram = SimpleNamespace(
        step=STEP, loss=LOSS, llc=llc, n_beta=N_BETA, is_minimum=minimum, mcse=np.ones(llc.shape), llc_per_chain=chains
    )
    (linked,) = detect_across_scales(spectrogram)
    assert linked.n_beta == tuple(N_BETA)
    assert linked.transitions[0].start >= STEP[3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"llc": np.ones(len(STEP))}, "have shapes"),
        ({"n_beta": N_BETA[:3]}, r"expected \(steps,\), \(steps, scales\) and \(scales,\)"),
        ({"n_beta": N_BETA[::-1]}, "ascending order"),
        ({"n_beta": [0, 1, 2, 3]}, "positive scales"),
        ({"n_beta": list("abcd")}, "n_beta is not an array of numbers"),
        ({"llc": np.full((len(STEP), 4), np.nan)}, "no scale with 8 estimates"),
        ({"llc_se": np.ones((3, 4))}, "llc_se has shape"),
        ({"llc_se": "0.1 each"}, "llc_se is not an array of numbers"),
        ({"loss": None}, "loss is None"),
        ({"false_boundaries": 2.0}, "false_boundaries is 2.0"),
    ],
)
def test_wrong_input(changes, message):
    given = {"step": STEP, "loss": LOSS, "llc": np.ones((len(STEP), 4)), "n_beta": N_BETA} | changes
    with pytest.raises(InputError, match=message):
        detect_across_scales(**given)


def test_a_curve_of_one_scale_or_both_ways_of_giving_it():
    with pytest.raises(InputError, match="is a SimpleNamespace; expected"):
        detect_across_scales(SimpleNamespace(llc=np.ones(9)))
    with pytest.raises(InputError, match="one or the other"):
        detect_across_scales(SimpleNamespace(llc=np.ones((9, 2))), step=STEP)
