"""The same curve by one process or many."""

import json
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor

import pytest
import torch

import llckit as lk
from llckit.cli import main
from llckit.llc import WorkerPool, dask_executor, workers
from tests.llc.runs import QUICK, TASK, assert_same, estimated, new_store, spawned, wait_until

curves = sys.modules["llckit.llc.estimate_curve"]  # the package has the function of that name


@pytest.mark.slow
@pytest.mark.parametrize("pool", [WorkerPool, ThreadPoolExecutor, spawned])
def test_any_executor_gives_the_same_curve(tmp_path, reference, serial, pool):
    store = new_store(tmp_path / "run.ckpts")
    with pool(2) as executor:
        assert_same(lk.estimate_curve(store, lk.load_task(reference), executor=executor, **QUICK), serial)


@pytest.mark.slow
def test_workers_begin_from_anchors_as_the_main_process_does(tmp_path, reference):
    settings = {name: value for name, value in QUICK.items() if name != "num_burnin"}
    alone = lk.estimate_curve(new_store(tmp_path / "serial.ckpts"), lk.load_task(reference), **settings)
    with ThreadPoolExecutor(2) as executor:
        found = lk.estimate_curve(
            new_store(tmp_path / "run.ckpts"), lk.load_task(reference), executor=executor, **settings
        )
    assert_same(found, alone)


@pytest.mark.slow
def test_workers_make_restricted_and_behavioral_tasks_and_other_samplers(tmp_path, reference):
    settings = QUICK | {"sampler": lk.sgld(step_size=1e-3), "n_beta": [20.0, 40.0], "localization": 1.0}
    task = lk.behavioral_task(lk.load_task(reference).restricted("0.*"))
    alone = lk.estimate_curve(new_store(tmp_path / "serial.ckpts"), task, **settings)
    with ThreadPoolExecutor(2) as executor:
        found = lk.estimate_curve(new_store(tmp_path / "run.ckpts"), task, executor=executor, **settings)
    for a, b in zip(alone.curves, found.curves, strict=True):
        assert_same(a, b)
        assert b.behavioral


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_where_the_executor_itself_is_broken_the_rest_is_done_here(tmp_path, reference, serial):
    with pytest.warns(UserWarning, match="estimated in this process"):
        found = lk.estimate_curve(
            new_store(tmp_path / "run.ckpts"), lk.load_task(reference), executor=Broken(), **QUICK
        )
    assert_same(found, serial)


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_workers_sample_what_a_task_restricted_twice_does(tmp_path, reference):
    task = lk.load_task(reference).restricted("0.*").restricted("*.weight")
    assert list(task.layout.shapes) == ["0.weight"]
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


@pytest.mark.slow
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


@pytest.mark.slow
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
