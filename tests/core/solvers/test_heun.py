"""Heun's method: its order, the published algorithm with churn, and its edges."""

import math

import numpy as np
import pytest
import torch

from ornstein.core import grids
from ornstein.core.analytic import GaussianDenoiser, MixtureDenoiser
from ornstein.core.paths import EDM, Cosine, Path, RectifiedFlow, VarianceExploding, VariancePreserving
from ornstein.core.solvers import Heun, sample

WIDE = torch.float64
PATHS = [VariancePreserving(), Cosine(), VarianceExploding(), EDM(), RectifiedFlow()]
paths = pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)


def gaussian(path: Path) -> GaussianDenoiser:
    return GaussianDenoiser(torch.tensor([0.5, -1.0, 0.0], dtype=WIDE), torch.tensor([0.3, 1.0, 2.0], dtype=WIDE), path)


def mixture(path: Path) -> MixtureDenoiser:
    means = torch.randn(3, 4, dtype=WIDE, generator=torch.Generator().manual_seed(0))
    return MixtureDenoiser(torch.tensor([0.2, 0.3, 0.5]), means, torch.tensor([0.01, 0.04, 0.09]), path)


@paths
def test_heun_converges_with_order_two(path: Path):
    grid = grids.LogSNR(end=0.05)
    denoiser, counts, errors = gaussian(path), (40, 80, 160), []
    for steps in counts:
        times = grid(path, steps)
        x = path.coefficients(times[0]).s * torch.linspace(-2, 2, 15, dtype=WIDE).reshape(5, 3)
        end = sample(denoiser, solver=Heun(), grid=grid, steps=steps, x_start=x)
        errors.append(float((end - denoiser.flow(x, times[0], times[-1])).norm()))
    assert -np.polyfit(np.log(counts), np.log(errors), 1)[0] == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("churn", [0.0, 3.0, 40.0])
def test_heun_is_the_published_sampler(churn: float):
    # Karras et al. (2022), algorithm 2, with t = sigma; churn stays below sigma_max here, where ours is cut.
    denoiser, path, steps = mixture(EDM()), EDM(), 9
    draws = torch.randn(steps + 1, 5, 4, dtype=WIDE, generator=torch.Generator().manual_seed(1))
    sigmas = [*path.coefficients(grids.Uniform()(path, steps)).s.tolist()]
    denoise = lambda x, sigma: denoiser(x, path.time_of(-math.log(sigma)))  # noqa: E731
    settings = {"churn": churn, "churn_min": 0.05, "churn_max": 50.0, "churn_noise": 1.003}
    x = start = 80 * draws[0]
    for i in range(steps):
        gamma = min(churn / steps, math.sqrt(2) - 1) if 0.05 <= sigmas[i] <= 50 else 0
        raised = sigmas[i] * (1 + gamma)
        x_hat = x + math.sqrt(raised**2 - sigmas[i] ** 2) * 1.003 * draws[i + 1]
        slope = (x_hat - denoise(x_hat, raised)) / raised
        x = x_hat + (sigmas[i + 1] - raised) * slope
        ahead = (x - denoise(x, sigmas[i + 1])) / sigmas[i + 1]
        x = x_hat + (sigmas[i + 1] - raised) * (slope + ahead) / 2
    found = sample(denoiser, solver=Heun(**settings), steps=steps, x_start=start, noise=lambda step, *_: draws[step])
    torch.testing.assert_close(found, x, rtol=1e-9, atol=1e-9)


class Impulse:
    """Noise that is 1 in row k at draw k + 1 and 0 elsewhere: the rows of a linear run are its responses."""

    def __call__(self, step: int, shape, dtype, device) -> torch.Tensor:
        noise = torch.zeros(shape, dtype=dtype)
        noise[step - 1] = 1
        return noise


@paths
def test_churned_variance_converges_to_the_gaussians_with_order_two(path: Path):
    # The run is linear, so that its mean and variance are sums of responses: no sampling error. At 40 steps the
    # variance is still 7 % too large, which is the method's own error: it falls by 4 with every doubling.
    denoiser = GaussianDenoiser(torch.tensor([0.5], dtype=WIDE), torch.tensor([0.3], dtype=WIDE), path)
    counts, errors = (120, 240, 480), []
    for steps in counts:
        times = grids.Karras()(path, steps)
        c, end = path.coefficients(times[0]), path.coefficients(times[-1])
        x = torch.full((steps + 2, 1), float(c.a * 0.5), dtype=WIDE)
        x[-1] += torch.sqrt(c.a**2 * 0.3 + c.s**2)
        found = sample(denoiser, solver=Heun(churn=20), steps=steps, x_start=x, noise=Impulse())[:, 0]
        assert float(found[steps]) == pytest.approx(float(end.a * 0.5), abs=1e-12)
        responses = torch.cat([found[:steps], found[-1:]]) - found[steps]
        errors.append(float((responses**2).sum() / (end.a**2 * 0.3 + end.s**2)) - 1)
    assert -np.polyfit(np.log(counts), np.log(errors), 1)[0] == pytest.approx(2, abs=0.1)


def test_last_step_to_the_data_costs_one_evaluation():
    calls = []
    denoiser = gaussian(RectifiedFlow())
    denoiser.register_forward_hook(lambda *_: calls.append(1))
    sample(denoiser, solver=Heun(), steps=4, shape=(2, 3), grid=grids.Uniform())
    assert len(calls) == 7
    calls.clear()
    sample(denoiser, solver=Heun(), steps=4, shape=(2, 3), grid=grids.Uniform(end=0.1))
    assert len(calls) == 8 == Heun().evaluations(4)


@paths
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64, torch.complex64])
def test_results_are_finite_in_every_dtype(path: Path, dtype: torch.dtype):
    for steps in (1, 2, 5):
        for churn in (0.0, 10.0):
            for kind in (grids.Uniform, grids.LogSNR):
                end = sample(gaussian(path), solver=Heun(churn), grid=kind(), steps=steps, shape=(2, 3), dtype=dtype)
                assert end.dtype == dtype and bool(end.isfinite().all())


def test_start_without_signal_gives_the_flow_of_the_gaussian():
    denoiser = gaussian(RectifiedFlow())
    x = torch.randn(6, 3, dtype=WIDE, generator=torch.Generator().manual_seed(0))
    end = sample(denoiser, solver=Heun(), grid=grids.Uniform(), steps=80, x_start=x)
    torch.testing.assert_close(end, denoiser.flow(x, 1.0, 0.0), rtol=0, atol=5e-3)


@pytest.mark.parametrize("settings", [{"churn": -1}, {"churn_min": 2, "churn_max": 1}, {"churn_noise": -1}])
def test_impossible_settings_are_refused(settings: dict):
    with pytest.raises(ValueError):
        Heun(**settings)
