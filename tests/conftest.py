"""What all tests share."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # also for processes they start: small matrices gain nothing from more threads

import pytest
import torch


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)  # a test's random weights do not depend on which tests ran before it
