"""Modules as training wraps them: saved under their own names, by rank 0 alone, and refused if sharded."""

import copy

import pytest
import torch
from torch import distributed, nn

from llckit.errors import InputError
from llckit.store import Recorder
from llckit.store.plain_state import plain_state

from .states import filled


@pytest.fixture
def process_group():
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.module = nn.Linear(2, 2)  # the names that wrappers use are not theirs alone
        self.layers = nn.ModuleList([nn.Linear(2, 2), nn.BatchNorm1d(2)])


@pytest.mark.slow
@pytest.mark.usefixtures("process_group")
def test_wrapped_modules_are_saved_under_their_own_names(store):
    net = Net()
    expected = net.state_dict()
    compiled_part = copy.deepcopy(net)
    compiled_part.layers[0] = torch.compile(compiled_part.layers[0], backend="eager")
    wrapped = [
        net,
        nn.DataParallel(net),
        nn.parallel.DistributedDataParallel(net),
        torch.compile(net, backend="eager"),
        torch.compile(nn.parallel.DistributedDataParallel(net), backend="eager"),
        nn.DataParallel(compiled_part),
    ]
    recorder = Recorder(store)
    for step, model in enumerate(wrapped):
        assert list(plain_state(model)) == list(expected)
        assert recorder(step, model)
        loaded = store.load(step)
        assert all(torch.equal(loaded[name], expected[name]) for name in expected)
    assert len({store.manifest(step).weights_hash for step in store.steps}) == 1


@pytest.mark.parametrize("background", [False, True])
def test_only_rank_zero_saves(store, monkeypatch, process_group, background):
    recorder = Recorder(store, background=background)
    assert recorder(0, filled(0))
    monkeypatch.setattr(distributed, "get_rank", lambda: 1)
    assert not recorder(1, filled(1))
    recorder.flush()
    assert store.steps == [0]


@pytest.mark.usefixtures("process_group")
def test_sharded_models_are_refused_and_told_what_to_do(store):
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    class FullyShardedDataParallel(nn.Module):  # the real one wants an accelerator
        def __init__(self, module):
            super().__init__()
            self.module = module

    sharded = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    fully_shard(sharded[1], mesh=init_device_mesh("cpu", (1,)))
    zero = nn.Linear(2, 1)
    zero.bias.ds_id = 0  # pyright: ignore[reportAttributeAccessIssue]
    recorder = Recorder(store, background=True)
    for given, found in [
        (nn.Sequential(FullyShardedDataParallel(nn.Linear(2, 1))), "0 is a FullyShardedDataParallel"),
        (sharded, "1.weight is a DTensor"),
        (sharded.state_dict(), "1.weight is a DTensor"),
        (zero, "bias is a ZeRO-3 partition"),
    ]:
        with pytest.raises(
            InputError, match=rf"sharded \({found}\).*gather them on all ranks, by get_model_state_dict"
        ):
            recorder(0, given)
    with recorder:
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        assert recorder(0, get_model_state_dict(sharded, options=options))
    assert list(store.load(0)) == ["0.weight", "0.bias", "1.weight", "1.bias"]
