"""Benchmarks go through in tiny sizes, and the documentation is what their stored results give."""

import importlib
import json
import math
import multiprocessing
import os
import sys

import pytest
import torch

from benchmarks import render
from benchmarks._documents import as_text, read_document
from benchmarks._harness import RESULTS, ROOT, begin, module_of, results_of

FILES = [path for _, path in render.benchmarks()]
STORED = sorted(RESULTS.glob("*/*.json"))
MOST_BYTES = 1_500_000


# Forked from a process that has imported what takes seconds, so that it is imported once for all.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["llckit", "benchmarks._harness", "scipy.stats", "matplotlib.pyplot"])


def run_in_process(module, arguments, said):
    """What `python -m` does, with all that is printed in a file."""
    with said.open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.argv = [module, *arguments]
        importlib.import_module(module).main()
        sys.stdout.flush()


def named(path):
    return f"{path.parent.name}/{path.stem}"


@pytest.fixture
def called(monkeypatch):
    """Gives command-line arguments to what runs in this process, and restores the number of threads."""
    threads = torch.get_num_threads()
    yield lambda *arguments: monkeypatch.setattr(sys, "argv", ["benchmark", *map(str, arguments)])
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_quick_run_goes_through_and_writes_a_valid_document(path, tmp_path):
    module, out, said = module_of(str(path)), tmp_path / "found.json", tmp_path / "said.txt"
    process = SERVER.Process(target=run_in_process, args=(module, ["--quick", "--out", str(out)], said))
    process.start()
    process.join()
    assert process.exitcode == 0, said.read_text(encoding="utf-8")
    document = read_document(out)
    assert document["quick"] is True
    assert document["cases"]
    assert document["seconds"] > 0
    assert {"date", "cpu", "python", "torch", "threads"} <= document["environment"].keys()
    assert importlib.import_module(module).report(document) in said.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["accuracy", "time_to_error", "chain_steps"])
def test_without_the_peer_one_line_says_what_to_install(name, called, capsys):
    called()
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"benchmarks.peers.{name}").main()
    assert ended.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "pip install" in lines[0]
    assert "devinterp==1.3.2" in lines[0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_line_says_what_is_missing(called, capsys):
    called()
    with pytest.raises(SystemExit) as ended:
        importlib.import_module("benchmarks.cost.gpu").main()
    assert ended.value.code == 2
    assert (
        capsys.readouterr()
        .err.strip()
        .endswith("--device is cuda; expected a GPU and a torch built for it, which finds none, or --device cpu")
    )


@pytest.mark.parametrize("path", STORED, ids=named)
def test_a_stored_result_is_valid_indented_json_of_a_full_run(path):
    text = path.read_text(encoding="utf-8")
    document = read_document(path)
    assert as_text(document) == text
    assert document["quick"] is False
    assert {"environment", "seconds", "settings", "cases"} <= document.keys()
    assert {"date", "commit", "cpu", "python", "torch", "threads"} <= document["environment"].keys()
    assert (ROOT / path.relative_to(RESULTS)).with_suffix(".py") in FILES


def test_the_results_stay_small():
    assert sum(path.stat().st_size for path in RESULTS.rglob("*.*")) < MOST_BYTES


def test_the_page_is_what_the_stored_results_give():
    assert render.PAGE.read_text(encoding="utf-8") == render.page()


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=named)
def test_every_picture_that_can_be_drawn_is_beside_its_results(path):
    for name in render.figures(path):
        assert (results_of(str(path)).parent / f"{name}.png").exists(), "make results"


class Counted:
    """A benchmark of two cases that counts what it measures."""

    def __init__(self, value=math.nan):
        self.value, self.measured = value, []

    def run(self, size=2):
        run = begin(str(ROOT / "estimator" / "coverage.py"), "Counts.", lambda _: "report", sizes={"size": (size, 1)})
        run.measure({"one": 1, "two": 2}, self.measure, lambda cases: {"count": len(cases)})
        return run

    def measure(self, case):
        self.measured.append(case)
        return {"value": self.value * case}


def test_a_document_is_written_after_each_case(tmp_path, called, capsys):
    out = tmp_path / "found.json"
    called("--out", out)

    class Failing(Counted):
        def measure(self, case):
            if case == 2:
                raise RuntimeError
            return super().measure(case)

    with pytest.raises(RuntimeError):
        Failing(1.5).run()
    document = read_document(out)
    assert document["cases"] == {"one": {"value": 1.5}}
    assert document["summary"] == {"count": 1}
    assert document["settings"] == {"size": 2}
    assert not document["quick"]


def test_no_number_is_null(tmp_path, called, capsys):
    out = tmp_path / "found.json"
    called("--out", out)
    Counted(math.inf).run()
    assert json.loads(out.read_text())["cases"] == {"one": {"value": None}, "two": {"value": None}}
    assert capsys.readouterr().out == "report\n"


def test_a_resumed_run_measures_what_is_missing(tmp_path, called, capsys):
    out = tmp_path / "found.json"
    called("--out", out, "--only", "two")
    first = Counted(1.0)
    first.run()
    assert first.measured == [2]
    called("--out", out, "--resume")
    second = Counted(3.0)
    second.run()
    assert second.measured == [1]
    assert read_document(out)["cases"] == {"one": {"value": 3.0}, "two": {"value": 2.0}}


def test_cases_of_other_settings_are_not_mixed(tmp_path, called, capsys):
    out = tmp_path / "found.json"
    called("--out", out)
    Counted(1.0).run(size=2)
    called("--out", out, "--resume")
    with pytest.raises(SystemExit):
        Counted(1.0).run(size=3)
    assert "was measured with other settings" in capsys.readouterr().err


def test_a_quick_run_keeps_nothing_by_default(called, capsys):
    before = results_of(str(ROOT / "estimator" / "coverage.py")).read_bytes()
    called("--quick")
    run = Counted(1.0).run()
    assert run.out is None
    assert run.sizes == {"size": 1}
    assert results_of(str(ROOT / "estimator" / "coverage.py")).read_bytes() == before


def test_an_unknown_case_is_refused(tmp_path, called, capsys):
    called("--only", "three", "--out", tmp_path / "found.json")
    with pytest.raises(SystemExit):
        Counted().run()
    assert "--only is three; expected a part of one of: one, two" in capsys.readouterr().err
