"""`llckit estimate`: loaders that shuffle, and several scales."""

import csv

from llckit.cli import main


def test_a_shuffling_loader_is_welcome_and_gives_the_same_curve(here, tmp_path, capsys):
    for name in ("task", "shuffling"):
        out = str(tmp_path / f"{name}.csv")
        arguments = ["--steps", "90", "--localization", "1", "--n-beta", "10", "--out", out]
        assert main(["estimate", "run.ckpts", "--task", f"task.py:{name}", *arguments]) == 0
    assert (tmp_path / "task.csv").read_text() == (tmp_path / "shuffling.csv").read_text()


def test_several_scales_make_a_spectrogram(workplace, tmp_path, capsys):
    out, picture = str(tmp_path / "cells.csv"), tmp_path / "cells.png"
    here = [str(workplace / "run.ckpts"), "--task", f"{workplace / 'task.py'}:task", "--behavioral"]
    assert main(["estimate", *here, "--steps", "0,90", "--n-beta", "5,50", "--out", out, "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    with open(out, newline="") as file:
        assert [(row["step"], row["n_beta"]) for row in csv.DictReader(file)] == [
            ("0", "5.0"), ("0", "50.0"), ("90", "5.0"), ("90", "50.0")
        ]  # fmt: skip
    assert "n_beta = 50" in capsys.readouterr().out
    assert main(["estimate", *here, "--n-beta", "50,5"]) == 2
    assert "expected ascending numbers" in capsys.readouterr().err
