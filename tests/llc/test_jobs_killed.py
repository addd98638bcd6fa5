"""The same curve, whoever is killed meanwhile."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import BrokenExecutor, Executor, Future
from pathlib import Path

import pytest

import llckit as lk
from llckit.llc import WorkerPool
from llckit.llc.estimate_checkpoint import estimate_checkpoint
from tests.llc.runs import QUICK, STEPS, assert_same, children, estimated, in_session, new_store, wait_until

pytestmark = pytest.mark.kills


curves = sys.modules["llckit.llc.estimate_curve"]  # the package has the function of that name


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
sys.path.insert(0, {root!r})
import llckit as lk
from tests.llc.runs import QUICK
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
    script.write_text(KILLED.format(root=str(Path(__file__).parents[2]), store=str(store.path), reference=reference))
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
