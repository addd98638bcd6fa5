import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from llckit.errors import InputError
from llckit.posterior import Task

N = 20
X = torch.randn(N, 3, generator=torch.Generator().manual_seed(0))
Y = torch.randn(N, 2, generator=torch.Generator().manual_seed(1))


def mse(model, batch):
    return F.mse_loss(model(batch[0]), batch[1])


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Linear(3, 2)


outer = nn.Linear(3, 2)


def normalised(model, batch):
    return (F.batch_norm(model(batch[0]), None, None, training=True) - batch[1]).square().mean()


BAD_LOSSES = {
    "nan": (lambda m, b: mse(m, b) * float("nan"), r"loss is nan on the first 8 samples; expected a finite"),
    "inf": (lambda m, b: mse(m, b) / 0, r"loss is inf"),
    "complex": (lambda m, b: mse(m, b) * 1j, r"gave complex numbers of shape \(\) for a batch of 8"),
    "matrix": (lambda m, b: (m(b[0]) - b[1]).square(), r"gave shape \(8, 2\) for a batch of 8.*\(8,\)"),
    "wrong length": (lambda m, b: (m(b[0]) - b[1]).square().flatten(), r"gave shape \(16,\) for a batch of 8"),
    "one": (lambda m, b: mse(m, b)[None], r"gave shape \(1,\) for a batch of 8"),
    "float": (lambda m, b: mse(m, b).item(), r"gave float"),
    "none": (lambda m, b: None, r"gave NoneType"),
    "tuple": (lambda m, b: (mse(m, b), 0), r"gave tuple"),
    "detached": (lambda m, b: mse(m, b).detach(), r"does not depend on the parameters"),
    "no_grad": (torch.no_grad()(mse), r"does not depend on the parameters.*no_grad"),
    "outer model": (lambda m, b: mse(outer, b), r"use that argument \(not a model from outside\)"),
    "constant": (lambda m, b: torch.ones((), requires_grad=True), r"does not depend on the parameters"),
    "random": (lambda m, b: mse(m, b) * torch.rand(()), r"differs between two calls"),
    "noisy": (lambda m, b: mse(m, b) + 1e-3 * torch.randn(()), r"differs between two calls"),
    "dropout": (lambda m, b: mse(m, (F.dropout(b[0]), b[1])), r"differs between two calls.*dropout"),
    "weak dropout": (lambda m, b: F.dropout(m(b[0]) - b[1], 0.02).square().mean(), r"differs between two calls"),
    "training mode": (normalised, r"is no mean of the losses of its two halves .*batch normalisation in training mode"),
    "by sample": (lambda m, b: normalised(m, b) * torch.ones(8), r"is no mean of the losses of its two halves"),
    "broadcast": (
        lambda m, b: (m(b[0])[:, :1] - b[1][:, 0]).square().mean(),
        r"is no mean of .*targets whose shape is broadcast",
    ),
    "root": (lambda m, b: mse(m, b).sqrt(), r"is no mean of"),
    "fails": (lambda m, b: mse(m, (b[0][:, :2], b[1])), r"loss_fn failed on the first 8 samples: RuntimeError: mat1"),
    "swapped": (lambda b, m: mse(m, b), r"loss_fn failed on the first 8 samples: TypeError"),
    "torch loss": (nn.MSELoss(), r"loss_fn failed .*expected loss_fn\(model, batch\)"),
}


@pytest.mark.parametrize("name", BAD_LOSSES)
def test_a_wrong_loss_is_refused(model, name):
    loss_fn, message = BAD_LOSSES[name]
    with pytest.raises(InputError, match=message):
        Task(model, (X, Y), loss_fn)


def test_samples_may_count_unequally_as_tokens_do(model):
    weights = torch.arange(1.0, N + 1)
    data = X, Y, weights

    def weighted(m, b):
        return (b[2] * (m(b[0]) - b[1]).square().mean(1)).sum() / b[2].sum()

    assert Task(model, data, weighted).n == N
    none_in_the_first_half = X, Y, torch.arange(N) >= 4
    assert Task(model, none_in_the_first_half, weighted).n == N


def test_losses_of_either_sign_may_cancel(model):
    signs = torch.tensor([1.0, -1.0]).repeat_interleave(4).repeat(N)[:N]

    def signed(m, b):
        values = m(b[0]).sum(1)
        return b[2] * (1e4 + values - values.detach())

    assert Task(model, (X, Y, signs), signed).n == N


class Augmented(Dataset):
    def __len__(self):
        return N

    def __getitem__(self, index):
        return X[index] + 0.1 * torch.randn(3), Y[index]


class Broken(Augmented):
    def __getitem__(self, index):
        raise OSError("no such image")


class Stream(IterableDataset):
    def __iter__(self):
        yield from zip(X, Y, strict=True)


class Lengthless(Dataset):
    def __getitem__(self, index):
        return X[index], Y[index]


PAIRS = TensorDataset(X, Y)
BAD_DATA = {
    "augmented": (Augmented(), r"augments at random"),
    "augmented loader": (DataLoader(Augmented(), 4), r"reading the same indices twice gives two losses"),
    "random collate": (
        DataLoader(PAIRS, 4, collate_fn=lambda s: (torch.randn(len(s), 3), torch.zeros(len(s), 2))),
        r"augments at random",
    ),
    "no rows": ((X[:0], Y[:0]), r"data is empty"),
    "no tensors": ((), r"data is empty"),
    "empty dict": ({}, r"data is empty"),
    "empty dataset": (TensorDataset(X[:0], Y[:0]), r"data is empty"),
    "unequal lengths": ((X, Y[:5]), r"shapes \[\[20, 3\], \[5, 2\]\]; expected the same first dimension"),
    "scalar": ((X, torch.tensor(1.0)), r"expected the same first dimension"),
    "stream": (Stream(), r"Stream that cannot be indexed"),
    "stream loader": (DataLoader(Stream(), 4), r"DataLoader that cannot be indexed"),
    "lengthless": (Lengthless(), r"Lengthless that cannot be indexed"),
    "generator": ((x for x in X), r"generator that cannot be indexed"),
    "nothing": (None, r"NoneType that cannot be indexed"),
    "text": ({"x": X, "y": ["a"] * N}, r"data holds a str"),
    "broken": (Broken(), r"reading samples 0 to 19 .*OSError: no such image"),
    "nested": (((X, X), Y), r"reading samples .* failed"),
    "ready batches": (DataLoader([(X, Y)], batch_size=None), r"batch_size=None"),
    "part": (DataLoader(PAIRS, 4, sampler=SubsetRandomSampler(range(6))), r"draws 6 of 20 samples.*Subset"),
    "weights": (DataLoader(PAIRS, 4, sampler=WeightedRandomSampler([1.0] * N, N)), r"WeightedRandomSampler"),
    "ragged": (
        DataLoader(PAIRS, 8, collate_fn=lambda s: (torch.ones(len(s), 3),) * len(s)),
        r"different structure",
    ),
    "one sample": ((X[:1], Y[:1]), r"n is 1; expected an integer >= 2"),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_wrong_data_is_refused(model, name):
    data, message = BAD_DATA[name]
    with pytest.raises(InputError, match=message):
        Task(model, data, mse)


@pytest.mark.parametrize("n", [1, 0, -3, True, 2.5, "many"])
def test_a_wrong_number_of_samples_is_refused(model, n):
    with pytest.raises(InputError, match=r"n is .*expected an integer >= 2"):
        Task(model, (X, Y), mse, n=n)


def frozen():
    return nn.Linear(3, 2).requires_grad_(False)


BAD_MODELS = {
    "no module": (lambda: mse, r"model is a function; expected a torch\.nn\.Module"),
    "class": (lambda: nn.Linear, r"model is a type"),
    "frozen": (frozen, r"no parameter with requires_grad=True"),
    "no parameters": (nn.ReLU, r"no parameter with requires_grad=True"),
    "no elements": (lambda: nn.ParameterList([torch.empty(0)]), r"nothing to sample"),
    "complex": (lambda: nn.Linear(3, 2, dtype=torch.complex64), r"not real numbers \(weight \(torch\.complex64\)"),
    "lazy": (lambda: nn.LazyLinear(2), r"lazy parameters"),
}


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors", "ignore:Complex modules")
@pytest.mark.parametrize("name", BAD_MODELS)
def test_a_wrong_model_is_refused(name):
    make, message = BAD_MODELS[name]
    with pytest.raises(InputError, match=message):
        Task(make(), (X, Y), mse)


def test_a_model_that_cannot_be_copied_is_refused(model):
    model.lock = (value for value in ())
    with pytest.raises(InputError, match=r"model cannot be copied"):
        Task(model, (X, Y), mse)


@pytest.mark.parametrize("loss_fn", [None, "mse", 3.0])
def test_a_loss_that_is_no_function_is_refused(model, loss_fn):
    with pytest.raises(InputError, match=r"expected loss_fn\(model, batch\)"):
        Task(model, (X, Y), loss_fn)


def test_an_unknown_device_is_refused(model):
    with pytest.raises(InputError, match=r"device nowhere cannot be used"):
        Task(model, (X, Y), mse, device="nowhere")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(model, bad):
    task = Task(model, (X, Y), mse)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    state["bias"][1] = bad
    with pytest.raises(InputError, match=r"NaN or inf in bias"):
        task.checkpoint(state)
    with torch.no_grad():
        model.weight[0, 0] = bad
    with pytest.raises(InputError, match=r"NaN or inf in weight"):
        Task(model, (X, Y), mse)


def test_a_gradient_that_is_not_finite_is_told_as_such(model):
    """The root of the mean square has no derivative where all residuals are zero."""
    task = Task(model, (X, model(X).detach()), lambda m, b: mse(m, b).sqrt())
    with pytest.raises(InputError, match=r"the loss over all samples is 0.0 and its gradient not finite; expected"):
        _ = task.checkpoint().loss


def test_a_buffer_may_hold_infinity_but_not_nan():
    model = nn.Linear(3, 2)
    model.register_buffer("mask", torch.tensor([0.0, float("-inf")]))

    def masked(model, batch):
        return -torch.log_softmax(model(batch[0]) + model.mask, 1)[:, 0] + mse(model, batch)

    task = Task(model, (X, Y), masked)
    state = model.state_dict()
    assert task.checkpoint(state).fixed["mask"].tolist() == [0, float("-inf")]
    with pytest.raises(InputError, match=r"NaN or inf in mask"):
        task.checkpoint(state | {"mask": torch.tensor([0.0, float("nan")])})


def test_a_checkpoint_that_does_not_fit_says_which_names(model):
    task = Task(model, (X, Y), mse)
    good = model.state_dict()
    with pytest.raises(InputError, match=r"bias: missing; extra: not in the model"):
        task.checkpoint({"weight": good["weight"], "extra": torch.ones(1)})
    with pytest.raises(InputError, match=r"weight: shape \(2, 4\), the model has \(2, 3\)"):
        task.checkpoint(good | {"weight": torch.ones(2, 4)})


def test_a_long_list_of_misfits_is_cut(model):
    task = Task(model, (X, Y), mse)
    other = nn.Sequential(*[nn.Linear(1, 1) for _ in range(10)])
    with pytest.raises(InputError, match=r"; and 17 more\); expected the architecture"):
        task.checkpoint(other.state_dict())


def test_a_summed_loss_is_refused_and_a_mean_is_not():
    data = (torch.randn(20, 3, generator=torch.Generator().manual_seed(0)),)
    with pytest.raises(InputError, match='reduction="mean"'):
        Task(nn.Linear(3, 1), data, lambda m, b: m(b[0]).square().sum())
    Task(nn.Linear(3, 1), data, lambda m, b: m(b[0]).square().mean())
    Task(nn.Linear(3, 1), data, lambda m, b: m.weight.square().sum())  # a population loss: no samples in it


def test_one_name_of_tied_weights_is_enough():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(self.a(x))

    task = Task(Tied(), (torch.ones(4, 3),), lambda m, b: m(b[0]).square().mean())
    point = task.checkpoint({"b.weight": torch.eye(3)})
    assert torch.equal(point.weights, torch.eye(3).flatten())
    with pytest.raises(InputError, match=r"a\.weight: missing"):
        task.checkpoint({})
