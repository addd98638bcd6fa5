"""Compressed checkpoints, and forgeries of them that would ask for memory or run a filter."""

import tracemalloc
import zlib

import h5py
import numpy as np
import pytest
import torch

from llckit.errors import InputError
from llckit.store import CheckpointStore

from .states import assert_same_bits


@pytest.mark.slow
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
        assert_same_bits(store.load(1), smooth)
    assert plain.manifest(1) == packed.manifest(1)
    CheckpointStore(tmp_path / "b").export(tmp_path / "c.h5")
    assert_same_bits(CheckpointStore(tmp_path / "c.h5").load(1), smooth)


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


@pytest.mark.slow
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
    for module in ("write_checkpoint", "untrusted_hdf5"):
        monkeypatch.setattr(f"llckit.store.{module}.CHUNK_BYTES", 64)
    store = CheckpointStore(tmp_path / "run", compress=True)
    lengths = [1, 7, 8, 9, 63, 64, 65, 200]
    tensors = {
        f"{dtype} {length}": torch.arange(length).to(dtype)
        for length in lengths
        for dtype in (torch.int8, torch.int16, torch.float32, torch.complex64, torch.complex128)
    }
    store.save(0, tensors)
    assert_same_bits(store.load(0), tensors)
