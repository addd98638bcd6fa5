"""Steps, curves and errors that several tests of this room use."""

import numpy as np

STEPS = np.unique(np.concatenate([[0], np.geomspace(1, 10_000, 60).round()]))
GROKKING_STEPS = np.unique(np.concatenate([[0], np.geomspace(1, 4000, 22).round(), np.linspace(0, 4000, 24).round()]))


def grokking_curve(seed, noise=0.02):
    """A run of the modular-addition net: λ̂ up until step 100, down until about 2000, the loss gone by 200."""
    step = GROKKING_STEPS
    known = np.log1p([0, 100, 200, 500, 750, 1000, 1500, 2000, 4000])
    llc = np.interp(np.log1p(step), known, [189, 627, 589, 387, 210, 164, 125, 116, 116])
    loss = 3.76 * np.exp(-((step / 60) ** 2)) + 2e-3 * np.exp(-step / 1000)
    return step, loss, llc * (1 + noise * np.random.default_rng(seed).standard_normal(len(step)))


def correlation(x, length, gaussian=True):
    """Correlation of errors at places x, Gaussian or exponential in the distance."""
    distance = np.abs(x[:, None] - x) / length
    return np.exp(-0.5 * distance**2 if gaussian else -distance) + 1e-8 * np.eye(len(x))


def shared_errors(x, length, chains, rng, gaussian=True):
    """Errors of standard deviation 1 that neighbours share, one column per chain."""
    return np.linalg.cholesky(correlation(x, length, gaussian)) @ rng.standard_normal((len(x), chains))
