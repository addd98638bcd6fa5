"""`check_order`: refuses a DataLoader that does not draw every sample of its dataset once."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    WeightedRandomSampler,
)

from llckit.errors import InputError


def check_order(loader: DataLoader) -> None:
    """Refuse a loader whose sampler leaves samples out, repeats some or weighs them: L would not be what it trains on.

    Its order does not matter, nor does `drop_last`: all samples are read. Samplers that are not torch's own are asked
    once for the indices that they draw.

    Args:
        loader: A DataLoader.

    Raises:
        InputError: The loader's items are batches already, or it does not draw every sample once.
    """
    if isinstance(loader.dataset, IterableDataset):
        return
    if loader.batch_sampler is None:
        raise InputError(
            "data is a DataLoader with batch_size=None, whose items are batches already; expected a Dataset of single "
            "samples, or the tensors themselves"
        )
    batches = loader.batch_sampler
    sampler: Any = batches.sampler if type(batches) is BatchSampler else batches  # loader.sampler may be another one
    total = len(loader.dataset)  # pyright: ignore[reportArgumentType]
    drawn = _drawn(sampler, total)
    if drawn is not None:
        raise InputError(
            f"data is a DataLoader whose sampler ({type(sampler).__name__}) draws {drawn}; the loss needs to know "
            "which: give it torch.utils.data.Subset(dataset, indices) instead, with an index as often as it counts"
        )


def _drawn(sampler: Any, total: int) -> str | None:
    """What a sampler draws, in words; None for every sample once."""
    plain = type(sampler) is SequentialSampler or (type(sampler) is RandomSampler and not sampler.replacement)
    if plain and len(sampler) == total == len(sampler.data_source):
        return None
    if isinstance(sampler, WeightedRandomSampler):
        return f"{len(sampler)} of {total} samples by weight"
    with torch.random.fork_rng(devices=[]):  # the user's generator stays where it is
        found = list(itertools.islice(_indices(sampler), total + 1))
    if not all(hasattr(index, "__index__") and 0 <= index < total for index in found):
        return f"what is no index of its {total} samples"
    if len(found) > total:
        return f"more than {total} of {total} samples"
    distinct = len({*found})
    if distinct < len(found):
        return f"{len(found)} of {total} samples, {len(found) - distinct} of them repeated"
    return None if distinct == total else f"{distinct} of {total} samples"


def _indices(sampler: Iterable[Any]) -> Iterator[Any]:
    """Single indices, of a sampler or a batch sampler."""
    for item in sampler:
        item = item.tolist() if isinstance(item, torch.Tensor | np.ndarray) else item
        if isinstance(item, list | tuple):
            yield from item
        else:
            yield item
