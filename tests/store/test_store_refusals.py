"""What a store refuses: values that cannot be kept, steps that are none, and places that are no store."""

import os
import sys

import numpy as np
import pytest
import torch
from torch import nn

from llckit.errors import InputError
from llckit.store import CheckpointStore


@pytest.mark.parametrize(
    "value",
    [
        [1],
        {"a": 1},
        torch.zeros(1),
        torch.zeros((), device="meta"),
        np.zeros(2),
        1j,
        2**64,
        b"x",
        np.datetime64(0, "s"),
    ],
    ids=repr,
)
def test_metadata_of_other_kinds_are_refused_before_writing(store, value, weights):
    with pytest.raises(InputError, match="metadata 'bad'"):
        store.save(0, weights(), bad=value)
    assert os.listdir(store.path) == []


@pytest.mark.parametrize("step", [-1, True, 1.0, "1", None, np.float64(2), torch.tensor([1, 2])], ids=repr)
def test_steps_must_be_whole_numbers(store, step, weights):
    with pytest.raises(InputError, match=r"^step is .*; expected an integer >= 0$"):
        store.save(step, weights())
    with pytest.raises(InputError, match=r"^step is .*; expected an integer >= 0$"):
        store.load(step)


@pytest.mark.parametrize("step", [2**53, 1_700_000_000_000_000_000, 2**63], ids=repr)
def test_steps_that_a_curve_cannot_hold_are_refused(store, step, weights):
    with pytest.raises(InputError, match=rf"^step is {step}; expected one below 2\^53"):
        store.save(step, weights())
    assert os.listdir(store.path) == []
    store.save(2**53 - 1, weights())
    assert store.steps == [2**53 - 1]


@pytest.mark.parametrize("model", [None, [torch.zeros(1)], torch.zeros(1), 3], ids=["none", "list", "tensor", "int"])
def test_only_modules_and_mappings_are_saved(store, model):
    with pytest.raises(InputError, match=r"expected an nn\.Module or a dict"):
        store.save(0, model)


@pytest.mark.parametrize("model", [{}, nn.ReLU()], ids=["dict", "module"])
def test_empty_state_is_refused(store, model):
    with pytest.raises(InputError, match="empty"):
        store.save(0, model)


def test_unsuitable_values_are_all_named_before_writing(store):
    state = {
        "good": torch.zeros(2),
        "list": [1.0],
        "sparse": torch.zeros(2).to_sparse(),
        "meta": torch.zeros(2, device="meta"),
        "lazy": nn.UninitializedParameter(),
        3: torch.zeros(1),
    }
    with pytest.raises(InputError) as caught:
        store.save(0, state)
    for part in (
        "'list' is a list",
        "'sparse' is sparse",
        "'meta' is on the meta",
        "'lazy' is a lazy",
        "3 is a name",
    ):
        assert part in str(caught.value)
    assert "good" not in str(caught.value)
    assert os.listdir(store.path) == []


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_quantized_tensors_are_refused(store):
    quantized = torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.qint8)
    with pytest.raises(InputError, match="'q' is quantized"):
        store.save(0, {"q": quantized})


class Wrapper(torch.Tensor):
    """Like a distributed tensor: it answers for memory that it does not have."""

    @staticmethod
    def __new__(cls):
        return torch.Tensor._make_wrapper_subclass(cls, (2,), dtype=torch.float32)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise AssertionError("nothing should be computed with it")


def test_tensors_without_memory_are_refused(store):
    with pytest.raises(InputError, match="'wrapped' is a Wrapper, whose bits are not its own"):
        store.save(0, {"wrapped": Wrapper()})
    with pytest.raises(InputError, match="'row' is inside a function transform"):
        torch.vmap(lambda row: store.save(0, {"row": row}))(torch.zeros(2, 3))


def test_a_missing_step_names_the_nearest(store, weights):
    with pytest.raises(InputError, match=r"step 3 is not in .*holds no checkpoints yet"):
        store.load(3)
    for step in (10, 20, 30):
        store.save(step, weights(step))
    for step, nearest in [
        (1, "saved: 10$"),
        (12, "saved: 10 and 20$"),
        (25, "saved: 20 and 30$"),
        (99, "saved: 30$"),
    ]:
        for read in (store.load, store.metadata, store.manifest):
            with pytest.raises(InputError, match=f"step {step} is not in .*{nearest}"):
                read(step)


def test_reading_needs_a_store(tmp_path, weights):
    with pytest.raises(InputError, match="does not exist"):
        CheckpointStore(tmp_path / "missing", create=False)
    assert not (tmp_path / "missing").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.h5").touch()
    with pytest.raises(InputError, match="is not a checkpoint store"):
        CheckpointStore(tmp_path / "other", create=False)
    CheckpointStore(tmp_path / "run").save(1, weights())
    assert CheckpointStore(str(tmp_path / "run"), create=False).steps == [1]


@pytest.mark.parametrize("create", [True, False])
def test_a_file_is_no_store(tmp_path, create):
    (tmp_path / "model.pt").touch()
    with pytest.raises(InputError, match="is a file; expected the folder of a checkpoint store"):
        CheckpointStore(tmp_path / "model.pt", create=create)
    with pytest.raises(InputError, match="cannot be made" if create else "does not exist"):
        CheckpointStore(tmp_path / "model.pt" / "inside", create=create)


def test_other_paths_and_machines_are_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="expected a string or a path"):
        CheckpointStore(None)  # pyright: ignore[reportArgumentType]
    monkeypatch.setattr(sys, "byteorder", "big")
    with pytest.raises(InputError, match="big-endian"):
        CheckpointStore(tmp_path / "run")


def test_what_cannot_be_saved_or_exported_is_told(store, tmp_path, weights):
    freed = torch.ones(3)
    freed.untyped_storage().resize_(0)
    with pytest.raises(InputError, match="'w' has had its memory freed"):
        store.save(0, {"w": freed})
    with pytest.raises(InputError, match="a name of the metadata is 5; expected a string"):
        store.put(0, weights(), {5: 1})  # pyright: ignore[reportArgumentType]
    store.save(0, weights())
    for path, reason in (
        (None, "expected a string or a path"),
        (store.path / "step_000000000005.h5", "inside the store"),
    ):
        with pytest.raises(InputError, match=reason):
            store.export(path)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="expected a string or a path, the folder"):
        CheckpointStore("a\0b")
