import fcntl
import os
import stat
import sys
from collections.abc import Mapping

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from llckit.errors import InputError
from llckit.store import CheckpointStore
from llckit.store.checkpoint_file import CheckpointFile


def weights(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "layer.weight": torch.randn(3, 2, generator=generator),
        "layer.bias": torch.randn(3, generator=generator),
    }


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path / "deep" / "run.ckpts")


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


def test_files_are_named_by_step_alone(store):
    store.save(1000, weights())
    store.save(10**13, weights(), loss=1.0)
    assert sorted(os.listdir(store.path)) == ["step_000000001000.h5", "step_10000000000000.h5"]
    assert store.steps == [1000, 10**13]


def test_a_loaded_tensor_can_be_changed_without_touching_the_store(store):
    store.save(0, weights())
    store.load(0)["layer.bias"].zero_()
    assert torch.equal(store.load(0)["layer.bias"], weights()["layer.bias"])


def test_steps_len_contains_repr(store):
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


def test_metadata_scalars_become_plain_and_keep_nan(store):
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
def test_metadata_of_other_kinds_are_refused_before_writing(store, value):
    with pytest.raises(InputError, match="metadata 'bad'"):
        store.save(0, weights(), bad=value)
    assert os.listdir(store.path) == []


def test_the_same_contents_are_accepted_again(store):
    store.save(5, weights(), loss=float("nan"))
    before = (store.path / "step_000000000005.h5").stat()
    store.save(5, weights(), loss=float("nan"))
    after = (store.path / "step_000000000005.h5").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_other_contents_are_refused_and_change_nothing(store):
    store.save(5, weights(), loss=1.0)
    with pytest.raises(InputError, match=r"step 5 is already in .* with other weights"):
        store.save(5, weights(1), loss=1.0)
    with pytest.raises(InputError, match="with other metadata"):
        store.save(5, weights(), loss=2.0)
    assert torch.equal(store.load(5)["layer.bias"], weights()["layer.bias"])
    assert os.listdir(store.path) == ["step_000000000005.h5"]


def test_a_writer_that_loses_the_race_compares(store, monkeypatch):
    link = os.link

    def beaten(source, target):
        monkeypatch.setattr(os, "link", link)
        store.save(5, weights(1))
        link(source, target)

    monkeypatch.setattr(os, "link", beaten)
    with pytest.raises(InputError, match="already"):
        store.save(5, weights(0))
    assert torch.equal(store.load(5)["layer.bias"], weights(1)["layer.bias"])
    assert os.listdir(store.path) == ["step_000000000005.h5"]


def test_it_is_durable_before_it_is_published(store, monkeypatch):
    events = []
    fsync, link = os.fsync, os.link
    monkeypatch.setattr(os, "fsync", lambda handle: (events.append("fsync"), fsync(handle)))
    monkeypatch.setattr(os, "link", lambda source, target: (events.append("link"), link(source, target)))
    store.save(0, weights())
    assert events == ["fsync", "link", "fsync"]


def test_manifest_describes_without_weights(store):
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


@pytest.mark.parametrize("step", [-1, True, 1.0, "1", None, np.float64(2), torch.tensor([1, 2])], ids=repr)
def test_steps_must_be_whole_numbers(store, step):
    with pytest.raises(InputError, match=r"step is .* an integer of at least 0"):
        store.save(step, weights())
    with pytest.raises(InputError, match=r"step is .* an integer of at least 0"):
        store.load(step)


@pytest.mark.parametrize("model", [None, [torch.zeros(1)], torch.zeros(1), 3], ids=["none", "list", "tensor", "int"])
def test_only_modules_and_mappings_are_saved(store, model):
    with pytest.raises(InputError, match=r"give an nn\.Module or a dict"):
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


def test_other_mappings_are_accepted(store):
    class Frozen(Mapping):
        def __getitem__(self, key):
            return weights()[key]

        def __iter__(self):
            return iter(weights())

        def __len__(self):
            return 2

    store.save(0, Frozen())
    assert list(store.load(0)) == list(weights())


def test_a_missing_step_names_the_nearest(store):
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


def test_reading_needs_a_store(tmp_path):
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
    with pytest.raises(InputError, match="is a file, but a checkpoint store is a folder"):
        CheckpointStore(tmp_path / "model.pt", create=create)
    with pytest.raises(InputError, match="cannot be made" if create else "does not exist"):
        CheckpointStore(tmp_path / "model.pt" / "inside", create=create)


def test_other_paths_and_machines_are_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="must be a string or a path"):
        CheckpointStore(None)  # pyright: ignore[reportArgumentType]
    monkeypatch.setattr(sys, "byteorder", "big")
    with pytest.raises(InputError, match="big-endian"):
        CheckpointStore(tmp_path / "run")


def test_a_folder_that_vanishes_is_named(store):
    store.path.rmdir()
    with pytest.raises(InputError, match="cannot be read"):
        _ = store.steps
    with pytest.raises(InputError, match="could not be written"):
        store.save(0, weights())


def test_without_hard_links_a_file_is_renamed_under_a_lock(store, monkeypatch):
    def refuse(source, target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    store.save(0, weights(0))
    store.save(0, weights(0))
    assert sorted(os.listdir(store.path)) == [".lock", "step_000000000000.h5"]
    with pytest.raises(InputError, match="already in"):
        store.save(0, weights(1))

    # The other writer is first by a moment: it comes between our look and our lock.
    lock = fcntl.flock

    def late(handle, operation):
        monkeypatch.setattr(fcntl, "flock", lock)
        store.save(1, weights(5))
        lock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(InputError, match=r"step 1 is already in .* with other weights"):
        store.save(1, weights(6))
    assert torch.equal(store.load(1)["layer.bias"], weights(5)["layer.bias"])
    assert sorted(os.listdir(store.path)) == [".lock", "step_000000000000.h5", "step_000000000001.h5"]


def test_a_disk_that_refuses_leaves_nothing_behind(store, monkeypatch):
    def refuse(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(InputError, match="No space left"):
        store.save(0, weights())
    assert os.listdir(store.path) == []


def test_a_disk_that_does_not_sync_is_told(store, monkeypatch):
    real = os.fsync

    def refuse(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(5, "Input/output error")
        real(handle)

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(InputError, match=r"may not be on the disk: Input/output error. Save step 0 again"):
        store.save(0, weights())
    monkeypatch.setattr(os, "fsync", real)
    store.save(0, weights())


def test_durability_can_be_given_up_and_had_later(store, monkeypatch):
    synced, real = [], os.fsync

    def spied(handle):
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))
        real(handle)

    monkeypatch.setattr(os, "fsync", spied)
    store.save(3, weights(), durable=False, loss=1.0)
    assert synced == []
    assert store.metadata(3) == {"loss": 1.0}
    store.save(3, weights(), loss=1.0)
    assert synced == [str(store.path / "step_000000000003.h5"), str(store.path)]


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
    with pytest.raises(InputError, match="must be a collection"):
        store.load(0, "again")


def test_reading_without_verifying(store):
    store.save(0, {"a": torch.zeros(3)})
    file = store.path / "step_000000000000.h5"
    with h5py.File(file, "r+") as opened:
        opened["tensors/000000"][0] = 1
    with pytest.raises(InputError, match="checksum"):
        store.load(0)
    assert store.load(0, verify=False)["a"][0] != 0


def test_metadata_of_all_steps(store):
    for step in (5, 1):
        store.save(step, weights(step), loss=1 / step)
    store.save(2, weights())
    assert store.metadata() == {1: {"loss": 1.0}, 2: {}, 5: {"loss": 0.2}}
    assert [step for step, saved in store.metadata().items() if saved.get("loss", 1) < 0.5] == [5]


def test_metadata_may_have_any_name_in_a_dict(store):
    store.put(0, weights(), {"durable": "so", "step": 3, "a b": None})
    assert store.metadata(0) == {"durable": "so", "step": 3, "a b": None}


def test_other_things_in_the_folder_are_ignored(store):
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


def test_what_cannot_be_saved_or_exported_is_told(store, tmp_path):
    freed = torch.ones(3)
    freed.untyped_storage().resize_(0)
    with pytest.raises(InputError, match="'w' has had its memory freed"):
        store.save(0, {"w": freed})
    with pytest.raises(InputError, match="names are strings"):
        store.put(0, weights(), {5: 1})  # pyright: ignore[reportArgumentType]
    store.save(0, weights())
    for path, reason in (
        (None, "must be a string or a path"),
        (store.path / "step_000000000005.h5", "inside the store"),
    ):
        with pytest.raises(InputError, match=reason):
            store.export(path)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="expected the folder"):
        CheckpointStore("a\0b")


def test_names_that_differ_are_told_apart_from_other_weights(store):
    store.save(0, weights() | {"head.weight": torch.ones(1)})
    with pytest.raises(InputError, match=r"other weights \(this one is without 'head.weight'\)"):
        store.save(0, weights())
