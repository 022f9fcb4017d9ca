"""Predictor-corrector sampling: the law that its Langevin steps keep, and the published samplers."""

import math

import pytest
import torch
from torch import Tensor

from ornstein.core import grids
from ornstein.core.analytic import GaussianDenoiser
from ornstein.core.paths import EDM, OUVE, Path, RectifiedFlow, VarianceExploding, VariancePreserving
from ornstein.core.solvers import Exponential, PredictorCorrector, sample

WIDE = torch.float64
VARIANCES = torch.tensor([0.1, 0.5, 2.0], dtype=WIDE)


def gaussian(path: Path) -> GaussianDenoiser:
    return GaussianDenoiser(torch.tensor([0.5, -1.0, 0.0], dtype=WIDE), VARIANCES, path)


class Impulse:
    """Noise that is 1 in row k at draw k + 1 and 0 elsewhere: the rows of a linear run are its responses."""

    def __call__(self, step: int, shape, dtype, device) -> Tensor:
        noise = torch.zeros(shape, dtype=dtype)
        if step <= len(noise) - 2:
            noise[step - 1] = 1
        return noise


def after_corrections(path: Path, t: float, solver: PredictorCorrector) -> tuple[Tensor, Tensor]:
    """Mean and variances (3,) of the state after all Langevin steps at t, by superposition, from 0 mean and no variance.

    The step that ends the run is one of DDIM's to the same time, in effect none: it is read before it.
    """
    denoiser, seen = gaussian(path), []
    denoiser.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    y = torch.zeros(solver.corrections + 2, 3, dtype=WIDE) if path.drifts else None
    x = torch.zeros(solver.corrections + 2, 3, dtype=WIDE)
    grid = grids.Uniform(start=t, end=t / 2)
    sample(denoiser, solver=solver, grid=grid, steps=1, x_start=x, noise=Impulse(), y=y)
    last = seen[-1]  # the predictor's own evaluation, which follows all corrections
    responses = last[: solver.corrections] - last[-1]
    return last[-1], responses.square().sum(0)


@pytest.mark.parametrize("snr", [0.1, 0.5])
@pytest.mark.parametrize("path", [VariancePreserving(), EDM(), RectifiedFlow(), OUVE()], ids=lambda p: type(p).__name__)
def test_langevin_steps_have_the_stationary_law_of_the_marginal(path: Path, snr: float):
    # x <- (1 - eps / v) x + sqrt(2 eps) z keeps the mean, and the variance v / (1 - eps / 2 v): that of p(x_t), v, as eps
    # vanishes. The start is forgotten as (1 - eps / v)^steps.
    t, steps = 0.6, 300
    c = path.coefficients(t)
    mean, variance = after_corrections(path, t, PredictorCorrector(snr=snr, corrections=steps))
    marginal, eps = c.a**2 * VARIANCES + c.s**2, 2 * (snr * c.s) ** 2
    kept = (1 - eps / marginal) ** steps
    wanted = marginal / (1 - eps / (2 * marginal)) * (1 - kept**2)
    torch.testing.assert_close(variance, wanted, rtol=1e-9, atol=0)
    torch.testing.assert_close(mean, c.a * gaussian(path).mean * (1 - kept), rtol=1e-9, atol=1e-12)


def test_less_noise_leaves_less_variance():
    path, t = EDM(), 0.6
    whole = after_corrections(path, t, PredictorCorrector(snr=0.2, corrections=100))[1]
    half = after_corrections(path, t, PredictorCorrector(snr=0.2, corrections=100, noise_scale=0.5))[1]
    torch.testing.assert_close(half, whole / 4)


def test_sgmse_is_a_setting():
    # Its published correctors and predictors ("ald", "reverse_diffusion" of the process, which discretises by Euler).
    path, snr, steps = OUVE(), 0.5, 6
    denoiser, grid = gaussian(path), grids.Uniform(end=0.03)
    times = grid(path, steps)
    draws = torch.randn(2 * steps + 2, 4, 3, dtype=WIDE, generator=torch.Generator().manual_seed(1))
    y = draws[-1]
    x = start = path.start(draws[0], y)
    gamma, low, log_ratio = 1.5, 0.05, math.log(10)

    def score(x: Tensor, t: Tensor, std: Tensor) -> Tensor:
        decay = torch.exp(-gamma * t)
        return -(x - decay * denoiser(x, t, y) - (1 - decay) * y) / std**2

    for i in range(steps):
        t, dt = times[i], times[i] - times[i + 1]
        growth = torch.exp(2 * log_ratio * t) - torch.exp(-2 * gamma * t)
        std = torch.sqrt(low**2 * log_ratio * growth / (gamma + log_ratio))
        size = 2 * (snr * std) ** 2
        x = x + size * score(x, t, std) + torch.sqrt(2 * size) * draws[2 * i + 1]
        diffusion = low * torch.exp(log_ratio * t) * math.sqrt(2 * log_ratio)
        x = x - dt * (gamma * (y - x) - diffusion**2 * score(x, t, std))
        if i < steps - 1:
            x = x + diffusion * torch.sqrt(dt) * draws[2 * i + 2]
    noise = lambda step, *_: draws[step]  # noqa: E731
    found = sample(denoiser, solver=PredictorCorrector(), grid=grid, steps=steps, x_start=start, y=y, noise=noise)
    torch.testing.assert_close(found, x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("path", [VariancePreserving(), VarianceExploding(0.1, 10.0)], ids=lambda p: type(p).__name__)
def test_predictor_corrector_of_the_discrete_chains_is_a_setting(path: Path):
    # Song et al.'s algorithms 2 and 3: beta = 1 - (a_t / a_r)^2 on VP, sigma_t^2 - sigma_r^2 on VE; norms of each item.
    snr, steps = 0.16, 5
    denoiser, grid = gaussian(path), grids.Uniform(end=0.1)
    times = grid(path, steps)
    c = path.coefficients(times)
    draws = torch.randn(2 * steps + 1, 4, 3, dtype=WIDE, generator=torch.Generator().manual_seed(1))
    x = start = float(c.s[0]) * draws[0]
    for i in range(steps):
        score = lambda x: -(x - c.a[i] * denoiser(x, times[i])) / c.s[i] ** 2  # noqa: B023, E731
        z, gradient = draws[2 * i + 1], score(x)
        size = 2 * (snr * z.norm(dim=1) / gradient.norm(dim=1))[:, None] ** 2
        x = x + size * gradient + torch.sqrt(2 * size) * z
        if isinstance(path, VariancePreserving):
            beta = 1 - (c.a[i] / c.a[i + 1]) ** 2
            x, spread = (2 - torch.sqrt(1 - beta)) * x + beta * score(x), torch.sqrt(beta)
        else:
            variance = c.s[i] ** 2 - c.s[i + 1] ** 2
            x, spread = x + variance * score(x), torch.sqrt(variance)
        if i < steps - 1:
            x = x + spread * draws[2 * i + 2]
    solver = PredictorCorrector(snr, predictor="reverse-diffusion", step_size="norm")
    noise = lambda step, *_: draws[step]  # noqa: E731
    found = sample(denoiser, solver=solver, grid=grid, steps=steps, x_start=start, noise=noise)
    torch.testing.assert_close(found, x, rtol=1e-9, atol=1e-9)


def test_without_corrections_the_ancestral_predictor_is_the_exponential_integrator():
    options: dict = {"grid": grids.Uniform(end=0.1), "steps": 5, "shape": (3, 3), "dtype": WIDE}
    for path in (EDM(), RectifiedFlow()):
        last: list = []
        sample(gaussian(path), solver=Exponential(1, stochasticity=1.0), callback=last.append, **options)
        found: list = []
        solver = PredictorCorrector(corrections=0, predictor="ancestral")
        sample(gaussian(path), solver=solver, callback=found.append, **options)
        for ours, wanted in zip(found[:-1], last[:-1], strict=True):
            torch.testing.assert_close(ours.x, wanted.x)


def test_a_state_at_the_mode_takes_the_step_of_the_noise_level():
    options: dict = {"steps": 2, "grid": grids.Uniform(end=0.1), "x_start": torch.zeros(2, 3, dtype=WIDE)}
    centred, seen = GaussianDenoiser(torch.zeros(3), torch.ones(3), EDM()), []
    centred.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for step_size in ("norm", "noise-level"):
        sample(centred, solver=PredictorCorrector(step_size=step_size), **options)  # type: ignore[arg-type]
    assert torch.equal(seen[1], seen[5]) and bool(seen[1].abs().min() > 0)


@pytest.mark.parametrize("predictor", ["euler-maruyama", "reverse-diffusion", "ancestral"])
def test_every_predictor_goes_to_the_distribution_of_the_data(predictor: str):
    # 1,500 samples: 15 % of a variance is 4.1 standard errors; 100 Euler steps err by 2 %, the corrector's eps by 1 %.
    solver = PredictorCorrector(snr=0.1, predictor=predictor)  # type: ignore[arg-type]
    denoiser, grid = gaussian(VariancePreserving()), grids.Uniform(end=0.01)
    generator = torch.Generator().manual_seed(0)
    noise = lambda step, shape, dtype, device: torch.randn(shape, dtype=dtype, generator=generator)  # noqa: E731
    end = sample(denoiser, solver=solver, grid=grid, steps=100, shape=(1500, 3), dtype=WIDE, noise=noise)
    torch.testing.assert_close(end.var(0), VARIANCES, rtol=0.15, atol=0.01)


@pytest.mark.parametrize(
    "settings",
    [
        {"snr": 0.0},
        {"snr": 1.0},
        {"corrections": -1},
        {"noise_scale": -0.1},
        {"predictor": "heun"},
        {"step_size": "batch"},
    ],
)
def test_impossible_settings_are_refused(settings: dict):
    with pytest.raises(ValueError):
        PredictorCorrector(**settings)
