"""State dicts, and an object that no file may run, for tests of several files."""

import os

import torch


def filled(value: float) -> dict[str, torch.Tensor]:
    """One tensor of equal elements."""
    return {"w": torch.full((3,), float(value))}


def saved_state(value: float) -> dict[str, torch.Tensor]:
    """What a training script saved: two tensors of different dtypes, of equal elements."""
    return {"w": torch.full((2, 2), value), "b": torch.full((2,), value, dtype=torch.bfloat16)}


def seeded_state(seed: int) -> dict[str, torch.Tensor]:
    """Tied, small and empty tensors, others for each seed."""
    generator = torch.Generator().manual_seed(seed)
    tied = torch.randn(300, 7, generator=generator)
    return {"a": tied, "b": torch.arange(seed + 3), "tied": tied, "empty": torch.empty(0)}


def assert_same_bits(loaded: dict[str, torch.Tensor], saved: dict[str, torch.Tensor]) -> None:
    """The same names, dtypes, shapes and bits."""
    assert loaded.keys() == saved.keys()
    for name, tensor in saved.items():
        assert (loaded[name].dtype, loaded[name].shape) == (tensor.dtype, tensor.shape)
        assert _bits(loaded[name]) == _bits(tensor)


def _bits(tensor: torch.Tensor) -> bytes:
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes()


class Trap:
    """Makes the folder "sprung" if unpickled."""

    def __reduce__(self):
        return os.mkdir, ("sprung",)
