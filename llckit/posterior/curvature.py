"""`curvature`: eigenvalues of the loss's Hessian at w*, all of them or, matrix-free, their density by Lanczos."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

DENSE = 1024  # up to this many parameters the whole Hessian is formed
VECTORS = 128  # Hessian-vector products computed at a time
PROBES = 4
LANCZOS_STEPS = 16
BASIS_BYTES = 2**28  # of Lanczos vectors kept; from half a million parameters on none are kept
STEP = 1e-2  # finite difference: each weight that moves, moves by about this share of the root mean square weight

Gradient = Callable[[Tensor], Tensor]  # weights (rows, dim) to gradients of the same shape


class Spectrum(NamedTuple):
    """Quadrature nodes of the Hessian's eigenvalue density: Σ_j weights_j f(values_j) ≈ tr f(H).

    Attributes:
        values: Eigenvalues or Ritz values of ∇²L(w*), float64.
        weights: Their weights, float64, summing to dim.
    """

    values: Tensor
    weights: Tensor

    @property
    def largest(self) -> float:
        """The largest eigenvalue found (at least 0)."""
        return max(0.0, float(self.values.max()))


def curvature(gradient: Gradient, center: Tensor, seed: int = 0) -> Spectrum:
    """The eigenvalues of ∇²L(w*): all of them for small models, else stochastic Lanczos quadrature.

    Hessian-vector products are central differences of the gradient, (∇L(w* + δv) − ∇L(w* − δv)) / 2δ. Every model
    allows them, and they see the curvature of a kinked loss at the scale of the step. Lanczos (Golub & Meurant 2010;
    Ubaru, Chen & Saad 2017) converges to the largest eigenvalue within the 16 steps taken. If its vectors would need
    more than 256 MiB, one probe takes the place of four, in the precision of the weights and without
    reorthogonalisation. That doubles eigenvalues that were found already and leaves the largest as it is.

    Args:
        gradient: ∇L at rows of weights.
        center: w*, shape (dim,).
        seed: Seed of the probe vectors.

    Returns:
        Nodes and weights of the spectrum's density.
    """
    dim = len(center)
    delta = STEP * (float(center.double().square().mean().sqrt()) or 1.0)
    if dim <= DENSE:
        hessian = _products(gradient, center, torch.eye(dim, dtype=torch.float64, device="cpu"), delta)
        return Spectrum(
            torch.linalg.eigvalsh((hessian + hessian.T) / 2), torch.ones(dim, dtype=torch.float64, device="cpu")
        )
    delta *= math.sqrt(dim)
    if 8 * PROBES * LANCZOS_STEPS * dim > BASIS_BYTES:
        return _quadrature(*_lanczos_of_three(gradient, center, delta, seed, LANCZOS_STEPS), dim)
    return _lanczos(gradient, center, delta, seed)


def spectrum_gradients(dim: int) -> int:
    """How many gradients `curvature` takes for so many weights."""
    return 2 * (dim if dim <= DENSE else PROBES * LANCZOS_STEPS)


def largest_eigenvalue(gradient: Gradient, center: Tensor, steps: int, seed: int = 0) -> float:
    """The largest eigenvalue of the Hessian alone (at least 0), for two gradients a step; see `curvature`.

    Args:
        gradient: ∇L at rows of weights.
        center: Where, shape (dim,).
        steps: Steps of Lanczos.
        seed: Seed of the probe vector.

    Returns:
        The largest Ritz value, which is no larger than the eigenvalue.
    """
    delta = STEP * (float(center.double().square().mean().sqrt()) or 1.0) * math.sqrt(len(center))
    steps = min(steps, len(center))
    return _quadrature(*_lanczos_of_three(gradient, center, delta, seed, steps), len(center)).largest


def _products(gradient: Gradient, center: Tensor, vectors: Tensor, delta: float) -> Tensor:
    products = []
    for some in vectors.split(VECTORS):
        moves = delta * some.to(center)
        grads = gradient(torch.cat([center + moves, center - moves])).double().cpu()
        products.append((grads[: len(some)] - grads[len(some) :]) / (2 * delta))
    return torch.cat(products)


def _lanczos(gradient: Gradient, center: Tensor, delta: float, seed: int) -> Spectrum:
    dim = len(center)
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(PROBES, dim, generator=generator, dtype=torch.float64, device="cpu")
    basis, alphas, betas = [start / start.norm(dim=1, keepdim=True)], [], []
    for _ in range(LANCZOS_STEPS):
        image = _products(gradient, center, basis[-1], delta)
        alphas.append((image * basis[-1]).sum(1))
        for old in basis * 2:  # full reorthogonalisation; twice is enough
            image -= (image * old).sum(1, keepdim=True) * old
        betas.append(image.norm(dim=1))
        basis.append(image / betas[-1].clamp_min(1e-300)[:, None])
    return _quadrature(torch.stack(alphas, 1), torch.stack(betas[:-1], 1), dim)


def _lanczos_of_three(gradient: Gradient, center: Tensor, delta: float, seed: int, steps: int) -> tuple[Tensor, Tensor]:
    """The plain recurrence, which keeps three vectors in memory: its tridiagonal matrix, as `_quadrature` takes it."""
    generator = torch.Generator().manual_seed(seed)
    vector = torch.randn(len(center), generator=generator, dtype=center.dtype, device="cpu").to(center)
    vector /= vector.norm()
    previous, alphas, betas = torch.zeros_like(vector), [], []
    for _ in range(steps):
        image = previous.mul_(-2 * delta * betas[-1]) if betas else previous
        image += gradient(torch.add(center, vector, alpha=delta)[None])[0]
        image -= gradient(torch.sub(center, vector, alpha=delta)[None])[0]
        image /= 2 * delta
        alphas.append(torch.dot(image, vector))
        image -= alphas[-1] * vector
        betas.append(image.norm())
        previous, vector = vector, image.div_(betas[-1].clamp_min(1e-30))
    none = center.new_empty(0)
    alpha, beta = ((torch.stack(x) if x else none)[None].double().cpu() for x in (alphas, betas[:-1]))
    return alpha, beta


def _quadrature(alpha: Tensor, beta: Tensor, dim: int) -> Spectrum:
    """Nodes and weights from the tridiagonal matrices of the probes, shapes (probes, steps) and (probes, steps − 1)."""
    tridiagonal, off = torch.diag_embed(alpha), beta
    # A vanishing β ends the Krylov space; the noise that follows must stay decoupled from it.
    off = off * (off > 1e-6 * tridiagonal.abs().amax((1, 2))[:, None]).cumprod(1)
    tridiagonal += torch.diag_embed(off, 1) + torch.diag_embed(off, -1)
    values, vectors = torch.linalg.eigh(tridiagonal)
    weights = vectors[:, 0, :].square() * (dim / len(alpha))
    return Spectrum(values.reshape(-1), weights.reshape(-1))
