"""Wrong input ends in one clear InputError."""

from types import SimpleNamespace

import numpy as np
import pytest

from llckit.errors import InputError
from llckit.llc import LLCCurve
from llckit.transitions import detect_transitions
from llckit.transitions.observations import Observations


def arrays(**changes):
    step = np.arange(12) * 10
    given = {"step": step, "loss": 3.0 - np.log1p(step) / 4, "llc": np.log1p(step)}
    return {**given, **changes}


def changed(name, index, value):
    column = np.array(arrays()[name], dtype=float)
    column[index] = value
    return {name: column}


@pytest.mark.slow
def test_the_unchanged_input_is_fine():
    assert len(detect_transitions(**arrays())) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": None}, "loss is None; expected the loss at every checkpoint"),
        ({"llc": None}, "llc is None; expected"),
        ({"step": None}, "step is None; expected"),
        ({"llc": np.arange(11)}, "12, 12 and 11 entries"),
        ({"llc": np.ones((12, 3))}, r"llc has shape \(12, 3\)"),
        ({"llc": ["a"] * 12}, "llc is not an array of numbers"),
        ({"step": np.repeat(np.arange(6) * 10, 2)}, "llc has 12 finite entries of 12 at 6 different steps"),
        (changed("step", 3, 15), "step 15 comes after 20"),
        (changed("step", 0, -1), "step holds -1"),
        (changed("step", 4, np.nan), "step is NaN at entry 4"),
        (changed("step", 11, np.inf), "step holds an infinite value"),
        (changed("loss", 4, np.inf), "loss holds an infinite value"),
        (changed("llc", 4, -np.inf), "llc holds an infinite value"),
        (changed("llc", slice(5), np.nan), "llc has 7 finite entries of 12"),
        (changed("loss", slice(5), np.nan), "loss has 7 finite entries of 12"),
        ({"llc_se": np.ones(5)}, "llc_se has 5 entries for 12 checkpoints"),
        ({"llc_se": -np.ones(12)}, "llc_se holds -1"),
        ({"observables": [np.ones(12)]}, "observables is a list; expected arrays by name"),
        ({"axis": ["log"]}, r"axis is \['log'\]; expected one of"),
        ({"axis": "sqrt"}, "axis is 'sqrt'; expected one of 'log', 'linear'"),
        ({"false_boundaries": 0}, "false_boundaries is 0; expected a positive number, at most 0.15"),
        ({"false_boundaries": 0.2}, "false_boundaries is 0.2; expected a positive number, at most 0.15"),
        ({"false_boundaries": np.nan}, "false_boundaries is nan"),
        ({"false_boundaries": "few"}, "false_boundaries is 'few'"),
        ({"observables": {"accuracy": np.ones(5)}}, "accuracy has 5 entries for 12 checkpoints"),
        ({"observables": {"accuracy": ["a"] * 12}}, "accuracy is not an array of numbers"),
        ({"observables": {"loss": np.ones(12)}}, "observables holds loss"),
        ({"llc_per_chain": np.ones((4, 12))}, r"llc_per_chain has shape \(4, 12\)"),
        ({"llc_per_chain": np.ones(12)}, r"llc_per_chain has shape \(12,\)"),
    ],
)
def test_wrong_input(changes, message):
    with pytest.raises(InputError, match=message):
        detect_transitions(**arrays(**changes))


def test_fewer_than_eight_checkpoints():
    with pytest.raises(InputError, match="7 finite entries of 7; expected at least 8"):
        detect_transitions(step=np.arange(7), loss=np.arange(7), llc=np.arange(7))


def test_a_curve_without_loss():
    curve = SimpleNamespace(step=arrays()["step"], llc=arrays()["llc"])
    with pytest.raises(InputError, match="loss is None"):
        detect_transitions(curve)


def test_a_spectrogram_is_sent_elsewhere():
    spectrogram = SimpleNamespace(**arrays(llc=np.ones((12, 3))))
    with pytest.raises(InputError, match=r"λ̂ at 3 scales; expected one; give it to llckit\.detect_across_scales"):
        detect_transitions(spectrogram)


def test_a_curve_and_arrays_together():
    with pytest.raises(InputError, match="one or the other"):
        detect_transitions(SimpleNamespace(**arrays()), llc=arrays()["llc"])


@pytest.mark.slow
def test_standard_errors_of_failed_estimates_may_be_missing():
    llc, se = np.log1p(np.arange(12.0)), np.ones(12)
    llc[3] = se[3] = np.nan
    found = detect_transitions(**arrays(llc=llc, llc_se=se))
    assert np.isfinite(found.llc_interval).all()
    unknown = detect_transitions(**arrays(llc_se=np.full(12, np.nan)))
    assert np.isfinite(unknown.llc_interval).all()


def test_what_a_run_recorded_may_be_infinite_at_a_step():
    recorded = {"grad_norm": np.where(np.arange(12) == 3, np.inf, 1.0), "accuracy": np.linspace(0, 1, 12)}
    steps = np.arange(12) * 10
    curve = LLCCurve(steps, np.linspace(2, 1, 12), np.linspace(1, 2, 12), None, None, {}, recorded=recorded)
    others = Observations.from_curve(curve, None).others
    assert np.isnan(others["grad_norm"]).nonzero()[0].tolist() == [3]
    assert others["accuracy"].tolist() == recorded["accuracy"].tolist()
    with pytest.raises(InputError, match="grad_norm holds an infinite value"):
        Observations.from_curve(curve, recorded)
