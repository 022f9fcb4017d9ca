"""Two unknowns in one measurement, against the exact posterior of two Gaussians."""

import pytest
import torch
from torch import Tensor

from ornstein.core.analytic import GaussianDenoiser
from ornstein.core.covariances import Modes
from ornstein.core.denoisers import Denoiser
from ornstein.core.gaussian import GaussianPosterior
from ornstein.core.inverse.auto import sample_posterior
from ornstein.core.inverse.two_priors import TwoPriors
from ornstein.core.operators import Matrix
from ornstein.core.paths import EDM, OUVE, RectifiedFlow, VariancePreserving
from ornstein.core.solvers import sample

WIDE = torch.float64
GENERATOR = torch.Generator().manual_seed(0)
A = torch.randn(3, 3, dtype=WIDE, generator=GENERATOR)
B = torch.randn(3, 2, dtype=WIDE, generator=GENERATOR)
Y, NOISE = torch.tensor([[0.4, 1.5, -0.3]], dtype=WIDE), 0.2
MEANS = torch.tensor([0.5, -1.0, 0.2], dtype=WIDE), torch.tensor([1.0, 0.3], dtype=WIDE)
ROOT = torch.randn(3, 3, dtype=WIDE, generator=GENERATOR) / 2
COVARIANCES = ROOT @ ROOT.mT + 0.05 * torch.eye(3, dtype=WIDE), torch.diag(torch.tensor([0.5, 0.2], dtype=WIDE))


class InUnits(GaussianDenoiser):
    """A Gaussian whose scale says what its unit is."""

    unit = 1.0

    @property
    def scale(self) -> float:
        return self.unit


def priors(unit: float = 1.0, path=None, other=None) -> tuple[GaussianDenoiser, GaussianDenoiser]:
    first = InUnits(MEANS[0], COVARIANCES[0], path)
    second = InUnits(unit * MEANS[1], unit**2 * COVARIANCES[1], other or EDM(0.002 * unit, 80 * unit))
    second.unit = unit
    return first, second


def pair_of(unit: float = 1.0, path=None, other=None):
    first, second = priors(unit, path, other)
    pair = TwoPriors(first, second, ((3,), (2,)))
    return pair, pair.measures(Matrix(A), Matrix(B / unit)), pair.gaussian(first, second)


def posterior(y: Tensor = Y) -> tuple[Tensor, Tensor]:
    """Mean (5,) and covariance (5, 5) of x and h."""
    mean, covariance = torch.cat(MEANS), torch.block_diag(*COVARIANCES)
    rows = torch.cat([A, B], dim=1)
    gain = covariance @ rows.mT @ torch.linalg.inv(rows @ covariance @ rows.mT + NOISE**2 * torch.eye(3, dtype=WIDE))
    return mean + (y[0] - rows @ mean) @ gain.mT, covariance - gain @ rows @ covariance


def check(x: Tensor, h: Tensor, unit: float = 1.0) -> None:
    """Means and covariances of both within four standard errors of as many exact samples."""
    mean, covariance = posterior()
    both, n = torch.cat([x, h / unit], dim=1), len(x)
    error = (both.mean(0) - mean).abs() / (covariance.diagonal() / n).sqrt()
    assert float(error.max()) < 4
    variances = covariance.diagonal()
    spread = ((variances[:, None] * variances + covariance.square()) / n).sqrt()
    assert float(((both.mT.cov() - covariance).abs() / spread).max()) < 4


@pytest.mark.parametrize("unit", [1.0, 1000.0])
def test_the_default_posterior_is_exact_for_both_whatever_their_units(unit: float):
    pair, operator, _ = pair_of(unit)
    samples = sample_posterior(pair, operator, Y, NOISE, shape=(pair.size,), samples=600, steps=3)
    x, h = pair.split(samples[0])
    assert x.shape == (600, 3) and h.shape == (600, 2)
    check(x, h, unit)


@pytest.mark.parametrize("path", [EDM(), VariancePreserving(), RectifiedFlow()], ids=lambda p: type(p).__name__)
def test_any_solver_of_a_gaussian_posterior_is_exact_for_both(path):
    pair, operator, gaussian = pair_of(10.0, path, VariancePreserving())
    denoiser = GaussianPosterior(pair, gaussian, operator, Y, NOISE)
    z = torch.randn(800, 5, dtype=WIDE, generator=torch.Generator().manual_seed(1))
    check(*pair.split(sample(denoiser, steps=25, shape=z.shape, noise=lambda *_: z)), unit=10.0)


def test_the_pair_of_gaussians_is_a_gaussian():
    pair, _, gaussian = pair_of(10.0, VariancePreserving())
    x_t = torch.randn(4, 5, dtype=WIDE, generator=torch.Generator().manual_seed(1))
    for t in (0.1, 0.5, torch.linspace(0.1, 0.9, 4, dtype=WIDE)):
        t = torch.as_tensor(t, dtype=WIDE)
        torch.testing.assert_close(gaussian(x_t, t), pair(x_t, t), rtol=1e-6, atol=1e-8)
    dense = torch.block_diag(COVARIANCES[0], COVARIANCES[1])
    torch.testing.assert_close(gaussian.covariance.dense(), dense)
    torch.testing.assert_close(gaussian.covariance.diagonal(), dense.diagonal())


def test_blocks_of_low_rank_serve_by_iterations():
    # A basis of one direction beside white noise has no components for the rest.
    modes = Modes.from_samples(torch.randn(50, 3, dtype=WIDE, generator=torch.Generator().manual_seed(2)), 1)
    first, second = GaussianDenoiser(MEANS[0], modes), priors()[1]
    pair = TwoPriors(first, second, ((3,), (2,)))
    operator, gaussian = pair.measures(Matrix(A), Matrix(B)), pair.gaussian(first, second)
    found = GaussianPosterior(pair, gaussian, operator, Y, NOISE, iterations=20)
    dense = GaussianDenoiser(gaussian.mean, gaussian.covariance.dense())
    direct = GaussianPosterior(dense, dense, operator, Y, NOISE)
    t = torch.tensor(0.5, dtype=WIDE)
    x_t = torch.randn(2, 5, dtype=WIDE, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(found(x_t, t), direct(x_t, t), rtol=1e-6, atol=1e-8)
    with pytest.raises(ValueError, match="iterations"):
        GaussianPosterior(pair, gaussian, operator, Y, NOISE)


def test_the_sum_has_its_adjoint(assert_adjoint):
    _, operator, _ = pair_of(7.0)
    assert_adjoint(operator, (4, 5), (4, 3), dtype=WIDE, tolerance=1e-12)


def test_joining_undoes_splitting_and_shapes_are_free():
    first, second = priors(5.0)
    pair = TwoPriors(first, second, ((1, 3), (2, 1)))
    both = torch.arange(20.0).reshape(2, 2, 5)
    x, h = pair.split(both)
    assert x.shape == (2, 2, 1, 3) and h.shape == (2, 2, 2, 1)
    torch.testing.assert_close(pair.join(x, h), both)
    assert pair.size == 5


def test_paths_that_drift_are_refused():
    class Drifting(Denoiser):
        def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
            return x_t

    with pytest.raises(ValueError, match="OUVE"):
        TwoPriors(priors()[0], Drifting(OUVE()), ((3,), (2,)))
