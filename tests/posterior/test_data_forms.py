"""Which samples there are: read as they were meant, or refused with what was understood."""

import itertools
import os
import signal

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    TensorDataset,
)

from llckit.errors import InputError
from llckit.posterior import Task

N = 20
X = torch.randn(N, 3, generator=torch.Generator().manual_seed(0))
Y = torch.randn(N, 2, generator=torch.Generator().manual_seed(1))
PAIRS = TensorDataset(X, Y)


def mse(model, batch):
    return (model(batch[0]) - batch[1]).square().mean()


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Linear(3, 2)


class Given(Sampler):
    """Draws what it is given; its length is unknown unless it is said."""

    def __init__(self, drawn):
        self.drawn = drawn

    def __iter__(self):
        return iter(self.drawn() if callable(self.drawn) else self.drawn)


class Sized(Given):
    def __len__(self):
        return N


ONCE = {
    "own order": lambda: DataLoader(PAIRS, 4, sampler=Given([*reversed(range(N))])),
    "own batches": lambda: DataLoader(PAIRS, batch_sampler=Given([[3, 1, 2], [0], [*range(4, N)]])),
    "tensor batches": lambda: DataLoader(PAIRS, batch_sampler=Given([*torch.randperm(N).split(6)])),
    "all by a subset sampler": lambda: DataLoader(PAIRS, 4, sampler=SubsetRandomSampler(range(N))),
    "batches that drop the last": lambda: DataLoader(PAIRS, batch_sampler=BatchSampler(RandomSampler(PAIRS), 6, True)),
}
NOT_ONCE = {
    "part in batches": (
        lambda: DataLoader(PAIRS, batch_sampler=BatchSampler(SubsetRandomSampler(range(7)), 2, False)),
        r"SubsetRandomSampler\) draws 7 of 20 samples; .*Subset",
    ),
    "own part in batches": (lambda: DataLoader(PAIRS, batch_sampler=Given([[0, 1], [2]])), r"draws 3 of 20 samples"),
    "repeats": (lambda: DataLoader(PAIRS, 4, sampler=Sized([i % 5 for i in range(N)])), r"20 of 20 .*15 of them rep"),
    "repeats in batches": (lambda: DataLoader(PAIRS, batch_sampler=Given([[0, 0], [1]])), r"1 of them repeated"),
    "without end": (lambda: DataLoader(PAIRS, 4, sampler=Given(lambda: itertools.cycle([0, 1]))), r"more than 20"),
    "with replacement": (
        lambda: DataLoader(PAIRS, 4, sampler=RandomSampler(PAIRS, replacement=True, generator=torch.Generator())),
        r"RandomSampler\) draws 20 of 20 samples, \d+ of them repeated",
    ),
    "more than all": (lambda: DataLoader(PAIRS, 4, sampler=RandomSampler(PAIRS, num_samples=2 * N)), r"more than 20"),
    "of other data": (lambda: DataLoader(PAIRS, 4, sampler=RandomSampler(range(8))), r"draws 8 of 20 samples"),
    "of more data": (lambda: DataLoader(PAIRS, 4, sampler=Sized(range(5, N + 5))), r"no index of its 20 samples"),
    "names": (lambda: DataLoader(PAIRS, 4, sampler=Sized(["a"] * N)), r"draws what is no index"),
}  # fmt: skip


@pytest.mark.parametrize("name", ONCE)
def test_any_order_of_all_samples_is_all_samples(model, name):
    loader = ONCE[name]()
    state = torch.get_rng_state()
    task = Task(model, loader, mse)
    assert task.n == N
    assert torch.equal(torch.get_rng_state(), state)
    assert task.checkpoint().loss == pytest.approx(mse(model, (X, Y)).item(), rel=1e-6)


@pytest.mark.parametrize("name", NOT_ONCE)
def test_a_loader_that_does_not_draw_all_samples_once_is_refused(model, name):
    make, message = NOT_ONCE[name]
    with pytest.raises(InputError, match=message):
        Task(model, make(), mse)


SAMPLES = [(x, y) for x, y in zip(X, Y, strict=True)]
MISREAD = {
    "lists as columns": (([*X], [*Y]), r"tuple of 2 lists of 20 items, understood as 2 samples; .*torch\.stack"),
    "list of lists": ([[*X], [*Y]], r"list of 2 lists of 20 items"),
    "numbers": (([0.5] * N, [1] * N), r"tuple of 2 lists of 20 items"),
    "arrays": (([*X.numpy()], [*Y.numpy()]), r"tuple of 2 lists of 20 items"),
    "samples as columns": ([*X], r"list of 20 tensors of shape \(3,\), understood as 20 columns of 3 samples"),
    "in a dictionary": ({"x": [*X]}, r"list of 20 tensors of shape \(3,\)"),
    "array samples": ([*X.numpy()], r"list of 20 tensors of shape \(3,\)"),
}


@pytest.mark.parametrize("name", MISREAD)
def test_a_container_that_would_be_misread_is_refused(model, name):
    data, message = MISREAD[name]
    with pytest.raises(InputError, match=message):
        Task(model, data, mse)


@pytest.mark.parametrize("data", [SAMPLES, [[*sample] for sample in SAMPLES], tuple(SAMPLES)])
def test_a_list_of_samples_is_read_as_such(model, data):
    assert Task(model, data, mse).n == N


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


ARRAYS = {
    "turned": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "mirrored": lambda x: np.ascontiguousarray(x[:, ::-1])[:, ::-1],
    "big-endian": lambda x: x.astype(">f4"),
    "columns first": np.asfortranarray,
    "every second": lambda x: np.repeat(x, 2, axis=0)[::2],
    "read only": read_only,
    "masked nowhere": lambda x: np.ma.masked_array(x, mask=False),
}


@pytest.mark.parametrize("form", ARRAYS)
def test_arrays_of_any_layout_have_the_same_values(model, form):
    task = Task(model, tuple(ARRAYS[form](x.numpy()) for x in (X, Y)), mse)
    for found, expected in zip(task.samples.first(N), (X, Y), strict=True):
        assert torch.equal(found, expected)


MASKED = np.ma.masked_array(X.numpy(), mask=X.numpy() > 1)
NOT_DENSE = {
    "masked": (lambda: MASKED, r"masked array with \d+ of 60 values masked; .*fill it"),
    "dates": (lambda: np.arange(N).astype("datetime64[D]"), r"array of type datetime64\[D\].*astype"),
    "words": (lambda: np.array(["a"] * N), r"array of type <U1"),
    "records": (lambda: np.zeros(N, dtype=[("a", "f4"), ("b", "i4")]), r"array of type"),
    "meta": (lambda: X.to("meta"), r"meta device, which has no values"),
    "coordinates": (X.to_sparse, r"sparse tensor \(torch\.sparse_coo\); expected a dense tensor: x\.to_dense\(\)"),
    "rows": (X.to_sparse_csr, r"sparse tensor \(torch\.sparse_csr\)"),
    "nested": (lambda: torch.nested.nested_tensor([X[:3], X[3:9]]), r"nested tensor; expected a dense tensor: pad it"),
    "jagged": (lambda: torch.nested.nested_tensor([X[:3], X[3:9]], layout=torch.jagged), r"nested tensor"),
    "masked tensor": (lambda: torch.masked.masked_tensor(X, X > 0), r"MaskedTensor; .*two tensors"),
    "quantized": (lambda: torch.quantize_per_tensor(X, 0.1, 0, torch.qint8), r"quantized tensor .*dequantize"),
}


@pytest.mark.filterwarnings("ignore:Sparse", "ignore:The PyTorch API", "ignore:torch.quantize", "ignore:.*quantized")
@pytest.mark.parametrize("name", NOT_DENSE)
def test_what_has_no_number_in_every_place_is_refused(model, name):
    make, message = NOT_DENSE[name]
    with pytest.raises(InputError, match=message):
        Task(model, (make(), Y), mse)


class Fatal(Dataset):
    def __init__(self, end):
        self.end = end

    def __len__(self):
        return N

    def __getitem__(self, index):
        if index == N - 1:
            self.end()
        return X[index], Y[index]


@pytest.mark.kills
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("end", "message"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), r"worker process was killed by SIGKILL .*num_workers=0"),
        (lambda: os._exit(3), r"a worker process ended with exit code 3"),
    ],
    ids=["killed", "ended"],
)
def test_a_dead_worker_is_named_with_how_it_died(model, end, message):
    with pytest.raises(InputError, match=message):
        Task(model, DataLoader(Fatal(end), 4, num_workers=1), mse)
