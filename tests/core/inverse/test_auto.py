"""The default sampler is exact on Gaussians at any number of steps, right on mixtures, and each problem is by itself."""

import math

import pytest
import torch
from torch import Tensor

from ornstein.core.analytic import GaussianDenoiser, MixtureDenoiser
from ornstein.core.covariances import Diagonal, Modes
from ornstein.core.inverse.auto import sample_posterior
from ornstein.core.inverse.jacobian import Counted
from ornstein.core.inverse.noise_level import estimate_noise
from ornstein.core.inverse.observation import Observation, stack
from ornstein.core.operators import Mask, Matrix, Nonlinear, Select
from ornstein.core.paths import EDM, RectifiedFlow, VariancePreserving

WIDE = torch.float64


def randn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=WIDE, generator=torch.Generator().manual_seed(seed))


def gaussian_posterior(mean: Tensor, c: Tensor, a: Tensor, y: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    gain = c @ a.mT @ torch.linalg.inv(a @ c @ a.mT + r)
    return mean + gain @ (y - a @ mean), c - gain @ a @ c


def mixture_posterior(weights, means, c, a, y, r) -> tuple[Tensor, Tensor, Tensor]:
    parts = [gaussian_posterior(m, c, a, y, r) for m in means]
    marginal = torch.distributions.MultivariateNormal(means @ a.mT, a @ c @ a.mT + r)
    w = torch.softmax(weights.log() + marginal.log_prob(y), 0)
    each = torch.stack([m for m, _ in parts])
    mean = w @ each
    return mean, parts[0][1] + (each - mean).mT @ (w[:, None] * (each - mean)), w


def errors(x: Tensor, mean: Tensor, covariance: Tensor) -> tuple[float, float]:
    """Of the mean over the deviation, and of the covariance, relative."""
    return (
        float((x.mean(0) - mean).norm() / covariance.trace().sqrt()),
        float((x.mT.cov() - covariance).norm() / covariance.norm()),
    )


@pytest.mark.parametrize("path", [EDM(), VariancePreserving(), RectifiedFlow()], ids=lambda path: type(path).__name__)
@pytest.mark.parametrize("steps", [1, 3, 12])
def test_gaussian_prior_is_exact_at_any_number_of_steps(path, steps):
    n, mean, noise = 4000, randn(0, 4), torch.tensor([0.1, 0.5], dtype=WIDE)
    root = randn(1, 4, 4)
    c, a, y = root @ root.mT, randn(2, 2, 4), randn(3, 1, 2)
    prior = Counted(GaussianDenoiser(mean, c, path))
    x = sample_posterior(prior, Matrix(a), y, noise, shape=(4,), samples=n, steps=steps)
    wanted, covariance = gaussian_posterior(mean, c, a, y[0], noise.square().diag())
    found = errors(x[0], wanted, covariance)
    # Of exact samples sqrt(1 / n) = .016 and about sqrt((1 + rank) / n) = .03; half as much again.
    assert found[0] < 0.035 and found[1] < 0.06
    assert prior.evaluations == max(steps, 2) - (steps == 1) and prior.vjps == 4 * prior.evaluations


def mixture(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights, means, the variance of four modes in six dimensions, and a measurement that tells them apart a little."""
    a = randn(seed, 3, 6) / math.sqrt(6)
    q = torch.linalg.qr(a.mT)[0]
    seen = q @ q.mT
    means = 2 * randn(seed + 1, 4, 6) @ (torch.eye(6, dtype=WIDE) - seen) + 0.3 * randn(seed + 2, 4, 6) @ seen
    return torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=WIDE), means, 0.25 * torch.eye(6, dtype=WIDE), a


def test_mixture_prior_is_right_where_its_samples_are_weighted():
    weights, means, c, a = mixture(10)
    prior = MixtureDenoiser(weights, means, c.diagonal().expand(4, 6))
    y = (means[2] + 0.5 * randn(13, 6)) @ a.mT
    wanted, covariance, w = mixture_posterior(weights, means, c, a, y, 0.0025 * torch.eye(3, dtype=WIDE))
    assert w.sort().values[-2] > 0.02  # more than one mode is left

    def run(weighted: bool) -> tuple[float, float]:
        x = sample_posterior(prior, Matrix(a), y[None], 0.05, shape=(6,), samples=1000, steps=30, weighted=weighted)
        return errors(x[0], wanted, covariance)

    # Exact samples: .03 and .05.
    right, plain = run(True), run(False)
    assert right[0] < 0.08 and right[1] < 0.12
    assert plain[0] > 2 * right[0]  # the Gaussian alone does not know how many samples a mode has


def test_problem_is_by_itself_and_the_units_of_y_do_not_matter():
    weights, means, c, a = mixture(20)
    prior = MixtureDenoiser(weights, means, c.diagonal().expand(4, 6))
    y = randn(21, 3, 3) * torch.tensor([1.0, 1.0, 30.0])
    settings = {"shape": (6,), "samples": 40, "steps": 6}
    whole = sample_posterior(prior, Matrix(a), y, 0.05, **settings)
    alone = sample_posterior(prior, Matrix(a), y[1:2], 0.05, items=[1], **settings)
    torch.testing.assert_close(whole[1:2], alone, rtol=1e-6, atol=1e-8)
    milli = sample_posterior(prior, Matrix(1000 * a), 1000 * y, 50.0, **settings)
    torch.testing.assert_close(milli, whole, rtol=1e-6, atol=1e-8)
    own = Matrix(torch.stack([a, 2 * a, a]))  # one matrix an item
    other = sample_posterior(prior, own, y, 0.05, **settings)
    torch.testing.assert_close(other[[0, 2]], whole[[0, 2]], rtol=1e-6, atol=1e-8)


def test_stacked_measurements_each_have_their_noise():
    mean, c = torch.zeros(4, dtype=WIDE), torch.eye(4, dtype=WIDE)
    place = torch.tensor([True, False, False, False])
    a, y, z = randn(1, 2, 4), randn(2, 2, 2), randn(3, 2, 1)
    operator, values, noise = stack((Matrix(a), y, 0.3), (Select(place), z, 0.01))
    x = sample_posterior(
        GaussianDenoiser(mean, c), operator, values, noise, shape=(4,), samples=2000, steps=2, items=[5, 6]
    )
    rows, r = torch.cat([a, place.to(WIDE)[None]]), torch.tensor([0.09, 0.09, 1e-4], dtype=WIDE).diag()
    for i in range(2):
        wanted, covariance = gaussian_posterior(mean, c, rows, values[i], r)
        found = errors(x[i], wanted, covariance)
        assert found[0] < 0.05 and found[1] < 0.1  # exact: .022 and .04


def test_noise_of_low_rank_is_a_covariance():
    direction = torch.linalg.qr(randn(1, 4, 1))[0]
    r = Modes(direction, torch.tensor([1.0]), 0.01)
    y = randn(2, 1, 4)
    prior = GaussianDenoiser(torch.zeros(4), torch.eye(4, dtype=WIDE))
    x = sample_posterior(prior, Mask(torch.ones(4)), y, r, shape=(4,), samples=3000, steps=2)
    unit = torch.eye(4, dtype=WIDE)
    wanted, covariance = gaussian_posterior(torch.zeros(4, dtype=WIDE), unit, unit, y[0], r.dense())
    found = errors(x[0], wanted, covariance)
    assert found[0] < 0.04 and found[1] < 0.08  # exact: .018 and .03
    whitened = Observation(Mask(torch.ones(4)), y, r).whiten(randn(3, 20_000, 4) @ torch.linalg.cholesky(r.dense()).mT)
    torch.testing.assert_close(whitened.mT.cov(), unit, rtol=0, atol=0.05)  # five standard errors


def test_nonlinear_measurement_by_its_derivative():
    """y = exp(x) of a one-dimensional Gaussian, against the integral."""
    y, noise = torch.tensor([[2.0]], dtype=WIDE), 0.2
    prior = GaussianDenoiser(torch.zeros(1), torch.ones(1, dtype=WIDE))
    x = sample_posterior(prior, Nonlinear(torch.exp), y, noise, shape=(1,), samples=2000, steps=30)
    line = torch.linspace(-5, 5, 20_001, dtype=WIDE)
    density = torch.exp(-line.square() / 2 - (line.exp() - 2).square() / (2 * noise**2))
    mean = float((density * line).sum() / density.sum())
    deviation = float(((density * (line - mean) ** 2).sum() / density.sum()).sqrt())
    assert float(x.mean()) == pytest.approx(mean, abs=4 * deviation / math.sqrt(2000))
    assert float(x.std()) == pytest.approx(deviation, rel=0.1)  # six standard errors


def test_noise_is_found_where_it_is_not_told():
    """Forty observations of eight values: 32 directions hold nothing but noise, and tell it to 1 / 8."""
    prior = MixtureDenoiser(torch.ones(2), randn(0, 2, 8), torch.tensor([0.2, 0.5]))
    a, x0 = randn(1, 40, 8), randn(2, 3, 8)
    levels = torch.tensor([0.01, 0.1, 0.5], dtype=WIDE)
    y = x0 @ a.mT + levels[:, None] * randn(3, 3, 40)
    found = estimate_noise(prior, Matrix(a), y, (8,))
    assert (found / levels - 1).abs().max() < 0.35  # some three standard errors
    torch.testing.assert_close(estimate_noise(prior, Matrix(1e3 * a), 1e3 * y, (8,)), 1e3 * found, rtol=0.02, atol=0)
    settings = {"shape": (8,), "samples": 2, "steps": 3}
    told = sample_posterior(prior, Matrix(a), y, found[:, None], **settings)
    assert torch.equal(sample_posterior(prior, Matrix(a), y, None, **settings), told)


def test_what_does_not_serve_is_refused():
    large = GaussianDenoiser(torch.zeros(600), Diagonal(torch.ones(600)))
    with pytest.raises(ValueError, match="600"):
        sample_posterior(large, Mask(torch.ones(600)), torch.zeros(1, 600), 0.1, shape=(600,), samples=1)
    with pytest.raises(ValueError, match="noise"):
        Observation(Mask(torch.ones(2)), torch.zeros(1, 2), 0.0)
    with pytest.raises(ValueError, match="noise"):
        Observation(Mask(torch.ones(2)), torch.zeros(1, 2), Diagonal(torch.ones(3)))
