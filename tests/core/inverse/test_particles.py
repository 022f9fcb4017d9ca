"""Particles against the exact posterior of a Gaussian prior."""

import math

import pytest
import torch
from torch import Tensor

from ornstein.core import grids
from ornstein.core.denoisers import Denoiser
from ornstein.core.inverse.particles import equal_samples, twisted_particles, weighted_ensemble
from ornstein.core.operators import Matrix
from ornstein.core.paths import EDM, VariancePreserving

WIDE = torch.float64
GRID = grids.LogOnePlus(scale=0.5, rho=2.0, sigma_min=0.02)
SAMPLERS = [twisted_particles, weighted_ensemble]
MEAN, VARIANCE = torch.tensor([0.5, -1.0, 0.2], dtype=WIDE), 0.6
A = torch.tensor([[1.0, 0.5, 0.0], [0.0, -1.0, 0.7]], dtype=WIDE)
NOISE = torch.tensor([0.3, 0.6], dtype=WIDE)
Y = torch.tensor([[0.4, 1.5]], dtype=WIDE)


class Round(Denoiser):
    """The denoiser of N(MEAN, VARIANCE I), in units of `unit`, in few operations."""

    def __init__(self, unit: float = 1.0, path=None) -> None:
        super().__init__(path or EDM(0.02 * unit, 80 * unit))
        self.unit = unit

    @property
    def scale(self) -> float:
        return 2 * math.sqrt(VARIANCE) * self.unit

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
        c = self.path.coefficients(t)
        a, s, variance = float(c.a), float(c.s), VARIANCE * self.unit**2
        mean = (self.unit * MEAN).to(x_t.dtype)
        return mean + a * variance / (a**2 * variance + s**2) * (x_t - a * mean)


def error(sigma: float) -> float:
    return math.sqrt(VARIANCE * sigma**2 / (VARIANCE + sigma**2))


def posterior(y: Tensor = Y) -> tuple[Tensor, Tensor]:
    """Mean (problems, 3) and covariance (3, 3)."""
    gain = VARIANCE * A.mT @ torch.linalg.inv(VARIANCE * A @ A.mT + torch.diag(NOISE**2))
    return MEAN + (y - MEAN @ A.mT) @ gain.mT, VARIANCE * (torch.eye(3, dtype=WIDE) - gain @ A)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_particles_converge_to_the_exact_posterior_as_they_grow(sampler):
    # 40 problems repeat one; the kernels are exact, so that all error is that of the particles: slope -1/2.
    mean, covariance = posterior()
    counts, errors = (32, 128, 512), []
    for particles in counts:
        found = sampler(
            Round(),
            Matrix(A),
            Y.expand(40, 2),
            NOISE,
            shape=(3,),
            particles=particles,
            steps=15,
            error=error,
            grid=GRID,
        )
        errors.append(float((found.mean() - mean).square().mean().sqrt()))
    assert math.log(errors[2] / errors[0]) / math.log(16) == pytest.approx(-0.5, abs=0.12)
    # Not far from what exact samples would score.
    assert errors[2] < 2.5 * math.sqrt(float(covariance.trace()) / 3 / counts[2])
    gap = (found.covariance().mean(0) - covariance).norm() / covariance.norm()
    assert float(gap) < 0.06


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_without_the_prior_error_the_steps_have_to_be_small(sampler):
    _, covariance = posterior()
    gaps = []
    for steps in (12, 48):
        found = sampler(Round(), Matrix(A), Y.expand(16, 2), NOISE, shape=(3,), particles=256, steps=steps, grid=GRID)
        gaps.append(1 - float(found.covariance().mean(0).trace() / covariance.trace()))
    assert gaps[0] > 1.7 * abs(gaps[1]) and abs(gaps[1]) < 0.2


@pytest.mark.parametrize("smoothing", [0.0, 1.0])
def test_any_smoothing_has_the_same_limit(smoothing: float):
    mean, covariance = posterior()
    found = weighted_ensemble(
        Round(), Matrix(A), Y.expand(16, 2), NOISE,
        shape=(3,), particles=1000, steps=30, error=error, smoothing=smoothing, grid=GRID,
    )  # fmt: skip
    spread = math.sqrt(float(covariance.trace()) / 3)
    assert float((found.mean().mean(0) - mean).abs().max()) < 0.1 * spread


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_evidence_tells_a_likely_measurement_from_an_unlikely_one(sampler):
    y = torch.cat([Y, Y + 1.0])
    found = sampler(Round(), Matrix(A), y, NOISE, shape=(3,), particles=800, steps=15, error=error, grid=GRID)
    marginal = torch.distributions.MultivariateNormal(A @ MEAN, VARIANCE * A @ A.mT + torch.diag(NOISE**2))
    wanted = marginal.log_prob(y[0]) - marginal.log_prob(y[1])
    torch.testing.assert_close(found.log_evidence[0] - found.log_evidence[1], wanted, atol=0.3, rtol=0)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_problem_does_not_depend_on_the_others_nor_on_the_units(sampler):
    y = torch.cat([Y, Y + 1.0, Y - 0.5])
    settings = {"shape": (3,), "particles": 16, "steps": 8}
    whole = sampler(Round(), Matrix(A), y, NOISE, grid=GRID, **settings)
    alone = sampler(Round(), Matrix(A), y[2:], NOISE, grid=GRID, items=[2], **settings)
    torch.testing.assert_close(whole.x[2:], alone.x)
    torch.testing.assert_close(whole.log_weights[2:], alone.log_weights)
    grid = grids.LogOnePlus(scale=50, rho=2.0, sigma_min=2.0, sigma_max=8000.0)
    scaled = sampler(Round(100.0), Matrix(A), 100 * y, 100 * NOISE, grid=grid, **settings)
    torch.testing.assert_close(scaled.x / 100, whole.x)
    # Units of y alone: each value may have its own.
    units = torch.tensor([1000.0, 0.01], dtype=WIDE)
    other = sampler(Round(), Matrix(units[:, None] * A), units * y, units * NOISE, grid=GRID, **settings)
    torch.testing.assert_close(other.weights, whole.weights)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_path_that_ends_without_noise_and_single_precision_stay_finite(sampler):
    prior = Round(path=VariancePreserving())
    found = sampler(prior, Matrix(A.float()), Y.float(), 0.01, shape=(3,), particles=64, steps=30, grid=grids.Uniform())
    assert found.x.dtype == torch.float32
    assert bool(found.x.isfinite().all()) and bool(found.log_weights.isfinite().any())


def test_equal_samples_have_the_weighted_mean():
    found = twisted_particles(Round(), Matrix(A), Y, NOISE, shape=(3,), particles=2000, steps=10, grid=GRID)
    samples = equal_samples(found)
    assert samples.shape == (1, 2000, 3)
    torch.testing.assert_close(samples.mean(1), found.mean(), atol=0.02, rtol=0)
