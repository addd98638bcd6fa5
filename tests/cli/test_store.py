"""`llckit import` and `export`."""

import pytest

from llckit.cli import main


@pytest.mark.slow
def test_an_exported_store_is_estimated_like_a_folder(here, tmp_path, capsys):
    exported = str(tmp_path / "run.h5")
    assert main(["export", "run.ckpts", exported]) == 0
    assert "10 checkpoints exported" in capsys.readouterr().out
    assert main(["verify", exported]) == 0
    arguments = ["--steps", "0,90", "--localization", "1", "--n-beta", "10", "--chains", "2", "--draws", "20", "--out"]
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


@pytest.mark.slow
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
