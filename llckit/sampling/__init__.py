"""How the posterior is sampled: one sampler a file, one driver, and the diagnostics it stops by."""

from llckit.sampling.baoab import baoab
from llckit.sampling.base import Info, Noise, Potential, Sampler
from llckit.sampling.diagnostics import ess_bulk, ess_mean, mcse_mean, rhat
from llckit.sampling.driver import Trace, sample
from llckit.sampling.hmc import Start, hmc
from llckit.sampling.mala import mala
from llckit.sampling.rmsprop_sgld import rmsprop_sgld
from llckit.sampling.sgld import sgld
from llckit.sampling.sgnht import sgnht

__all__ = [
    "Info",
    "Noise",
    "Potential",
    "Sampler",
    "Start",
    "Trace",
    "baoab",
    "ess_bulk",
    "ess_mean",
    "hmc",
    "mala",
    "mcse_mean",
    "rhat",
    "rmsprop_sgld",
    "sample",
    "sgld",
    "sgnht",
]
