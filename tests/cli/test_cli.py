"""The command line as a newcomer types it: a stranger's folder end to end, and every wrong input."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from torch import nn

import llckit as lk
from llckit.cli import main
from llckit.cli.commands import _accuracy

TASK = """
import torch
from torch import nn
import llckit as lk

inputs = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
targets = inputs[:, :2].clone()
model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))


def squared(model, batch):
    return (model(batch[0]) - batch[1]).square().mean(1)


task = lk.Task(model, (inputs, targets), squared)


def make():
    return task


not_a_task = 3
random_loss = lambda: lk.Task(model, (inputs, targets), lambda m, b: squared(m, b) * torch.rand(()))
detached = lambda: lk.Task(model, (inputs, targets), lambda m, b: squared(m, b).detach())
matrix = lambda: lk.Task(model, (inputs, targets), lambda m, b: (m(b[0]) - b[1]) ** 2)
infinite = lambda: lk.Task(model, (inputs, targets), lambda m, b: squared(m, b) / 0)
empty = lambda: lk.Task(model, (inputs[:0], targets[:0]), squared)
other_model = lambda: lk.Task(nn.Linear(4, 2), (inputs, targets), squared)
shuffling = lambda: lk.Task(
    model,
    torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, targets), batch_size=7, shuffle=True),
    squared,
)


class Augmented(torch.utils.data.Dataset):
    def __len__(self):
        return 60

    def __getitem__(self, index):
        return inputs[index] + torch.randn(4), targets[index]


augmented = lambda: lk.Task(model, Augmented(), squared)
"""


def plain_training_script(folder, count=10):
    """What a stranger's script leaves behind."""
    torch.manual_seed(0)
    inputs = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    folder.mkdir()
    for step in range(count):
        torch.save(model.state_dict(), folder / f"step_{10 * step}.pt")
        for _ in range(10):
            optimizer.zero_grad()
            (model(inputs) - inputs[:, :2]).square().mean().backward()
            optimizer.step()


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    place = tmp_path_factory.mktemp("stranger")
    (place / "task.py").write_text(TASK)
    plain_training_script(place / "weights")
    assert main(["import", str(place / "weights"), str(place / "run.ckpts")]) == 0
    return place


@pytest.fixture
def here(workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    return workplace


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


def damaged_store(place):
    store = lk.CheckpointStore(place / "damaged.ckpts")
    store.save(0, nn.Linear(4, 2))
    (file,) = store.path.glob("*.h5")
    data = bytearray(file.read_bytes())
    data[len(data) // 2 :] = b""
    os.chmod(file, 0o644)
    file.write_bytes(bytes(data))
    return "damaged.ckpts"


def nan_store(place):
    store = lk.CheckpointStore(place / "nan.ckpts")
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    with torch.no_grad():
        model[0].weight[0, 0] = float("inf")
    store.save(0, model)
    return "nan.ckpts"


@pytest.fixture(scope="module")
def wrong(workplace):
    damaged_store(workplace)
    nan_store(workplace)
    (workplace / "nothing").mkdir()
    (workplace / "broken.py").write_text("import does_not_exist_anywhere\n")
    (workplace / "few.csv").write_text("step,loss,llc\n" + "".join(f"{i},1,{i}\n" for i in range(7)))
    (workplace / "columns.csv").write_text("time,loss,llc\n0,1,2\n")
    (workplace / "unsorted.csv").write_text("step,loss,llc\n5,1,2\n4,1,2\n")
    (workplace / "repeated.csv").write_text("step,loss,llc\n5,1,2\n5,1,2\n")
    (workplace / "taken.csv").write_text("precious")
    (workplace / "good.csv").write_text("step,loss,llc\n" + "".join(f"{i},{9 - i},{i * i}\n" for i in range(9)))
    (workplace / "notes.txt").write_text("no weights here")
    torch.save({"weight": object}, workplace / "unsafe_step_1.pt")
    return workplace


ESTIMATE = ["estimate", "run.ckpts", "--task"]
WRONG = [
    ([], "COMMAND"),
    (["nonsense"], "invalid choice"),
    (["estimate", "run.ckpts"], "--task"),
    (["info", "missing.ckpts"], "missing.ckpts"),
    (["info", "nothing"], "not a checkpoint store"),
    (["info", "task.py"], "task.py"),
    (["verify", "missing.ckpts"], "missing.ckpts"),
    (["info", "damaged.ckpts"], "damaged.ckpts"),
    (["export", "nan.ckpts", "taken.csv"], "does not end in .h5"),
    (["export", "nan.ckpts", "no/such/folder.h5"], "make it first"),
    (["export", "damaged.ckpts", "new.h5"], "is damaged"),
    (["export", "missing.ckpts", "new.h5"], "missing.ckpts"),
    (["estimate", "damaged.ckpts", "--task", "task.py:task"], "damaged.ckpts"),
    (["estimate", "missing.ckpts", "--task", "task.py:task"], "missing.ckpts"),
    (["estimate", "nan.ckpts", "--task", "task.py:task"], "NaN or inf in 0.weight"),
    ([*ESTIMATE, "task.py:other_model"], "0.weight"),
    ([*ESTIMATE, "missing.py:task"], "missing.py does not exist"),
    ([*ESTIMATE, "task.py:missing"], "does not define missing"),
    ([*ESTIMATE, "task.py:not_a_task"], "is a int"),
    ([*ESTIMATE, "task.py"], "file.py:NAME"),
    ([*ESTIMATE, "broken.py:task"], "does_not_exist_anywhere"),
    ([*ESTIMATE, "task.py:random_loss"], "differs between two calls"),
    ([*ESTIMATE, "task.py:detached"], "does not depend on the parameters"),
    ([*ESTIMATE, "task.py:matrix"], "one loss per sample"),
    ([*ESTIMATE, "task.py:infinite"], "expected a finite number"),
    ([*ESTIMATE, "task.py:empty"], "empty"),
    ([*ESTIMATE, "task.py:augmented"], "augment"),
    ([*ESTIMATE, "task.py:task", "--out", "taken.csv"], "taken.csv exists"),
    ([*ESTIMATE, "task.py:task", "--out", "no/such/folder.csv"], "folder"),
    ([*ESTIMATE, "task.py:task", "--steps", "1,2"], "are not in"),
    ([*ESTIMATE, "task.py:task", "--steps", "a"], "list of steps"),
    ([*ESTIMATE, "task.py:task", "--n-beta", "-1"], "n_beta"),
    (["detect", "missing.csv"], "missing.csv"),
    (["detect", "few.csv"], "8"),
    (["detect", "columns.csv"], "no column step"),
    (["detect", "unsorted.csv"], "step 4"),
    (["detect", "repeated.csv"], "step 5"),
    (["detect", "good.csv", "--plot", "taken.csv"], "taken.csv"),
    (["report", "good.csv", "-o", "taken.csv"], "taken.csv"),
    (["report", "nan.ckpts", "-o", "x.html"], "not been estimated"),
    (["report", "missing.csv", "-o", "x.html"], "missing.csv"),
    (["import", "missing", "new.ckpts"], "missing"),
    (["import", "nothing", "new.ckpts"], "nothing"),
    (["import", "unsafe_step_1.pt", "new.ckpts"], "unsafe_step_1.pt"),
    (["import", "notes.txt", "new.ckpts"], "notes.txt"),
    (["demo", "unknown"], "invalid choice"),
    (["demo", "--out", "weights"], "weights exists"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), WRONG, ids=[" ".join(arguments) or "nothing" for arguments, _ in WRONG]
)
def test_wrong_input_is_one_clear_line(wrong, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(wrong)
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = stop.code
    printed = capsys.readouterr()
    assert code in (1, 2)
    assert message in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert "Traceback" not in printed.err
    assert (wrong / "taken.csv").read_text() == "precious"


def test_a_dry_run_of_an_import_writes_nothing(tmp_path, capsys):
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


def test_verify_names_the_damage(wrong, monkeypatch, capsys):
    monkeypatch.chdir(wrong)
    code = main(["verify", "damaged.ckpts"])
    assert code == 1
    printed = capsys.readouterr().out
    assert "1 damaged" in printed
    assert printed.count("step_000000000000.h5") == 1


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


def test_ctrl_c_then_the_same_command(workplace, tmp_path):
    plain_training_script(tmp_path / "weights", count=5)
    (tmp_path / "task.py").write_text(TASK)
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


def test_the_accuracy_of_a_bench_is_that_of_the_exact_cases():
    rows = [{"exact": 2.0, "llc": 2.0 * (1 + e), "z": z} for e, z in ((0.0, 0.0), (0.1, 1.0), (-0.3, -5.0))]
    found = _accuracy([*rows, {"exact": None, "llc": 9.0, "z": None}])
    assert found == pytest.approx({"cases": 3, "median": 0.1, "percentile_95": 0.28, "worst": 0.3, "covered": 2 / 3})
