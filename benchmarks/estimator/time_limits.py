"""12 small architectures, and one of them compiled: what the defaults give, and what `max_seconds` gives.

    python -m benchmarks.estimator.time_limits

Nets of 200 to 5000 weights with 200 samples, trained for a moment (see `_small_nets.py`), one thread. Every call of
`estimate_llc` has a process of its own, so it pays for all that torch does once, and can be ended. What is timed is the
call alone: not the imports, and not the training.

* *Defaults*: `estimate_llc(model, data, loss_fn)`, ended after 40 s. These are seconds of processor time, those of its
  compilers included, so that it does not matter how busy the machine is. `seconds` are those of the clock.
* *Time limits*: the same with `max_seconds` = 5, 20 and 60, where llckit has it, by the clock; ended after twice that
  and 30 s more.
* *Reference*: another seed at the nβ and γ of each answer, to an error of 0.5 % or for about as many gradients as take
  `reference_seconds`. An interval holds it if it does so after it has been widened by the reference's own, in
  quadrature. A reference that is not trusted itself holds no one to account.

A call is *in time* if it ends within 1.15 times its limit and 2 s; only nets count of which one pass takes less than a
twentieth of the limit. It is *complete* if it gave a finite value, a finite error and an outcome.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import torch

import llckit as lk
from benchmarks._documents import plain
from benchmarks._estimates import TINY, TRUSTED, Z95, timed_estimate
from benchmarks._harness import Document, begin
from benchmarks._tables import digits, of, percent, table
from benchmarks.estimator._small_nets import NETS, SAMPLES, Trained, trained

MLP = "MLP"
ANSWERED_WITHIN = 20.0  # seconds, at the defaults
SLACK, SPARE_SECONDS = 1.15, 2.0  # a call is in time within SLACK times its limit and so many seconds more
SHORT_PASS = 1 / 20  # of the limit: a longer pass is no fair test of it
BUSY = 5.0  # times as long by the clock as in processor time, at most
KILLED_AFTER, KILLED_SECONDS = 2.0, 30.0  # a call with a limit is ended after so many times it and so many seconds
REFERENCE = {"rel_tol": 0.005, "seed": 1}
GRAD_EVALS = (1_000, 1_000_000)  # of a reference, per chain: least and most
HAS_LIMIT = "max_seconds" in inspect.signature(lk.estimate_llc).parameters


def call(
    name: str, steps: int, settings: Mapping[str, Any], *, seconds: float, cpu_seconds: float | None = None
) -> dict[str, Any]:
    """One call of `estimate_llc` in a process of its own.

    Args:
        name: The net.
        steps: Of its training.
        settings: Further arguments of `estimate_llc`.
        seconds: By the clock, after which the call is ended.
        cpu_seconds: Of processor time, after which the call is ended; None sets no such limit.

    Returns:
        `net`: weights and seconds of a pass; `ended_after`: seconds after which the call was ended, None if it was
        not; and what `_answer` gave.

    Raises:
        RuntimeError: The process ended otherwise.
    """
    os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"  # each call compiles anew, whatever ran before it
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([trained.__module__, "llckit"])  # imported once for all calls
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, name, steps, dict(settings), cpu_seconds), daemon=True)
    process.start()
    theirs.close()
    found: dict[str, Any] = {"net": ours.recv(), "ended_after": cpu_seconds}
    if not ours.poll(seconds):
        process.kill()
        found["ended_after"] = seconds
    with contextlib.suppress(EOFError):  # it was ended
        found |= ours.recv() | {"ended_after": None}
    process.join()
    if process.exitcode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"{name}: its process ended with exit code {process.exitcode}")
    return found


def _serve(connection: Connection, name: str, steps: int, settings: dict[str, Any], cpu_seconds: float | None) -> None:
    torch.set_num_threads(1)
    net = trained(name, steps)
    if cpu_seconds is not None:
        most = math.ceil(time.process_time() + cpu_seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (most, most))
    connection.send({"weights": net.weights, "pass_seconds": net.pass_seconds})
    connection.send(_answer(net, settings))


def _answer(net: Trained, settings: dict[str, Any]) -> dict[str, Any]:
    """The numbers of an estimate, or the error that was raised in its place."""
    start, processor = time.perf_counter(), _processor_seconds()
    try:
        found, row = timed_estimate(net.model, net.data, net.loss_fn, **settings)
    except Exception as error:  # whatever it is, it is what users would see
        text = (str(error).strip().splitlines() or [""])[0]
        return {"error": f"{type(error).__name__}: {text}", "seconds": time.perf_counter() - start}
    row |= {"cpu_seconds": _processor_seconds() - processor, "interval": found.interval}
    row |= {"chains": len(found.llc_per_chain), "reason": str(found.how_found.reason)}
    return plain(row | {"grad_evals_total": getattr(found, "grad_evals_total", None)})


def _processor_seconds() -> float:
    """Of this process and of those that it has waited for, such as compilers."""
    return time.process_time() + sum(os.times()[2:4])


def measure(name: str, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """One net: a call at the defaults, one at each limit, and a reference at every scale that answered."""
    steps, limits = sizes["steps"], sizes["limits"] if HAS_LIMIT else []
    most = sizes["default_seconds"]
    default = call(name, steps, sizes["default"], cpu_seconds=most, seconds=BUSY * most)
    row: dict[str, Any] = {**default["net"], "default": _without_net(default), "limits": {}, "references": []}
    for limit in limits:
        killed = KILLED_AFTER * limit + KILLED_SECONDS
        row["limits"][f"{limit:g}"] = _without_net(call(name, steps, {"max_seconds": limit}, seconds=killed))
    for answer in answers(row):
        if _reference(row, answer) is None:
            row["references"].append(_find_reference(name, row["pass_seconds"], answer, sizes))
        answer["holds"] = _holds(answer, _reference(row, answer))
    return row


def _without_net(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name != "net"}


def answers(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The calls of one net that gave a complete answer."""
    return [found for found in (row["default"], *row["limits"].values()) if is_complete(found)]


def is_complete(found: Mapping[str, Any]) -> bool:
    """Whether a call gave a finite value, a finite error and an outcome."""
    return all(found.get(name) is not None for name in ("llc", "mcse", "outcome"))


def _reference(row: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any] | None:
    scale = answer["n_beta"], answer["localization"]
    return next((found for found in row["references"] if (found["n_beta"], found["localization"]) == scale), None)


def _find_reference(
    name: str, pass_seconds: float, answer: Mapping[str, Any], sizes: Mapping[str, Any]
) -> dict[str, Any]:
    """A long run at the scale of an answer."""
    # Both are upper bounds: chains may share a call, and an answer may have tried several scales.
    step_seconds = min(answer["chains"] * pass_seconds, answer["cpu_seconds"] / answer["grad_evals"])
    least, most = GRAD_EVALS
    grad_evals = min(most, max(least, round(sizes["reference_seconds"] / step_seconds)))
    scale = {"n_beta": answer["n_beta"], "localization": answer["localization"]}
    settings = REFERENCE | {"max_grad_evals": grad_evals} | scale | sizes["reference"]
    found = call(name, sizes["steps"], settings, seconds=BUSY * sizes["reference_seconds"] + KILLED_SECONDS)
    return _without_net(found) | scale


def _holds(answer: Mapping[str, Any], reference: Mapping[str, Any] | None) -> bool | None:
    """Whether the interval holds the reference; None if there is no reference to be trusted."""
    if reference is None or not is_complete(reference) or reference["outcome"] not in TRUSTED:
        return None
    return abs(answer["llc"] - reference["llc"]) <= Z95 * math.hypot(answer["mcse"], reference["mcse"])


def summarize(nets: Mapping[str, Any]) -> dict[str, Any]:
    """Counts of answers, of calls in time and of intervals that hold their reference."""
    defaults = [row["default"] for row in nets.values()]
    soon = [found for found in defaults if is_complete(found) and found["cpu_seconds"] <= ANSWERED_WITHIN]
    limited = [(row, float(limit), found) for row in nets.values() for limit, found in row["limits"].items()]
    fair = [(limit, found) for row, limit, found in limited if row["pass_seconds"] < SHORT_PASS * limit]
    in_time = [
        "seconds" in found and found["seconds"] <= SLACK * limit + SPARE_SECONDS and "error" not in found
        for limit, found in fair
    ]
    complete = [is_complete(found) for _, _, found in limited]
    known = [found for row in nets.values() for found in answers(row) if found["holds"] is not None]
    trusted = [found["holds"] for found in known if found["outcome"] in TRUSTED]
    return {
        "nets": len(nets),
        "answered": len(soon),
        "trusted": sum(found["outcome"] in TRUSTED for found in soon),
        "mlp_seconds": nets[MLP]["default"].get("cpu_seconds") if MLP in nets else None,
        "limited": len(limited),
        "timed": len(fair),
        "in_time": share(in_time),
        "complete": share(complete),
        "answers": sum(len(answers(row)) for row in nets.values()),
        "compared": len(known),
        "held": share([found["holds"] for found in known]),
        "compared_trusted": len(trusted),
        "held_trusted": share(trusted),
    }


def share(flags: list[bool]) -> float | None:
    """How many are true; None of none."""
    return sum(flags) / len(flags) if flags else None


def report(document: Document) -> str:
    """What came of all calls, and a row a net."""
    limits = [f"{limit:g}" for limit in document["settings"]["limits"]]
    limits = [limit for limit in limits if any(limit in row["limits"] for row in document["cases"].values())]
    rows = []
    for name, row in document["cases"].items():
        default = row["default"]
        took = _seconds(default, "cpu_seconds")
        cells = [name, row["weights"], f"{digits(1e3 * row['pass_seconds'], 2)} ms", took]
        cells += [_scale(default), _value(default), _outcome(default), _reference_text(row, default)]
        rows.append(cells + [_limited(row["limits"].get(limit)) for limit in limits])
    header = ["net", "weights", "a pass", "processor time", "nβ, γ", "LLC ± error", "outcome", "reference"]
    return _sentences(document) + "\n\n" + table(header + [f"max_seconds={limit}" for limit in limits], rows)


def _sentences(document: Document) -> str:
    found = document["summary"]
    mlp = "" if found["mlp_seconds"] is None else f" The MLP of 212 weights takes {digits(found['mlp_seconds'])} s."
    text = (
        f"At the defaults {of(found['answered'], found['nets'])} nets answer within {ANSWERED_WITHIN:.0f} s, "
        f"{found['trusted']} with a trusted outcome.{mlp}"
    )
    if found["limited"]:
        text += (
            f" With `max_seconds`, {percent(found['in_time'], 0)} of {found['timed']} calls end in time, and "
            f"{percent(found['complete'], 0)} of {found['limited']} give a value, an error and an outcome."
        )
    if found["compared"]:
        text += (
            f" {of(found['compared'], found['answers'])} answers have a trusted reference: "
            f"{percent(found['held'], 0)} of their intervals hold it, and {percent(found['held_trusted'], 0)} of the "
            f"{found['compared_trusted']} whose outcome is trusted."
        )
    return text


def _seconds(found: Mapping[str, Any], kind: str = "seconds") -> str | None:
    if found["ended_after"] is not None:
        return f"none within {found['ended_after']:g} s"
    return f"{digits(found[kind])} s" if kind in found else None


def _scale(found: Mapping[str, Any]) -> str | None:
    return f"{digits(found['n_beta'])}, {digits(found['localization'])}" if "n_beta" in found else None


def _value(found: Mapping[str, Any]) -> str | None:
    return f"{digits(found['llc'], 4)} ± {digits(found['mcse'], 2)}" if "llc" in found else None


def _outcome(found: Mapping[str, Any]) -> str | None:
    return found.get("outcome", found.get("error"))


def _reference_text(row: Mapping[str, Any], answer: Mapping[str, Any]) -> str | None:
    reference = _reference(row, answer) if is_complete(answer) else None
    if reference is None:
        return None
    if not is_complete(reference):
        return _outcome(reference) or _seconds(reference)
    return _value(reference) if reference["outcome"] in TRUSTED else f"{_value(reference)}, {reference['outcome']}"


def _limited(found: Mapping[str, Any] | None) -> str | None:
    """A call with a limit in one cell."""
    if found is None:
        return None
    parts = [_seconds(found), _value(found), _outcome(found)]
    if found.get("holds") is False:
        parts.append("misses its reference")
    return ", ".join(part for part in parts if part is not None)


def main() -> None:
    """Estimate all nets."""
    sizes = {
        "nets": (list(NETS), [MLP]),
        "steps": (200, 20),
        "limits": ([5.0, 20.0, 60.0], [1.0]),
        "default_seconds": (40.0, 5.0),
        "reference_seconds": (240.0, 1.0),
        "default": ({}, TINY),
        "reference": ({}, TINY),
    }
    run = begin(__file__, __doc__, report, sizes=sizes, settings={"samples": SAMPLES})
    run.measure({name: name for name in run.sizes["nets"]}, lambda name: measure(name, run.sizes), summarize)


if __name__ == "__main__":
    main()
