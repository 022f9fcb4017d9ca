"""Particles and two priors on the problems of `posterior.py`: each is a `Run` of a problem, a denoiser and a number of samples."""

import torch
from posterior_targets import NOISE, SIZE, EqualMixture, Problem
from torch import Tensor

from ornstein.core.analytic import GaussianDenoiser
from ornstein.core.covariances import Modes
from ornstein.core.denoisers import Denoiser
from ornstein.core.inverse.auto import sample_posterior
from ornstein.core.inverse.jacobian import Counted
from ornstein.core.inverse.particles import equal_samples, twisted_particles, weighted_ensemble
from ornstein.core.inverse.two_priors import TwoPriors
from ornstein.core.operators import Matrix


def tds(problem: Problem, denoiser: Denoiser, samples: int, steps: int = 100) -> Tensor:
    """Twisted SMC, all samples of a problem in one run."""
    operator, settings = Matrix(problem.matrix), {"shape": (SIZE,), "particles": samples, "steps": steps}
    return equal_samples(twisted_particles(denoiser, operator, problem.y, NOISE, **settings))  # type: ignore[arg-type]


def afdps(problem: Problem, denoiser: Denoiser, samples: int, steps: int = 100) -> Tensor:
    """The weighted ensemble, all samples of a problem in one run."""
    operator, settings = Matrix(problem.matrix), {"shape": (SIZE,), "particles": samples, "steps": steps}
    return equal_samples(weighted_ensemble(denoiser, operator, problem.y, NOISE, **settings))  # type: ignore[arg-type]


def two_priors(problem: Problem, denoiser: Denoiser, samples: int, steps: int = 20) -> Tensor:
    """x = u + v, each of half the variance, with a prior of its own: the posterior of the sum is that of the problem."""
    first, second = (Counted(part) for part in halves(problem))
    pair, operator = TwoPriors(first, second, ((SIZE,), (SIZE,))), Matrix(problem.matrix)
    found = sample_posterior(
        pair, pair.measures(operator, operator), problem.y, NOISE, shape=(pair.size,), samples=samples, steps=steps
    )
    if isinstance(denoiser, Counted):
        denoiser.evaluations += first.evaluations
        denoiser.vjps += first.vjps
    u, v = pair.split(found)
    return u + v


def halves(problem: Problem) -> tuple[Denoiser, Denoiser]:
    """Priors of u and v."""
    prior = problem.denoiser
    if isinstance(prior, GaussianDenoiser):
        half = Modes.from_matrix(prior.covariance.dense() / 2)
        mean = prior.mean
        return GaussianDenoiser(mean, half, prior.path), GaussianDenoiser(torch.zeros_like(mean), half, prior.path)
    assert isinstance(prior, EqualMixture)
    white = torch.full((SIZE,), prior.variance / 2, dtype=prior.modes.dtype)
    return EqualMixture(prior.modes, prior.variance / 2), GaussianDenoiser(torch.zeros_like(white), white, prior.path)
