"""Models in the wrappers of training: recorded, imported and estimated as the bare model, to the last bit."""

import pytest
import torch
from torch import distributed, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.optim.swa_utils import AveragedModel

import llckit as lk
from llckit.store import import_checkpoints
from llckit.unwrap import bare_names, name_to_match, unwrapped
from tests.cases import mean_squared_error


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))


class AbstractGradSampleModule(nn.Module):
    """As Opacus wraps."""

    def __init__(self, module):
        super().__init__()
        self._module = module

    def forward(self, x):
        return self._module(x)


class GradSampleModule(AbstractGradSampleModule):
    pass


class ModelEmaV3(nn.Module):
    """As timm averages."""

    def __init__(self, module):
        super().__init__()
        self.module = module


class StrategyWrapper(nn.Module):
    """As Lightning's strategies wrap."""

    def __init__(self, module):
        super().__init__()
        self._forward_module = module

    def forward(self, x):
        return self._forward_module(x)


def fabric(module):
    lightning = pytest.importorskip("lightning")
    return lightning.Fabric(accelerator="cpu", devices=1).setup(module)


def distributed_module(module):
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    return nn.parallel.DistributedDataParallel(module)


def with_part(wrap):
    """Only a part of the model is wrapped, as the features of AlexNet in torchvision's scripts."""

    def make(model):
        model[0] = wrap(model[0])
        return model

    return make


WRAPPED = {
    "compile": lambda module: torch.compile(module, backend="eager"),
    "DataParallel": nn.DataParallel,
    "DataParallel twice": lambda module: nn.DataParallel(nn.DataParallel(module)),
    "compiled DataParallel": lambda module: torch.compile(nn.DataParallel(module), backend="eager"),
    "DistributedDataParallel": distributed_module,
    "AveragedModel": lambda module: AveragedModel(module, use_buffers=True),
    "average of DataParallel": lambda module: AveragedModel(nn.DataParallel(module)),
    "EMA": ModelEmaV3,
    "Opacus": GradSampleModule,
    "strategy": StrategyWrapper,
    "Fabric": fabric,
    "DeepSpeed in a strategy": lambda module: StrategyWrapper(nn.DataParallel(module)),
    "activation checkpoint": checkpoint_wrapper,
    "part compiled": with_part(lambda module: torch.compile(module, backend="eager")),
    "part DataParallel": with_part(nn.DataParallel),
    "part averaged": with_part(AveragedModel),
    "part activation checkpoint": with_part(checkpoint_wrapper),
}


@pytest.fixture
def data():
    return torch.randn(30, 3), torch.randn(30, 1)


@pytest.fixture(autouse=True)
def _process_group():
    yield
    if distributed.is_initialized():
        distributed.destroy_process_group()


def estimated(store, task):
    few = {"num_chains": 2, "num_burnin": 4, "num_draws": 4, "progress": False}
    return lk.estimate_curve(store, task, n_beta=20.0, localization=1.0, **few)


@pytest.mark.slow
@pytest.mark.parametrize("name", WRAPPED)
def test_recorded_imported_and_estimated_alike(name, tmp_path, data):
    bare = lk.CheckpointStore(tmp_path / "bare")
    bare.save(1, net())
    expected = estimated(bare, lk.Task(net(), data, mean_squared_error)).llc.tolist()
    wrapped = WRAPPED[name](net())

    recorded = lk.CheckpointStore(tmp_path / "recorded")
    lk.Recorder(recorded)(1, wrapped)
    assert recorded.manifest(1).weights_hash == bare.manifest(1).weights_hash
    torch.save({"state_dict": wrapped.state_dict()}, tmp_path / "step_1.pt")
    imported = lk.CheckpointStore(tmp_path / "imported")
    import_checkpoints(tmp_path / "step_1.pt", imported)
    raw = lk.CheckpointStore(tmp_path / "raw")  # a state dict is saved as it is
    raw.save(1, wrapped.state_dict())

    task, plain = lk.Task(wrapped, data, mean_squared_error), lk.Task(net(), data, mean_squared_error)
    assert list(task.layout.shapes) == list(plain.layout.shapes)
    for store in (recorded, imported, raw):
        for of in (task, plain):
            assert estimated(store, of).llc.tolist() == expected


def test_the_users_model_keeps_its_wrappers(data):
    inner = nn.DataParallel(nn.Linear(3, 2))
    model = torch.compile(nn.Sequential(inner, nn.Linear(2, 1)), backend="eager")
    lk.Task(model, data, mean_squared_error)
    assert next(iter(model.state_dict())) == "_orig_mod.0.module.weight"
    assert unwrapped(model)[0] is inner


class Named(nn.Module):
    """A model whose own parts have the names that wrappers use."""

    def __init__(self, name):
        super().__init__()
        setattr(self, name, nn.Linear(3, 1))
        self._name = name

    def forward(self, x):
        return getattr(self, self._name)(x)


@pytest.mark.parametrize("name", ["module", "_module"])
def test_a_part_of_the_model_may_have_the_name_of_a_wrapper(name, tmp_path, data):
    model = Named(name)
    assert unwrapped(model) is model
    task = lk.Task(model, data, mean_squared_error)
    assert list(task.layout.shapes) == [f"{name}.weight", f"{name}.bias"]
    torch.save(nn.DataParallel(model).state_dict(), tmp_path / "step_1.pt")
    store = lk.CheckpointStore(tmp_path / "store")
    import_checkpoints(tmp_path / "step_1.pt", store)
    assert torch.equal(task.checkpoint(store.load(1)).weights, task.checkpoint().weights)


def test_names_of_which_some_are_wrapped_stay():
    names = ["module.a", "n_averaged", "b"]
    assert bare_names(names) == {name: name for name in names}
    assert bare_names(["module.a", "n_averaged"]) == {"module.a": "a"}
    assert bare_names(["my_orig_mod.w", "a._orig_mod"]) == {
        "my_orig_mod.w": "my_orig_mod.w",
        "a._orig_mod": "a._orig_mod",
    }
    assert bare_names([]) == {}
    assert name_to_match("a.module._orig_mod.b.module") == "a.b.module"
