"""Settings of the process and of gradients: one function whatever they are, or a refusal that names them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import llckit as lk
from llckit.errors import InputError
from llckit.posterior import LocalPosterior, Task, behavioral_task

N = 24
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(N, 5, 4, generator=GENERATOR)
Y = torch.randn(N, 5, 4, generator=GENERATOR)
PAD = torch.arange(5) >= torch.randint(1, 6, (N, 1), generator=GENERATOR)
LAYER = {"d_model": 4, "nhead": 2, "dim_feedforward": 4, "batch_first": True, "dropout": 0.0}


def squared(model, batch):
    return (model(batch[0]) - batch[1]).square().mean((1, 2))


def attended(model, batch):
    return (model(batch[0], src_key_padding_mask=batch[1]) - batch[2]).square().mean((1, 2))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x, src_key_padding_mask):
        return self.attention(x, x, x, key_padding_mask=src_key_padding_mask, need_weights=False)[0]


MODELS = {
    "encoder": lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(**LAYER), 2),
    "layer": lambda: nn.TransformerEncoderLayer(**LAYER),
    "encoder in a model": lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(**LAYER), 1, norm=nn.LayerNorm(4)),
    "attention": Attention,
}


@pytest.mark.filterwarnings("error:The PyTorch API of nested tensors")
@pytest.mark.parametrize("name", MODELS)
def test_encoders_are_one_function_with_and_without_gradients(name):
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    y = model(X, src_key_padding_mask=PAD).detach()
    task = behavioral_task(Task(model, (X, PAD, y), attended))
    center, generator = task.checkpoint().weights, torch.Generator().manual_seed(1)
    rows = torch.cat([center[None], center + 0.3 * torch.randn(2, task.dim, generator=generator)])
    posterior = LocalPosterior(task.checkpoint(), n_beta=1.0, localization=0.0, rows=3)
    recorded, bare = posterior(rows).excess, posterior.without_gradient(rows).excess
    assert abs(recorded[0]) < 1e-10
    torch.testing.assert_close(recorded, bare, rtol=1e-4, atol=1e-10)


class Moody(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(x) if torch.is_grad_enabled() else self.layer(x).relu()


def moody_loss(model, batch):
    return squared(model, batch) * (1 if torch.is_grad_enabled() else 2)


@pytest.mark.parametrize(("make", "loss_fn"), [(Moody, squared), (lambda: nn.Linear(4, 4), moody_loss)])
def test_a_loss_that_asks_whether_gradients_are_recorded_is_refused(make, loss_fn):
    with pytest.raises(InputError, match=r"differs with and without recorded gradients .*is_grad_enabled"):
        Task(make(), (X, Y), loss_fn)


def test_no_grad_around_the_call_does_not_matter():
    with torch.no_grad():
        task = Task(nn.Linear(4, 4), (X, Y), squared)
        assert task.checkpoint().loss_grad.norm() > 0


@pytest.mark.parametrize("what", ["task", "checkpoint", "behavioral", "estimate"])
def test_inference_mode_is_named(what):
    model = nn.Linear(4, 4)
    task = Task(model, (X, Y), squared)
    calls = {
        "task": lambda: Task(model, (X, Y), squared),
        "checkpoint": task.checkpoint,
        "behavioral": behavioral_task(task).checkpoint,
        "estimate": lambda: lk.estimate_llc(task, progress=False),
    }
    with torch.inference_mode(), pytest.raises(InputError, match=r"inside torch\.inference_mode\(\)"):
        calls[what]()


def test_data_and_weights_made_in_inference_mode_are_taken():
    with torch.inference_mode():
        model, x, y = nn.Linear(4, 4), X.clone(), Y.clone()
    task = Task(model, (x, y), squared)
    assert task.checkpoint().loss_grad.norm() > 0


@pytest.fixture
def elsewhere():
    """Every tensor that is made without a device is made where there are no values."""
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)


def values(data, loss_fn, make):
    task = behavioral_task(Task(make(), data, loss_fn))
    posterior = LocalPosterior(task.checkpoint(), n_beta=5.0, localization=1.0, rows=2)
    trace = lk.sampling.sample(
        posterior, lk.hmc(), seed=0, num_burnin=5, stopping=lk.sampling.FixedDraws(8, 1000), batch_size=None
    )
    few = task.checkpoint().thinned(5).curvature()
    return trace.excess, float(few.largest)


@pytest.mark.parametrize("form", ["tensors", "arrays", "loader", "workers"])
def test_the_default_device_does_not_matter(request, form):
    model = nn.Linear(4, 4)

    def found():
        data = {
            "tensors": (X, Y),
            "arrays": (X.numpy(), Y.numpy()),
            "loader": DataLoader(TensorDataset(X, Y), 5),
            "workers": DataLoader(TensorDataset(X, Y), 5, num_workers=1),
        }[form]
        return values(data, squared, lambda: model)

    expected = found()
    request.getfixturevalue("elsewhere")
    excess, largest = found()
    assert (excess == expected[0]).all()
    assert largest == expected[1]


def embedded(model, batch):
    return (model(batch[0]) - batch[1]).square().mean(1)


def bags(model, batch):
    return (model(batch[0][:, None]) - batch[1]).square().mean(1)


@pytest.mark.parametrize(("make", "loss_fn"), [(nn.Embedding, embedded), (nn.EmbeddingBag, bags)])
def test_sparse_gradients_are_the_dense_ones(make, loss_fn):
    found = []
    for sparse in (False, True):
        torch.manual_seed(0)
        model = make(10, 4, sparse=sparse)
        task = Task(model, (torch.arange(N) % 10, Y[:, 0]), loss_fn)
        assert model.sparse is sparse
        found.append(task.checkpoint().loss_grad)
    assert torch.equal(*found)


def test_a_loss_with_sparse_gradients_says_what_to_do():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.zeros(10, 4))

        def forward(self, index):
            return F.embedding(index, self.table, sparse=True)

    with pytest.raises(InputError, match=r"gradient of the loss fails .*sparse=False"):
        Task(Own(), (torch.arange(N) % 10, Y[:, 0]), embedded)


@pytest.mark.parametrize("sampler", [lk.sgld(step_size=1e-3), lk.baoab(), "auto"])
@pytest.mark.parametrize("size", [N + 1, 10**12])
def test_a_minibatch_of_more_samples_than_there_are_is_refused(sampler, size):
    scale = {"n_beta": 5.0, "localization": 1.0}
    with pytest.raises(InputError, match=rf"batch_size is {size}; expected at most the 24 samples there are"):
        lk.estimate_llc(nn.Linear(4, 4), (X, Y), squared, sampler=sampler, batch_size=size, progress=False, **scale)
