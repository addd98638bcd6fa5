"""Made-up estimates along a ladder of scales."""

import math

import numpy as np
import torch

import llckit as lk
from llckit.llc import HowFound
from llckit.llc.gradients import AllSamples, Cause, GradientsReason

N = 1000


DEFAULT = N / math.log(N)


DATA = (torch.zeros(N, 1),)


GAMMA = 7.0


ALL = AllSamples(GradientsReason(Cause.AFFORDABLE))


def flat(t, g):
    return 2.0


def flat_from_two(t, g):
    return 2.0 if g == 1 else 3.0


def made_up(
    llc, *, mcse=None, outcome=lk.Outcome.CONVERGED, leaning=0.0, rising=0.0, n_beta=1.0, localization=1.0, reason=None
):
    mcse = 0.001 * abs(llc) if mcse is None else mcse
    return lk.LLCEstimate(
        llc=llc,
        mcse=mcse,
        llc_per_chain=np.full(2, llc),
        llc_variance=llc,
        sensitivity_n_beta=rising,
        sensitivity_n_beta_mcse=0.0,
        sensitivity_localization=leaning,
        sensitivity_localization_mcse=0.0,
        observed={},
        depth=0.0,
        virial=1.0,
        rhat=1.0,
        ess=100.0,
        outcome=outcome,
        loss=0.0,
        grad_norm=0.0,
        n_beta=n_beta,
        localization=localization,
        how_found=HowFound(reason, ALL, "none", 100, 10, 1000, 0.1, 0.0, 1.0, 0.0, 0.9, 0, False, False),
        grad_evals_total=1000,
        trace=None,
    )


def rule(found):
    return str(found.how_found.reason)


def at(found):
    return round(math.log10(found.n_beta / DEFAULT), 9), round(math.log10(found.localization / GAMMA), 9)


def stairs(*values):
    """λ̂ at 1, 10, … n/ln n, whatever γ."""
    return lambda t, g: values[round(math.log10(t))]


def by_gamma(*values):
    """λ̂ rises with nβ for ever, and at n/ln n depends on γ, γ/10, …"""
    return lambda t, g: values[-round(math.log10(g))] * (1 + round(math.log10(t)))
