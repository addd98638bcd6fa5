"""Golden files, compressed checkpoints and exported stores, and forgeries of both."""

import os
import tracemalloc
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from llckit.errors import InputError
from llckit.store import CheckpointStore

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


def state(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tied = torch.randn(300, 7, generator=generator)
    return {"a": tied, "b": torch.arange(seed + 3), "tied": tied, "empty": torch.empty(0)}


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes()


def assert_equal(loaded: dict[str, torch.Tensor], saved: dict[str, torch.Tensor]) -> None:
    assert loaded.keys() == saved.keys()
    for name, tensor in saved.items():
        assert (loaded[name].dtype, loaded[name].shape) == (tensor.dtype, tensor.shape)
        assert bits(loaded[name]) == bits(tensor)


@pytest.fixture
def store(tmp_path):
    store = CheckpointStore(tmp_path / "run")
    for step in (0, 7, 10**13):
        store.save(step, state(step % 11), loss=step / 10)
    return store


@pytest.mark.parametrize("name", ["plain", "compressed", "exported.h5"])
def test_golden_files_are_read(name):
    store = CheckpointStore(GOLDEN / name, create=False)
    assert store.steps == [1000]
    loaded = store.load(1000)
    assert_equal(loaded, golden_state())
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
        assert_equal(loaded, state(step % 11))
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
        exported.save(8, state(0))
    exported.export(tmp_path / "small.h5")
    again = CheckpointStore(tmp_path / "small.h5")
    assert_equal(again.load(7), state(7))
    assert again.manifest(7) == store.manifest(7)
    assert (tmp_path / "run.h5").read_bytes() == whole


def test_exports_that_cannot_be(store, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"does not end in .h5"):
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
    real = CheckpointStore._open

    def interrupt(self, step):
        if step == 7:
            raise KeyboardInterrupt
        return real(self, step)

    monkeypatch.setattr(CheckpointStore, "_open", interrupt)
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
    "newer": (lambda f: f.attrs.create("version", np.int64(2)), 7, "format version 2.*upgrade llckit"),
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


def test_compressing_is_told_apart_by_the_file_alone(tmp_path):
    smooth = {"w": torch.linspace(0, 1, 3_000_000), "b": torch.zeros(5)}
    plain, packed = CheckpointStore(tmp_path / "a"), CheckpointStore(tmp_path / "b", compress=True)
    plain.save(1, smooth)
    packed.save(1, smooth)
    packed.save(1, smooth)
    CheckpointStore(tmp_path / "b").save(1, smooth)
    sizes = [(store.path / "step_000000000001.h5").stat().st_size for store in (plain, packed)]
    assert sizes[1] < 0.7 * sizes[0]
    for store in (plain, packed, CheckpointStore(tmp_path / "b")):
        assert_equal(store.load(1), smooth)
    assert plain.manifest(1) == packed.manifest(1)
    CheckpointStore(tmp_path / "b").export(tmp_path / "c.h5")
    assert_equal(CheckpointStore(tmp_path / "c.h5").load(1), smooth)


COMPRESSED = "tensors/000000"


@pytest.fixture
def packed(tmp_path):
    store = CheckpointStore(tmp_path / "packed", compress=True)
    store.save(3, {"w": torch.arange(5000.0)})
    return store


def replaced(**options):
    def forge(file):
        values = file[COMPRESSED][()]
        del file[COMPRESSED]
        standard = {"data": values, "chunks": values.shape, "shuffle": True, "compression": "gzip"}
        file.create_dataset(COMPRESSED, **(standard | options))

    return forge


def chunk(content: bytes, mask: int = 0):
    def forge(file):
        replaced()(file)
        file[COMPRESSED].id.write_direct_chunk((0,), content, mask)

    return forge


BOMB = zlib.compress(bytes(200 << 20), 9)
PACKED_FORGERIES = {
    "other filter": (replaced(compression="lzf", shuffle=True), "not a deflated row"),
    "no shuffle": (replaced(shuffle=False), "not a deflated row"),
    "more filters": (replaced(fletcher32=True), "not a deflated row"),
    "tiny chunks": (replaced(chunks=(1,)), "not a deflated row"),
    "growing": (replaced(maxshape=(None,)), "not a deflated row"),
    "floats": (replaced(dtype="<f4"), "not a deflated row"),
    "big-endian": (replaced(dtype=">u4"), "not a deflated row"),
    "text": (replaced(data=np.array([b"ab"] * 5000), dtype="S4"), "not a deflated row"),
    "short": (replaced(data=np.zeros(10, "<u4"), chunks=(10,)), "has 40 bytes, not 20000"),
    "huge": (
        replaced(data=None, shape=(2**40,), dtype="<u4", chunks=(2**20,)),
        "has 4398046511104 bytes, not 20000",
    ),
    "no storage": (replaced(data=None, shape=(5000,), dtype="<u4", chunks=(5000,)), "claims bytes"),
    "not deflated": (chunk(bytes(20_000)), "damaged"),
    "filters skipped": (chunk(bytes(20_000), mask=3), "does not hold"),
    "too short": (chunk(zlib.compress(bytes(19_999))), "wrong size"),
    "bomb": (chunk(BOMB), "checksum"),
    "other bits": (chunk(zlib.compress(bytes(20_000))), "checksum"),
}


@pytest.mark.parametrize("forgery", PACKED_FORGERIES)
def test_forged_compressed_files_are_refused_in_little_memory(packed, forgery):
    forge, reason = PACKED_FORGERIES[forgery]
    with h5py.File(packed.path / "step_000000000003.h5", "r+") as opened:
        forge(opened)
    tracemalloc.start()
    with pytest.raises(InputError, match=reason):
        packed.load(3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20
    assert [damage.step for damage in packed.verify()] == [3]


def test_the_forging_of_compressed_files_is_itself_harmless(packed):
    with h5py.File(packed.path / "step_000000000003.h5", "r+") as opened:
        replaced()(opened)
    assert torch.equal(packed.load(3)["w"], torch.arange(5000.0))


def test_flipped_bytes_of_compressed_files_never_give_other_values(packed):
    file = packed.path / "step_000000000003.h5"
    whole = bytearray(file.read_bytes())
    noticed = 0
    positions = range(0, len(whole), 23)
    for position in positions:
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        file.write_bytes(damaged)
        try:
            loaded = packed.load(3)
        except InputError:
            noticed += 1
        else:
            assert torch.equal(loaded["w"], torch.arange(5000.0))
    assert noticed > len(positions) // 2


def test_chunks_join_at_their_borders(tmp_path, monkeypatch):
    for module in ("checkpoint_file", "reading"):
        monkeypatch.setattr(f"llckit.store.{module}.CHUNK_BYTES", 64)
    store = CheckpointStore(tmp_path / "run", compress=True)
    lengths = [1, 7, 8, 9, 63, 64, 65, 200]
    tensors = {
        f"{dtype} {length}": torch.arange(length).to(dtype)
        for length in lengths
        for dtype in (torch.int8, torch.int16, torch.float32, torch.complex64, torch.complex128)
    }
    store.save(0, tensors)
    assert_equal(store.load(0), tensors)
