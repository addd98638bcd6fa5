"""`llckit estimate`: loaders that shuffle, and several scales."""

import csv

import pytest

from llckit.cli import main


@pytest.mark.slow
def test_a_shuffling_loader_is_welcome_and_gives_the_same_curve(here, tmp_path, capsys):
    for name in ("task", "shuffling"):
        out = str(tmp_path / f"{name}.csv")
        arguments = ["--steps", "90", "--localization", "1", "--n-beta", "10", "--out", out]
        assert main(["estimate", "run.ckpts", "--task", f"task.py:{name}", *arguments]) == 0
    assert (tmp_path / "task.csv").read_text() == (tmp_path / "shuffling.csv").read_text()


@pytest.mark.slow
def test_several_scales_make_a_spectrogram(workplace, tmp_path, capsys):
    out, picture = str(tmp_path / "cells.csv"), tmp_path / "cells.png"
    here = [str(workplace / "run.ckpts"), "--task", f"{workplace / 'task.py'}:task", "--behavioral"]
    few = ["--steps", "0,90", "--n-beta", "5,50", "--chains", "2", "--draws", "20"]
    assert main(["estimate", *here, *few, "--out", out, "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    with open(out, newline="") as file:
        assert [(row["step"], row["n_beta"]) for row in csv.DictReader(file)] == [
            ("0", "5.0"), ("0", "50.0"), ("90", "5.0"), ("90", "50.0")
        ]  # fmt: skip
    assert "n_beta = 50" in capsys.readouterr().out
    assert main(["estimate", *here, "--n-beta", "50,5"]) == 2
    assert "expected ascending numbers" in capsys.readouterr().err


@pytest.mark.slow
def test_what_an_estimate_may_cost_and_take(workplace, tmp_path, capsys):
    here = [str(workplace / "run.ckpts"), "--task", f"{workplace / 'task.py'}:task", "--behavioral"]
    out = tmp_path / "curve.csv"
    given = ["--chains", "3", "--draws", "9", "--seed", "2", "--rel-tol", "0.1", "--minutes", "2"]
    assert main(["estimate", *here, "--steps", "90", "--n-beta", "10", *given, "--out", str(out)]) == 0
    header, _ = out.read_text().splitlines()[:2]
    assert "llc_chain_2" in header
    assert "llc_chain_3" not in header
    capsys.readouterr()
    for wrong, message in {
        ("--minutes", "0"): "--minutes is 0.0; expected a positive number",
        ("--chains", "0"): "num_chains is 0; expected an integer >= 1",
        ("--rel-tol", "2"): "rel_tol is 2.0; expected a number between 0 and 1",
        ("--seed", "-1"): "seed is -1",
    }.items():
        assert main(["estimate", *here, *wrong]) == 2
        assert message in capsys.readouterr().err
