"""Forged, damaged and half-written files: every one is a clear error, and never other values."""

import hashlib
import json
import os
import random
import shutil
import tracemalloc
from collections.abc import Callable

import h5py
import numpy as np
import pytest
import torch

from llckit.errors import InputError
from llckit.store import CheckpointStore

STEP = 3
DATASET = "tensors/000001"


@pytest.fixture
def store(tmp_path):
    store = CheckpointStore(tmp_path / "run")
    store.save(STEP, {"a": torch.arange(6.0).reshape(2, 3), "b": torch.arange(40, dtype=torch.int64)}, loss=0.5)
    return store


@pytest.fixture
def file(store):
    return store.path / "step_000000000003.h5"


def assert_refused(store: CheckpointStore, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        store.load(STEP)
    assert "step_000000000003.h5" in str(caught.value)
    assert "\n" not in str(caught.value)
    (damage,) = store.verify()
    assert (damage.step, damage.file.name, damage.message) == (
        STEP,
        "step_000000000003.h5",
        str(caught.value),
    )


def replace(file: h5py.File, **options) -> None:
    """Put another dataset of the same name and size in the place of a tensor."""
    size = file[DATASET].shape[0]
    del file[DATASET]
    file.create_dataset(DATASET, **({"shape": (size,), "dtype": np.uint8} | options))


def rewrite(file: h5py.File, change: Callable[[dict], object]) -> None:
    """Change the manifest and make its checksum right again, as a forger would."""
    content = json.loads(file["manifest"][()].tobytes())
    change(content)
    document = json.dumps(content).encode()
    del file["manifest"]
    file["manifest"] = np.frombuffer(document, np.uint8)
    file.attrs["manifest_sha256"] = np.bytes_(hashlib.sha256(document).hexdigest())


def entry(index: int, **changes: object) -> Callable[[h5py.File], None]:
    return lambda file: rewrite(file, lambda manifest: manifest["tensors"][index].update(changes))


def external_link(file):
    del file[DATASET]
    file[DATASET] = h5py.ExternalLink("other.h5", "/secret")


def soft_link(file):
    file.move("manifest", "elsewhere")
    file["manifest"] = h5py.SoftLink("/elsewhere")
    del file["elsewhere"]


def soft_group(file):
    file.move("tensors", "manifest2")
    file["tensors"] = h5py.SoftLink("/manifest2")


def virtual(file):
    layout = h5py.VirtualLayout(shape=(320,), dtype=np.uint8)
    layout[:] = h5py.VirtualSource("other.h5", "secret", shape=(320,))
    del file[DATASET]
    file.create_virtual_dataset(DATASET, layout)


def cycle(file):
    del file[DATASET]
    file[DATASET] = file["/"]


FORGERIES = {
    "external link": (external_link, "a link to somewhere else"),
    "soft link": (soft_link, "a manifest and tensors alone|link to somewhere else"),
    "soft link to a group": (soft_group, "a manifest and tensors alone"),
    "virtual dataset": (virtual, "not a plain row of bytes"),
    "external storage": (lambda f: replace(f, external=[("secret.bin", 0, 320)]), "not a plain row of bytes"),
    "object dtype": (lambda f: replace(f, dtype=h5py.string_dtype()), "not a plain row of bytes"),
    "other dtype": (lambda f: replace(f, dtype=np.int8), "not a plain row of bytes"),
    "matrix": (lambda f: replace(f, shape=(4, 80)), "not a plain row of bytes"),
    "compressed": (lambda f: replace(f, compression="gzip"), "not a plain row of bytes"),
    "chunked": (lambda f: replace(f, chunks=(10,)), "not a plain row of bytes"),
    "no storage": (lambda f: replace(f), "claims 320 bytes"),
    "huge": (lambda f: replace(f, shape=(2**50,)), "claims 1125899906842624 bytes"),
    "short": (lambda f: replace(f, data=np.zeros(10, np.uint8), shape=(10,)), "has 10 bytes, not 320"),
    "zeros": (lambda f: replace(f, data=np.zeros(320, np.uint8)), "tensor 'b': .* do not match"),
    "group in its place": (cycle, "is not a dataset"),
    "missing tensor": (lambda f: f.pop(DATASET), "the 2 tensors of its manifest"),
    "more tensors": (lambda f: f.copy(DATASET, "tensors/000002"), "the 2 tensors of its manifest"),
    "other name": (lambda f: f.move(DATASET, "tensors/x"), "tensor 'b'"),
    "no tensors": (lambda f: f.pop("tensors"), "a manifest and tensors alone"),
    "extra": (lambda f: f.create_group("extra"), "a manifest and tensors alone"),
    "no format": (lambda f: f.attrs.pop("format"), "no attribute 'format'"),
    "other format": (lambda f: f.attrs.modify("format", np.bytes_(b"x" * 17)), "format attribute"),
    "format on the heap": (lambda f: f.attrs.create("format", "llckit-checkpoint"), "unknown form"),
    "future version": (lambda f: f.attrs.create("version", np.int64(3)), "version 3; expected 1 or 2; upgrade llckit"),
    "text version": (lambda f: f.attrs.create("version", np.bytes_(b"1")), "unknown form"),
    "wrong hash": (lambda f: f.attrs.create("manifest_sha256", np.bytes_(b"0" * 64)), "manifest does not"),
    "other step": (lambda f: rewrite(f, lambda m: m.update(step=4)), "holds step 4"),
    "extra key": (lambda f: rewrite(f, lambda m: m.update(more=1)), "unknown form"),
    "boolean step": (lambda f: rewrite(f, lambda m: m.update(step=True)), "unknown form"),
    "list metadata": (lambda f: rewrite(f, lambda m: m["metadata"].update(x=[1])), "not scalars"),
    "unknown dtype": (entry(0, dtype="float3"), "'a' has dtype 'float3'"),
    "unhashable dtype": (entry(0, dtype=[1]), "damaged"),
    "quantized dtype": (entry(0, dtype="qint8"), "dtype 'qint8'"),
    "negative shape": (entry(0, shape=[-2, -3]), "unknown form"),
    "huge shape": (entry(0, shape=[10**18] * 9), "more bytes than the file"),
    "endless empty": (entry(1, shape=[0, 10**18]), "has 320 bytes, not 0"),
    "endless shape": (entry(0, shape=[1] * 1025), "unknown form"),
    "shape beyond 63 bits": (entry(0, shape=[0, 2**63]), "unknown form"),
    "float shape": (entry(0, shape=[6.0]), "unknown form"),
    "no name": (entry(0, names=[]), "unknown form"),
    "same name": (entry(0, names=["b"]), "two tensors"),
    "short digest": (entry(0, sha256="ab"), "unknown form"),
    "text flag": (entry(0, finite="yes"), "unknown form"),
    "missing entry key": (lambda f: rewrite(f, lambda m: m["tensors"][0].pop("finite")), "unknown form"),
    "other shape, same size": (entry(0, shape=[7]), "has 24 bytes, not 28"),
}  # fmt: skip


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forgeries_are_refused(store, file, tmp_path, forgery):
    with h5py.File(tmp_path / "run" / "other.h5", "w") as other:
        other["secret"] = np.arange(320).astype(np.uint8)
    (store.path / "secret.bin").write_bytes(bytes(320))
    forge, reason = FORGERIES[forgery]
    with h5py.File(file, "r+") as opened:
        forge(opened)
    assert_refused(store, reason)


def test_the_forging_itself_is_harmless(store, file):
    """Otherwise the forgeries might be refused for being rewritten at all."""
    with h5py.File(file, "r+") as opened:
        rewrite(opened, lambda manifest: manifest["metadata"].update(loss=0.25))
        replace(opened, data=opened[DATASET][()])
    assert store.metadata(STEP) == {"loss": 0.25}
    assert torch.equal(store.load(STEP)["b"], torch.arange(40))
    assert store.verify() == []


def test_a_manifest_beyond_the_bound_is_refused(store, file, monkeypatch):
    monkeypatch.setattr("llckit.store.checkpoint_file.MAX_MANIFEST_BYTES", 100)
    assert_refused(store, "not 0 to 100")
    monkeypatch.setattr("llckit.store.encoding.MAX_MANIFEST_BYTES", 100)
    with pytest.raises(InputError, match="expected at most 100"):
        store.save(4, {"a": torch.zeros(1)})


def test_deeply_nested_manifest_is_refused(store, file):
    document = b"[" * 100_000
    with h5py.File(file, "r+") as opened:
        del opened["manifest"]
        opened["manifest"] = np.frombuffer(document, np.uint8)
        opened.attrs["manifest_sha256"] = np.bytes_(hashlib.sha256(document).hexdigest())
    assert_refused(store, "damaged")


def test_one_dataset_linked_many_times_asks_for_no_more_than_the_file(store, file):
    copies = 50

    def repeat(manifest):
        entry = manifest["tensors"][1]
        manifest["tensors"] += [entry | {"names": [f"c{index}"]} for index in range(copies)]

    with h5py.File(file, "r+") as opened:
        rewrite(opened, repeat)
        for index in range(copies):
            opened[f"tensors/{index + 2:06d}"] = opened[DATASET]
    tracemalloc.start()
    assert_refused(store, "more bytes than the file has")
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_truncation_at_any_length_is_refused(store, file):
    whole = file.read_bytes()
    for length in range(0, len(whole), 37):
        file.write_bytes(whole[:length])
        assert_refused(store, "damaged or no llckit checkpoint")


@pytest.mark.slow
def test_a_flipped_bit_never_gives_other_values(store, file):
    """Sampled positions; padding that means nothing may be flipped without notice, nothing else."""
    good, metadata = store.load(STEP), store.metadata(STEP)
    whole = bytearray(file.read_bytes())
    generator = random.Random(0)
    noticed = 0
    positions = generator.sample(range(len(whole)), 300)
    for position in positions:
        flip = 1 << generator.randrange(8)
        whole[position] ^= flip
        file.write_bytes(whole)
        whole[position] ^= flip
        try:
            loaded, read = store.load(STEP), store.metadata(STEP)
        except InputError:
            noticed += 1
            continue
        assert read == metadata
        assert loaded.keys() == good.keys()
        assert all(torch.equal(loaded[name], good[name]) for name in good)
    assert noticed > len(positions) // 4


def test_every_flipped_byte_of_a_tensor_is_named(store, file):
    with h5py.File(file) as opened:
        start = opened[DATASET].id.get_offset()
    whole = bytearray(file.read_bytes())
    for position in (start, start + 100, start + 319):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        file.write_bytes(damaged)
        assert_refused(store, "tensor 'b': the stored bits do not match their checksum")
        assert store.metadata(STEP) == {"loss": 0.5}


@pytest.mark.parametrize("content", [b"", b"not HDF5 at all", bytes(5000)], ids=["empty", "text", "zeros"])
def test_foreign_files_are_refused(store, file, content):
    file.write_bytes(content)
    assert_refused(store, "damaged or no llckit checkpoint.*save step 3 again")


def test_foreign_hdf5_is_refused(store, file):
    with h5py.File(file, "w") as opened:
        opened["weights"] = np.zeros(3)
    assert_refused(store, "no attribute 'format'")


def test_folders_pipes_and_dangling_links_are_refused(store, file):
    file.unlink()
    file.mkdir()
    assert_refused(store, "not a plain file")
    file.rmdir()
    os.mkfifo(file)
    assert_refused(store, "not a plain file")
    file.unlink()
    file.symlink_to("nowhere")
    assert_refused(store, "cannot be read: No such file")
    with pytest.raises(InputError, match="cannot be read"):
        store.save(STEP, {"a": torch.zeros(1)})


def test_a_renamed_file_is_noticed(store, file):
    shutil.copy(file, store.path / "step_000000000009.h5")
    with pytest.raises(InputError, match="holds step 3, so it was renamed"):
        store.load(9)
    assert [damage.step for damage in store.verify()] == [9]


def test_verify_names_every_damaged_tensor_and_goes_on(store, file):
    store.save(7, {"c": torch.ones(3)})
    with h5py.File(file, "r+") as opened:
        opened["tensors/000000"][0] ^= 1
        opened[DATASET][5] = 77
    (store.path / "step_000000000001.h5").touch()
    found = [(damage.step, damage.message) for damage in store.verify()]
    assert [step for step, _ in found] == [1, 3, 3]
    assert "tensor 'a'" in found[1][1]
    assert "tensor 'b'" in found[2][1]
    assert torch.equal(store.load(7)["c"], torch.ones(3))


def test_saving_onto_a_damaged_file_says_so(store, file):
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(InputError, match=r"damaged.*delete it and save step 3 again"):
        store.save(STEP, {"a": torch.zeros(1)})


def test_saving_again_onto_damaged_weights_says_so(store, file):
    state = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.arange(40, dtype=torch.int64)}
    store.save(STEP, state, loss=0.5)
    with h5py.File(file, "r+") as opened:
        opened[DATASET][5] ^= 1
    with pytest.raises(InputError, match=r"tensor 'b'.*checksum.*delete it and save step 3 again"):
        store.save(STEP, state, loss=0.5)
