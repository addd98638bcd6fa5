"""Curves of a net with three checkpoints."""

import numpy as np
import torch
from torch import nn

import llckit as lk
from llckit.llc.cache import Cache
from tests.cases import mean_squared_error

QUICK = {"num_chains": 2, "num_burnin": 5, "num_draws": 8, "progress": False}


def inputs():
    return torch.randn(50, 3, generator=torch.Generator().manual_seed(0))


def make_task(loss=mean_squared_error):
    return lk.Task(nn.Linear(3, 2), (inputs(), inputs()[:, :2]), loss)


def assert_same(a, b):
    for name in ("step", "loss", "llc", "mcse", "llc_per_chain", "grad_norm"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert a.outcome == b.outcome


def how_found(store, step):
    (key,) = [keys[str(step)] for keys in Cache(store).curves_newest_last() if str(step) in keys]
    return Cache(store).estimate(key).how_found
