"""Models as people have them: kept activations, reparametrised weights, wrappers, and what is refused with advice."""

import copy
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.optim.swa_utils import AveragedModel

from llckit.errors import InputError
from llckit.llc import estimate_llc
from llckit.posterior import Task
from llckit.posterior.copied import copied
from tests.cases import mean_squared_error

N = 24


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(N, 4, generator=generator), torch.randn(N, 1, generator=generator)


def rows_agree(task, model, data):
    """Losses and gradients at two rows, batched if possible, are those of plain autograd on copies of the model."""
    weights = task.checkpoint().weights
    rows = torch.stack([weights, weights + 0.1])
    loss, grad = task.checkpoint().loss_and_grad(rows)
    for row, found, slope in zip(rows, loss, grad, strict=True):
        own = copied(task.model)
        with torch.no_grad():
            for parameter, piece in zip(own.parameters(), row.split(task.layout.sizes), strict=True):
                parameter.copy_(piece.view(parameter.shape))
        expected = mean_squared_error(own, data).mean()
        torch.testing.assert_close(found, expected.detach().double(), rtol=1e-5, atol=1e-6)
        pieces = torch.autograd.grad(expected, [*own.parameters()])
        torch.testing.assert_close(slope, torch.cat([piece.reshape(-1) for piece in pieces]), rtol=1e-4, atol=1e-5)
    assert task.checkpoint().loss == pytest.approx(own_loss(model, data), rel=1e-6)


@torch.no_grad()
def own_loss(model, data):
    return float(mean_squared_error(model.eval(), data).mean())


class Keeping(nn.Module):
    """Keeps its activations in every place where they are found in the wild."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.history, self.by_name = [], {}
        self.register_buffer("running", torch.zeros(1))

    def forward(self, x):
        self.hidden = self.layer(x)
        self.history.append(self.hidden)
        self.by_name["hidden"] = (self.hidden, [self.hidden])
        self.running = self.hidden.mean(0)
        return self.hidden


def pruned():
    layer = nn.Linear(4, 3)
    prune.l1_unstructured(layer, "weight", amount=5)
    return nn.Sequential(layer, nn.Tanh(), nn.Linear(3, 1))


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize(
    "make",
    [
        Keeping,
        pruned,
        lambda: nn.utils.weight_norm(nn.Linear(4, 1)),
        lambda: nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 3)), nn.Linear(3, 1)),
        lambda: nn.utils.spectral_norm(nn.Linear(4, 1)),
        lambda: parametrizations.weight_norm(nn.Linear(4, 1)),
        lambda: parametrizations.spectral_norm(nn.Linear(4, 1)),
    ],
)
def test_models_that_keep_what_they_compute(make, data):
    model = make()
    model(data[0])  # after which deepcopy refuses most of them
    task = Task(model, data, mean_squared_error)
    rows_agree(task, model, data)
    assert task.checkpoint(model.state_dict()).loss == task.checkpoint().loss
    first = next(iter(task.layout.shapes))
    assert task.restricted(first).dim == task.layout.sizes[0]


def test_pruned_weights_are_flat(data):
    model = pruned()
    task = Task(model, data, mean_squared_error)
    grad = task.layout.named(task.checkpoint().loss_grad, task.checkpoint().fixed)["0.weight_orig"]
    assert bool((grad[model[0].weight_mask == 0] == 0).all())
    assert int((grad != 0).sum()) == 12 - 5


def test_an_attribute_that_cannot_be_copied_is_named(data):
    model = nn.Sequential(nn.Linear(4, 1))
    model[0].lock = threading.Lock()  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(InputError, match=r"cannot be copied, because of its attribute 0\.lock \(.*; expected"):
        Task(model, data, mean_squared_error)


class Sparse(nn.Module):
    def __init__(self, sparse):
        super().__init__()
        self.embedding = nn.Embedding(4, 1, sparse=sparse)
        self.bag = nn.EmbeddingBag(4, 1, mode="sum", sparse=sparse)

    def forward(self, tokens):
        return self.embedding(tokens) + self.bag(tokens[:, None])


def test_sparse_gradients_give_the_numbers_of_dense_ones(data):
    tokens = torch.arange(N) % 4
    models = Sparse(False), Sparse(True)
    models[1].load_state_dict(models[0].state_dict())
    settings = {"num_chains": 2, "num_draws": 10, "num_burnin": 10, "n_beta": 10.0, "localization": 1.0}
    dense, sparse = (
        estimate_llc(model, (tokens, data[1]), mean_squared_error, progress=False, **settings).llc for model in models
    )
    assert sparse == dense
    assert models[1].embedding.sparse, "the caller's model stays as it is"


class Merging(nn.Module):
    """A low-rank update, merged into the frozen weight in evaluation mode (as in loralib)."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Parameter(torch.randn(1, 4), requires_grad=False)
        self.a, self.b = nn.Parameter(torch.randn(1, 4)), nn.Parameter(torch.ones(1, 1))
        self.merged = False

    def train(self, mode: bool = True):
        super().train(mode)
        if mode == self.merged:
            self.frozen.data += (-1 if mode else 1) * self.b.data @ self.a.data
            self.merged = not mode
        return self

    def forward(self, x):
        return x @ (self.frozen if self.merged else self.frozen + self.b @ self.a).T


class Folding(nn.Sequential):
    """Replaces its layers by one in evaluation mode (as RepVGG and fused convolutions)."""

    def train(self, mode: bool = True):
        if not mode and len(self) == 2:
            weight = self[1].weight @ self[0].weight
            super().__init__(nn.Linear(4, 1, bias=False))
            self[0].weight.data = weight.detach()
        return super().train(mode)


class FrozenNorm(nn.Sequential):
    """Overrides `train` without touching a weight."""

    def train(self, mode: bool = True):
        super().train(mode)
        self[1].eval()
        return self


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (Merging(), "frozen"),
        (Merging().eval(), "frozen"),
        (nn.Sequential(nn.Linear(4, 4), Merging()), "1.frozen"),
        (Folding(nn.Linear(4, 3, bias=False), nn.Linear(3, 1, bias=False)), "0.weight, 1.weight"),
    ],
)
def test_weights_that_change_with_the_mode_are_refused(model, name, data):
    with pytest.raises(InputError, match=rf"^{name} (is|are) changed by train\(\) or eval\(\).*merging off"):
        Task(model, data, mean_squared_error)


def test_a_mode_of_its_own_that_leaves_weights_alone_is_no_obstacle(data):
    model = FrozenNorm(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    rows_agree(Task(model, data, mean_squared_error), model, data)


class Clamped(nn.Linear):
    def forward(self, x):
        self.weight.data.clamp_(-1, 1)  # binds only far from the weights of a new layer
        return super().forward(x)


class Normalised(nn.Linear):
    def forward(self, x):
        with torch.no_grad():
            self.weight.div_(self.weight.norm())
        return super().forward(x)


class Limited(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.ones(4, 1))

    def forward(self, x):
        return F.embedding((x[:, 0] > 0).long(), self.table, max_norm=2.0)


@pytest.mark.parametrize("model", [Clamped(4, 1), Normalised(4, 1), nn.Sequential(Normalised(4, 1)), Limited()])
def test_a_forward_that_writes_into_weights_is_refused(model, data):
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InputError, match=r"(weight|table) is changed by the forward itself; expected"):
        Task(model, data, mean_squared_error)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.filterwarnings("ignore")  # what torch says of its quantized tensors
def test_models_without_own_dense_weights_are_refused_with_advice(data):
    quantized = nn.Sequential(nn.Linear(4, 4), torch.ao.nn.quantized.dynamic.Linear(4, 1))
    frozen = nn.Embedding(4, 1, max_norm=1.0).requires_grad_(False)
    sparse = Limited()
    sparse.table = nn.Parameter(torch.eye(4).to_sparse())
    for model, reason in [
        (nn.Embedding(4, 1, max_norm=1.0), "the model is limited by max_norm, .*set max_norm=None"),
        (nn.Sequential(nn.Linear(4, 1), frozen), "^1 is limited by max_norm"),
        (nn.ModuleDict({"bag": nn.EmbeddingBag(4, 1, max_norm=1.0)}), "^bag is limited by max_norm"),
        (nn.Linear(4, 1, device="meta"), "^weight, bias are on the meta device, without values; .*assign=True"),
        (nn.Sequential(nn.Linear(4, 1), nn.LazyLinear(1)), "lazy parameters"),
        (nn.Sequential(nn.Linear(4, 1), nn.LazyBatchNorm1d(affine=False)), "lazy parameters"),
        (quantized, "^1 is quantized, without gradients; .*before the conversion"),
        (sparse, "^table is sparse; .*to_dense"),
    ]:
        with pytest.raises(InputError, match=reason):
            Task(model, data, mean_squared_error)


class FullyShardedDataParallel(nn.Module):  # the real one wants an accelerator
    def __init__(self, module):
        super().__init__()
        self._fsdp_wrapped_module = module


def test_sharded_models_are_refused(data):
    zero = nn.Linear(4, 1)
    zero.bias.ds_id = 0  # pyright: ignore[reportAttributeAccessIssue]
    for model, what in [
        (nn.Sequential(FullyShardedDataParallel(nn.Linear(4, 1))), "0 is a FullyShardedDataParallel"),
        (zero, "bias is a ZeRO-3 partition"),
    ]:
        with pytest.raises(InputError, match=rf"sharded \({what}\); expected the plain module"):
            Task(model, data, mean_squared_error)


def test_a_model_made_in_inference_mode_is_a_model(data):
    with torch.inference_mode():
        model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1))
    task = Task(model, data, mean_squared_error)
    assert task.checkpoint().loss == pytest.approx(own_loss(model, data), rel=1e-6)
    assert float(task.checkpoint().loss_grad.norm()) > 0


def test_an_average_is_the_module_within(data):
    model = nn.Linear(4, 1)
    average = AveragedModel(model)
    with torch.no_grad():
        model.weight.add_(1)
    average.update_parameters(model)
    average.update_parameters(model)
    task = Task(average, data, mean_squared_error)
    rows_agree(task, average, data)
    assert list(task.layout.shapes) == ["weight", "bias"]
    assert torch.equal(task.checkpoint(average.state_dict()).weights, task.checkpoint().weights)
