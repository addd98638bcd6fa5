"""Ctrl-C: nothing that is finished is lost, and the same command goes on."""

import signal
import subprocess
import sys
import time

import pytest

from llckit.cli import main


def hear_ctrl_c():
    """Undo what a process inherits where the tests do not run in a terminal: SIGINT ignored, or blocked."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


@pytest.mark.slow
def test_ctrl_c_then_the_same_command(workplace, plain_training_script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain_training_script(tmp_path / "weights", count=5)
    (tmp_path / "task.py").write_text((workplace / "task.py").read_text())
    for name in ("a.ckpts", "b.ckpts"):
        assert main(["import", "weights", name]) == 0
    few = ["--n-beta", "20", "--localization", "1", "--chains", "4", "--draws", "20"]
    arguments = ["--task", "task.py:task", *few, "--out"]
    estimate = ["estimate", "a.ckpts", *arguments, "a.csv"]
    process = subprocess.Popen(
        [sys.executable, "-m", "llckit.cli", *estimate],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,
    )
    results = tmp_path / "a.ckpts" / "estimates"

    def estimated():
        files = [file for file in results.glob("*.json") if not file.name.startswith("curve-")]
        return {file.name: file.stat().st_mtime_ns for file in files}

    while len(estimated()) < 3:
        assert process.poll() is None, "it ended before it could be interrupted"
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 1, stderr
    assert "interrupted" in stderr
    assert "Traceback" not in stderr
    done = estimated()
    assert 3 <= len(done) < 6  # five checkpoints and the choice of scale
    assert not (tmp_path / "a.csv").exists()

    assert main(estimate) == 0
    after = estimated()
    assert len(after) == 6
    assert all(after[name] == when for name, when in done.items())
    assert main(["estimate", "b.ckpts", *arguments, "b.csv"]) == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_ctrl_c_inside_a_finaliser_is_not_lost(monkeypatch, capsys):
    class Dropping:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    def work(_):
        Dropping()
        time.sleep(20)
        return 0

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        monkeypatch.setattr("llckit.cli.store.info", work)
        assert main(["info", "a.ckpts"]) == 1
    finally:
        signal.signal(signal.SIGINT, before)
    assert "interrupted" in capsys.readouterr().err
