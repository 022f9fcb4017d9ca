"""PFGM++: the law of its noise, its Gaussian limit, and that it refuses what needs a Gaussian."""

import pytest
import torch
from scipy import stats

from ornstein.core.analytic import GaussianDenoiser
from ornstein.core.denoisers import Denoiser, NetworkDenoiser
from ornstein.core.paths import EDM, PFGMPP
from ornstein.core.solvers import Exponential, Heun, sample


def normal(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("count", "dimensions"), [(1, 3.0), (2, 0.5), (64, 128.0), (3072, 2048.0), (64, 7.5)])
def test_radius_of_the_noise_has_its_beta_prime_law(count, dimensions):
    # R^2 / r^2 ~ beta'(N / 2, D / 2), by Kolmogorov's test: 5,000 draws, a chance of 1e-3 to fail if it were drawn anew.
    noise = PFGMPP(dimensions=dimensions).noise(normal(5000 if count < 1000 else 1000, count))
    square = noise.square().sum(1) / dimensions
    assert stats.kstest(square.numpy(), stats.betaprime(count / 2, dimensions / 2).cdf).pvalue > 1e-3


@pytest.mark.parametrize(("count", "dimensions"), [(1, 3.0), (64, 128.0), (3072, 2048.0)])
def test_quantiles_of_the_radius_are_exact(count, dimensions):
    # The same quantile of F(N, D) as |z|^2 is of chi^2(N), to 1e-4 of the probability of either tail.
    square = torch.from_numpy(stats.chi2(count).ppf([1e-5, 0.01, 0.3, 0.5, 0.9, 1 - 1e-5]))
    z = normal(len(square), count)
    z = z * (square / z.square().sum(1)).sqrt()[:, None]
    ratio = (PFGMPP(dimensions=dimensions).noise(z).square().sum(1) / count).numpy()
    law, source = stats.f(count, dimensions), stats.chi2(count)
    assert law.cdf(ratio) == pytest.approx(source.cdf(square), rel=1e-4)
    assert law.sf(ratio) == pytest.approx(source.sf(square), rel=1e-4)


def test_marginal_of_the_noise_is_students_t():
    noise = PFGMPP(dimensions=5.0).noise(normal(5000, 3))
    assert stats.kstest(noise[:, 1].numpy(), stats.t(5).cdf).pvalue > 1e-3


def test_direction_of_the_noise_is_that_of_z_in_any_dtype():
    path = PFGMPP(dimensions=8.0)
    for dtype in (torch.float32, torch.complex64, torch.bfloat16):
        z = normal(6, 2, 5, dtype=torch.complex64 if dtype.is_complex else torch.float32).to(dtype)
        noise = path.noise(z)
        assert noise.dtype == dtype and bool(noise.isfinite().all())
        ratio = (noise / z).flatten(1).to(torch.complex64).real
        assert float(ratio.std(1).max()) < (0.01 if dtype == torch.bfloat16 else 1e-6) * float(ratio.mean())


def test_complex_noise_is_the_real_noise_of_twice_as_many_values():
    path, z = PFGMPP(dimensions=8.0), normal(6, 5, dtype=torch.complex128)
    real = torch.view_as_real(z).flatten(1) * 2**0.5
    expected = torch.view_as_complex(path.noise(real).reshape(6, 5, 2).contiguous()) / 2**0.5
    torch.testing.assert_close(path.noise(z), expected, rtol=1e-12, atol=0)


def test_many_dimensions_are_edm():
    path, edm, z, x0 = PFGMPP(dimensions=1e12), EDM(), normal(7, 48), normal(7, 48) / 3
    t = torch.linspace(0.1, 1.0, 7)
    torch.testing.assert_close(path.mix(x0, z, t), edm.mix(x0, z, t), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(path.start(z), edm.start(z), rtol=1e-6, atol=0)


class PoissonDenoiser(Denoiser):
    """E[x0 | x_t] of two points under the noise of PFGM++: weights (|x - x_k|^2 + r^2)^(-(N + D) / 2)."""

    def __init__(self, path: PFGMPP, points: torch.Tensor) -> None:
        super().__init__(path)
        self.points = points

    def forward(self, x_t, t, y=None, **conditions):
        path: PFGMPP = self.path  # type: ignore[assignment]
        r2 = path.coefficients(t).s ** 2 * path.dimensions
        square = (x_t[:, None] - self.points).square().sum(2)
        power = (self.points.shape[1] + path.dimensions) / 2
        return torch.softmax(-power * torch.log(square + r2), dim=1) @ self.points


@pytest.mark.parametrize("dimensions", [2.0, 64.0])
def test_field_lines_from_the_start_end_at_both_points_equally(dimensions):
    # Two points at -1 and 1 in 4 dimensions; 2,000 starts at sigma = 80 by the deterministic solvers of EDM. The lines
    # of an exact field bring each half: five standard errors.
    points = torch.tensor([[-1.0] * 4, [1.0] * 4], dtype=torch.float64)
    denoiser = PoissonDenoiser(PFGMPP(dimensions=dimensions), points)
    for solver in (Exponential(order=2), Heun()):
        x = sample(denoiser, solver=solver, steps=40, x_start=denoiser.path.start(normal(2000, 4)))
        nearest = (x[:, None] - points).norm(dim=2).min(dim=1)
        assert float(nearest.values.quantile(0.99)) < 0.05  # sigma ends at 0.002, in 4 dimensions with heavy tails
        assert float(nearest.indices.double().mean()) == pytest.approx(0.5, abs=5 * 0.5 / 2000**0.5)


def test_poisson_flow_has_no_sde_and_says_so_by_name():
    path = PFGMPP()
    for call in (lambda: path.diffusion(0.5), lambda: path.fresh_noise(0.5, 0.4)):
        with pytest.raises(ValueError, match=r"PFGMPP\(.*has no SDE"):
            call()


def test_gaussian_denoisers_do_not_serve_it():
    path, exact = PFGMPP(), GaussianDenoiser(torch.zeros(2), torch.ones(2))
    network = NetworkDenoiser(torch.nn.Identity(), EDM())
    for denoiser in (exact, network):
        with pytest.raises(ValueError, match="PFGMPP"):
            denoiser.on(path)
    assert NetworkDenoiser(torch.nn.Identity(), path).on(path).path == path


@pytest.mark.parametrize(
    "solver", [Exponential(order=1, stochasticity=1.0), Exponential(order=1, renoise=True), Heun(churn=40)], ids=str
)
def test_solvers_that_add_gaussian_noise_are_refused_by_name(solver):
    denoiser = PoissonDenoiser(PFGMPP(), torch.tensor([[-1.0], [1.0]]))
    with pytest.raises(ValueError, match=r"PFGMPP.*(Exponential|Heun)"):
        sample(denoiser, solver=solver, steps=3, shape=(2, 1))
