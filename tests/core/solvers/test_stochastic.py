"""The stochastic settings: their weak order, and the published chains that they contain."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ornstein.core import grids
from ornstein.core.analytic import GaussianDenoiser, MixtureDenoiser
from ornstein.core.denoisers import Denoiser
from ornstein.core.paths import (
    EDM,
    OUVE,
    PFGMPP,
    RDDM,
    MeanReverting,
    Path,
    RectifiedFlow,
    ResShift,
    VariancePreserving,
)
from ornstein.core.solvers import Exponential, Heun, PredictorCorrector, sample

WIDE = torch.float64


def gaussian(path: Path) -> GaussianDenoiser:
    return GaussianDenoiser(torch.tensor([0.5, -1.0, 0.0], dtype=WIDE), torch.tensor([0.3, 1.0, 2.0], dtype=WIDE), path)


def mixture(path: Path) -> MixtureDenoiser:
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(3, 4, dtype=WIDE, generator=generator)
    return MixtureDenoiser(torch.tensor([0.2, 0.3, 0.5]), means, torch.tensor([0.01, 0.04, 0.09]), path)


def inner(path: Path, kind: type, high: float = 4.0, low: float = 0.2):
    """A grid between two noise levels s / a, the end time well above 0."""
    return kind(start=float(path.time_of(-math.log(high))), end=float(path.time_of(-math.log(low))))


class Impulse:
    """Noise that is 1 in row k at draw k + 1 and 0 elsewhere: the rows of a linear run are its responses."""

    def __call__(self, step: int, shape, dtype, device) -> Tensor:
        noise = torch.zeros(shape, dtype=dtype)
        noise[step - 1] = 1
        return noise


def propagated(solver: Exponential, path: Path, grid, steps: int) -> tuple[float, float]:
    """The mean and the variance of the result for N(0.6, 0.5), started from its exact marginal, by superposition."""
    denoiser = GaussianDenoiser(torch.tensor([0.6], dtype=WIDE), torch.tensor([0.5], dtype=WIDE), path)
    times = grid(path, steps)
    c = path.coefficients(times[0])
    spread, mean = math.sqrt(c.a**2 * 0.5 + c.s**2), float(c.a * 0.6)
    # Rows: one a noise draw, then the mean's own path, then the start's deviation; all but those two start at the mean.
    x = torch.full((steps + 2, 1), mean, dtype=WIDE)
    x[-1] += spread
    end = sample(denoiser, solver=solver, grid=grid, steps=steps, x_start=x, noise=Impulse())[:, 0]
    responses = torch.cat([end[:steps], end[-1:]]) - end[steps]
    return float(end[steps]), float((responses**2).sum())


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("prediction", ["data", "noise"])
@pytest.mark.parametrize("stochasticity", [0.4, 1.0])
def test_sde_twin_has_its_weak_order(order: int, prediction: str, stochasticity: float):
    solver, counts = Exponential(order, prediction, stochasticity=stochasticity), (80, 160, 320)
    for path in (VariancePreserving(), EDM(), RectifiedFlow()):
        grid = inner(path, grids.LogSNR)
        c = path.coefficients(grid.end)
        mean, variance = float(c.a * 0.6), float(c.a**2 * 0.5 + c.s**2)
        errors = np.abs([np.array(propagated(solver, path, grid, n)) - (mean, variance) for n in counts])
        for moment in range(2):
            if errors[:, moment].max() < 1e-9:  # started at the mean, it stays there where the solver is exact for it
                continue
            found = -np.polyfit(np.log(counts), np.log(errors[:, moment]), 1)[0]
            # The second-order twin remembers x0_hat of noisy states, which the linear problem forgives.
            assert found == pytest.approx(order, abs=0.25), (path, moment, errors[:, moment])


def test_first_order_twin_is_the_ancestral_chain():
    # DDPM: the posterior q(x_r | x_t, x0_hat) of the forward chain.
    path, denoiser = VariancePreserving(), mixture(VariancePreserving())
    times = grids.Uniform(end=0.1)(path, 6)
    x = start = torch.randn(5, 4, dtype=WIDE, generator=torch.Generator().manual_seed(0))
    draws = torch.randn(7, 5, 4, dtype=WIDE, generator=torch.Generator().manual_seed(1))
    for i in range(6):
        t, r = path.coefficients(times[i]), path.coefficients(times[i + 1])
        alpha, beta = (t.a / r.a) ** 2, 1 - (t.a / r.a) ** 2
        mean = r.a * beta / t.s**2 * denoiser(x, times[i]) + torch.sqrt(alpha) * r.s**2 / t.s**2 * x
        x = mean + torch.sqrt(r.s**2 / t.s**2 * beta) * draws[i + 1]
    solver, grid = Exponential(1, stochasticity=1.0), grids.Uniform(end=0.1)
    found = sample(denoiser, solver=solver, grid=grid, steps=6, x_start=start, noise=lambda step, *_: draws[step])
    torch.testing.assert_close(found, x, rtol=1e-10, atol=1e-10)


def test_second_order_sde_twin_is_the_published_2m_sde():
    denoiser, draws = mixture(EDM()), torch.randn(9, 5, 4, dtype=WIDE, generator=torch.Generator().manual_seed(1))
    times = grids.Uniform(end=0.2)(EDM(), 8)
    sigmas = EDM().coefficients(times).s.tolist()
    x = start = 80 * draws[0]
    old = None
    for i in range(8):  # DPM-Solver++(2M) SDE, midpoint, as in its published code
        x0, h = denoiser(x, times[i]), math.log(sigmas[i] / sigmas[i + 1])
        x = sigmas[i + 1] / sigmas[i] * math.exp(-h) * x - math.expm1(-2 * h) * x0
        if old is not None:
            x = x - 0.5 * math.expm1(-2 * h) * h / math.log(sigmas[i - 1] / sigmas[i]) * (denoised := x0 - old)
            assert denoised.shape == x.shape
        x = x + sigmas[i + 1] * math.sqrt(-math.expm1(-2 * h)) * draws[i + 1]
        old = x0
    solver = Exponential(2, weights="dpm", stochasticity=1.0)
    grid = grids.Uniform(end=0.2)
    found = sample(denoiser, solver=solver, grid=grid, steps=8, x_start=start, noise=lambda step, *_: draws[step])
    torch.testing.assert_close(found, x, rtol=1e-9, atol=1e-9)


def test_renoising_chain_forgets_all_but_the_estimate():
    path = OUVE()
    denoiser, y = gaussian(path), torch.randn(5, 3, dtype=WIDE)
    draws = torch.randn(7, 5, 3, dtype=WIDE, generator=torch.Generator().manual_seed(1))
    times = grids.Uniform()(path, 6)
    x = start = y + 0.5 * draws[0]
    for i in range(6):
        r = path.coefficients(times[i + 1])
        x = r.a * denoiser(x, times[i], y) + r.b * y + r.s * draws[i + 1]
    solver = Exponential(order=1, renoise=True)
    options = {"grid": grids.Uniform(), "steps": 6, "y": y}
    found = sample(denoiser, solver=solver, x_start=start, noise=lambda step, *_: draws[step], **options)
    torch.testing.assert_close(found, x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "solver", [Exponential(1, stochasticity=50.0), Exponential(1, weights="power", stochasticity=200.0)]
)
def test_much_stochasticity_is_renoising(solver: Exponential):
    options = {"steps": 10, "shape": (4, 3), "dtype": WIDE}
    renoised = sample(gaussian(EDM()), solver=Exponential(1, renoise=True), **options)
    torch.testing.assert_close(sample(gaussian(EDM()), solver=solver, **options), renoised, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("path", [ResShift(), RDDM(sigma=0.5), OUVE(), VariancePreserving(), EDM()])
def test_chain_of_a_path_adds_its_own_fresh_noise(path: Path, eta: float):
    # x_r = a_r x0 + b_r y + sqrt(s_r^2 - rho^2) (x_t - a_t x0 - b_t y) / s_t + rho z, rho = eta that of the path.
    denoiser, times = gaussian(path), grids.Uniform(start=0.9, end=0.1)(path, 6)
    draws = torch.randn(8, 5, 3, dtype=WIDE, generator=torch.Generator().manual_seed(1))
    y = draws[7] if path.drifts else torch.zeros(5, 3, dtype=WIDE)
    x = start = y + 0.5 * draws[0]
    c = path.coefficients(times)
    for i in range(6):
        rho = eta * path.fresh_noise(times[i], times[i + 1])
        x0 = denoiser(x, times[i], y)
        kept = torch.sqrt(c.s[i + 1] ** 2 - rho**2) * (x - c.a[i] * x0 - c.b[i] * y) / c.s[i]
        x = c.a[i + 1] * x0 + c.b[i + 1] * y + kept + rho * draws[i + 1]
    options: dict = {"grid": grids.Uniform(start=0.9, end=0.1), "steps": 6, "x_start": start}
    noise = lambda step, *_: draws[step]  # noqa: E731
    found = sample(denoiser, solver=Exponential(1, eta=eta), y=y if path.drifts else None, noise=noise, **options)
    torch.testing.assert_close(found, x, rtol=1e-10, atol=1e-10)


def test_whole_chain_of_resshift_is_its_published_posterior():
    # q(x_r | x_t, x0_hat): the mean (eta_r / eta_t) x_t + (alpha / eta_t) x0_hat, the variance kappa^2 eta_r alpha / eta_t.
    path = ResShift()
    denoiser, times = gaussian(path), grids.Uniform()(path, 5)
    draws = torch.randn(7, 4, 3, dtype=WIDE, generator=torch.Generator().manual_seed(1))
    y, x = draws[6], draws[6] + path.kappa * draws[0]
    start, eta = x, path.coefficients(times).b
    for i in range(5):
        alpha = eta[i] - eta[i + 1]
        mean = eta[i + 1] / eta[i] * x + alpha / eta[i] * denoiser(x, times[i], y)
        x = mean + path.kappa * torch.sqrt(eta[i + 1] * alpha / eta[i]) * draws[i + 1]
    noise = lambda step, *_: draws[step]  # noqa: E731
    options: dict = {"grid": grids.Uniform(), "steps": 5, "x_start": start, "y": y, "noise": noise}
    found = sample(denoiser, solver=Exponential(1, eta=1.0), **options)
    torch.testing.assert_close(found, x, rtol=1e-10, atol=1e-10)


def test_no_fresh_noise_is_ddim_and_all_of_it_on_vp_the_ancestral_chain():
    path = VariancePreserving()
    options: dict = {"shape": (3, 4), "steps": 7, "dtype": WIDE, "grid": grids.Uniform()}
    for eta, same in ((0.0, Exponential(1)), (1.0, Exponential(1, stochasticity=1.0))):
        found = sample(mixture(path), solver=Exponential(1, eta=eta), **options)
        torch.testing.assert_close(found, sample(mixture(path), solver=same, **options), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("prediction", ["data", "noise"])
@pytest.mark.parametrize("stochasticity", [0.0, 1.0])
def test_mr_sampler_is_a_setting_on_the_mean_reverting_path(order: int, prediction: str, stochasticity: float):
    """MR Sampler's updates as published, with mu = y, in its own terms of the differences D1 and of mu's weight."""
    path = MeanReverting()
    denoiser, steps = gaussian(path), 7
    grid = grids.Uniform(end=0.05)
    times = grid(path, steps)
    c, lam = path.coefficients(times), path.log_snr(times)
    draws = torch.randn(9, 5, 3, dtype=WIDE, generator=torch.Generator().manual_seed(1))
    mu = draws[8]
    x = start = mu + 0.2 * draws[0]
    old = None
    for i in range(1, steps + 1):
        a, a_old, s, s_old = c.a[i], c.a[i - 1], c.s[i], c.s[i - 1]
        h, x0 = lam[i] - lam[i - 1], denoiser(x, times[i - 1], mu)
        value = x0 if prediction == "data" else (x - mu - (x0 - mu) * a_old) / s_old
        slope = torch.zeros_like(value)
        if order == 2 and old is not None:
            slope = (value - old) / ((lam[i - 1] - lam[i - 2]) / h)
        if prediction == "data" and not stochasticity:
            phi1 = torch.exp(-h) - 1
            x = s / s_old * x - a * (phi1 * value - (phi1 / h + 1) * slope)
            x = x + mu * (1 - s / s_old + s / s_old * a_old - a)
        elif prediction == "noise" and not stochasticity:
            phi1 = torch.exp(h) - 1
            x = a / a_old * x - s * (phi1 * value + (phi1 / h - 1) * slope) + mu * (1 - a / a_old)
        elif prediction == "data":
            phi1 = 1 - torch.exp(-2 * h)
            x = s / s_old * torch.exp(-h) * x + a * phi1 * value + a * (1 - phi1 / 2 / h) * slope
            x = x + s * torch.sqrt(phi1) * draws[i] + mu * (1 - a / a_old * torch.exp(-2 * h) - a * phi1)
        else:
            phi1 = torch.exp(h) - 1
            x = a / a_old * x - 2 * s * phi1 * value - 2 * s * (phi1 / h - 1) * slope
            x = x + s * torch.sqrt(torch.exp(2 * h) - 1) * draws[i] + mu * (1 - a / a_old)
        old = value
    solver = Exponential(order, prediction, stochasticity=stochasticity)
    noise = lambda step, *_: draws[step]  # noqa: E731
    found = sample(denoiser, solver=solver, grid=grid, steps=steps, x_start=start, y=mu, noise=noise)
    torch.testing.assert_close(found, x, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    "solver",
    [
        Exponential(1, eta=0.5),
        Exponential(2, stochasticity=1.0),
        Exponential(1, renoise=True),
        Heun(churn=5.0),
        PredictorCorrector(),
    ],
)
def test_stochastic_solver_is_refused_by_name_where_the_noise_is_not_gaussian(solver):
    class Halved(Denoiser):
        def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
            return x_t / 2

    denoiser = Halved(PFGMPP())
    with pytest.raises(ValueError, match=f"PFGMPP.*does not allow {type(solver).__name__}"):
        sample(denoiser, solver=solver, steps=3, shape=(2, 4))
    assert bool(sample(denoiser, solver=Exponential(2), steps=3, shape=(2, 4)).isfinite().all())
