"""What all benchmarks share: their arguments, their cases, and a document that is written after each case.

A benchmark is a module `benchmarks/<area>/<name>.py`. Its `main` calls `begin` and hands its cases to `Run.measure`.
Its `report(document)` says in Markdown what a document holds, and its `figures(document)`, if it has pictures, draws
them. A document lies in `benchmarks/results/<area>/<name>.json` and holds:

* `environment`: date, commit, CPU and versions (`llckit.environment`); null is what was not recorded;
* `quick`: whether these are the tiny sizes of `--quick`;
* `seconds`: wall time of its cases;
* `settings`: sizes and settings, which must be the same for cases that are kept;
* `cases`: what was measured, by the name of the case;
* `summary`: what follows from all cases.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch
from tqdm import tqdm

from benchmarks._documents import plain, read_document, write_document
from llckit.environment import environment

ROOT = Path(__file__).resolve().parent
RESULTS = ROOT / "results"

Case = TypeVar("Case")
Document = Mapping[str, Any]


def results_of(file: str) -> Path:
    """Where the results of the benchmark in a file lie."""
    return RESULTS / Path(file).resolve().relative_to(ROOT).with_suffix(".json")


def module_of(file: str) -> str:
    """The name by which Python runs the benchmark in a file."""
    return ".".join(Path(file).resolve().relative_to(ROOT.parent).with_suffix("").parts)


def begin(
    file: str,
    doc: str | None,
    report: Callable[[Document], str],
    *,
    sizes: Mapping[str, tuple[Any, Any]] | None = None,
    settings: Mapping[str, Any] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    threads: int = 1,
) -> Run:
    """Parse the arguments and set the number of threads.

    Args:
        file: `__file__` of the benchmark.
        doc: Its docstring, for `--help`.
        report: Says what a document holds.
        sizes: Values by name, a pair of the usual one and that of `--quick`; numbers become options, `--name N`.
        settings: What else defines the cases, for the document.
        options: Further options, with the arguments of `add_argument`.
        threads: Threads of torch, unless `--threads` says otherwise; `--quick` takes one.

    Returns:
        The run.
    """
    program = f"python -m {module_of(file)}"
    parser = argparse.ArgumentParser(program, description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs; kept only with --out")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help=f"default: results/{results_of(file).name}")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="only the cases with that in their name")
    parser.add_argument("--resume", action="store_true", help="keep the cases that the file has")
    hint = f"threads of torch, default {threads}; 1 with --quick"
    parser.add_argument("--threads", type=positive_integer, metavar="N", help=hint)
    for name, kwargs in (options or {}).items():
        parser.add_argument(name, **kwargs)
    numbers = {name: values for name, values in (sizes or {}).items() if type(values[0]) in (int, float)}
    for name, (usual, quick) in numbers.items():
        kind = float if isinstance(usual, float) else int if name == "seed" else positive_integer
        hint = f"default {usual}; {quick} with --quick"
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="N", help=hint)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads or (1 if arguments.quick else threads))
    chosen = {name: values[arguments.quick] for name, values in (sizes or {}).items()}
    chosen |= {name: given for name in numbers if (given := getattr(arguments, name)) is not None}
    run = Run(parser, arguments, report, chosen, chosen | dict(settings or {}))
    if arguments.out is None and not arguments.quick:
        run.out = results_of(file)
        run.out.parent.mkdir(parents=True, exist_ok=True)
    elif arguments.out is not None and not arguments.out.parent.is_dir():
        run.refuse(f"--out is {arguments.out}; expected a file in a folder that exists")
    return run


class Run:
    """One run of a benchmark.

    Attributes:
        arguments: What was asked for on the command line.
        quick: Whether it was `--quick`.
        out: Where the document goes; None keeps nothing.
        sizes: The sizes by name.
        document: What is written; see the top of this file.
    """

    def __init__(
        self,
        parser: argparse.ArgumentParser,
        arguments: argparse.Namespace,
        report: Callable[[Document], str],
        sizes: dict[str, Any],
        settings: dict[str, Any],
    ) -> None:
        self._parser, self._report = parser, report
        self.arguments, self.sizes = arguments, sizes
        self.out: Path | None = arguments.out
        self.quick: bool = arguments.quick
        self.document: dict[str, Any] = {
            "environment": environment(),
            "quick": self.quick,
            "seconds": 0.0,
            "settings": plain(settings),
            "cases": {},
        }

    def refuse(self, message: str) -> NoReturn:
        """End with exit code 2 and one line that says what to do."""
        self._parser.exit(2, f"{self._parser.prog}: error: {message}\n")

    def measure(
        self,
        cases: Mapping[str, Case],
        measure: Callable[[Case], Mapping[str, Any]],
        summarize: Callable[[dict[str, Any]], Mapping[str, Any]] | None = None,
        *,
        processes: int = 1,
    ) -> None:
        """Measure the cases that are asked for, write the document after each, and print the report.

        Args:
            cases: By name, in the order of the document.
            measure: What is to be done with a case; for several processes, a function that can be sent to them.
            summarize: The summary of all cases there are, as they stand in the document.
            processes: Processes of one thread each that share the cases; 1 stays in this one.
        """
        wanted = self.arguments.only or [""]
        chosen = [name for name in cases if any(text in name for text in wanted)]
        if not chosen:
            self.refuse(f"--only is {' '.join(wanted)}; expected a part of one of: {', '.join(cases)}")
        found = self._kept(cases)
        todo = {name: cases[name] for name in chosen if not (self.arguments.resume and name in found)}
        before, start = self.document["seconds"], time.perf_counter()
        for name, result in _measured(todo, measure, processes, self._parser.prog.rpartition(".")[2]):
            found[name] = plain(result)
            self.document["cases"] = ordered = {each: found[each] for each in cases if each in found}
            self.document["seconds"] = before + time.perf_counter() - start
            if summarize is not None:
                self.document["summary"] = plain(summarize(ordered))
            if self.out is not None:
                write_document(self.out, self.document)
        print(self._report(self.document))

    def _kept(self, cases: Mapping[str, Any]) -> dict[str, Any]:
        """Cases of an earlier run, for --resume and --only, with its time and its environment."""
        if self.out is None or not self.out.exists() or not (self.arguments.resume or self.arguments.only):
            return {}
        earlier = read_document(self.out)
        if earlier["settings"] != self.document["settings"]:
            self.refuse(f"{self.out} was measured with other settings; name another --out, or start afresh")
        environments = [*earlier.get("earlier_environments", []), earlier["environment"]]
        self.document["earlier_environments"] = [one for one in environments if one != self.document["environment"]]
        self.document |= {name: earlier[name] for name in ("seconds", "cases", "summary") if name in earlier}
        return {name: result for name, result in earlier["cases"].items() if name in cases}


def _measured(
    cases: Mapping[str, Case], measure: Callable[[Case], Any], processes: int, title: str
) -> Iterator[tuple[str, Any]]:
    """Names and results, as they are done."""
    bar = tqdm(total=len(cases), desc=title, unit="case", disable=None)
    if processes == 1:
        for name, case in cases.items():
            bar.set_postfix_str(name[:30])
            yield name, measure(case)
            bar.update()
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            futures = {pool.submit(measure, case): name for name, case in cases.items()}
            for future in as_completed(futures):
                yield futures[future], future.result()
                bar.update()
    bar.close()


def in_own_process(
    call: str, *arguments: Any, environment: Mapping[str, str] | None = None, limit: float | None = None
) -> Any:
    """The plain result of a function, called in a fresh process: for peaks of memory, and for limits of time.

    Args:
        call: "module:function".
        arguments: What it is called with, in JSON's types.
        environment: Environment variables of the process; None takes our own.
        limit: Seconds after which the process is ended; None waits.

    Returns:
        What the function returned, in JSON's types; None if the limit was reached.
    """
    module, _, function = call.partition(":")
    code = f"import json, sys, {module} as m; print(json.dumps(m.{function}(*json.loads(sys.argv[1]))))"
    command = [sys.executable, "-c", code, json.dumps(arguments)]
    options: dict[str, Any] = {"text": True, "cwd": ROOT.parent, "env": environment, "timeout": limit}
    try:
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, **options)
    except subprocess.TimeoutExpired:
        return None
    return json.loads(done.stdout.splitlines()[-1])


def positive_integer(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}; expected an integer >= 1")
    return number
