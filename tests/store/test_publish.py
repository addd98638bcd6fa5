"""How a checkpoint is published: once, whole, and durable unless asked otherwise."""

import fcntl
import os
import stat

import pytest
import torch

from llckit.errors import InputError


def test_the_same_contents_are_accepted_again(store, weights):
    store.save(5, weights(), loss=float("nan"))
    before = (store.path / "step_000000000005.h5").stat()
    store.save(5, weights(), loss=float("nan"))
    after = (store.path / "step_000000000005.h5").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_other_contents_are_refused_and_change_nothing(store, weights):
    store.save(5, weights(), loss=1.0)
    with pytest.raises(InputError, match=r"step 5 is already in .* with other weights"):
        store.save(5, weights(1), loss=1.0)
    with pytest.raises(InputError, match="with other metadata"):
        store.save(5, weights(), loss=2.0)
    assert torch.equal(store.load(5)["layer.bias"], weights()["layer.bias"])
    assert os.listdir(store.path) == ["step_000000000005.h5"]


def test_a_writer_that_loses_the_race_compares(store, monkeypatch, weights):
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


def test_it_is_durable_before_it_is_published(store, monkeypatch, weights):
    events = []
    fsync, link = os.fsync, os.link
    monkeypatch.setattr(os, "fsync", lambda handle: (events.append("fsync"), fsync(handle)))
    monkeypatch.setattr(os, "link", lambda source, target: (events.append("link"), link(source, target)))
    store.save(0, weights())
    assert events == ["fsync", "link", "fsync"]


def test_a_folder_that_vanishes_is_named(store, weights):
    store.path.rmdir()
    with pytest.raises(InputError, match="cannot be read"):
        _ = store.steps
    with pytest.raises(InputError, match="could not be written"):
        store.save(0, weights())


def test_without_hard_links_a_file_is_renamed_under_a_lock(store, monkeypatch, weights):
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


def test_a_disk_that_refuses_leaves_nothing_behind(store, monkeypatch, weights):
    def refuse(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(InputError, match="No space left"):
        store.save(0, weights())
    assert os.listdir(store.path) == []


def test_a_disk_that_does_not_sync_is_told(store, monkeypatch, weights):
    real = os.fsync

    def refuse(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(5, "Input/output error")
        real(handle)

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(InputError, match=r"may not be on the disk: Input/output error; save step 0 again"):
        store.save(0, weights())
    monkeypatch.setattr(os, "fsync", real)
    store.save(0, weights())


def test_durability_can_be_given_up_and_had_later(store, monkeypatch, weights):
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


def test_names_that_differ_are_told_apart_from_other_weights(store, weights):
    store.save(0, weights() | {"head.weight": torch.ones(1)})
    with pytest.raises(InputError, match=r"other weights \(this one is without 'head.weight'\)"):
        store.save(0, weights())
