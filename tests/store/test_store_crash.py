"""Writers that are killed, disks that are full, writers that race."""

import os
import subprocess
import sys
import threading

import pytest
import torch

from llckit.errors import InputError
from llckit.store import CheckpointStore
from llckit.store.publish import host_id

pytestmark = pytest.mark.kills

# One process imports torch once and then forks the writers that it kills.
KILLER = """
import os, random, signal, sys, time
import torch
from llckit.store import CheckpointStore

torch.set_num_threads(1)
store = CheckpointStore(sys.argv[1])
generator = random.Random(0)
cut = 0
for _ in range(20):
    writer = os.fork()
    if writer == 0:
        step = max(store.steps, default=-1)
        while True:
            step += 1
            store.save(step, {f"w{i}": torch.full((30_000,), float(step)) for i in range(10)}, loss=step)
    time.sleep(generator.uniform(0.02, 0.15))
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    cut += any(name.startswith(".writing-") for name in os.listdir(store.path))
    assert store.verify() == [], store.verify()
print(cut)
"""


def temporary(store: CheckpointStore) -> list[str]:
    return [name for name in os.listdir(store.path) if name.startswith(".")]


def test_killed_writers_leave_only_whole_checkpoints(tmp_path):
    finished = subprocess.run(
        [sys.executable, "-c", KILLER, str(tmp_path / "run")], capture_output=True, text=True, timeout=120
    )
    assert finished.returncode == 0, finished.stderr
    store = CheckpointStore(tmp_path / "run", create=False)
    assert int(finished.stdout) >= 5, "the writers were hardly ever killed while writing"
    assert store.steps == list(range(len(store)))
    for step in store.steps:
        assert store.metadata(step) == {"loss": step}
        assert all((tensor == step).all() for tensor in store.load(step).values())
    store.save(10**6, {"w": torch.zeros(1)})
    assert temporary(store) == []


def test_a_reader_removes_nothing_and_a_writer_only_what_the_dead_left(tmp_path):
    store = CheckpointStore(tmp_path / "run")
    store.save(0, {"w": torch.zeros(1)})
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = "ffffffff"
    names = {
        "alive": f".writing-{host_id()}-{os.getpid()}-00000000.h5",
        "foreign host": f".writing-{host}-{dead.pid}-00000000.h5",
        "dead": f".writing-{host_id()}-{dead.pid}-00000000.h5",
    }
    for name in names.values():
        (store.path / name).write_bytes(b"half a checkpoint")
    reader = CheckpointStore(store.path, create=False)
    assert (reader.steps, reader.verify()) == ([0], [])
    assert len(temporary(store)) == 3
    store.save(1, {"w": torch.zeros(1)})
    assert sorted(temporary(store)) == sorted([names["alive"], names["foreign host"]])


FULL_DISK = """
import resource, signal, sys
import torch
from llckit.errors import InputError
from llckit.store import CheckpointStore

store = CheckpointStore(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    store.save(1, {"w": torch.zeros(1_000_000)})
except InputError as error:
    print(error)
store.save(2, {"w": torch.zeros(10)})
"""


def test_a_full_disk_is_one_clear_error_and_publishes_nothing(tmp_path):
    finished = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "run")], capture_output=True, text=True, timeout=60
    )
    assert finished.returncode == 0, finished.stderr
    assert "step_000000000001.h5 could not be written" in finished.stdout
    assert finished.stderr == ""
    store = CheckpointStore(tmp_path / "run", create=False)
    assert (store.steps, store.verify(), temporary(store)) == ([2], [], [])


def test_racing_writers_publish_each_step_once(tmp_path):
    store = CheckpointStore(tmp_path / "run")
    refused: list[int] = []
    barrier = threading.Barrier(4)

    def write(worker: int) -> None:
        barrier.wait()
        for step in range(5):
            try:
                store.save(step, {"w": torch.full((1000,), float(worker))})
            except InputError:
                refused.append(step)

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(refused) == [step for step in range(5) for _ in range(3)]
    assert (store.steps, store.verify(), temporary(store)) == (list(range(5)), [], [])


def test_an_interrupt_while_writing_cleans_up(tmp_path, monkeypatch):
    store = CheckpointStore(tmp_path / "run")

    def interrupt(path, checkpoint, **_):
        path.touch()
        raise KeyboardInterrupt

    monkeypatch.setattr("llckit.store.checkpoint_folder.write_checkpoint", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.save(0, {"w": torch.zeros(1)})
    assert os.listdir(store.path) == []
