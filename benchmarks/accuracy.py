"""llckit with zero tuning beside devinterp 1.3.2 with the best of six step sizes, where the answer is known.

    python3.11 -m venv PEER && PEER/bin/pip install -c constraints.txt torch==2.13.0 h5py scipy tqdm devinterp==1.3.2
    python benchmarks/accuracy.py --peer PEER/bin/python --plot benchmarks/results/accuracy.png

llckit is given nβ = n/ln n on the catalogue, and nothing on devinterp's own cases. On the catalogue devinterp gets the
same nβ, the γ that llckit reports, the same number of chains and of gradients per chain, and of six step sizes the one
whose result is closest to the answer; on its own cases it runs as its own tests do.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from devinterp_cases import PUBLISHED, condensed, own_cases
from tqdm import tqdm

import llckit as lk
from llckit.errors import InputError
from llckit.toys import Toy, catalog

ROOT = Path(__file__).resolve().parents[1]
WORKER = ROOT / "benchmarks" / "devinterp_worker.py"
STEPS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)  # in squares of the leapfrog step that llckit's warm-up found
BURNIN = 0.2  # of devinterp's gradients
LONG_RUN = {"rel_tol": 0.002, "max_grad_evals": 100_000, "seed": 1_000_003, "progress": False}
LLCKIT, LLCKIT_SAME, AS_PUBLISHED = "llckit", "llckit, at the test's γ", "devinterp SGLD, its test's settings"
PEERS = {"devinterp SGLD, best of 6": "sgld", "devinterp RMSProp-SGLD, best of 6": "rmsprop_sgld"}
TOOLS = (LLCKIT, *PEERS, LLCKIT_SAME, AS_PUBLISHED)
COLORS, MARKERS = ("#0072B2", "#D55E00", "#CC79A7", "#56B4E9", "#555555"), "o^sDx"
Z95 = 1.959964
SMALLEST_DRAWN = 1e-4
STOPPED = "the peer stopped; what it said is above"
NOTES = {
    "step_size": "devinterp: best of six, ε = c s², c = 1, 0.3, 0.1, 0.03, 0.01, 0.003, s the leapfrog step of llckit",
    "std_error": "llckit: mcse; devinterp: llc/std over chains, divided by √chains",
    "z": "(llc − reference) / √(std_error² + mcse of the reference²)",
    "seconds": "one core; devinterp, best of 6: of the chosen step alone, its chains batched by us as rows of one "
    "parameter; seconds_one_by_one: extrapolated from 100 steps of one chain, as devinterp runs them",
    "grad_evals": "per chain, warm-up included; devinterp, best of 6: the first fifth is burn-in",
    "reference": "at the nβ and γ of the result: closed form, or a long run of llckit to 0.2 %, another seed; none "
    "where γ = 0 leaves the posterior improper",
    "subset": "every k-th toy of the catalogue, k = catalogue_every",
}


class PeerError(Exception):
    """The peer stopped, or has other models than we have."""


class Peer:
    """devinterp in its own interpreter, one request at a time."""

    def __init__(self, interpreter: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        try:
            check = [interpreter, "-c", "import devinterp, llckit"]
            found = subprocess.run(check, env=environment, capture_output=True, text=True, check=False)
        except OSError as error:
            raise InputError(f"--peer {interpreter} cannot be run: {error.strerror}") from error
        if found.returncode != 0:
            reason = (found.stderr.strip() or f"exit code {found.returncode}").splitlines()[-1]
            raise InputError(f"--peer {interpreter} cannot import devinterp and llckit: {reason}")
        worker = [interpreter, str(WORKER)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(worker, stdin=pipe, stdout=pipe, env=environment, text=True)
        self.versions = self._read()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def ask(self, action: str, name: str, **request: Any) -> dict[str, Any]:
        """One request to the worker, and its answer."""
        assert self.process.stdin is not None
        try:
            print(json.dumps({"action": action, "name": name, **request}), file=self.process.stdin, flush=True)
        except OSError:
            raise PeerError(STOPPED) from None
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise PeerError(STOPPED)
        return json.loads(line)


def judged(answer: dict[str, Any], reference: dict[str, Any] | None) -> dict[str, Any]:
    """A result with its error and z against a reference."""
    if reference is None or answer["llc"] is None:
        return answer | {"relative_error": None, "z": None}
    error = answer["llc"] - reference["value"]
    return answer | {
        "relative_error": error / reference["value"],
        "z": error / math.hypot(answer["std_error"], reference["mcse"]),
    }


def find_reference(toy: Toy, n_beta: float, localization: float) -> dict[str, Any]:
    """E[nβ (L − L*)] at this nβ and γ: in closed form, or from a long run."""
    if toy.exact is not None:
        return {"kind": "closed form", "value": toy.exact(n_beta, localization), "mcse": 0.0}
    data = condensed(*toy.data) if toy.family in PUBLISHED else toy.data
    run = lk.estimate_llc(toy.model, data, toy.loss_fn, n_beta=n_beta, localization=localization, **LONG_RUN)
    return {"kind": "long run", "value": run.llc, "mcse": run.mcse, "rhat": run.rhat}


def estimated(
    toy: Toy, n_beta: float | None, localization: float | None = None
) -> tuple[lk.LLCEstimate, dict[str, Any]]:
    """An estimate by llckit, and what is kept of it."""
    start = time.perf_counter()
    found = lk.estimate_llc(toy.model, toy.data, toy.loss_fn, n_beta=n_beta, localization=localization, progress=False)
    return found, {
        "llc": found.llc if math.isfinite(found.llc) else None,
        "std_error": found.mcse,
        "seconds": time.perf_counter() - start,
        "chains": len(found.llc_per_chain),
        "grad_evals": found.how_found.grad_evals,
        "step_size": found.how_found.step_size,
        "localization": found.localization,
        "sensitivity_localization": found.sensitivity_localization,
        "outcome": found.outcome.value,
    }


def run_case(toy: Toy, peer: Peer) -> dict[str, Any]:
    """One toy through llckit and through devinterp."""
    n = len(toy.data[0])
    n_beta = n / math.log(n)
    own = toy.family in PUBLISHED
    estimate, answer = estimated(toy, None if own else n_beta)
    n_beta = estimate.n_beta
    reference = find_reference(toy, n_beta, estimate.localization)
    results = {LLCKIT: judged(answer, reference)}
    case = {"name": toy.name, "family": toy.family, "llc": toy.llc, "multiplicity": toy.multiplicity}
    case |= {"n_beta": n_beta, "localization": estimate.localization, "reference": reference, "results": results}
    pace = peer.ask("time", toy.name, step_size=1e-12, n_beta=n_beta, localization=estimate.localization, seed=0)
    if not math.isclose(pace["loss"], estimate.loss, rel_tol=1e-5, abs_tol=1e-9):
        raise PeerError(f"{toy.name}: L(w*) is {pace['loss']} in the peer and {estimate.loss} here")
    if own:
        results |= as_published(toy, peer, n / math.log(n))
    else:
        results |= {tool: best_of_six(toy, peer, how, case, pace["seconds_a_step"]) for tool, how in PEERS.items()}
    for result in results.values():
        result["error_relative_to_llc"] = None if result["llc"] is None else result["llc"] / toy.llc - 1
    return case


def as_published(toy: Toy, peer: Peer, n_beta: float) -> dict[str, dict[str, Any]]:
    """What devinterp finds as its own test runs this case, and llckit at that test's γ, with the reference there."""
    gamma = PUBLISHED[toy.family].localization
    # With γ = 0 a product of two weights has no posterior; one power alone needs no localiser.
    proper = gamma > 0 or " w1^0 " in toy.name
    reference = find_reference(toy, n_beta, gamma or 1e-6) if proper else None
    answers = {AS_PUBLISHED: peer.ask("published", toy.name, n_beta=n_beta)}
    if gamma > 0:
        answers[LLCKIT_SAME] = estimated(toy, n_beta, gamma)[1]
    return {tool: judged(answer, reference) | {"reference": reference} for tool, answer in answers.items()}


def best_of_six(toy: Toy, peer: Peer, method: str, case: dict[str, Any], pace: float) -> dict[str, Any]:
    """What devinterp finds at the step size whose result lies closest to the reference, with all six beside it."""
    own, reference = case["results"][LLCKIT], case["reference"]
    burnin = int(BURNIN * own["grad_evals"])
    tried = []
    for multiple in STEPS:
        step = multiple * own["step_size"] ** 2
        request = {"method": method, "step_size": step, "n_beta": case["n_beta"], "localization": case["localization"]}
        request |= {"chains": own["chains"], "burnin": burnin, "draws": own["grad_evals"] - burnin, "seed": 0}
        tried.append(judged(peer.ask("chains", toy.name, **request), reference) | {"step_size": step})
    alive = [answer for answer in tried if answer["llc"] is not None] or tried
    best = min(alive, key=lambda answer: abs(answer["relative_error"] or 0))
    grads = own["grad_evals"]
    best = best | {"chains": own["chains"], "grad_evals": grads, "multiple": STEPS[tried.index(best)]}
    best["seconds_one_by_one"] = pace * own["chains"] * grads
    return best | {"tried": [{key: answer[key] for key in ("step_size", "llc", "relative_error")} for answer in tried]}


def summarize(cases: Sequence[dict[str, Any]], tool: str) -> dict[str, Any] | None:
    """Errors of one tool over the cases it has a reference for; a diverged run counts as an infinite error."""
    known = [case["results"][tool] for case in cases if tool in case["results"]]
    known = [x for x in known if x["relative_error"] is not None or x["llc"] is None]
    if not known:
        return None
    errors = np.array([math.inf if x["llc"] is None else abs(x["relative_error"]) for x in known])
    z = np.array([math.inf if x["llc"] is None else abs(x["z"]) for x in known])
    return {
        "cases": len(known),
        "median": float(np.median(errors)),
        "percentile_95": float(np.quantile(errors, 0.95, method="higher")),
        "worst": float(errors.max()),
        "median_error_relative_to_llc": float(np.median([abs(x["error_relative_to_llc"] or math.inf) for x in known])),
        "median_relative_std_error": float(np.median([x["std_error"] / abs(x["llc"]) for x in known if x["llc"]])),
        "median_abs_z": float(np.median(z)),
        "percentile_95_abs_z": float(np.quantile(z, 0.95, method="higher")),
        "covered_by_95_interval": float(np.mean(z <= Z95)),
        "seconds": float(sum(x["seconds"] for x in known)),
    }


def summaries(cases: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By group of cases and by tool."""
    own = [case for case in cases if case["family"] in PUBLISHED]
    toys = [case for case in cases if case["family"] not in PUBLISHED]
    groups = {"catalogue": toys, "devinterp's own cases": own}
    found = {group: {tool: summarize(members, tool) for tool in TOOLS} for group, members in groups.items()}
    return {group: {tool: x for tool, x in tools.items() if x is not None} for group, tools in found.items()}


def print_table(document: dict[str, Any]) -> None:
    """Errors and seconds by case and tool; then the summaries."""
    print("errors against the exact or long-run value at nβ and γ of the result; seconds of devinterp: chain by chain")
    print("; ".join(f"{i} = {tool}" for i, tool in enumerate(TOOLS)))
    for case in document["cases"]:
        results = [(i, case["results"][tool]) for i, tool in enumerate(TOOLS) if tool in case["results"]]
        cells = (f"{i}: {_percent(x)} {x.get('seconds_one_by_one', x['seconds']):.1f} s" for i, x in results)
        print(f"{case['name'][:46]:46s} λ {case['llc']:<6.4g} " + " | ".join(f"{cell:20s}" for cell in cells))
    for group, tools in document["summary"].items():
        print(f"\n{group}: |error|, and |error| over reported standard error")
        for tool, x in tools.items():
            low = f"median {x['median']:.2%}, 95 % {x['percentile_95']:.2%}, worst {x['worst']:.2%}"
            honest = f"|z| median {x['median_abs_z']:.2f}, 95 % {x['percentile_95_abs_z']:.1f}"
            print(f"  {tool:36s} {x['cases']:3d} cases: {low}; {honest}, covered {x['covered_by_95_interval']:.0%}")


def _percent(result: dict[str, Any]) -> str:
    if result["relative_error"] is None:
        return "diverged" if result["llc"] is None else "no posterior"
    return f"{result['relative_error']:+.2%}"


def draw(document: dict[str, Any], path: Path) -> None:
    """|relative error| of every tool in every case; dashed: medians of the panel."""
    from matplotlib.figure import Figure

    cases = document["cases"]
    groups = [[case for case in cases if (case["family"] in PUBLISHED) == own] for own in (False, True)]
    figure = Figure(figsize=(8, 2.6 + 0.19 * len(cases)), layout="constrained")
    panels = figure.subplots(2, 1, sharex=True, height_ratios=[len(group) for group in groups])
    for axes, group in zip(panels, groups, strict=True):
        for tool, color, marker in zip(TOOLS, COLORS, MARKERS, strict=True):
            found = [(row, case["results"].get(tool, {}).get("relative_error")) for row, case in enumerate(group)]
            found = [(row, abs(error)) for row, error in found if error is not None]
            if found:
                rows, errors = np.array(found).T
                median = float(np.median(errors))
                label = f"{tool}: median {median:.1%}"
                x = np.maximum(errors, SMALLEST_DRAWN)
                axes.scatter(x, rows, label=label, marker=marker, color=color, s=26, alpha=0.85, zorder=3)
                axes.axvline(median, color=color, linestyle="--", linewidth=1.1)
        axes.set_xscale("log")
        axes.set_yticks(range(len(group)), [case["name"] for case in group], fontsize=7)
        axes.set_ylim(len(group) - 0.4, -0.6)
        axes.grid(color="0.9", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, fontsize=8, frameon=False)
    ticks = [10.0**k for k in range(-4, 3) if 10.0**k <= panels[1].get_xlim()[1]]
    panels[1].set_xticks(ticks, [f"{100 * tick:g} %" for tick in ticks])
    panels[1].set_xlabel("|error| relative to the exact or long-run value at the nβ and γ used")
    figure.savefig(path, dpi=160)


def run(arguments: argparse.Namespace) -> None:
    """Everything: check, run, write, print, draw."""
    for name, path in (("output", arguments.output), ("plot", arguments.plot)):
        if path is not None and not path.parent.is_dir():
            raise InputError(f"--{name} {path}: there is no folder {path.parent}; make it first")
    if arguments.plot is not None and arguments.plot.suffix not in (".png", ".svg", ".pdf"):
        raise InputError(f"--plot {arguments.plot} does not end in .png, .svg or .pdf")
    if arguments.every < 1:
        raise InputError(f"--every is {arguments.every}; expected an integer of at least 1")
    torch.set_num_threads(1)
    start = time.perf_counter()
    cases: list[dict[str, Any]] = []
    with Peer(arguments.peer) as peer:
        own = {"python": platform.python_version(), "torch": torch.__version__, "llckit": version("llckit")}
        document = {
            "environment": own | {"threads": 1, "machine": platform.machine(), "peer": peer.versions},
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "catalogue_every": arguments.every,
            "notes": NOTES,
        }
        for toy in tqdm(own_cases() + catalog()[:: arguments.every], desc="cases", unit="case", file=sys.stderr):
            cases.append(run_case(toy, peer))
            document |= {"minutes": (time.perf_counter() - start) / 60, "summary": summaries(cases), "cases": cases}
            arguments.output.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    print_table(document)
    if arguments.plot is not None:
        draw(document, arguments.plot)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 2 for wrong input, 1 where the peer failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True, metavar="PYTHON", help="interpreter of devinterp's environment")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/results/accuracy.json", metavar="FILE.json")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="also draw the errors")
    parser.add_argument("--every", type=int, default=3, metavar="K", help="every K-th toy (default 3)")
    try:
        run(parser.parse_args(argv))
    except (InputError, PeerError) as error:
        print(f"accuracy: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
