"""All samplers by name: a new one is a file, a line here, and a row of the table in the tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from llckit.sampling.baoab import baoab
from llckit.sampling.hmc import hmc
from llckit.sampling.mala import mala
from llckit.sampling.rmsprop_sgld import rmsprop_sgld
from llckit.sampling.sampler import Sampler
from llckit.sampling.sgld import sgld
from llckit.sampling.sgnht import sgnht

SAMPLERS: Mapping[str, Callable[..., Sampler]] = MappingProxyType(
    {
        "baoab": baoab,
        "hmc": hmc,
        "mala": mala,
        "rmsprop_sgld": rmsprop_sgld,
        "sgld": sgld,
        "sgnht": sgnht,
    }
)


def is_made_from_settings(sampler: Sampler) -> bool:
    """Whether a sampler can be made again, in another process, from its name and settings.

    Args:
        sampler: Any sampler.

    Returns:
        True if `SAMPLERS[sampler.name](**sampler.settings)` is the same as far as its values can tell; functions
        cannot be compared.
    """
    make = SAMPLERS.get(sampler.name)
    if make is None:
        return False
    again = make(**sampler.settings)
    return all(
        getattr(again, name) == getattr(sampler, name) for name in ("accepts", "is_exact", "num_burnin", "min_draws")
    )
