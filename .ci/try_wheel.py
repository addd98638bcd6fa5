"""What must work where llckit was installed from its wheel without extras: one estimate."""

import importlib.util
import sys

import torch

import llckit as lk

assert sys.prefix in lk.__file__, f"{lk.__file__} is not the wheel's"
assert importlib.util.find_spec("matplotlib") is None, "matplotlib is here; expected an environment without extras"

inputs = torch.randn(200, 3)
model = torch.nn.Linear(3, 1)
with torch.no_grad():
    targets = model(inputs)


def loss_fn(model, batch):
    """Mean squared error."""
    return torch.nn.functional.mse_loss(model(batch[0]), batch[1])


estimate = lk.estimate_llc(model, (inputs, targets), loss_fn, progress=False)
print(estimate.summary())
assert estimate.outcome.trusted
assert abs(estimate.llc - 2) < 0.2, "4 parameters of a regular model have an LLC of 2"
