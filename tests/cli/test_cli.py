"""The command line as a newcomer types it: a stranger's folder end to end."""

import csv
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from torch import nn

import llckit as lk
from llckit.cli import main
from llckit.cli.commands import _accuracy


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


def test_an_exported_store_is_estimated_like_a_folder(here, tmp_path, capsys):
    exported = str(tmp_path / "run.h5")
    assert main(["export", "run.ckpts", exported]) == 0
    assert "10 checkpoints exported" in capsys.readouterr().out
    assert main(["verify", exported]) == 0
    arguments = ["--steps", "0,90", "--localization", "1", "--n-beta", "10", "--out"]
    for source in ("run.ckpts", exported):
        out = str(tmp_path / f"{len(source)}.csv")
        assert main(["estimate", source, "--task", "task.py:task", *arguments, out]) == 0
    first, second = (tmp_path / f"{len(source)}.csv" for source in ("run.ckpts", exported))
    assert first.read_text() == second.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["run.h5", "run.h5.estimates", first.name, second.name]
    )
    assert main(["info", exported]) == 0
    assert "estimated: 2 (" in capsys.readouterr().out
    assert main(["report", exported, "-o", str(tmp_path / "page.html")]) == 2
    assert "holds 1 estimates at minima of the task loss" in capsys.readouterr().err


def test_a_shuffling_loader_is_welcome_and_gives_the_same_curve(here, tmp_path, capsys):
    for name in ("task", "shuffling"):
        out = str(tmp_path / f"{name}.csv")
        arguments = ["--steps", "90", "--localization", "1", "--n-beta", "10", "--out", out]
        assert main(["estimate", "run.ckpts", "--task", f"task.py:{name}", *arguments]) == 0
    assert (tmp_path / "task.csv").read_text() == (tmp_path / "shuffling.csv").read_text()


def test_a_dry_run_of_an_import_writes_nothing(plain_training_script, tmp_path, capsys):
    plain_training_script(tmp_path / "weights", count=3)
    weights, run = str(tmp_path / "weights"), tmp_path / "run.ckpts"
    assert main(["import", "--dry-run", weights, str(run)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        *(f"step {step}: {weights}/step_{step}.pt" for step in (0, 10, 20)),
        f"3 checkpoints for {run}, 0 of them already there",
    ]
    assert not run.exists()
    assert main(["import", f"{weights}/step_10.pt", str(run)]) == 0
    before = {file.name: file.stat().st_mtime_ns for file in run.iterdir()}
    capsys.readouterr()
    assert main(["import", weights, str(run), "--dry-run"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[1] == f"step 10: {weights}/step_10.pt (already there)"
    assert shown[-1].endswith("1 of them already there")
    assert {file.name: file.stat().st_mtime_ns for file in run.iterdir()} == before
    assert main(["import", "--dry-run", weights, f"{weights}/step_10.pt"]) == 2
    assert "is a file" in capsys.readouterr().err


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


def test_detect_links_transitions_across_the_scales_of_a_table(tmp_path, capsys):
    cells, steps = tmp_path / "cells.csv", [round(1.25**k) for k in range(8, 48)]
    rise = [(1, 5.0, steps), (10, 5.0, steps), (100, 5.0, [])]  # the finest scale shows nothing
    rows = [
        f"{step},{3 - (step > 200)},{base + 20 * (step > 200 and step in seen) + 0.1 * (i % 3)},{n_beta}"
        for n_beta, base, seen in rise
        for i, step in enumerate(steps)
    ]
    cells.write_text("\n".join(["step,loss,llc,n_beta", *rows]))
    picture = tmp_path / "cells.png"
    assert main(["detect", str(cells), "--json", "--plot", str(picture)]) == 0
    (linked,) = json.loads(capsys.readouterr().out)["transitions"]
    assert linked["n_beta"] == [1, 10]
    assert linked["kind"] == "A"
    assert 150 < linked["location"] < 260
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["detect", str(cells)]) == 0
    assert "2 of 3 scales" in capsys.readouterr().out
    curve = tmp_path / "curve.csv"
    curve.write_text("\n".join(["step,loss,llc,n_beta", *rows[: len(steps)]]))
    page = tmp_path / "report.html"
    assert main(["report", str(cells), "-o", str(page)]) == 2
    assert "--spectrogram" in capsys.readouterr().err
    elsewhere = tmp_path / "elsewhere.csv"
    elsewhere.write_text("step,loss,llc,n_beta\n" + "\n".join(f"{7 + 10**6},1,1,{x}" for x in (1, 2)))
    assert main(["report", str(curve), "--spectrogram", str(elsewhere), "-o", str(page)]) == 2
    assert "no step in common" in capsys.readouterr().err
    assert main(["report", str(curve), "--spectrogram", str(curve), "-o", str(page)]) == 2
    assert "two or more" in capsys.readouterr().err
    assert not page.exists()
    assert main(["report", str(curve), "--spectrogram", str(cells), "-o", str(page)]) == 0
    assert "2 of 3" in page.read_text(encoding="utf-8")


def test_a_short_curve_beside_a_long_one_is_not_the_reports_main(tmp_path, capsys, monkeypatch):
    steps = [round(1.25**k) for k in range(8, 48)]
    long = lk.LLCCurve(
        np.array(steps), np.linspace(3, 1, 40), np.linspace(10, 20, 40), np.full(40, 0.1), None, {}, behavioral=True
    )
    short = lk.LLCCurve(np.array(steps[:1]), np.ones(1), np.ones(1), None, None, {})
    lk.CheckpointStore(tmp_path / "run.ckpts").save(0, nn.Linear(1, 1))
    monkeypatch.setattr("llckit.cli.commands.kept_curves", lambda _: {False: short, True: long})
    page = tmp_path / "report.html"
    assert main(["report", str(tmp_path / "run.ckpts"), "-o", str(page)]) == 0
    assert "40 checkpoints" in page.read_text(encoding="utf-8")
    monkeypatch.setattr("llckit.cli.commands.kept_curves", lambda _: {False: short})
    assert main(["report", str(tmp_path / "run.ckpts"), "-o", str(tmp_path / "other.html")]) == 2
    assert "without --steps" in capsys.readouterr().err


def test_detect_leaves_out_what_is_no_llc(tmp_path, capsys):
    rows = [f"{10 * i},{3 - i / 10},{5 - (30 if i < 3 else 0)},{kind}" for i, kind in enumerate(NO_MINIMA)]
    (tmp_path / "c.csv").write_text("\n".join(["step,loss,llc,outcome", *rows]))
    assert main(["detect", str(tmp_path / "c.csv")]) == 0
    out, err = capsys.readouterr()
    assert "no transition found" in out  # the rise from -25 to 5 is none of the LLC
    assert "3 of 20 estimates are no LLC" in err
    assert "steps 0, 10, 20" in err


NO_MINIMA = ["not a local minimum"] * 3 + ["converged"] * 17


def hear_ctrl_c():
    """Undo what a process inherits where the tests do not run in a terminal: SIGINT ignored, or blocked."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


def test_ctrl_c_then_the_same_command(workplace, plain_training_script, tmp_path):
    plain_training_script(tmp_path / "weights", count=5)
    (tmp_path / "task.py").write_text((workplace / "task.py").read_text())
    command = [sys.executable, "-m", "llckit.cli"]

    def run(*arguments):
        return subprocess.run([*command, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)

    for name in ("a.ckpts", "b.ckpts"):
        assert run("import", "weights", name).returncode == 0
    estimate = ["estimate", "a.ckpts", "--task", "task.py:task", "--out", "a.csv"]
    process = subprocess.Popen(
        [*command, *estimate],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,
    )
    results = tmp_path / "a.ckpts" / "estimates"

    def estimated():
        files = [file for file in results.glob("*.json") if not file.name.startswith("curve-")]
        return {file.name: file.stat().st_mtime_ns for file in files}

    while len(estimated()) < 3:
        assert process.poll() is None, "it ended before it could be interrupted"
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 1, stderr
    assert "interrupted" in stderr
    assert "Traceback" not in stderr
    done = estimated()
    assert 3 <= len(done) < 6  # five checkpoints and the choice of scale
    assert not (tmp_path / "a.csv").exists()

    assert run(*estimate).returncode == 0
    after = estimated()
    assert len(after) == 6
    assert all(after[name] == when for name, when in done.items())
    assert run("estimate", "b.ckpts", "--task", "task.py:task", "--out", "b.csv").returncode == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_ctrl_c_inside_a_finaliser_is_not_lost(monkeypatch, capsys):
    class Dropping:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    def work(_):
        Dropping()
        time.sleep(20)
        return 0

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        monkeypatch.setattr("llckit.cli.commands.info", work)
        assert main(["info", "a.ckpts"]) == 1
    finally:
        signal.signal(signal.SIGINT, before)
    assert "interrupted" in capsys.readouterr().err


def test_the_accuracy_of_a_bench_is_that_of_the_exact_cases():
    rows = [{"exact": 2.0, "llc": 2.0 * (1 + e), "z": z} for e, z in ((0.0, 0.0), (0.1, 1.0), (-0.3, -5.0))]
    found = _accuracy([*rows, {"exact": None, "llc": 9.0, "z": None}])
    assert found == pytest.approx({"cases": 3, "median": 0.1, "percentile_95": 0.28, "worst": 0.3, "covered": 2 / 3})
