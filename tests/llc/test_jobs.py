"""The same curve by one process or many, whoever dies."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import llckit as lk
from llckit.cli import main
from llckit.llc import WorkerPool, dask_executor, workers
from llckit.llc.estimate_checkpoint import estimate_checkpoint

curves = sys.modules["llckit.llc.estimate_curve"]  # the package has the function of that name
TASK = """
import pathlib

import torch
from torch import nn
import llckit as lk

torch.manual_seed(1)
x = torch.randn(200, 3)
model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
task = lk.Task(model, (x, torch.randint(0, 2, (200,))), lambda m, b: nn.functional.cross_entropy(m(b[0]), b[1]))
"""
QUICK = {"n_beta": 40.0, "num_chains": 4, "num_burnin": 20, "num_draws": 30, "progress": False}
STEPS = 6


def net():
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def new_store(path):
    store = lk.CheckpointStore(path)
    torch.manual_seed(0)
    for step in range(STEPS):
        store.save(step, net())
    return store


@pytest.fixture
def reference(tmp_path):
    (tmp_path / "task.py").write_text(TASK)
    return f"{tmp_path / 'task.py'}:task"


@pytest.fixture
def serial(tmp_path, reference):
    return lk.estimate_curve(new_store(tmp_path / "serial.ckpts"), lk.load_task(reference), **QUICK)


def assert_same(a, b):
    assert a.step.tolist() == b.step.tolist()
    for name in ("loss", "llc", "mcse", "llc_per_chain"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def spawned(workers):
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


@pytest.mark.parametrize("pool", [WorkerPool, ThreadPoolExecutor, spawned])
def test_any_executor_gives_the_same_curve(tmp_path, reference, serial, pool):
    store = new_store(tmp_path / "run.ckpts")
    with pool(2) as executor:
        assert_same(lk.estimate_curve(store, lk.load_task(reference), executor=executor, **QUICK), serial)


def test_workers_begin_from_anchors_as_the_main_process_does(tmp_path, reference):
    settings = {name: value for name, value in QUICK.items() if name != "num_burnin"}
    alone = lk.estimate_curve(new_store(tmp_path / "serial.ckpts"), lk.load_task(reference), **settings)
    with ThreadPoolExecutor(2) as executor:
        found = lk.estimate_curve(
            new_store(tmp_path / "run.ckpts"), lk.load_task(reference), executor=executor, **settings
        )
    assert_same(found, alone)


def test_workers_make_restricted_and_behavioral_tasks_and_other_samplers(tmp_path, reference):
    settings = QUICK | {"sampler": lk.sgld(step_size=1e-3), "n_beta": [20.0, 40.0], "localization": 1.0}
    task = lk.behavioral_task(lk.load_task(reference).restricted("0.*"))
    alone = lk.estimate_curve(new_store(tmp_path / "serial.ckpts"), task, **settings)
    with ThreadPoolExecutor(2) as executor:
        found = lk.estimate_curve(new_store(tmp_path / "run.ckpts"), task, executor=executor, **settings)
    for a, b in zip(alone.curves, found.curves, strict=True):
        assert_same(a, b)
        assert b.behavioral


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::ResourceWarning")
def test_a_dask_cluster_gives_the_same_curve(tmp_path, reference, serial, capsys):
    with Cluster(tmp_path) as address:
        with dask_executor(address) as executor:
            found = lk.estimate_curve(
                new_store(tmp_path / "run.ckpts"), lk.load_task(reference), executor=executor, **QUICK
            )
        assert_same(found, serial)
        words = ["estimate", str(new_store(tmp_path / "again.ckpts").path), "--task", reference, "--n-beta", "5"]
        assert main([*words, "--localization", "20", "--steps", "0", "--scheduler", address]) == 0


class Cluster:
    """A Dask scheduler and workers, each a process of its own."""

    def __init__(self, folder, workers=2):
        self._folder, self._workers = folder, workers

    def _start(self, *words):
        with open(self._folder / f"{words[0]}-{len(self._all)}.log", "w") as log:
            command = [sys.executable, "-m", "distributed.cli.dask_" + words[0], *words[1:]]
            self._all.append(subprocess.Popen(command, stderr=log))

    def __enter__(self):
        self._all = []
        file = self._folder / "scheduler.json"
        self._start("scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
        wait_until(file.exists, 60)
        for _ in range(self._workers):
            self._start("worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard", "--no-nanny")
        return json.loads(file.read_text())["address"]

    def end_scheduler(self):
        self._all[0].kill()

    def __exit__(self, *error):
        for process in reversed(self._all):
            process.kill()
            process.wait()


def test_a_cluster_without_workers_or_that_ends_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "SCHEDULER_SECONDS", 2)
    cluster = Cluster(tmp_path, workers=0)

    def lose_the_scheduler(address):
        with dask_executor(address) as executor:
            future = executor.submit(time.sleep, 60)
            cluster.end_scheduler()
            future.result()

    with cluster as address, pytest.warns(UserWarning, match="no workers are at tcp"):
        check_gives_up(lose_the_scheduler, address)


def check_gives_up(use, address):
    with pytest.raises(lk.EstimationError, match=r"gave up \(\w"):
        use(address)


def wait_until(true, seconds):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def children():
    return [process.pid for process in multiprocessing.active_children()]


def test_a_worker_that_is_killed_loses_only_what_it_was_at(tmp_path, reference, serial):
    store = new_store(tmp_path / "run.ckpts")
    estimates = store.path / "estimates"

    def kill_one():
        wait_until(lambda: estimated(estimates) and children(), 100)
        os.kill(children()[0], signal.SIGKILL)
        killed.append(1)

    killed = []
    killer = threading.Thread(target=kill_one)
    killer.start()
    with WorkerPool(2) as executor:
        found = lk.estimate_curve(store, lk.load_task(reference), executor=executor, **QUICK)
    killer.join()
    assert killed
    assert_same(found, serial)


def test_ctrl_c_while_workers_begin_ends_all_of_them(tmp_path, reference):
    store = new_store(tmp_path / "run.ckpts")
    words = ["estimate", str(store.path), "--task", reference, "--n-beta", "40", "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "llckit.cli", *words],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    wait_until(lambda: len(in_session(process.pid)) >= 2, 60)  # with what tracks resources: workers are about to begin
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 1, stderr
    assert "interrupted" in stderr
    assert "Traceback" not in stderr
    wait_until(lambda: not in_session(process.pid), 30)


class Broken(Executor):
    """Breaks at the third job, and stays so."""

    def __init__(self):
        self.submitted = 0

    def submit(self, fn, /, *args, **kwargs):
        self.submitted += 1
        if self.submitted > 3:
            raise BrokenExecutor("gone")
        future = Future()
        if self.submitted < 3:
            future.set_result(fn(*args, **kwargs))
        else:
            future.set_exception(BrokenExecutor("gone"))
        return future


def test_where_the_executor_itself_is_broken_the_rest_is_done_here(tmp_path, reference, serial):
    with pytest.warns(UserWarning, match="estimated in this process"):
        found = lk.estimate_curve(
            new_store(tmp_path / "run.ckpts"), lk.load_task(reference), executor=Broken(), **QUICK
        )
    assert_same(found, serial)


class Deadly(Executor):
    """No job ever ends well."""

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        future.set_exception(BrokenExecutor("out of memory"))
        return future


def test_workers_that_always_die_are_not_replaced_for_ever(tmp_path, reference):
    with pytest.raises(lk.EstimationError, match="workers died 3 times"):
        lk.estimate_curve(new_store(tmp_path / "run.ckpts"), lk.load_task(reference), executor=Deadly(), **QUICK)


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from test_execution import *
from llckit.llc import WorkerPool

if __name__ == "__main__":
    with WorkerPool(2) as executor:
        lk.estimate_curve(lk.CheckpointStore({store!r}), lk.load_task({reference!r}), executor=executor, **QUICK)
"""


def test_after_the_main_process_is_killed_the_rest_is_computed_and_no_worker_stays(
    tmp_path, reference, serial, monkeypatch
):
    store = new_store(tmp_path / "run.ckpts")
    script = tmp_path / "killed.py"
    script.write_text(KILLED.format(tests=os.path.dirname(__file__), store=str(store.path), reference=reference))
    process = subprocess.Popen([sys.executable, str(script)], start_new_session=True)
    estimates = store.path / "estimates"
    wait_until(lambda: estimates.exists() and len(estimated(estimates)) >= 2, 120)
    process.kill()
    process.wait()
    wait_until(lambda: not in_session(process.pid), 30)
    kept = len(estimated(estimates))
    computed = []
    monkeypatch.setattr(
        curves, "estimate_checkpoint", lambda *a, **k: computed.append(1) or estimate_checkpoint(*a, **k)
    )
    assert_same(lk.estimate_curve(store, lk.load_task(reference), **QUICK), serial)
    assert len(computed) == STEPS - kept


def estimated(folder):
    return [file for file in folder.glob("*.json") if not file.name.startswith(("scale-", "curve-"))]


def in_session(leader):
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(entry))
    return found


@pytest.mark.parametrize("behavioral", [False, True])
def test_a_worker_with_other_data_is_found_out(tmp_path, behavioral):
    seed, file = tmp_path / "seed.txt", tmp_path / "task.py"
    seed.write_text("1")
    file.write_text(TASK.replace("manual_seed(1)", f"manual_seed(int(pathlib.Path({str(seed)!r}).read_text()))"))
    store, task = new_store(tmp_path / "run.ckpts"), lk.load_task(f"{file}:task")
    task = lk.behavioral_task(task) if behavioral else task
    seed.write_text("2")
    with ThreadPoolExecutor(1) as executor, pytest.raises(lk.InputError, match=r"a worker on .* finds the loss"):
        lk.estimate_curve(store, task, executor=executor, **QUICK)


def test_a_worker_takes_the_file_as_it_was_loaded(tmp_path, reference):
    store, file = new_store(tmp_path / "run.ckpts"), tmp_path / "task.py"
    before = lk.load_task(reference)
    with ThreadPoolExecutor(1) as executor:
        lk.estimate_curve(store, before, executor=executor, **QUICK)
        file.write_text(file.read_text().replace("b[1]))", 'b[1]), params=["0.*"])'))
        after = lk.load_task(reference)
        assert after.dim == 16
        assert_same(
            lk.estimate_curve(store, after, executor=executor, **QUICK),
            lk.estimate_curve(new_store(tmp_path / "serial.ckpts"), after, **QUICK),
        )
    third = new_store(tmp_path / "third.ckpts")
    with ThreadPoolExecutor(1) as executor, pytest.raises(lk.InputError, match="not the one that was loaded first"):
        lk.estimate_curve(third, before, executor=executor, **QUICK)


def test_workers_sample_what_a_task_restricted_twice_does(tmp_path, reference):
    task = lk.load_task(reference).restricted("0.*").restricted("*.weight")
    assert list(task.shapes) == ["0.weight"]
    alone = lk.estimate_curve(new_store(tmp_path / "serial.ckpts"), task, **QUICK)
    with ThreadPoolExecutor(2) as executor:
        assert_same(lk.estimate_curve(new_store(tmp_path / "run.ckpts"), task, executor=executor, **QUICK), alone)


def test_what_cannot_be_sent_is_refused(tmp_path, reference):
    store, task = new_store(tmp_path / "run.ckpts"), lk.load_task(reference)
    with pytest.raises(lk.InputError, match=r"concurrent\.futures\.Executor"):
        lk.estimate_curve(store, task, executor=2, **QUICK)
    with ThreadPoolExecutor(1) as executor:
        made_here = lk.Task(task.model, (torch.randn(9, 3), torch.zeros(9).long()), task.loss_fn)
        with pytest.raises(lk.InputError, match=r"llckit\.load_task"):
            lk.estimate_curve(store, made_here, executor=executor, **QUICK)
        masked = task.restricted({"0.bias": torch.tensor([True, False, True, True])})
        with pytest.raises(lk.InputError, match="masks belong into the file"):
            lk.estimate_curve(store, masked, executor=executor, **QUICK)
        for own in (
            lk.sgld()._replace(name="mine"),
            lk.sgld()._replace(name="sample"),
            lk.hmc()._replace(num_burnin=5),
        ):
            with pytest.raises(lk.InputError, match=f"'{own.name}' is not one of llckit's"):
                lk.estimate_curve(store, task, sampler=own, executor=executor, **QUICK)
    with pytest.raises(lk.InputError, match="workers is 0"):
        WorkerPool(0)
    assert not estimated(store.path / "estimates")


def test_the_command_line_takes_workers(tmp_path, reference, capsys):
    store = new_store(tmp_path / "run.ckpts")
    words = [
        "estimate",
        str(store.path),
        "--task",
        reference,
        "--n-beta",
        "5",
        "--localization",
        "20",
        "--steps",
        "0,1",
    ]
    assert main([*words, "--workers", "2"]) == 0
    assert len(estimated(store.path / "estimates")) == 2
    assert main([*words, "--workers", "0"]) == 2
    assert "workers is 0" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*words, "--workers", "2", "--scheduler", "tcp://127.0.0.1:1"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_scheduler_that_is_not_there_is_named(tmp_path, reference, monkeypatch, capsys):
    monkeypatch.setattr(workers, "SCHEDULER_SECONDS", 1)
    store = new_store(tmp_path / "run.ckpts")
    assert main(["estimate", str(store.path), "--task", reference, "--scheduler", "tcp://127.0.0.1:1"]) == 2
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["", "localhost", "http://127.0.0.1:1"])
def test_a_scheduler_without_an_address_is_refused_at_once(tmp_path, reference, address, capsys):
    store = new_store(tmp_path / "run.ckpts")
    assert main(["estimate", str(store.path), "--task", reference, "--scheduler", address]) == 2
    assert "expected an address such as tcp://host:8786" in capsys.readouterr().err
