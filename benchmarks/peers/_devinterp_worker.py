"""Devinterp at work: its samplers behind a line protocol, on `_devinterp_cases` and the toys.

devinterp's interpreter runs this module, with llckit importable, so that both tools see the same models, data and
losses. It reads one JSON request a line from stdin and writes one JSON answer a line to stdout; the first answer holds
the versions. `accuracy.py` and `time_to_error.py` ask.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.utils.data import DataLoader, TensorDataset

from benchmarks._models import condensed
from benchmarks.peers._devinterp_cases import PUBLISHED, SAMPLES, SEED, deep_net, own_cases
from llckit import Task
from llckit.toys import Toy, catalog

TIMED = 100  # steps, if only their pace is asked for
BLOCKS = 400  # means that stand for all draws of a run


class ReadyBatch(DataLoader):
    """The full batch as it lies in memory; a DataLoader, because devinterp reads its batch_size."""

    def __init__(self, tensors: tuple[Tensor, ...]) -> None:
        super().__init__(TensorDataset(*tensors), batch_size=len(tensors[0]))

    def __iter__(self) -> Iterator[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        yield self.dataset.tensors  # pyright: ignore[reportAttributeAccessIssue]


class RowBatches(ReadyBatch):
    """A minibatch for each row, with replacement."""

    def __init__(self, tensors: tuple[Tensor, ...], rows: int, size: int) -> None:
        super().__init__(tensors)
        self.shape = rows, size

    def __iter__(self) -> Iterator[Any]:
        columns = self.dataset.tensors  # pyright: ignore[reportAttributeAccessIssue]
        indices = torch.randint(len(columns[0]), self.shape)
        yield tuple(column[indices] for column in columns)


def _batch(toy: Toy) -> tuple[Tensor, ...]:
    """All samples if the loss looks at them; otherwise two, since the population losses of the toys ignore them."""
    return toy.data if toy.family in PUBLISHED else tuple(column[:2] for column in toy.data)


class Chains(nn.Module):
    """All chains as rows of one parameter; devinterp's updates act on each number alone, so the law is the same."""

    def __init__(self, weights: Tensor, chains: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(weights.repeat(chains, 1))


class Weights:
    """A toy's loss as a function of flat weights."""

    def __init__(self, toy: Toy) -> None:
        self.task = Task(toy.model, toy.data, toy.loss_fn)
        self.point = self.task.checkpoint()
        self.center = self.point.weights

    def loss(self, weights: Tensor, batch: Any) -> Tensor:
        """Mean loss of one chain, whose weights have the shape (dim,)."""
        return self.task.flat_loss.mean(weights, self.point.fixed, batch)

    def losses(self, rows: Tensor, batch: Any, own_batches: bool = False) -> Tensor:
        """Mean losses of all chains, on one batch or on a batch each."""
        return vmap(self.loss, in_dims=(0, 0 if own_batches else None))(rows, batch)


class Diverged(Exception):
    """A chain left the finite numbers."""


def run_chains(toy: Toy, request: dict[str, Any]) -> dict[str, Any]:
    """Run `sample` of devinterp with one of its samplers, all chains in one batch.

    Args:
        toy: Model, data and loss.
        request: method ("sgld" or "rmsprop_sgld"), step_size, n_beta, localization, chains, burnin, draws, seed.

    Returns:
        llc and std_error (spread over chains / √chains), None if a chain diverged, and seconds.
    """
    import devinterp.optim as optim  # pyright: ignore[reportMissingImports]

    own, batch = Weights(toy), _batch(toy)
    at_center = own.loss(own.center, batch).detach()
    total = torch.zeros(request["chains"], dtype=torch.float64)

    def evaluate(model: Chains, data: Any) -> tuple[Tensor, Tensor]:
        losses = own.losses(model.rows, data)
        return losses.sum(), losses.detach()

    def record(*, results: tuple[Tensor], **_: Any) -> None:
        total.add_(results[0] - at_center)
        if not total.isfinite().all():
            raise Diverged

    method = {"sgld": optim.SGLD, "rmsprop_sgld": optim.SGMCMC.rmsprop_sgld}[request["method"]]
    start = time.perf_counter()
    try:
        chains = Chains(own.center, request["chains"])
        run_sampler(chains, ReadyBatch(batch), evaluate, [record], method, request, chains=1)
    except Diverged:
        return {"llc": None, "std_error": None, "seconds": time.perf_counter() - start}
    per_chain = request["n_beta"] * total / request["draws"]
    return _answer(float(per_chain.mean()), float(per_chain.std()), request["chains"], time.perf_counter() - start)


def run_published(toy: Toy, request: dict[str, Any]) -> dict[str, Any]:
    """SGLD exactly as devinterp's own test of this case calls it, chain by chain, but for the loader.

    The full batch is handed over ready; their loader collates 1000 samples at every step, which costs more than the
    gradient does.

    Args:
        toy: One of the fourteen.
        request: n_beta.

    Returns:
        llc, std_error, seconds, and seconds_own_loader, extrapolated from one chain of 100 steps.
    """
    from devinterp.optim import SGLD  # pyright: ignore[reportMissingImports]
    from devinterp.slt.llc import LLCEstimator  # pyright: ignore[reportMissingImports]
    from devinterp.utils import evaluate_mse, get_init_loss_multi_batch  # pyright: ignore[reportMissingImports]

    settings = PUBLISHED[toy.family]._asdict()
    request = settings | {"n_beta": request["n_beta"], "burnin": 0, "seed": SEED}
    chains, draws, n_beta = settings["chains"], settings["draws"], request["n_beta"]
    loader = ReadyBatch(toy.data)
    start = time.perf_counter()
    loss = get_init_loss_multi_batch(loader, chains, toy.model, evaluate_mse, device="cpu")
    estimator = LLCEstimator(chains, draws, loss, nbeta=n_beta)
    run_sampler(toy.model, loader, evaluate_mse, [estimator], SGLD, request, chains=chains)
    seconds = time.perf_counter() - start
    found = estimator.get_results()
    shuffling = DataLoader(TensorDataset(*toy.data), batch_size=SAMPLES, shuffle=True)
    timed = _pace(toy.model, shuffling, evaluate_mse, SGLD, request)
    answer = _answer(found["llc/mean"], found["llc/std"], chains, seconds)
    settings["grad_evals"] = settings.pop("draws")
    return answer | settings | {"seconds_own_loader": timed * chains * draws}


def run_blocks(toy: Toy, request: dict[str, Any]) -> dict[str, Any]:
    """Run `sample` of devinterp with SGLD, all chains in one batch, and keep what every number of draws would find.

    The full loss of a linear net is that of the condensed samples, which cost less. Minibatches are drawn from all
    samples, and every chain has its own.

    Args:
        toy: A linear net with its samples.
        request: step_size, n_beta, localization, chains, batch (None for the full loss), draws, seed.

    Returns:
        blocks: nβ (L(w) − L(w*)), means over 1/400 of the draws, shape (400, chains).
    """
    from devinterp.optim import SGLD  # pyright: ignore[reportMissingImports]

    own, chains, size = Weights(toy), request["chains"], request["batch"]
    with torch.no_grad():
        at_center = own.loss(own.center, toy.data)
    loader = ReadyBatch(condensed(*toy.data)) if size is None else RowBatches(toy.data, chains, size)
    blocks = torch.zeros(BLOCKS, chains, dtype=torch.float64)
    each = request["draws"] // BLOCKS

    def evaluate(model: Chains, data: Any) -> tuple[Tensor, Tensor]:
        # Before the first step devinterp asks a loader of its own, so that minibatches may also be shared.
        losses = own.losses(model.rows, data, own_batches=data[0].dim() == 3)
        return losses.sum(), losses.detach()

    def record(*, results: tuple[Tensor], draw: int, **_: Any) -> None:
        blocks[draw // each] += results[0] - at_center

    run_sampler(Chains(own.center, chains), loader, evaluate, [record], SGLD, request | {"burnin": 0}, chains=1)
    return {"blocks": (request["n_beta"] / each * blocks).tolist()}


def time_loops(toy: Toy, request: dict[str, Any]) -> dict[str, Any]:
    """What one step of one chain costs devinterp, which runs chains one after another: the best of three runs.

    Args:
        toy: Model, data and loss.
        request: As for `run_blocks`, without chains and draws.

    Returns:
        ready: seconds with the batch in memory; loader: seconds with a shuffling DataLoader; loss: L(w*).
    """
    from devinterp.optim import SGLD  # pyright: ignore[reportMissingImports]

    size = request["batch"] or len(toy.data[0])
    ready = ReadyBatch(tuple(column[:size] for column in toy.data))
    shuffling = DataLoader(TensorDataset(*toy.data), batch_size=size, shuffle=True)

    def pace(loader: DataLoader, steps: int) -> float:
        return min(_pace(toy.model, loader, toy.loss_fn, SGLD, request, steps) for _ in range(3))

    # Before the first step devinterp reads a batch by a loader of its own, which takes as long as many ready steps.
    return {
        "ready": pace(ready, 10 * TIMED),
        "loader": pace(shuffling, TIMED),
        "loss": float(toy.loss_fn(toy.model, toy.data)),
    }


def time_step(toy: Toy, request: dict[str, Any]) -> dict[str, Any]:
    """What one step of one chain costs devinterp, which runs chains one by one.

    Args:
        toy: Model, data and loss.
        request: As for `run_chains`.

    Returns:
        seconds_a_step, and loss, L(w*), which shows that both tools have the same model.
    """
    from devinterp.optim import SGLD  # pyright: ignore[reportMissingImports]

    loss = float(toy.loss_fn(toy.model, toy.data).mean())
    pace = _pace(toy.model, ReadyBatch(_batch(toy)), lambda model, data: toy.loss_fn(model, data), SGLD, request)
    return {"seconds_a_step": pace, "loss": loss}


def _pace(
    model: nn.Module, loader: DataLoader, evaluate: Any, method: Any, request: dict[str, Any], steps: int = TIMED
) -> float:
    start = time.perf_counter()
    timed = request | {"draws": steps, "burnin": 0}
    run_sampler(model, loader, evaluate, [lambda **_: None], method, timed, chains=1)
    return (time.perf_counter() - start) / steps


def run_sampler(
    model: nn.Module,
    loader: DataLoader,
    evaluate: Any,
    callbacks: list[Any],
    method: Any,
    request: dict[str, Any],
    *,
    chains: int,
) -> None:
    """Devinterp's `sample`, as it is called here throughout.

    Args:
        model: At w*.
        loader: Gives batches.
        evaluate: Gives the loss of a model on a batch.
        callbacks: Functions that are called with every draw.
        method: One of devinterp's optimizers.
        request: step_size, localization, n_beta, draws, burnin, seed.
        chains: Number of chains, run one after another.
    """
    from devinterp.slt.sampler import sample  # pyright: ignore[reportMissingImports]

    sample(
        model,
        loader,
        callbacks,
        evaluate=evaluate,
        sampling_method=method,
        optimizer_kwargs={
            "lr": request["step_size"],
            "localization": request["localization"],
            "nbeta": request["n_beta"],
        },
        num_draws=request["draws"],
        num_chains=chains,
        num_burnin_steps=request["burnin"],
        seed=request["seed"],
        verbose=False,
    )


def _answer(mean: float, spread: float, chains: int, seconds: float) -> dict[str, Any]:
    if not (math.isfinite(mean) and math.isfinite(spread)):
        return {"llc": None, "std_error": None, "seconds": seconds}
    return {"llc": mean, "std_error": spread / math.sqrt(chains), "seconds": seconds}


ACTIONS: dict[str, Callable[[Toy, dict[str, Any]], dict[str, Any]]] = {
    "chains": run_chains,
    "published": run_published,
    "blocks": run_blocks,
    "loops": time_loops,
    "time": time_step,
}


def main() -> None:
    """Answer requests until stdin ends."""
    from importlib.metadata import version

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # what devinterp prints must not land among the answers
        own = [make() for make in own_cases().values()]
        toys = {toy.name: toy for toy in [*catalog(), *own, deep_net()]}
        versions = {"python": sys.version.split()[0], "torch": torch.__version__, "devinterp": version("devinterp")}
        print(json.dumps(versions), file=out, flush=True)
        for line in sys.stdin:
            request = json.loads(line)
            answer = ACTIONS[request.pop("action")](toys[request.pop("name")], request)
            print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()
