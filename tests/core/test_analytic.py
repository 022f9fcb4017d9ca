"""Exact denoisers: against each other, against Bayes' rule by sums, and against their own densities."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ornstein.core.analytic import DatasetDenoiser, GaussianDenoiser, MixtureDenoiser
from ornstein.core.denoisers import Denoiser
from ornstein.core.paths import EDM, Cosine, Path, RectifiedFlow, VarianceExploding, VariancePreserving, expand

WIDE = torch.float64
PATHS = [VariancePreserving(), Cosine(), VarianceExploding(), EDM(), RectifiedFlow()]
paths = pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
seeds = st.integers(0, 2**20)
times = st.floats(0.05, 0.95)


def randn(seed: int, *shape: int, dtype: torch.dtype = WIDE) -> torch.Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def covariance(seed: int, d: int, dtype: torch.dtype = WIDE) -> torch.Tensor:
    root = randn(seed, d, d, dtype=dtype)
    return root @ root.mH / d + 0.1 * torch.eye(d, dtype=dtype)


def tweedie_score(denoiser: Denoiser, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    c = denoiser.path.coefficients(t)
    return (expand(c.a, x) * denoiser(x, t) - x) / expand(c.s, x) ** 2


def log_density_score(denoiser, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(denoiser.log_density(x, t).sum(), x)[0]


@paths
@given(seed=seeds, t=times)
def test_gaussian_is_the_wiener_filter(path: Path, seed: int, t: float):
    mean, matrix, x = randn(seed, 4), covariance(seed + 1, 4), 3 * randn(seed + 2, 5, 4)
    c = path.coefficients(t)
    total = c.a**2 * matrix + c.s**2 * torch.eye(4, dtype=WIDE)
    wanted = mean + torch.linalg.solve(total, (c.a * (x - c.a * mean)).mT).mT @ matrix
    torch.testing.assert_close(GaussianDenoiser(mean, matrix, path)(x, t), wanted, rtol=1e-9, atol=1e-9)


def test_diagonal_and_dense_covariance_agree():
    mean, variances = randn(0, 2, 3), randn(1, 2, 3).exp()
    x, t = randn(2, 7, 2, 3), torch.rand(7, dtype=WIDE)
    diagonal, dense = GaussianDenoiser(mean, variances), GaussianDenoiser(mean, variances.reshape(-1).diag())
    torch.testing.assert_close(diagonal(x, t), dense(x, t))
    torch.testing.assert_close(diagonal.log_density(x, t), dense.log_density(x, t))
    torch.testing.assert_close(diagonal.flow(x, t, 0.01), dense.flow(x, t, 0.01))
    for moment in (t, torch.tensor(0.4)):
        assert dense.posterior_covariance(moment).shape == (*moment.shape, 6, 6)
        torch.testing.assert_close(diagonal.posterior_covariance(moment), dense.posterior_covariance(moment))
        spread = dense.posterior_covariance(moment).diagonal(dim1=-2, dim2=-1).reshape(*moment.shape, 2, 3)
        torch.testing.assert_close(diagonal.posterior_variance(moment), spread)
        torch.testing.assert_close(dense.posterior_variance(moment), spread)
        torch.testing.assert_close(dense.error(moment), spread.mean((-1, -2)).sqrt())


@paths
@given(seed=seeds, t=times)
def test_score_is_the_gradient_of_the_log_density(path: Path, seed: int, t: float):
    mean, matrix = randn(seed, 3), covariance(seed + 1, 3)
    weights, means = torch.tensor([0.2, 0.5, 0.3]), randn(seed + 2, 3, 3)
    x = path.mix(randn(seed + 3, 6, 3), randn(seed + 4, 6, 3), t)
    moment = torch.full((6,), t, dtype=WIDE)
    for denoiser in (
        GaussianDenoiser(mean, matrix, path),
        GaussianDenoiser(mean, matrix.diag(), path),
        MixtureDenoiser(weights, means, torch.tensor([0.3, 0.5, 1.0]), path),
        MixtureDenoiser(weights, means, torch.stack([matrix, matrix / 2, matrix * 2]), path),
        DatasetDenoiser(randn(seed + 5, 9, 3), path),
    ):
        tweedie = tweedie_score(denoiser, x, moment)
        scale = float(tweedie.abs().max())
        torch.testing.assert_close(log_density_score(denoiser, x, moment), tweedie, rtol=1e-7, atol=1e-9 * scale)


@given(seed=seeds, t=times)
def test_mixture_of_one_is_a_gaussian(seed: int, t: float):
    mean, matrix, x = randn(seed, 4), covariance(seed + 1, 4), 3 * randn(seed + 2, 5, 4)
    gaussian, mixture = GaussianDenoiser(mean, matrix), MixtureDenoiser(torch.ones(1), mean[None], matrix[None])
    torch.testing.assert_close(mixture(x, t), gaussian(x, t))
    torch.testing.assert_close(mixture.log_density(x, t), gaussian.log_density(x, t))


@given(seed=seeds, t=times)
def test_equal_components_are_one_component(seed: int, t: float):
    mean, x = randn(seed, 4), 3 * randn(seed + 2, 5, 4)
    twice = MixtureDenoiser(torch.tensor([0.3, 0.7]), torch.stack([mean, mean]), torch.full((2,), 0.5))
    torch.testing.assert_close(twice(x, t), GaussianDenoiser(mean, torch.full((4,), 0.5))(x, t))


def test_mixture_is_bayes_rule_by_quadrature():
    path, t = RectifiedFlow(), 0.4
    mixture = MixtureDenoiser(*(torch.tensor(v, dtype=WIDE) for v in ([0.3, 0.7], [[-1.0], [0.5]], [0.04, 0.25])), path)
    x0 = torch.linspace(-6, 6, 20_001, dtype=WIDE)
    parts = [(0.3, -1.0, 0.2), (0.7, 0.5, 0.5)]
    prior = sum(w * torch.exp(-(((x0 - m) / s) ** 2) / 2) / s for w, m, s in parts)
    for x in (-1.5, -0.2, 0.0, 0.9):
        joint = prior * torch.exp(-(((x - 0.6 * x0) / 0.4) ** 2) / 2)
        # The trapezium rule on a smooth, decaying integrand converges beyond all orders: 1e-10 is rounding.
        answer = float(mixture(torch.tensor([[x]], dtype=WIDE), t))
        assert answer == pytest.approx(float((joint * x0).sum() / joint.sum()), abs=1e-10)


def test_data_set_is_a_mixture_of_vanishing_width():
    points, x = randn(0, 11, 3), randn(1, 6, 3)
    t = torch.linspace(0.3, 0.9, 6, dtype=WIDE)
    narrow = MixtureDenoiser(torch.ones(11), points, torch.full((11,), 1e-14))
    torch.testing.assert_close(DatasetDenoiser(points)(x, t), narrow(x, t), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(DatasetDenoiser(points).log_density(x, t), narrow.log_density(x, t))


def test_data_set_without_noise_is_its_nearest_point():
    points = randn(0, 30, 5)
    x = points[[3, 17]] + 0.01 * randn(1, 2, 5)
    assert torch.equal(DatasetDenoiser(points, RectifiedFlow())(x, 0.0), points[[3, 17]])


def test_data_set_does_not_depend_on_how_it_is_chunked(monkeypatch):
    points, x = randn(0, 200, 5), randn(1, 4, 5)
    whole = DatasetDenoiser(points)(x, 0.5)
    monkeypatch.setattr("ornstein.core.analytic.CHUNK", 40)
    torch.testing.assert_close(DatasetDenoiser(points)(x, 0.5), whole)


@paths
@given(seed=seeds)
def test_flow_solves_the_probability_flow_equation(path: Path, seed: int):
    # d/dr of flow(x, t, r) at r = t is the drift f x - g^2 score / 2, by central differences.
    gaussian = GaussianDenoiser(randn(seed, 3), covariance(seed + 1, 3), path)
    t, step = 0.45, 1e-5
    x = path.mix(randn(seed + 2, 4, 3), randn(seed + 3, 4, 3), t)
    f, _, g2 = path.diffusion(t)
    moment = torch.full((4,), t, dtype=WIDE)
    drift = f * x - g2 / 2 * tweedie_score(gaussian, x, moment)
    measured = (gaussian.flow(x, t, t + step) - gaussian.flow(x, t, t - step)) / (2 * step)
    torch.testing.assert_close(measured, drift, rtol=1e-6, atol=1e-6 * float(drift.abs().max()))


@paths
def test_flow_there_and_back_is_the_identity(path: Path):
    gaussian = GaussianDenoiser(randn(0, 3), covariance(1, 3), path)
    x = randn(2, 4, 3)
    torch.testing.assert_close(gaussian.flow(gaussian.flow(x, 0.2, 0.7), 0.7, 0.2), x, rtol=1e-9, atol=1e-9)


def test_samples_have_the_posterior_mean_and_covariance():
    # E|x0 - x0_hat|^2 is the trace of the posterior covariance: 200,000 draws, so 1 % is about three standard errors.
    path, t, matrix = Cosine(), 0.5, covariance(0, 3)
    gaussian = GaussianDenoiser(randn(1, 3), matrix, path)
    x0 = gaussian.mean + randn(2, 200_000, 3) @ torch.linalg.cholesky(matrix).mT
    residual = x0 - gaussian(path.mix(x0, randn(3, 200_000, 3), t), t)
    torch.testing.assert_close(residual.mT.cov(), gaussian.posterior_covariance(t), rtol=0.02, atol=0.003)


def test_complex_gaussian_is_the_wiener_filter_of_circular_data():
    mean, matrix = randn(0, 3, dtype=torch.complex128), covariance(1, 3, torch.complex128)
    x, path = randn(2, 5, 3, dtype=torch.complex128), Cosine()
    c = path.coefficients(0.5)
    total = (c.a**2 * matrix + c.s**2 * torch.eye(3)).to(torch.complex128)
    wanted = mean + (c.a * matrix @ torch.linalg.solve(total, (x - c.a * mean).mT)).mT
    torch.testing.assert_close(GaussianDenoiser(mean, matrix, path)(x, 0.5), wanted)
    # The density of the pair (real, imaginary) is that of a real Gaussian of half the variance in each part.
    proper = GaussianDenoiser(torch.zeros(3), torch.ones(3), path)
    parts = torch.cat([x.real, x.imag], dim=1) * math.sqrt(2)
    real = GaussianDenoiser(torch.zeros(6), torch.ones(6), path).log_density(parts, 0.5) + 6 * math.log(math.sqrt(2))
    torch.testing.assert_close(proper.log_density(x, 0.5), real)
    assert proper(x.to(torch.complex64), 0.5).dtype == torch.complex64


@pytest.mark.parametrize("sigma", [1e-12, 1e-6, 1.0, 1e6, 1e12])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_answers_are_finite_at_any_noise_level(sigma: float, dtype: torch.dtype):
    path = VarianceExploding(1e-13, 1e13)
    t = path.time_of(-math.log(sigma))
    level = min(sigma, 1e4)  # float16 ends at 65504
    x = (level * randn(0, 8, 3) + randn(1, 8, 3)).to(dtype)
    for denoiser in (
        GaussianDenoiser(torch.zeros(3), torch.tensor([0.0, 1.0, 1e6]), path),
        MixtureDenoiser(torch.ones(2), randn(2, 2, 3), torch.tensor([1e-8, 1.0]), path),
        DatasetDenoiser(randn(3, 5, 3), path),
    ):
        answer = denoiser(x, t)
        assert answer.dtype == dtype and answer.shape == x.shape and bool(answer.isfinite().all())


def test_ends_of_rectified_flow_are_the_data_and_the_mean():
    points = randn(0, 4, 2)
    weights = torch.ones(4)
    mixture = MixtureDenoiser(weights, points, torch.full((4,), 0.3), RectifiedFlow())
    gaussian = GaussianDenoiser(points[0], torch.tensor([0.0, 2.0]), RectifiedFlow())
    x = randn(1, 5, 2)
    torch.testing.assert_close(mixture(x, 1.0), points.mean(0).expand(5, 2))
    torch.testing.assert_close(mixture(x, 0.0), x)
    torch.testing.assert_close(gaussian(x, 1.0), points[0].expand(5, 2))
    torch.testing.assert_close(gaussian(x, 0.0)[:, 1], x[:, 1])


@pytest.mark.parametrize("make", [
    lambda: GaussianDenoiser(torch.zeros(3), torch.ones(4)),
    lambda: GaussianDenoiser(torch.zeros(3), -torch.ones(3)),
    lambda: GaussianDenoiser(torch.zeros(2), torch.tensor([[1.0, 2.0], [0.0, 1.0]])),
    lambda: GaussianDenoiser(torch.zeros(2), torch.tensor([[1.0, 2.0], [2.0, 1.0]])),
    lambda: MixtureDenoiser(torch.ones(2), torch.zeros(3, 2), torch.ones(3)),
    lambda: MixtureDenoiser(torch.tensor([1.0, 0.0]), torch.zeros(2, 2), torch.ones(2)),
    lambda: MixtureDenoiser(torch.ones(2), torch.zeros(2, 2), torch.zeros(2)),
    lambda: DatasetDenoiser(torch.zeros(0, 2)),
])  # fmt: skip
def test_impossible_distributions_are_refused(make):
    with pytest.raises(ValueError):
        make()
