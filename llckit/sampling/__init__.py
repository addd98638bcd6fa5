"""How the posterior is sampled: one sampler a file, one driver, and the diagnostics it stops by."""

from llckit.sampling.base import Info, Noise, Potential, Sampler
from llckit.sampling.diagnostics import ess_bulk, ess_mean, mcse_mean, rhat
from llckit.sampling.driver import Trace, sample
from llckit.sampling.hmc import hmc
from llckit.sampling.sgld import sgld

__all__ = [
    "Info",
    "Noise",
    "Potential",
    "Sampler",
    "Trace",
    "ess_bulk",
    "ess_mean",
    "hmc",
    "mcse_mean",
    "rhat",
    "sample",
    "sgld",
]
