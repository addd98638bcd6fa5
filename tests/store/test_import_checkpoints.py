"""Single files brought into a store: names, contents, and what is refused."""

import collections
import io
import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from llckit.errors import InputError
from llckit.store import import_checkpoints

from .states import Trap, saved_state


@pytest.mark.slow
def test_a_plain_training_script(folder, store):
    model = nn.Linear(3, 2)
    expected = {}
    for step in range(0, 300, 10):
        with torch.no_grad():
            model.weight.fill_(step)
        torch.save(model.state_dict(), folder / f"step_{step}.pt")
        expected[step] = model.weight.detach().clone()
    (folder / "log.txt").write_text("not a checkpoint")
    (folder / "._step_7.pt").write_text("left by another system")
    (folder / "logs").mkdir()
    assert import_checkpoints(folder, store) == list(range(0, 300, 10)) == store.steps
    for step, weight in expected.items():
        assert torch.equal(store.load(step)["weight"], weight)
    assert store.metadata(0) == {}


def test_all_suffixes_as_files(folder, store):
    files = [folder / f"step_{step}{suffix}" for step, suffix in enumerate([".pt", ".pth", ".bin", ".CKPT"])]
    for step, file in enumerate(files):
        torch.save(saved_state(step), file)
    save_file(saved_state(4), folder / "step_4.safetensors")
    assert import_checkpoints([*map(str, files), folder / "step_4.safetensors"], store) == [0, 1, 2, 3, 4]
    for step in range(5):
        loaded = store.load(step)
        assert loaded["b"].dtype == torch.bfloat16
        assert (loaded["w"] == step).all()


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_wrapped_state_dicts_bring_their_numbers(folder, store, key):
    content = {
        key: saved_state(1), "loss": 0.5, "epoch": 3, "flag": True, "note": "text", "best": torch.tensor(1.0),
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}, 7: 8,
    }  # fmt: skip
    torch.save(content, folder / "epoch=3-step=400.ckpt")
    assert import_checkpoints(folder, store) == [400]
    assert store.metadata(400) == {"loss": 0.5, "epoch": 3, "best": 1.0}
    assert set(store.load(400)) == {"w", "b"}


def test_a_layer_called_model_is_no_wrapper(folder, store):
    torch.save({"model": torch.zeros(2), "head": torch.ones(1)}, folder / "step_1.pt")
    import_checkpoints(folder, store)
    assert set(store.load(1)) == {"model", "head"}


def test_tied_weights_stay_tied(folder, store):
    tensor = torch.randn(3)
    torch.save({"a": tensor, "b": tensor}, folder / "1.pt")
    import_checkpoints(folder, store)
    loaded = store.load(1)
    assert loaded["a"] is loaded["b"]


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("step=400.pt", 400),
        ("step_400.pt", 400),
        ("step-400-v1.pt", 400),
        ("epoch=3-step=400.pt", 400),
        ("global_step400.pt", 400),
        ("Step_0400_loss=0.25.pt", 400),
        ("model_v2_400.pt", 400),
        ("net.400.pt", 400),
        ("epoch=400-loss=0.25.pt", 400),
        ("400.pt", 400),
    ],
)
def test_the_step_in_a_name(folder, store, name, step):
    torch.save(saved_state(0), folder / name)
    assert import_checkpoints(folder / name, store) == [step]


def test_names_are_checked_before_anything_is_written(folder, store):
    torch.save(saved_state(0), folder / "step_1.pt")
    torch.save(saved_state(0), folder / "final.pt")
    with pytest.raises(InputError, match=r"final\.pt has no step in its name"):
        import_checkpoints(folder, store)
    torch.save(saved_state(1), folder / "other_step_0001.pt")
    (folder / "final.pt").unlink()
    with pytest.raises(InputError, match=r"other_step_0001\.pt and .*step_1\.pt both claim step 1"):
        import_checkpoints(folder, store)
    assert len(store) == 0


def test_a_file_given_twice_counts_once(folder, store):
    torch.save(saved_state(0), folder / "step_1.pt")
    assert import_checkpoints([folder, folder / "step_1.pt", f"{folder}/../saved"], store) == [1]


def test_sources_that_are_missing_or_of_other_kinds(folder, store, tmp_path):
    for sources, reason in [
        (tmp_path / "nowhere", "does not exist"),
        ([], "nothing to import"),
        (folder, "holds no .*safetensors"),
        (None, "expected paths"),
        ([3], "expected paths"),
    ]:
        with pytest.raises(InputError, match=reason):
            import_checkpoints(sources, store)
    (folder / "step_1.npz").touch()
    with pytest.raises(InputError, match="of no known kind"):
        import_checkpoints(folder / "step_1.npz", store)
    with pytest.raises(InputError, match=r"store is 'run'; expected a CheckpointStore"):
        import_checkpoints(folder, "run")  # pyright: ignore[reportArgumentType]


def test_pickled_code_is_never_run(folder, store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"w": Trap()}, folder / "step_1.pt")
    (folder / "step_2.pt").write_bytes(pickle.dumps(Trap(), protocol=2))
    for name in ("step_1.pt", "step_2.pt"):
        with pytest.raises(InputError, match=rf"{name} cannot be imported: .*\.mkdir\).*never loaded") as caught:
            import_checkpoints(folder / name, store)
        assert "weights_only" not in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "sprung").exists()
    assert len(store) == 0


def unreadable() -> dict[str, bytes]:
    buffer = io.BytesIO()
    torch.save(saved_state(0), buffer)
    return {
        "step_1.pt": b"",
        "step_2.pt": b"garbage of some length, certainly no checkpoint",
        "step_3.pt": buffer.getvalue()[:-300],
        "step_4.safetensors": b"\xff" * 64,
        "step_5.safetensors": b"",
    }


@pytest.mark.parametrize("name", unreadable())
def test_files_that_do_not_load_are_named_in_one_line(folder, store, name):
    (folder / name).write_bytes(unreadable()[name])
    with pytest.raises(InputError, match=rf"{name} cannot be imported: it is damaged") as caught:
        import_checkpoints(folder, store)
    assert "\n" not in str(caught.value)
    assert len(store) == 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([torch.zeros(1)], "holds a list, not a state dict; save model"),
        (nn.Linear(1, 1), "holds a Linear, not a state dict; save model"),
        (torch.zeros(3), "holds a Tensor"),
        ({}, "empty"),
        ({"w": torch.zeros(1), "epoch": 3}, "'epoch' is a int"),
        ({"layer._extra_state": None}, "empty"),
        ({"w": nn.ReLU()}, "'w' is a ReLU, not a tensor"),
        ({"_fsdp_wrapped_module._flat_param": torch.zeros(1)}, "flat parameters of FSDP; save the full"),
        ({"w": torch.zeros(1), 7: torch.zeros(1)}, "7 is a name of type int"),
        ({"model": {"w": torch.zeros(1)}, "state_dict": {"w": torch.zeros(1)}}, "several state dicts"),
        ({"state_dict": {}}, "empty"),
    ],
)
def test_files_without_one_state_dict_are_named(folder, store, content, reason):
    torch.save(content, folder / "step_1.pt")
    with pytest.raises(InputError, match=rf"step_1\.pt cannot be imported: .*{reason}"):
        import_checkpoints(folder, store)


def test_an_interrupted_import_goes_on(folder, store):
    for step in range(4):
        torch.save(saved_state(step), folder / f"step_{step}.pt")
    whole = (folder / "step_2.pt").read_bytes()
    (folder / "step_2.pt").write_bytes(whole[:100])
    with pytest.raises(InputError, match="step_2"):
        import_checkpoints(folder, store)
    assert store.steps == [0, 1]
    (folder / "step_2.pt").write_bytes(whole)
    assert import_checkpoints(folder, store) == [0, 1, 2, 3] == store.steps
    torch.save(saved_state(9), folder / "step_2.pt")
    with pytest.raises(InputError, match=r"step_2\.pt cannot be imported: step 2 is already in"):
        import_checkpoints(folder, store)


def test_old_files_and_ordered_dicts(folder, store):
    content = collections.OrderedDict(saved_state(1))
    torch.save(content, folder / "step_1.pt", _use_new_zipfile_serialization=False)
    assert import_checkpoints(folder, store) == [1]
    assert torch.equal(store.load(1)["w"], content["w"])


def test_missing_safetensors_names_the_extra_before_writing(folder, store, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    torch.save(saved_state(0), folder / "step_1.pt")
    (folder / "step_2.safetensors").touch()
    with pytest.raises(InputError, match=r"pip install llckit\[safetensors\]"):
        import_checkpoints(folder, store)
    assert len(store) == 0


def test_progress_is_for_terminals_only(folder, store, capsys, monkeypatch):
    torch.save(saved_state(0), folder / "step_1.pt")
    import_checkpoints(folder, store, progress=True)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    import_checkpoints(folder, store)
    assert capsys.readouterr() == ("", "")
    import_checkpoints(folder, store, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "1/1" in shown.err


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["module.a.w", "module.b"], ["a.w", "b"]),
        (["_orig_mod.a.w", "_orig_mod.b"], ["a.w", "b"]),
        (["module._orig_mod.a.w", "module._orig_mod.b"], ["a.w", "b"]),
        (["_orig_mod.module.a.w", "_orig_mod.module.b"], ["a.w", "b"]),
        (["net._orig_mod.a.w", "net.head._orig_mod.b", "c"], ["net.a.w", "net.head.b", "c"]),
        (["_fsdp_wrapped_module.a._fsdp_wrapped_module.w", "_fsdp_wrapped_module.b"], ["a.w", "b"]),
        (["module.a.w", "module.b", "n_averaged"], ["a.w", "b"]),
        (["a.w", "n_averaged"], ["a.w", "n_averaged"]),
        (["module.module.w", "module.module.b"], ["w", "b"]),
        (["_module.a.w", "_module.module.b"], ["a.w", "module.b"]),
        (["_forward_module.module.a.w", "_forward_module.module.b"], ["a.w", "b"]),
        (["module._module._orig_mod.a.w", "module._module._orig_mod.b"], ["a.w", "b"]),
        (["a._checkpoint_wrapped_module.w", "b"], ["a.w", "b"]),
        (["module.a.w", "b"], ["module.a.w", "b"]),
        (["my_orig_mod.w", "a._orig_mod", "modules.w"], ["my_orig_mod.w", "a._orig_mod", "modules.w"]),
    ],
)
def test_prefixes_of_wrappers(folder, store, given, expected):
    torch.save({name: torch.tensor(float(i)) for i, name in enumerate(given)}, folder / "step_1.pt")
    import_checkpoints(folder, store)
    assert {name: tensor.item() for name, tensor in store.load(1).items()} == {n: i for i, n in enumerate(expected)}


def test_wrapped_modules_load_into_the_plain_model(folder, store):
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    compiled = torch.compile(model, backend="eager")
    for step, wrapped in enumerate([nn.DataParallel(model), compiled, nn.DataParallel(compiled)]):
        assert wrapped.state_dict().keys() != model.state_dict().keys()
        torch.save(wrapped.state_dict(), folder / f"step_{step}.pt")
    for step in import_checkpoints(folder, store):
        nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).load_state_dict(store.load(step), strict=True)


def test_names_that_become_equal_are_refused(folder, store):
    torch.save({"a._orig_mod.w": torch.zeros(1), "a.w": torch.ones(1)}, folder / "step_1.pt")
    with pytest.raises(InputError, match=r"'a._orig_mod.w' and 'a.w' are both 'a.w' without"):
        import_checkpoints(folder, store)


KILLED = """
import os, signal, sys
from llckit.store import CheckpointStore, import_checkpoints

link, count = os.link, iter(range(3))

def link_or_die(*paths):
    if next(count, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
    link(*paths)

os.link = link_or_die
import_checkpoints(sys.argv[1], CheckpointStore(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_killed_import_goes_on(folder, store):
    for step in range(6):
        torch.save(saved_state(step), folder / f"step_{step}.pt")
    killed = subprocess.run([sys.executable, "-c", KILLED, folder, store.path], timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert store.steps == [0, 1, 2]
    assert store.verify() == []
    before = [file.stat().st_mtime_ns for file in sorted(store.path.glob("step_*"))]
    assert import_checkpoints(folder, store) == list(range(6)) == store.steps
    assert [file.stat().st_mtime_ns for file in sorted(store.path.glob("step_*"))][:3] == before
    assert len(os.listdir(store.path)) == 6


def test_numbers_beside_the_weights_may_be_tensors_and_numpy_s(tmp_path, store):
    content = {
        "model": saved_state(1.0),
        "loss": np.mean([0.25, 0.5]),
        "n": np.int64(3),
        "acc": torch.tensor(0.5),
        "name": "x",
    }
    torch.save(content, tmp_path / "step_4.pt")
    import_checkpoints(tmp_path / "step_4.pt", store)
    assert store.metadata(4) == {"loss": 0.375, "n": 3, "acc": 0.5}


@pytest.mark.parametrize("name", ["step_1k", "step_1e5", "step_0.25", "Steps10K"])
def test_a_step_that_is_no_integer_is_refused(tmp_path, store, name):
    torch.save(saved_state(1.0), tmp_path / f"{name}.pt")
    with pytest.raises(InputError, match="in its name is no integer; rename it"):
        import_checkpoints(tmp_path / f"{name}.pt", store)


def test_the_step_inside_counts_before_a_number_in_the_name(tmp_path, store):
    torch.save({"state_dict": saved_state(1.0), "step": 100}, tmp_path / "ckpt_epoch7.pth")
    torch.save(saved_state(1.0), tmp_path / "run_12_7b.pt")
    assert import_checkpoints([tmp_path / "ckpt_epoch7.pth", tmp_path / "run_12_7b.pt"], store) == [12, 100]
