"""The command line with every wrong input: one clear line, and nothing harmed."""

import os

import pytest
import torch
from torch import nn

import llckit as lk
from llckit.cli import main

pytestmark = pytest.mark.slow


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
    (["export", "nan.ckpts", "taken.csv"], "expected a name that ends in .h5"),
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


@pytest.mark.slow
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


def test_verify_names_the_damage(wrong, monkeypatch, capsys):
    monkeypatch.chdir(wrong)
    code = main(["verify", "damaged.ckpts"])
    assert code == 1
    printed = capsys.readouterr().out
    assert "1 damaged" in printed
    assert printed.count("step_000000000000.h5") == 1
