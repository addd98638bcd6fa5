"""What trainers leave behind brought into a store: folders, shards, and Lightning's checkpoints."""

import collections
import json
import os
import pathlib
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from llckit.errors import InputError
from llckit.store import import_checkpoints

from .states import Trap, saved_state


def trainer_folder(folder, step, state_dict, suffix=".safetensors", log=None):
    """What the Hugging Face Trainer leaves at a step, beside things that must not be read."""
    folder = folder / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin", "scaler.pt"):
        (folder / name).write_bytes(b"not to be read")
    if suffix == ".bin":
        torch.save(state_dict, folder / "pytorch_model.bin")
    else:
        save_file(state_dict, folder / "model.safetensors")
    content = {"global_step": step, "log_history": log or []}
    (folder / "trainer_state.json").write_text(json.dumps(content))
    return folder


def sharded_folder(folder, suffix=".safetensors"):
    """Two shards with their index."""
    name = "model" if suffix == ".safetensors" else "pytorch_model"
    folder = trainer_folder(folder, 7, saved_state(0), suffix)
    (folder / f"{name}{suffix}").unlink()
    shards = [f"{name}-0000{i}-of-00002{suffix}" for i in (1, 2)]
    for shard, key in zip(shards, "bw", strict=True):
        (save_file if suffix == ".safetensors" else torch.save)({key: saved_state(7)[key]}, folder / shard)
    write_index(folder / f"{name}{suffix}.index.json", dict(zip("bw", shards, strict=True)))
    return folder


def write_index(file, weight_map):
    file.write_text(json.dumps({"metadata": {"total_size": 20}, "weight_map": weight_map}))


def test_the_output_folder_of_a_trainer(folder, store):
    log = [
        {"step": 2, "loss": 9.0},
        {"step": 4, "loss": 0.5, "learning_rate": 1e-3, "grad_norm": 2.0, "epoch": 1},
        {"step": 4, "eval_loss": 0.6, "epoch": 1.5},
        {"step": 6, "loss": 0.1},
    ]
    trainer_folder(folder, 4, saved_state(4), log=log)
    trainer_folder(folder, 10, saved_state(10), ".bin")
    torch.save(saved_state(-1), folder / "checkpoint-4" / "pytorch_model.bin")
    save_file(saved_state(11), folder / "model.safetensors")  # the Trainer's last, of which no name tells the step
    (folder / "training_args.bin").write_bytes(b"not to be read")
    (folder / "runs").mkdir()
    torch.save(saved_state(5), folder / "step_5.pt")
    assert import_checkpoints(folder, store) == [4, 5, 10]
    assert all((store.load(step)["w"] == step).all() for step in store.steps)
    assert store.metadata(4) == {"loss": 0.5, "learning_rate": 1e-3, "epoch": 1.5}
    assert store.metadata(10) == {}


def test_one_checkpoint_of_a_trainer(folder, store, monkeypatch):
    monkeypatch.chdir(trainer_folder(folder, 4, saved_state(4)))
    assert import_checkpoints(".", store) == [4]
    assert import_checkpoints([folder / "checkpoint-4", folder], store) == [4]


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 10**5, b'{"log_history": [3]}', None])
def test_an_unreadable_log_is_no_obstacle(folder, store, content):
    file = trainer_folder(folder, 4, saved_state(4)) / "trainer_state.json"
    file.unlink() if content is None else file.write_bytes(content)
    assert import_checkpoints(folder, store) == [4]
    assert store.metadata(4) == {}


def test_a_renamed_folder_is_told_by_its_log(folder, store):
    trainer_folder(folder, 4, saved_state(4)).rename(folder / "checkpoint-40")
    with pytest.raises(InputError, match=r"checkpoint-40 cannot be imported: its trainer_state.json is of step 4"):
        import_checkpoints(folder, store)


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_shards_become_one_state_dict(folder, store, suffix):
    assert import_checkpoints(sharded_folder(folder, suffix), store) == [7]
    loaded = store.load(7)
    assert loaded.keys() == {"w", "b"}
    assert all(torch.equal(tensor, saved_state(7)[name]) for name, tensor in loaded.items())


@pytest.mark.parametrize(
    ("weight_map", "reason"),
    [
        ({"b": 1, "w": "../model-00002-of-00002.safetensors"}, "names the shard '../model.*beside it"),
        ({"b": 1, "w": "/model-00002-of-00002.safetensors"}, "names the shard '/model.*beside it"),
        ({"b": 1, "w": "optimizer.pt"}, r"names the shard 'optimizer.pt'; expected a \.safetensors file"),
        ({"b": 1, "w": ".."}, r"names the shard '\.\.'"),
        ({"b": 1, "w": "other.safetensors"}, "other.safetensors in model.safetensors.index.json is missing"),
        ({"b": 1, "w": 2, "c": 2}, "'c' is not in model-00002-of-00002.safetensors"),
        ({"b": 1}, None),
        ({}, "empty"),
        ({"b": 3}, "index.json is damaged"),
        ([1], "index.json is damaged"),
        (None, "index.json is damaged"),
    ],
)
def test_an_index_is_not_trusted(folder, store, weight_map, reason):
    place = sharded_folder(folder)
    shards = {i: f"model-0000{i}-of-00002.safetensors" for i in (1, 2)}
    if isinstance(weight_map, dict):
        weight_map = {key: shards.get(name, name) for key, name in weight_map.items()}
    if reason is None:
        save_file(saved_state(7), place / shards[1])
        reason = "00001-of-00002.safetensors also holds 'w'"
    write_index(place / "model.safetensors.index.json", weight_map)
    with pytest.raises(InputError, match=rf"checkpoint-7 cannot be imported: .*{reason}") as caught:
        import_checkpoints(place, store)
    assert "\n" not in str(caught.value)
    assert len(store) == 0


def test_a_truncated_shard_is_named(folder, store):
    file = sharded_folder(folder) / "model-00002-of-00002.safetensors"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(InputError, match=r"checkpoint-7 cannot be imported: model-00002-of-.* it is damaged"):
        import_checkpoints(folder, store)


def test_folders_whose_weights_or_step_are_missing(folder, store):
    place = sharded_folder(folder)
    with pytest.raises(InputError, match="it is one shard of a model; give the folder"):
        import_checkpoints(place / "model-00002-of-00002.safetensors", store)
    place.rename(folder / "best")
    with pytest.raises(InputError, match=r"best holds a model, but its name has no step; .*checkpoint-STEP"):
        import_checkpoints(folder / "best", store)
    torch.save(saved_state(1), folder / "step_1.pt")
    (trainer_folder(folder, 2, saved_state(2)) / "model.safetensors").unlink()
    for source in (folder, folder / "checkpoint-2"):
        with pytest.raises(InputError, match=r"checkpoint-2 is named like .* holds none of model.safetensors, "):
            import_checkpoints(source, store)
    assert len(store) == 0


def lightning(value, step, **more):
    """What is in a Lightning checkpoint, but for the loops."""
    return {
        "epoch": 3, "global_step": step, "pytorch-lightning_version": "2.6.6",
        "state_dict": collections.OrderedDict(saved_state(value)),
        "optimizer_states": [{"state": {}, "param_groups": []}],
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(1.0)}}, **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "step"),
    [("last.ckpt", 400), ("last-v1.ckpt", 400), ("epoch=3.ckpt", 400), ("epoch=1-step=50-v1.ckpt", 50)],
)
def test_the_step_of_a_lightning_checkpoint(folder, store, name, step):
    torch.save(lightning(1, 400), folder / name)
    assert import_checkpoints(folder, store) == [step]
    assert store.metadata(step) == {"epoch": 3, "global_step": 400}
    torch.save(saved_state(1), folder / "last-v1.ckpt")
    with pytest.raises(InputError, match=r"last-v1.ckpt has no step in its name"):
        import_checkpoints(folder / "last-v1.ckpt", store)


def test_one_step_claimed_twice(folder, store):
    torch.save(lightning(1, 300), folder / "epoch=2-step=300.ckpt")
    torch.save(lightning(2, 400), folder / "epoch=3-step=400.ckpt")
    torch.save(lightning(2, 400, epoch=4), folder / "last.ckpt")
    assert import_checkpoints(folder, store, dry_run=True) == [300, 400]
    assert len(store) == 0
    torch.save(lightning(3, 400), folder / "last.ckpt")
    with pytest.raises(InputError, match=r"epoch=3-step=400.ckpt and .*last.ckpt both claim step 400"):
        import_checkpoints(folder, store)
    assert len(store) == 0
    (folder / "last.ckpt").unlink()
    (folder / "last.ckpt").symlink_to("epoch=3-step=400.ckpt")
    (folder / "latest.pt").symlink_to(folder / "epoch=2-step=300.ckpt")
    assert import_checkpoints(folder, store) == [300, 400]
    assert store.metadata(400)["epoch"] == 3


class Opener:
    def __reduce__(self):
        return open, ("sprung", "w")


class Filled:
    def __init__(self):
        self.trap = Opener()


@pytest.mark.parametrize("thing", [pathlib.Path("data"), nn.ReLU, nn.ReLU(), Filled(), Opener(), {Opener(): 1}])
def test_objects_beside_the_weights_are_neither_run_nor_in_the_way(folder, store, thing, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(lightning(1, 400, hyper_parameters={"width": 4, "thing": thing}), folder / "last.ckpt")
    allowed = set(torch.serialization.get_safe_globals())
    assert import_checkpoints(folder, store) == [400]
    assert torch.equal(store.load(400)["w"], saved_state(1)["w"])
    assert set(torch.serialization.get_safe_globals()) == allowed
    assert not (tmp_path / "sprung").exists()


def test_objects_that_cannot_be_passed_over_are_refused(folder, store):
    for thing in (collections.defaultdict(list, a=[1]), Trap()):
        torch.save(lightning(1, 400, hyper_parameters={"thing": thing}), folder / "last.ckpt")
        with pytest.raises(InputError, match=r"holds Python objects \(.*\) besides .*never loaded; save model"):
            import_checkpoints(folder, store)


LIGHTNING = """
import warnings
warnings.simplefilter("ignore")
import lightning, torch

class Model(lightning.LightningModule):
    def __init__(self, width=3, activation=torch.nn.ReLU()):
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Linear(width, 1)

    def training_step(self, batch, index):
        return self.net(batch).square().mean()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())

data = torch.utils.data.DataLoader(torch.randn(8, 3), batch_size=2)
keep = lightning.pytorch.callbacks.ModelCheckpoint("out", save_last=True, save_top_k=-1, every_n_train_steps=2)
trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", logger=False, callbacks=[keep], enable_progress_bar=False)
trainer.fit(Model(), data)
torch.save(trainer.model.state_dict(), "final.pt")
"""

TRAINER = """
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

sizes = dict(n_layer=2, n_embd=16, n_head=2, vocab_size=50, n_positions=16, bos_token_id=0, eos_token_id=0)
model = GPT2LMHeadModel(GPT2Config(**sizes))
data = [{"input_ids": torch.arange(8), "labels": torch.arange(8)}] * 16
how = TrainingArguments("out", max_steps=4, save_steps=2, logging_steps=2, report_to=[], use_cpu=True)
Trainer(model, how, train_dataset=data).train()
model.save_pretrained("out/checkpoint-7", max_shard_size="10KB")
torch.save(model.state_dict(), "final.pt")
"""


@pytest.mark.slow
@pytest.mark.parametrize(("library", "script", "steps"), [
    ("lightning", LIGHTNING, [2, 4]), ("transformers", TRAINER, [2, 4, 7])
])  # fmt: skip
def test_what_the_libraries_really_write(tmp_path, store, library, script, steps):
    quiet = os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=quiet,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert import_checkpoints(tmp_path / "out", store) == steps
    final, last = torch.load(tmp_path / "final.pt"), store.load(steps[-1])
    assert final.keys() - last.keys() <= {"lm_head.weight"}  # tied; safetensors keeps one name
    assert all(torch.equal(tensor, final[name]) for name, tensor in last.items())
    assert store.metadata(4).keys() >= ({"loss", "epoch"} if library == "transformers" else {"epoch"})
