"""Models, data and losses in many forms, and wrong ones, through `Task` and `estimate_llc`: right, or one clear line.

    python -m benchmarks.estimator.fuzz_tasks

A problem whose loss at w* is known is written in a random form of data, of loss and of model, in half of the cases with
a mistake in one of them, and estimated with few draws. The promises are:

* without a mistake L(w*) is that of the problem, and the estimate the same to the last bit
  whatever form the data have;
* with one it is as well, or `InputError` says what came and what is expected, in one line;
* no other error is raised, no warning is shown, and no call takes longer than 60 seconds.

`broken` lists where one was not kept.
"""

from __future__ import annotations

import copy
import math
import random
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset

import llckit as lk
from benchmarks._fuzz import patience, tally
from benchmarks._harness import Document, begin
from benchmarks._tables import table

N, WIDTH, CLASSES = 24, 3, 3
PATIENCE = 60  # seconds for an estimate
FEW = {"num_chains": 2, "num_burnin": 3, "num_draws": 4, "n_beta": 8.0, "localization": 1.0, "progress": False}

Forms = dict[str, Callable[..., Any]]


class Rows(torch.utils.data.Dataset[Any]):
    """A data set of one's own."""

    def __init__(self, x: Tensor, y: Tensor, keys: bool = False) -> None:
        self.x, self.y, self.keys = x, y, keys

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self.x):
            raise IndexError(index)
        return {"x": self.x[index], "y": self.y[index]} if self.keys else (self.x[index], self.y[index])


def parts(batch: Any) -> tuple[Tensor, Tensor]:
    """Inputs and labels of a batch of any form."""
    return (batch["x"], batch["y"]) if isinstance(batch, dict) else (batch[0], batch[1])


# The same samples, in the same order.
DATA: Forms = {
    "tuple": lambda x, y: (x, y),
    "list": lambda x, y: [x, y],
    "dictionary": lambda x, y: {"x": x, "y": y},
    "arrays": lambda x, y: (x.numpy(), y.numpy()),
    "arrays of the other byte order": lambda x, y: (x.numpy().astype(">f4"), y.numpy().astype(">i8")),
    "strided": lambda x, y: (torch.stack([x, -x], 2)[:, :, 0], torch.stack([y, -y], 1)[:, 0]),
    "read-only arrays": lambda x, y: tuple(map(_read_only, (x, y))),
    "TensorDataset": lambda x, y: TensorDataset(x, y),
    "data set": lambda x, y: Rows(x, y),
    "data set of dictionaries": lambda x, y: Rows(x, y, keys=True),
    "subset": lambda x, y: Subset(TensorDataset(torch.cat([x, -x]), torch.cat([y, y])), range(N)),
    "loader": lambda x, y: DataLoader(TensorDataset(x, y), batch_size=7),
    "loader of one batch": lambda x, y: DataLoader(Rows(x, y), batch_size=N),
    "list of samples": lambda x, y: list(zip(x, y, strict=True)),
}
LOSSES: Forms = {
    "mean": lambda model, batch: F.cross_entropy(model(parts(batch)[0]), parts(batch)[1]),
    "of each sample": lambda model, batch: F.cross_entropy(model(parts(batch)[0]), parts(batch)[1], reduction="none"),
    "log-probabilities": lambda model, batch: F.nll_loss(model(parts(batch)[0]).log_softmax(1), parts(batch)[1]),
    "in doubles": lambda model, batch: F.cross_entropy(model(parts(batch)[0]).double(), parts(batch)[1]),
}
MODELS: Forms = {
    "as it is": lambda model: model,
    "in training mode": lambda model: model.train(),
    "with dropout": lambda model: nn.Sequential(model, nn.Dropout(0.5)),
    "with batch norm": lambda model: nn.Sequential(nn.BatchNorm1d(WIDTH, eps=0.0, affine=False), model),
    "DataParallel": nn.DataParallel,
    "with a frozen part": lambda model: nn.Sequential(nn.Identity(), model, _frozen()),
    "with an unused part": lambda model: _with_unused(model),
}
# Mistakes: what becomes of data (made of x and y), loss or model. Some leave nothing wrong.
MISTAKES: dict[str, tuple[str, Any]] = {
    "a label too few": ("data", lambda x, y: (x, y[:-1])),
    "no samples": ("data", lambda x, y: (x[:0], y[:0])),
    "a NaN": ("data", lambda x, y: (torch.where(torch.arange(N)[:, None] == N - 1, torch.nan, x), y)),
    "labels out of range": ("data", lambda x, y: (x, y + CLASSES)),
    "labels as numbers with a point": ("data", lambda x, y: (x, y.float())),
    "labels as a column": ("data", lambda x, y: (x, y[:, None])),
    "inputs of another width": ("data", lambda x, y: (x[:, :-1], y)),
    "inputs as integers": ("data", lambda x, y: (x.long(), y)),
    "inputs as words": ("data", lambda x, y: (["a"] * N, y)),
    "nothing": ("data", lambda x, y: None),
    "a path": ("data", lambda x, y: "data.pt"),
    "inputs alone": ("data", lambda x, y: (x,)),
    "a generator": ("data", lambda x, y: ((a, b) for a, b in zip(x, y, strict=True))),
    "a sparse tensor": ("data", lambda x, y: (x.to_sparse(), y)),
    "a tensor without memory": ("data", lambda x, y: (x.to("meta"), y)),
    "a masked array": ("data", lambda x, y: (np.ma.masked_less(x.numpy(), 0), y)),
    "a shuffling loader": ("data", lambda x, y: DataLoader(TensorDataset(x, y), batch_size=7, shuffle=True)),
    "a loader that drops the rest": (
        "data",
        lambda x, y: DataLoader(TensorDataset(x, y), batch_size=7, drop_last=True),
    ),
    "a data set that raises": ("data", lambda x, y: Subset(Rows(x, y), range(N + 1))),
    "no gradient": ("loss", lambda model, batch: F.cross_entropy(model(parts(batch)[0]), parts(batch)[1]).detach()),
    "a number": ("loss", lambda model, batch: F.cross_entropy(model(parts(batch)[0]), parts(batch)[1]).item()),
    "a matrix": ("loss", lambda model, batch: model(parts(batch)[0])),
    "a pair": ("loss", lambda model, batch: (F.cross_entropy(model(parts(batch)[0]), parts(batch)[1]), model)),
    "no return": ("loss", lambda model, batch: None),
    "noise": ("loss", lambda model, batch: (model(parts(batch)[0]) + torch.randn(CLASSES)).square().mean()),
    "a sum": (
        "loss",
        lambda model, batch: F.cross_entropy(model(parts(batch)[0]), parts(batch)[1], reduction="sum"),
    ),
    "a misspelt name": ("loss", lambda model, batch: F.cross_entropy(model(parts(batch)[0]), batch.labels)),
    "no model in it": ("loss", lambda model, batch: parts(batch)[0].square().mean()),
    "three arguments": ("loss", lambda model, x, y: F.cross_entropy(model(x), y)),
    "a constant": ("loss", lambda model, batch: torch.tensor(1.0)),
    "complex": ("loss", lambda model, batch: model(parts(batch)[0]).sum() * 1j),
    "not a function": ("loss", "cross_entropy"),
    "no model": ("model", lambda model: None),
    "a function": ("model", lambda model: model.forward),
    "a class": ("model", lambda model: nn.Linear),
    "nothing that trains": ("model", lambda model: model.requires_grad_(False)),
    "a weight that is NaN": ("model", lambda model: _filled(model, torch.nan)),
    "an infinite weight": ("model", lambda model: _filled(model, torch.inf)),
    "without memory": ("model", lambda model: model.to("meta")),
    "lazy": ("model", lambda model: nn.LazyLinear(CLASSES)),
    "in half precision": ("model", lambda model: model.half()),
    "complex weights": ("model", lambda model: model.to(torch.complex64)),
}


def _read_only(x: Tensor) -> np.ndarray:
    array = x.numpy().copy()
    array.flags.writeable = False
    return array


def _frozen() -> nn.Module:
    layer = nn.Linear(CLASSES, CLASSES, bias=False)
    nn.init.eye_(layer.weight)
    return layer.requires_grad_(False)


def _with_unused(model: nn.Module) -> nn.Module:
    model.unused = nn.Linear(2, 2)
    return model


def _filled(model: nn.Module, value: float) -> nn.Module:
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] = value
    return model


def problem(seed: int) -> tuple[nn.Module, Tensor, Tensor, float]:
    """A linear classifier, its data and its loss."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(N, WIDTH, generator=generator)
    x = (x - x.mean(0)) / x.std(0, correction=0)
    model = nn.Linear(WIDTH, CLASSES)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
        y = torch.randint(CLASSES, (N,), generator=generator)
        return model, x, y, float(F.cross_entropy(model(x).double(), y))


def attempt(seed: int, rng: random.Random) -> tuple[str, str]:
    """One problem in one form: which, and what came of it."""
    model, x, y, loss = problem(seed)
    form = {"data": rng.choice([*DATA]), "loss": rng.choice([*LOSSES]), "model": rng.choice([*MODELS])}
    given = {"loss": LOSSES[form["loss"]], "model": MODELS[form["model"]](model)}
    plain = (given["model"], (x, y), given["loss"]) if rng.random() < 0.5 else None
    mistake = rng.choice([*MISTAKES]) if plain is None else None
    if mistake is not None:
        part, wrong = MISTAKES[mistake]
        form[part] = mistake
        if part == "loss":
            given["loss"] = wrong
        elif part == "model":
            given["model"] = wrong(model)
    make = MISTAKES[form["data"]][1] if form["data"] in MISTAKES else DATA[form["data"]]
    name = ", ".join(form.values())
    try:
        expected = None if plain is None else lk.estimate_llc(copy.deepcopy(plain[0]), *plain[1:], **FEW)
        with patience(PATIENCE), warnings.catch_warnings():
            warnings.simplefilter("error")
            found = lk.estimate_llc(given["model"], make(x, y), given["loss"], **FEW)
    except lk.InputError as error:
        is_line = "\n" not in str(error)
        return name, "refused in one line" if is_line and mistake is not None else f"broken: {error}"
    except TimeoutError:
        return name, "broken: hangs"
    except BaseException:
        return name, f"broken: {traceback.format_exc(limit=-1)[-300:]}"
    if expected is None:
        is_right = math.isclose(found.loss, loss, rel_tol=1e-3) or not found.outcome.trusted
        return name, "right" if is_right else f"broken: L(w*) is {found.loss} for {loss}"
    is_right = math.isclose(found.loss, loss, rel_tol=1e-6)
    is_same = found.llc_per_chain.tolist() == expected.llc_per_chain.tolist()
    return name, "right" if is_right and is_same else f"broken: {found.loss} for {loss}, {found.llc} for {expected.llc}"


def measure(tasks: int, seed: int) -> dict[str, Any]:
    """Outcomes of so many tasks."""
    found = (attempt(index, random.Random(f"{seed} {index}")) for index in range(tasks))
    return {"tasks": tasks} | tally((f"{index}, {name}", outcome) for index, (name, outcome) in enumerate(found))


def report(document: Document) -> str:
    """Outcomes."""
    outcomes = ("right", "refused in one line", "broken")
    found = document["cases"]["tasks"]
    return table(["tasks", *outcomes], [[found["tasks"], *(found.get(one, 0) for one in outcomes)]])


def main() -> None:
    """Make, estimate, compare."""
    run = begin(__file__, __doc__, report, sizes={"tasks": (500, 20), "seed": (0, 0)})
    run.measure({"tasks": "tasks"}, lambda _: measure(run.sizes["tasks"], run.sizes["seed"]))


if __name__ == "__main__":
    main()
