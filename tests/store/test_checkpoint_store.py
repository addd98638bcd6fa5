"""What is saved comes back: weights, metadata and the manifest."""

import os
from collections.abc import Mapping

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from llckit.errors import InputError
from llckit.store.checkpoint_file import CheckpointFile


def test_module_comes_back(store):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    store.save(7, model, loss=0.31)
    assert store.metadata(7) == {"loss": 0.31}
    loaded = store.load(7)
    assert list(loaded) == list(model.state_dict())
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded[name], tensor)
        assert loaded[name].dtype == tensor.dtype
        assert not loaded[name].requires_grad
    nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).load_state_dict(loaded)


def test_files_are_named_by_step_alone(store, weights):
    store.save(1000, weights())
    store.save(10**13, weights(), loss=1.0)
    assert sorted(os.listdir(store.path)) == ["step_000000001000.h5", "step_10000000000000.h5"]
    assert store.steps == [1000, 10**13]


def test_a_loaded_tensor_can_be_changed_without_touching_the_store(store, weights):
    store.save(0, weights())
    store.load(0)["layer.bias"].zero_()
    assert torch.equal(store.load(0)["layer.bias"], weights()["layer.bias"])


def test_steps_len_contains_repr(store, weights):
    assert (store.steps, len(store), "empty" in repr(store)) == ([], 0, True)
    for step in (20, 3, 100):
        store.save(np.int64(step), weights(step))
    assert store.steps == [3, 20, 100]
    assert len(store) == 3
    assert 20 in store
    assert 21 not in store
    assert "20" not in store
    assert True not in store
    assert "3 checkpoints, steps 3–100" in repr(store)


def test_metadata_scalars_become_plain_and_keep_nan(store, weights):
    given = {
        "step": 5,
        "model": "net",
        "loss": torch.tensor(0.5),
        "rate": np.float32(0.25),
        "count": np.uint64(2**64 - 1),
        "done": np.True_,
        "none": None,
        "worst": float("inf"),
        "broken": torch.tensor(float("nan"), dtype=torch.bfloat16),
        "text": "λ \ud800",
        "array": np.array(2),
    }
    store.save(1, weights(), **given)
    read = store.metadata(1)
    assert np.isnan(read.pop("broken"))
    assert read == {
        "step": 5, "model": "net", "loss": 0.5, "rate": 0.25, "count": 2**64 - 1, "done": True, "none": None,
        "worst": float("inf"), "text": "λ \ud800", "array": 2,
    }  # fmt: skip
    assert type(read["done"]) is bool
    assert type(read["rate"]) is float


def test_manifest_describes_without_weights(store, weights):
    state = weights() | {"broken": torch.tensor([1.0, float("nan")], dtype=torch.bfloat16)}
    store.save(4, state, loss=1)
    manifest = store.manifest(4)
    assert manifest.step == 4
    assert manifest.metadata == {"loss": 1}
    assert [entry.name for entry in manifest.tensors] == list(state)
    assert [entry.dtype for entry in manifest.tensors] == [torch.float32, torch.float32, torch.bfloat16]
    assert [entry.shape for entry in manifest.tensors] == [(3, 2), (3,), (2,)]
    assert manifest.nonfinite == ("broken",)
    assert all(entry.aliases == () for entry in manifest.tensors)


def test_weights_hash_depends_on_the_weights_alone(store):
    tensor = torch.arange(6, dtype=torch.int32)
    variants: dict[str, dict[str, torch.Tensor]] = {
        "name": {"other": tensor},
        "dtype": {"w": tensor.view(torch.float32)},
        "shape": {"w": tensor.reshape(2, 3)},
        "value": {"w": tensor + 1},
    }
    store.save(0, {"w": tensor, "v": tensor.clone()}, loss=1)
    store.save(1, {"v": tensor.clone(), "w": tensor}, loss=2)
    assert store.manifest(0).weights_hash == store.manifest(1).weights_hash
    store.save(2, {"w": tensor})
    for step, state in enumerate(variants.values(), start=3):
        store.save(step, state)
    hashes = {store.manifest(step).weights_hash for step in range(2, 7)}
    assert len(hashes) == 5


def test_tied_tensors_are_stored_once_and_stay_tied(store):
    model = nn.ModuleDict({"embed": nn.Embedding(50, 4), "head": nn.Linear(4, 50, bias=False)})
    model["head"].weight = model["embed"].weight
    view = torch.randn(4, 4)
    state = dict(model.state_dict()) | {
        "view": view,
        "transposed": view.T,
        "part": view[:2],
        "copy": view.clone(),
    }
    state |= {"empty": torch.empty(0), "also_empty": torch.empty(0)}
    store.save(0, state)
    loaded = store.load(0)
    assert loaded["embed.weight"] is loaded["head.weight"]
    assert len({id(tensor) for tensor in loaded.values()}) == len(state) - 1
    for name, tensor in state.items():
        assert torch.equal(loaded[name], tensor)
    entry = store.manifest(0).tensors[0]
    assert (entry.name, entry.aliases) == ("embed.weight", ("head.weight",))
    with h5py.File(store.path / "step_000000000000.h5") as file:
        assert len(file["tensors"]) == len(state) - 1


def test_tied_and_untied_weights_have_the_same_hash(store):
    tensor = torch.randn(3)
    store.save(0, {"a": tensor, "b": tensor})
    store.save(1, {"a": tensor, "b": tensor.clone()})
    assert store.manifest(0).weights_hash == store.manifest(1).weights_hash


def test_other_mappings_are_accepted(store, weights):
    class Frozen(Mapping):
        def __getitem__(self, key):
            return weights()[key]

        def __iter__(self):
            return iter(weights())

        def __len__(self):
            return 2

    store.save(0, Frozen())
    assert list(store.load(0)) == list(weights())


def test_some_tensors_alone(store, monkeypatch):
    shared = torch.ones(2)
    store.save(0, {"a": torch.zeros(3), "tied": shared, "b": torch.full((2,), 2.0), "again": shared})
    read, real = [], CheckpointFile.tensor

    def spied(file, index, verify=True):
        read.append(index)
        return real(file, index, verify)

    monkeypatch.setattr(CheckpointFile, "tensor", spied)
    loaded = store.load(0, ["b", "again"])
    assert list(loaded) == ["again", "b"]
    assert torch.equal(loaded["again"], shared)
    assert read == [1, 2]
    assert store.load(0, []) == {}
    with pytest.raises(InputError, match=r"no tensor 'agian'; it has again"):
        store.load(0, ["agian"])
    with pytest.raises(InputError, match="expected a collection"):
        store.load(0, "again")


def test_reading_without_verifying(store):
    store.save(0, {"a": torch.zeros(3)})
    file = store.path / "step_000000000000.h5"
    with h5py.File(file, "r+") as opened:
        opened["tensors/000000"][0] = 1
    with pytest.raises(InputError, match="checksum"):
        store.load(0)
    assert store.load(0, verify=False)["a"][0] != 0


def test_metadata_of_all_steps(store, weights):
    for step in (5, 1):
        store.save(step, weights(step), loss=1 / step)
    store.save(2, weights())
    assert store.metadata() == {1: {"loss": 1.0}, 2: {}, 5: {"loss": 0.2}}
    assert [step for step, saved in store.metadata().items() if saved.get("loss", 1) < 0.5] == [5]


def test_metadata_may_have_any_name_in_a_dict(store, weights):
    store.put(0, weights(), {"durable": "so", "step": 3, "a b": None})
    assert store.metadata(0) == {"durable": "so", "step": 3, "a b": None}


def test_other_things_in_the_folder_are_ignored(store, weights):
    store.save(1, weights())
    (store.path / "estimates").mkdir()
    for name in (
        "step_5.h5",
        "step_000000000002.h5.part",
        "step_0000000000004.h5",
        "xstep_000000000003.h5",
        ".writing-x.h5",
    ):
        (store.path / name).touch()
    assert store.steps == [1]
    assert store.verify() == []


def test_a_mapping_that_makes_its_tensors_anew_keeps_them_apart(store):
    class Lazy(Mapping):
        def __getitem__(self, name):
            return torch.full((1000,), float(ord(name)))

        def __iter__(self):
            return iter("abcd")

        def __len__(self):
            return 4

    store.save(0, Lazy())
    assert {name: tensor[0].item() for name, tensor in store.load(0).items()} == {n: ord(n) for n in "abcd"}
