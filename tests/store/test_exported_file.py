"""Golden files, exported stores, and forgeries of them."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from llckit.errors import InputError
from llckit.store import CheckpointStore
from llckit.store.checkpoint_folder import CheckpointFolder

from .states import assert_same_bits, seeded_state

GOLDEN = Path(__file__).parent / "golden"


def golden_state() -> dict[str, torch.Tensor]:
    """What all golden checkpoints hold."""
    shared = torch.arange(6, dtype=torch.float32).reshape(2, 3) / 7
    return {
        "embed.weight": shared,
        "head.weight": shared,
        "half": torch.tensor([1.5, -0.0, float("nan")], dtype=torch.bfloat16),
        "count": torch.tensor(2**40 + 1),
        "none": torch.empty(0, 4, dtype=torch.complex64),
        "mask": torch.tensor([True, False]),
    }


GOLDEN_METADATA = {"loss": 0.31, "note": "λ", "diverged": float("inf"), "done": False, "parent": None}


def make_golden(folder: Path) -> None:
    """Made the files in `golden` once; they are only ever read again, never renewed."""
    for name, compress in ("plain", False), ("compressed", True):
        store = CheckpointStore(folder / name, compress=compress)
        store.save(1000, golden_state(), **GOLDEN_METADATA)
    CheckpointStore(folder / "plain").export(folder / "exported.h5")


@pytest.fixture
def store(tmp_path):
    store = CheckpointStore(tmp_path / "run")
    for step in (0, 7, 10**13):
        store.save(step, seeded_state(step % 11), loss=step / 10)
    return store


@pytest.mark.parametrize("name", ["plain", "compressed", "exported.h5"])
def test_golden_files_are_read(name):
    store = CheckpointStore(GOLDEN / name, create=False)
    assert store.steps == [1000]
    loaded = store.load(1000)
    assert_same_bits(loaded, golden_state())
    assert loaded["embed.weight"] is loaded["head.weight"]
    assert store.metadata(1000) == GOLDEN_METADATA
    assert store.manifest(1000).nonfinite == ("half",)
    assert store.verify() == []


@pytest.mark.parametrize("file", ["plain/step_000000001000.h5", "compressed/step_000000001000.h5", "exported.h5"])
def test_what_is_written_is_laid_out_as_the_golden_file(tmp_path, file):
    """The same objects, bytes and attributes, so that other readers of the format go on working."""
    make_golden(tmp_path)

    def layout(file):
        with h5py.File(file) as opened:
            found = {"/": dict(opened.attrs)}

            def look(name, item):
                found[name] = dict(item.attrs)
                if isinstance(item, h5py.Dataset):
                    found[name] = (item[()].tobytes(), item.dtype, item.chunks, item.compression, item.shuffle)

            opened.visititems(look)
        return found

    assert layout(tmp_path / file) == layout(GOLDEN / file)


def test_an_export_holds_all_and_is_read_as_a_store(store, tmp_path):
    store.export(tmp_path / "run.h5")
    assert sorted(os.listdir(tmp_path)) == ["run", "run.h5"]
    exported = CheckpointStore(tmp_path / "run.h5")
    assert exported.steps == store.steps == [0, 7, 10**13]
    for step in store.steps:
        loaded = exported.load(step)
        assert_same_bits(loaded, seeded_state(step % 11))
        assert loaded["a"] is loaded["tied"]
        assert exported.manifest(step) == store.manifest(step)
    assert exported.metadata() == store.metadata()
    assert list(exported.load(7, ["b"])) == ["b"]
    assert exported.verify() == []
    assert 7 in exported
    assert "3 checkpoints" in repr(exported)
    with pytest.raises(InputError, match=r"step 8 is not in .*nearest saved: 7 and 10000000000000"):
        exported.load(8)


def test_an_exported_store_is_only_read_and_exports_again(store, tmp_path):
    store.export(tmp_path / "run.h5")
    whole = (tmp_path / "run.h5").read_bytes()
    exported = CheckpointStore(tmp_path / "run.h5", compress=True)
    with pytest.raises(InputError, match="exported store, which is only read"):
        exported.save(8, seeded_state(0))
    exported.export(tmp_path / "small.h5")
    again = CheckpointStore(tmp_path / "small.h5")
    assert_same_bits(again.load(7), seeded_state(7))
    assert again.manifest(7) == store.manifest(7)
    assert (tmp_path / "run.h5").read_bytes() == whole


def test_exports_that_cannot_be(store, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"expected a name that ends in .h5"):
        store.export(tmp_path / "run.ckpts")
    with pytest.raises(InputError, match="make it first"):
        store.export(tmp_path / "nowhere" / "run.h5")
    (tmp_path / "taken.h5").write_text("a thesis")
    with pytest.raises(InputError, match="exists already"):
        store.export(tmp_path / "taken.h5")
    with pytest.raises(InputError, match="no checkpoints to export"):
        CheckpointStore(tmp_path / "empty").export(tmp_path / "run.h5")
    with h5py.File(store.path / "step_000000000007.h5", "r+") as opened:
        opened["tensors/000000"][0] ^= 1
    with pytest.raises(InputError, match=r"step_000000000007.h5 is damaged"):
        store.export(tmp_path / "run.h5")
    assert sorted(os.listdir(tmp_path)) == ["empty", "run", "taken.h5"]
    assert (tmp_path / "taken.h5").read_text() == "a thesis"


def test_an_interrupted_export_leaves_nothing(store, tmp_path, monkeypatch):
    real = CheckpointFolder.open

    def interrupt(self, step):
        if step == 7:
            raise KeyboardInterrupt
        return real(self, step)

    monkeypatch.setattr(CheckpointFolder, "open", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.export(tmp_path / "run.h5")
    assert os.listdir(tmp_path) == ["run"]


def foreign_group(file):
    file.create_group("step_7")


def linked_group(file):
    del file["step_000000000007"]
    file["step_000000000007"] = h5py.SoftLink("/step_000000000000")


def external_group(file):
    del file["step_000000000007"]
    file["step_000000000007"] = h5py.ExternalLink("other.h5", "/")


def dataset_group(file):
    del file["step_000000000007"]
    file["step_000000000007"] = np.zeros(3)


def swapped(file):
    file.move("step_000000000000", "step_000000000001")


EXPORT_FORGERIES = {
    "newer": (lambda f: f.attrs.create("version", np.int64(2)), 7, "format version 2; expected 1; upgrade llckit"),
    "foreign": (lambda f: f.attrs.create("format", np.bytes_("photos")), 7, "not that of an exported store"),
    "foreign group": (foreign_group, 7, "which is no checkpoint"),
    "soft link": (linked_group, 7, "link to somewhere else"),
    "external link": (external_group, 7, "link to somewhere else"),
    "no group": (dataset_group, 7, "is no group"),
    "renamed": (swapped, 1, "holds step 0, so it was renamed"),
}


@pytest.mark.parametrize("forgery", EXPORT_FORGERIES)
def test_forged_exports_are_refused(store, tmp_path, forgery):
    forge, step, reason = EXPORT_FORGERIES[forgery]
    store.export(tmp_path / "run.h5")
    with h5py.File(tmp_path / "run.h5", "r+") as opened:
        forge(opened)
    with pytest.raises(InputError, match=reason):
        CheckpointStore(tmp_path / "run.h5").load(step)
