"""The command line as a newcomer types it: a stranger's folder from its weights to a report."""

import csv
import json

import pytest

from llckit.cli import main


@pytest.mark.slow
def test_a_strangers_folder_from_weights_to_report(here, capsys):
    assert main(["info", "run.ckpts", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["checkpoints"], found["last_step"], found["numbers"]) == (10, 90, 58)
    assert main(["verify", "run.ckpts"]) == 0
    assert main(["estimate", "run.ckpts", "--task", "task.py:task", "--out", "curve.csv"]) == 0
    printed = capsys.readouterr()
    assert "n_beta" in printed.out
    assert printed.err == ""  # progress is for terminals
    with open("curve.csv", newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == list(range(0, 100, 10))
    assert main(["detect", "curve.csv", "--json", "--plot", "curve.png"]) == 0
    assert "transitions" in json.loads(capsys.readouterr().out)
    assert (here / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert main(["detect", "curve.csv"]) == 0
    assert main(["estimate", "run.ckpts", "--task", "task.py:make", "--behavioral", "--steps", "0,90"]) == 0
    assert main(["report", "run.ckpts", "-o", "store.html"]) == 0
    assert main(["report", "curve.csv", "-o", "curve.html"]) == 0
    for page in ("store.html", "curve.html"):
        assert "</html>" in (here / page).read_text()
    assert main(["info", "run.ckpts"]) == 0
    assert "; 2 (behavioral loss, n_beta = 14.654" in capsys.readouterr().out
