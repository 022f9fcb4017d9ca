"""Published posterior samplers are exact where their assumption is, do what they say elsewhere, and never look at other items."""

import pytest
import torch
from torch import Tensor

from ornstein.core.analytic import GaussianDenoiser, MixtureDenoiser
from ornstein.core.covariances import Diagonal
from ornstein.core.gaussian import GaussianPosterior
from ornstein.core.grids import Explicit, LogSNR
from ornstein.core.inverse.chains import sample_daps, sample_dps
from ornstein.core.inverse.jacobian import Counted
from ornstein.core.inverse.matching import MatchedPosterior, spherical
from ornstein.core.inverse.posterior import LinearPosterior
from ornstein.core.inverse.projection import NullSpacePosterior, proximal_posterior
from ornstein.core.operators import Matrix, Nonlinear, Select
from ornstein.core.paths import EDM, VariancePreserving
from ornstein.core.solvers import Exponential, Heun, PredictorCorrector, Solver, sample

WIDE = torch.float64
HERE = torch.tensor(0.4, dtype=WIDE)


def quick_noise():
    """Noise of one generator for all items: keyed noise for a thousand of them takes most of a test's time."""
    generator = torch.Generator().manual_seed(7)
    return lambda step, shape, dtype, device: torch.randn(shape, dtype=dtype, generator=generator)


def randn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=WIDE, generator=torch.Generator().manual_seed(seed))


def gaussian(path=None) -> GaussianDenoiser:
    root = randn(1, 5, 5)
    return GaussianDenoiser(randn(0, 5), root @ root.mT, path)


A, NOISE = randn(2, 3, 5), torch.tensor([0.1, 0.3, 1.0], dtype=WIDE)


@pytest.mark.parametrize("path", [EDM(), VariancePreserving()], ids=["EDM", "VP"])
@pytest.mark.parametrize("model", ["jacobian", "gaussian"])
def test_matching_the_moments_of_a_gaussian_is_bayes_rule(path, model):
    prior, y, x = gaussian(path), randn(3, 4, 3), randn(4, 4, 5)
    exact = GaussianPosterior(prior, prior, Matrix(A), y, NOISE)(x, HERE)
    covariance = "jacobian" if model == "jacobian" else prior
    found = MatchedPosterior(prior, Matrix(A), y, NOISE, covariance, iterations=3)(x, HERE)
    torch.testing.assert_close(found, exact, rtol=1e-7, atol=1e-7)
    times = torch.linspace(0.3, 0.6, 4, dtype=WIDE)  # each item its own
    each = MatchedPosterior(prior, Matrix(A), y, NOISE, covariance, iterations=3)(x, times)
    alone = MatchedPosterior(prior, Matrix(A), y[2:3], NOISE, covariance, iterations=3)(x[2:3], times[2])
    torch.testing.assert_close(each[2:3], alone, rtol=1e-7, atol=1e-7)


def test_white_data_are_all_that_pigdm_assumes_and_independent_ones_all_that_tmpd_does():
    path, y, x = EDM(), randn(3, 4, 2), randn(4, 4, 5)
    place = Select(torch.tensor([True, False, False, True, False]))
    white = GaussianDenoiser(torch.zeros(5), Diagonal(torch.full((5,), 4.0)), path)
    uneven = GaussianDenoiser(torch.zeros(5), Diagonal(torch.tensor([4.0, 1.0, 2.0, 0.1, 3.0])), path)
    operator = Matrix(A[:2])
    for prior, of, model in ((white, operator, spherical(2.0)), (uneven, place, "row-sums")):
        exact = GaussianPosterior(prior, prior, of, y, NOISE[:2])(x, HERE)
        found = MatchedPosterior(prior, of, y, NOISE[:2], model)(x, HERE)
        torch.testing.assert_close(found, exact, rtol=1e-7, atol=1e-7)
    linear = LinearPosterior(white, operator, y, 0.1, spherical(2.0), iterations=5)(x, HERE)
    exact = GaussianPosterior(white, white, operator, y, 0.1)(x, HERE)
    torch.testing.assert_close(linear, exact, rtol=1e-7, atol=1e-7)


SOLVERS: list[tuple[Solver, int]] = [
    (Exponential(4, weights="angle", corrector=True), 20),
    (Exponential(3, "noise"), 40),
    (Heun(), 40),
    (Exponential(2, stochasticity=1.0), 60),
    (PredictorCorrector(predictor="ancestral", snr=0.3), 60),
    (Exponential(1, renoise=True), 60),
]


@pytest.mark.parametrize("solver, steps", SOLVERS, ids=lambda v: str(v)[:60])
def test_posterior_goes_with_every_solver(solver, steps):
    n, prior, y = 1500, gaussian(EDM(0.01, 40.0)), randn(3, 1, 3)
    covariance = prior.covariance.dense()
    k = covariance @ A.mT @ torch.linalg.inv(A @ covariance @ A.mT + NOISE.square().diag())
    mean, left = prior.mean + k @ (y[0] - A @ prior.mean), covariance - k @ A @ covariance
    posterior = MatchedPosterior(prior, Matrix(A), y, NOISE, prior, iterations=3)
    x = sample(posterior, solver=solver, steps=steps, shape=(n, 5), dtype=WIDE, grid=LogSNR(), noise=quick_noise())
    error = (x.mean(0) - mean).norm() / left.trace().sqrt()
    if solver == Exponential(1, renoise=True):  # x0_hat again and again: the mean of the posterior, without its spread
        assert error < 0.05 and x.mT.cov().trace() < 0.7 * left.trace()
        return
    # Exact samples have .026 and about .05; the stochastic ones' 60 steps add as much.
    assert error < 0.08
    assert (x.mT.cov() - left).norm() / left.norm() < 0.15


def test_products_are_counted():
    prior, x = Counted(gaussian()), randn(4, 4, 5)
    posterior = MatchedPosterior(prior, Matrix(A), randn(3, 1, 3), NOISE, iterations=3)
    posterior(x, HERE)
    assert (prior.evaluations, prior.vjps) == (1, 4)
    sample(LinearPosterior(prior, Matrix(A), randn(3, 4, 3), 0.1, spherical(1.0)), steps=5, x_start=x)
    assert (prior.evaluations, prior.vjps) == (6, 4)


def test_null_space_keeps_the_data_and_leaves_the_prior_the_rest():
    prior, y, x = gaussian(), randn(3, 4, 3), randn(4, 4, 5)
    operator = Matrix(torch.linalg.qr(A.mT)[0].mT)  # singular values of 1
    found, x0 = NullSpacePosterior(prior, operator, y)(x, HERE), prior(x, HERE)
    torch.testing.assert_close(operator.forward(found), y, rtol=1e-5, atol=1e-5)
    rest = found - x0
    torch.testing.assert_close(rest - operator.normal(rest), torch.zeros_like(rest), rtol=0, atol=1e-9)
    sigma = float(torch.exp(-prior.path.log_snr(HERE)))
    noisy = NullSpacePosterior(prior, operator, y, noise=4 * sigma)(x, HERE) - x0
    torch.testing.assert_close(noisy, rest / 4)


def test_proximal_step_is_its_minimum():
    prior, y, x = gaussian(), randn(3, 4, 3), randn(4, 4, 5)
    sigma = float(torch.exp(-prior.path.log_snr(HERE)))
    found = proximal_posterior(prior, Matrix(A), y, 0.1, strength=3.0)(x, HERE)
    point = found.clone().requires_grad_()
    loss = (y - point @ A.mT).square().sum() / 0.02 + 3 * (point - prior(x, HERE)).square().sum() / (2 * sigma**2)
    (gradient,) = torch.autograd.grad(loss, point)
    assert gradient.abs().max() < 1e-6 * 100  # of terms of some 100
    with pytest.raises(ValueError, match="strength"):
        proximal_posterior(prior, Matrix(A), y, 0.1, strength=0.0)


def test_dps_agrees_with_the_data_and_leaves_the_rest_to_the_prior():
    prior = GaussianDenoiser(torch.zeros(2), torch.tensor([1.0, 4.0], dtype=WIDE), VariancePreserving())
    y = torch.full((1, 1), 0.7, dtype=WIDE)
    settings = {"shape": (400, 2), "steps": 150, "strength": 0.1, "grid": LogSNR(start=0.99, end=1e-4)}
    x = sample_dps(prior, Select(torch.tensor([True, False])), y, **settings, noise=quick_noise())
    assert float((x[:, 0] - 0.7).abs().mean()) < 0.1  # the prior alone: 0.9
    assert float(x[:, 1].mean()) == pytest.approx(0, abs=0.4)  # four standard errors
    assert float(x[:, 1].std()) == pytest.approx(2, rel=0.15)
    keyed = [sample_dps(prior, Select(torch.tensor([True, False])), y, **settings | {"shape": (n, 2)}) for n in (4, 2)]
    torch.testing.assert_close(keyed[0][:2], keyed[1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("linear", [True, False])
def test_daps_is_gibbs_sampling_where_its_gaussian_is_right(linear):
    """White Gaussian data and one evaluation a level: x0 given x_t is the Gaussian that it takes it for."""
    prior = GaussianDenoiser(torch.zeros(2), torch.full((2,), 4.0, dtype=WIDE), EDM(0.02, 20.0))
    row = torch.tensor([[1.0, 1.0]], dtype=WIDE)
    y, noise = torch.tensor([[1.0]], dtype=WIDE), 1.0
    operator = Matrix(row) if linear else Nonlinear(lambda x: x @ row.mT)
    settings = {"steps": 8, "inner_steps": 1, "langevin": 25, "deviation": 2.0}
    x = sample_daps(prior, operator, y, noise, shape=(500, 2), **settings, noise=quick_noise())
    gain = 4 / (8 + 1)
    wanted = 4 * torch.eye(2, dtype=WIDE) - 16 / 9 * torch.ones(2, 2, dtype=WIDE)
    # Standard errors .09 and .17; Langevin steps of half of the largest stable size widen by some more.
    torch.testing.assert_close(x.mean(0), torch.full((2,), gain, dtype=WIDE), rtol=0, atol=0.35)
    torch.testing.assert_close(x.mT.cov(), wanted, rtol=0, atol=0.9)
    keyed = [sample_daps(prior, operator, y, noise, shape=(n, 2), **settings) for n in (4, 2)]
    torch.testing.assert_close(keyed[0][:2], keyed[1], rtol=1e-6, atol=1e-6)


METHODS = {
    "MMPS": lambda prior, y: MatchedPosterior(prior, Matrix(A), y, NOISE, iterations=2),
    "TMPD": lambda prior, y: MatchedPosterior(prior, Matrix(A), y, NOISE, "row-sums"),
    "PiGDM": lambda prior, y: MatchedPosterior(prior, Matrix(A), y, NOISE, spherical(1.0), iterations=2),
    "DDS": lambda prior, y: LinearPosterior(prior, Matrix(A), y, 0.1, spherical(1.0), 2),
    "DiffPIR": lambda prior, y: proximal_posterior(prior, Matrix(A), y, 0.1, iterations=2),
    "DDNM": lambda prior, y: NullSpacePosterior(prior, Matrix(A), y, 0.1, iterations=2),
}


@pytest.mark.parametrize("name", METHODS)
def test_item_is_independent_of_its_batch_and_of_the_units_of_y(name):
    prior = MixtureDenoiser(torch.ones(2), randn(5, 2, 5), torch.tensor([0.1, 0.2]))
    y, x = randn(3, 4, 3) * torch.logspace(-1, 1, 4)[:, None], randn(4, 4, 5)
    whole = METHODS[name](prior, y)(x, HERE)
    alone = METHODS[name](prior, y[3:])(x[3:], HERE)
    torch.testing.assert_close(whole[3:], alone, rtol=1e-7, atol=1e-9)
    if name == "DDNM":  # its pseudo-inverse takes singular values to be near 1
        return
    posterior = METHODS[name](prior, y)
    scaled = {
        "MMPS": lambda: MatchedPosterior(prior, Matrix(1e3 * A), 1e3 * y, 1e3 * NOISE, iterations=2),
        "TMPD": lambda: MatchedPosterior(prior, Matrix(1e3 * A), 1e3 * y, 1e3 * NOISE, "row-sums"),
        "PiGDM": lambda: MatchedPosterior(prior, Matrix(1e3 * A), 1e3 * y, 1e3 * NOISE, spherical(1.0), iterations=2),
        "DDS": lambda: LinearPosterior(prior, Matrix(1e3 * A), 1e3 * y, 100.0, spherical(1.0), 2),
        "DiffPIR": lambda: proximal_posterior(prior, Matrix(1e3 * A), 1e3 * y, 100.0, iterations=2),
    }[name]()
    torch.testing.assert_close(scaled(x, HERE), posterior(x, HERE), rtol=1e-6, atol=1e-8)


def test_posterior_asks_for_some_signal():
    from ornstein.core.paths import RectifiedFlow

    prior = gaussian(RectifiedFlow())
    posterior = MatchedPosterior(prior, Matrix(A), randn(3, 1, 3), NOISE)
    with pytest.raises(ValueError, match="signal"):
        posterior(randn(4, 2, 5), torch.tensor(1.0, dtype=WIDE))
    x = sample(posterior, solver=Exponential(1), grid=Explicit((0.99, 0.5, 0.01)), shape=(2, 5), dtype=WIDE)
    assert x.isfinite().all()
