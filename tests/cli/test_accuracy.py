"""The summary of `llckit bench`."""

import json

import pytest

from llckit.cli import main
from llckit.cli.accuracy import ToyResult, accuracy_of


def result(llc, exact, mcse=1.0):
    return ToyResult("toy", 2.0, 1, exact, llc, mcse, 10.0, 1.0, "converged", 0.5)


def test_the_accuracy_of_a_bench_is_that_of_the_exact_cases():
    results = [result(2.0, 2.0), result(2.2, 2.0, mcse=0.2), result(1.4, 2.0, mcse=0.12), result(9.0, None)]
    assert [case.z for case in results] == [0.0, pytest.approx(1.0), pytest.approx(-5.0), None]
    found = accuracy_of(results)._asdict()
    assert found == pytest.approx({"cases": 3, "median": 0.1, "percentile_95": 0.28, "worst": 0.3, "covered": 2 / 3})


@pytest.mark.slow
def test_one_toy_is_estimated_by_its_name(capsys):
    assert main(["bench", "--only", "|w|^6", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["toys"]
    assert all("|w|^6" in toy["name"] for toy in found["toys"])
    assert found["summary"]["cases"] <= len(found["toys"])


def test_a_name_that_no_toy_has_is_wrong_usage(capsys):
    assert main(["bench", "--only", "no such toy"]) == 2
    assert capsys.readouterr().err.startswith("llckit bench: error: --only is 'no such toy', which no toy's name holds")


def test_a_result_as_json_names_what_was_measured():
    found = result(2.5, 2.0).to_dict()
    assert list(found) == [
        "name", "lambda", "multiplicity", "exact", "llc", "mcse", "z", "error", "n_beta", "localization", "outcome",
        "seconds",
    ]  # fmt: skip
    assert (found["lambda"], found["z"], found["error"]) == (2.0, 0.5, 0.25)
