import pytest
import torch

from llckit.store import CheckpointStore


@pytest.fixture
def store(tmp_path):
    """A new one, whose parent folder is missing as well."""
    return CheckpointStore(tmp_path / "deep" / "run.ckpts")


@pytest.fixture
def folder(tmp_path):
    """Where a training script saved."""
    folder = tmp_path / "saved"
    folder.mkdir()
    return folder


@pytest.fixture
def weights():
    """Makes a state dict, another one for each seed."""

    def make(seed: int = 0) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return {
            "layer.weight": torch.randn(3, 2, generator=generator),
            "layer.bias": torch.randn(3, generator=generator),
        }

    return make
