"""How the posterior is sampled: one sampler per file, the loop that runs them, and the diagnostics it stops by."""

from llckit.sampling.baoab import baoab
from llckit.sampling.diagnostics import ess_bulk, ess_mean, mcse_mean, rhat
from llckit.sampling.hmc import Start, hmc
from llckit.sampling.mala import mala
from llckit.sampling.noise import Noise
from llckit.sampling.registry import SAMPLERS, is_made_from_settings
from llckit.sampling.rmsprop_sgld import rmsprop_sgld
from llckit.sampling.sample import Sampling, sample
from llckit.sampling.sampler import Info, Potential, Sampler
from llckit.sampling.sgld import sgld
from llckit.sampling.sgnht import sgnht
from llckit.sampling.stopping import FixedDraws, UntilError
from llckit.sampling.trace import Trace

__all__ = [
    "SAMPLERS",
    "FixedDraws",
    "Info",
    "Noise",
    "Potential",
    "Sampler",
    "Sampling",
    "Start",
    "Trace",
    "UntilError",
    "baoab",
    "ess_bulk",
    "ess_mean",
    "hmc",
    "is_made_from_settings",
    "mala",
    "mcse_mean",
    "rhat",
    "rmsprop_sgld",
    "sample",
    "sgld",
    "sgnht",
]
