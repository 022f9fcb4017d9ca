"""The exponential integrator: its orders, the published solvers that it contains, its SDE twins and its edges."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from ornstein.core import grids
from ornstein.core.analytic import GaussianDenoiser, MixtureDenoiser
from ornstein.core.paths import EDM, Coefficients, Cosine, Path, RectifiedFlow, VarianceExploding, VariancePreserving
from ornstein.core.solvers import Exponential, sample

WIDE = torch.float64
PATHS = [VariancePreserving(), Cosine(), VarianceExploding(), EDM(), RectifiedFlow()]


@dataclass(frozen=True)
class MeanReverting(Path):
    """Speech enhancement's path: the mean decays from x0 to y while noise grows (Ornstein-Uhlenbeck, exploding)."""

    def coefficients(self, t: Tensor | float) -> Coefficients:
        t = torch.as_tensor(t, dtype=WIDE)
        gamma, low, growth = 1.5, 0.05, math.log(10.0)
        a = torch.exp(-gamma * t)
        s = low * torch.sqrt((torch.exp(2 * growth * t) - a**2) * growth / (gamma + growth))
        ds = (low**2 * growth / (gamma + growth)) * (growth * torch.exp(2 * growth * t) + gamma * a**2) / s
        return Coefficients(a, 1 - a, s, -gamma * a, gamma * a, ds)

    def time_of(self, log_snr: Tensor | float) -> Tensor:
        gamma, low, growth = 1.5, 0.05, math.log(10.0)
        square = torch.exp(-2 * torch.as_tensor(log_snr, dtype=WIDE)) / low**2 * (gamma + growth) / growth
        return torch.log1p(square) / (2 * (growth + gamma))


@dataclass(frozen=True)
class Bridge(Path):
    """The Brownian bridge from x0 to y, without noise at either end."""

    def coefficients(self, t: Tensor | float) -> Coefficients:
        t = torch.as_tensor(t, dtype=WIDE)
        one, s = torch.ones_like(t), torch.sqrt(t * (1 - t)) / 2
        return Coefficients(1 - t, t, s, -one, one, (1 - 2 * t) / 8 / s)

    def time_of(self, log_snr: Tensor | float) -> Tensor:
        return 1 / (1 + torch.exp(2 * torch.as_tensor(log_snr, dtype=WIDE)) / 4)


def gaussian(path: Path) -> GaussianDenoiser:
    return GaussianDenoiser(torch.tensor([0.5, -1.0, 0.0], dtype=WIDE), torch.tensor([0.3, 1.0, 2.0], dtype=WIDE), path)


def mixture(path: Path) -> MixtureDenoiser:
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(3, 4, dtype=WIDE, generator=generator)
    return MixtureDenoiser(torch.tensor([0.2, 0.3, 0.5]), means, torch.tensor([0.01, 0.04, 0.09]), path)


def measured_order(path: Path, solver, grid, counts: tuple[int, ...], y: Tensor | None = None) -> float:
    """Minus the slope of log error over log steps, against the Gaussian's exact flow."""
    denoiser, errors = gaussian(path), []
    for steps in counts:
        times = grid(path, steps)
        c = path.coefficients(times[0])
        x = c.a * denoiser.mean + c.s * torch.linspace(-2, 2, 15, dtype=WIDE).reshape(5, 3)
        x = x if y is None else x + c.b * y
        end = sample(denoiser, solver=solver, grid=grid, steps=steps, x_start=x, y=y)
        errors.append(float((end - denoiser.flow(x, times[0], times[-1], y)).norm()))
    return float(-np.polyfit(np.log(counts), np.log(errors), 1)[0])


def inner(path: Path, kind: type, high: float = 4.0, low: float = 0.2):
    """A grid between two noise levels s / a, the end time well above 0."""
    return kind(start=float(path.time_of(-math.log(high))), end=float(path.time_of(-math.log(low))))


@pytest.mark.parametrize("kind", [grids.LogSNR, grids.Uniform])
@pytest.mark.parametrize("prediction", ["data", "noise"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
def test_solver_converges_with_its_order(path: Path, order: int, prediction: str, kind: type):
    # Errors of 0.1 in the order are seen where steps are most unequal (the Cosine path's equal times), 0.05 elsewhere.
    counts = (200, 400, 800) if order == 3 and kind is grids.Uniform else (50, 100, 200)
    order_found = measured_order(path, Exponential(order, prediction), inner(path, kind), counts)
    assert order_found == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("prediction", ["data", "noise"])
def test_power_weights_converge_with_their_order(prediction: str, order: int):
    for path in PATHS:
        found = measured_order(
            path, Exponential(order, prediction, "power"), inner(path, grids.LogSNR), (100, 200, 400)
        )
        assert found == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_interpolation_in_a_over_s_keeps_its_order_from_pure_noise(order: int):
    grid = grids.Uniform(end=0.05)
    found = measured_order(RectifiedFlow(), Exponential(order, weights="power"), grid, (80, 160, 320))
    assert found == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize("prediction", ["data", "noise"])
@pytest.mark.parametrize("weights", ["b1", "b2"])
def test_corrector_gains_an_order(weights: str, prediction: str):
    for order in (1, 2):
        solver = Exponential(order, prediction, weights, corrector=True)
        found = measured_order(VariancePreserving(), solver, grids.LogSNR(end=0.05), (40, 80, 160))
        assert found == pytest.approx(order + 1, abs=0.25)


def test_published_third_order_weights_are_of_second_order():
    # The published multistep code counts the parabola's curvature half, which costs the third order: why "exact" exists.
    for path in (VariancePreserving(), EDM()):
        grid = inner(path, grids.LogSNR)
        assert measured_order(path, Exponential(3, weights="dpm"), grid, (100, 200, 400)) == pytest.approx(2, abs=0.1)
        assert measured_order(path, Exponential(3), grid, (100, 200, 400)) == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize("prediction", ["data", "noise"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_path_that_drifts_to_y_converges_with_the_order(order: int, prediction: str):
    y = torch.tensor([3.0, -2.0, 1.0], dtype=WIDE).expand(5, 3)
    for path, grid in ((MeanReverting(), grids.LogSNR(start=1.0, end=0.1)), (Bridge(), inner(Bridge(), grids.LogSNR))):
        solver = Exponential(order, prediction)
        assert measured_order(path, solver, grid, (100, 200, 400), y) == pytest.approx(order, abs=0.25)


def test_second_order_needs_a_tenth_of_the_steps_of_eulers_method_on_a_path_with_y():
    path, y = MeanReverting(), torch.tensor([3.0, -2.0, 1.0], dtype=WIDE).expand(5, 3)
    denoiser = gaussian(path)
    x, end = y + 0.4 * torch.linspace(-2, 2, 15, dtype=WIDE).reshape(5, 3), 0.03
    wanted = denoiser.flow(x, 1.0, end, y)
    ours = sample(denoiser, solver=Exponential(2), grid=grids.LogSNR(end=end), steps=10, x_start=x, y=y)
    euler, times = x, torch.linspace(1, end, 101, dtype=WIDE)
    for t, r in pairwise(times):
        c = path.coefficients(t)
        x0 = denoiser(euler, t, y)
        velocity = c.da * x0 + c.db * y + c.ds * (euler - c.a * x0 - c.b * y) / c.s
        euler = euler + (r - t) * velocity
    assert float((ours - wanted).norm()) < float((euler - wanted).norm())


# The published updates, written as in their papers and codes, in sigma = s / a and u / a.


def ddim(denoise, x: Tensor, sigmas: list[float]) -> Tensor:
    for sigma, end in pairwise(sigmas):
        x0 = denoise(x, sigma)
        x = x0 + end * (x - x0) / sigma
    return x


def dpm_plus_plus_2m(denoise, x: Tensor, sigmas: list[float]) -> Tensor:
    old = None
    for i in range(len(sigmas) - 1):
        x0 = denoise(x, sigmas[i])
        h = math.log(sigmas[i] / sigmas[i + 1])
        direction = x0
        if old is not None:
            r = math.log(sigmas[i - 1] / sigmas[i]) / h
            direction = (1 + 1 / (2 * r)) * x0 - old / (2 * r)
        x = sigmas[i + 1] / sigmas[i] * x - math.expm1(-h) * direction
        old = x0
    return x


def dpm_plus_plus_3m(denoise, x: Tensor, sigmas: list[float]) -> Tensor:
    seen: list[Tensor] = []
    for i in range(len(sigmas) - 1):
        seen.append(denoise(x, sigmas[i]))
        h = math.log(sigmas[i] / sigmas[i + 1])
        update = -math.expm1(-h) * seen[-1]
        if i == 1:
            update -= math.expm1(-h) / 2 * (seen[-1] - seen[-2]) * h / math.log(sigmas[0] / sigmas[1])
        elif i > 1:
            r0, r1 = (math.log(sigmas[i - k - 1] / sigmas[i - k]) / h for k in (0, 1))
            d0, d1 = (seen[-1] - seen[-2]) / r0, (seen[-2] - seen[-3]) / r1
            first, second = d0 + r0 / (r0 + r1) * (d0 - d1), (d0 - d1) / (r0 + r1)
            update += (math.expm1(-h) / h + 1) * first - ((math.expm1(-h) + h) / h**2 - 0.5) * second
        x = sigmas[i + 1] / sigmas[i] * x + update
    return x


def dpm_solver_2m(denoise, x: Tensor, sigmas: list[float]) -> Tensor:
    old = None
    for i in range(len(sigmas) - 1):
        noise = (x - denoise(x, sigmas[i])) / sigmas[i]
        h = math.log(sigmas[i] / sigmas[i + 1])
        direction = noise
        if old is not None:
            r = math.log(sigmas[i - 1] / sigmas[i]) / h
            direction = noise + (noise - old) / (2 * r)
        x = x - sigmas[i + 1] * math.expm1(h) * direction
        old = noise
    return x


def adams_bashforth_2(denoise, x: Tensor, sigmas: list[float]) -> Tensor:
    old = None
    for i in range(len(sigmas) - 1):
        slope, h = (x - denoise(x, sigmas[i])) / sigmas[i], sigmas[i + 1] - sigmas[i]
        change = slope if old is None else slope + h / (2 * (sigmas[i] - sigmas[i - 1])) * (slope - old)
        x, old = x + h * change, slope
    return x


def unipc_2(denoise, x: Tensor, sigmas: list[float]) -> Tensor:
    """UniPC of order 2 with B(h) = exp(-h) - 1 as published: predict, evaluate, correct, and predict on."""
    model, old, h_old = denoise(x, sigmas[0]), None, 0.0
    for i in range(len(sigmas) - 1):
        h = math.log(sigmas[i] / sigmas[i + 1])
        ratio, b = sigmas[i + 1] / sigmas[i], math.expm1(-h)
        phi_2, phi_3 = b / -h - 1, (b / -h - 1) / -h - 0.5
        base = ratio * x - b * model
        d1 = None if old is None else (old - model) / (-h_old / h)
        x_end = base if d1 is None else base - b * 0.5 * d1
        if i == len(sigmas) - 2:
            return x_end
        ahead = denoise(x_end, sigmas[i + 1])
        if d1 is None:
            x = base - b * 0.5 * (ahead - model)
        else:
            r = -h_old / h
            system = torch.tensor([[1.0, 1.0], [r, 1.0]], dtype=WIDE)
            right = torch.tensor([phi_2 / b, 2 * phi_3 / b], dtype=WIDE)
            rho = torch.linalg.solve(system, right)
            x = base - b * (rho[0] * d1 + rho[1] * (ahead - model))
        model, old, h_old = ahead, model, h
    raise AssertionError


@pytest.mark.parametrize(
    ("published", "solver"),
    [
        (ddim, Exponential(1)),
        (ddim, Exponential(1, "noise")),
        (dpm_plus_plus_2m, Exponential(2, weights="dpm")),
        (dpm_plus_plus_3m, Exponential(3, weights="dpm")),
        (dpm_solver_2m, Exponential(2, "noise", "dpm")),
        (adams_bashforth_2, Exponential(2, "noise", "power")),
        (unipc_2, Exponential(2, weights="b2", corrector=True)),
    ],
    ids=lambda value: value.__name__ if callable(value) and not isinstance(value, Exponential) else "",
)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
def test_published_solver_is_a_setting(path: Path, published, solver: Exponential):
    sigmas = [50.0, 20.0, 9.0, 5.0, 2.0, 1.1, 0.4, 0.15, 0.05]
    times = path.time_of(-torch.tensor(sigmas, dtype=WIDE).log())
    grid = grids.Explicit(tuple(times.tolist()))
    denoiser, exploding = mixture(path), VarianceExploding(0.001, 100.0)
    reference = mixture(exploding)
    first, last = path.coefficients(times[0]), path.coefficients(times[-1])
    u = sigmas[0] * torch.randn(6, 4, dtype=WIDE, generator=torch.Generator().manual_seed(1))
    wanted = published(lambda x, sigma: reference(x, exploding.time_of(-math.log(sigma))), u, sigmas)
    found = sample(denoiser, solver=solver, grid=grid, x_start=first.a * u) / last.a
    # Times pass through sigma and back, to 1e-13 relative where the path is steep; differences of 1e-9 remain.
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-8)


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
    path = MeanReverting()
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


@pytest.mark.parametrize("solver", [Exponential(1, stochasticity=50.0), Exponential(1, "data", "power", False, 200.0)])
def test_much_stochasticity_is_renoising(solver: Exponential):
    options = {"steps": 10, "shape": (4, 3), "dtype": WIDE}
    renoised = sample(gaussian(EDM()), solver=Exponential(1, renoise=True), **options)
    torch.testing.assert_close(sample(gaussian(EDM()), solver=solver, **options), renoised, rtol=1e-6, atol=1e-6)


SOLVERS = [Exponential(k, p, w) for k in (1, 2, 3) for p in ("data", "noise") for w in ("exact", "dpm", "power")]


@pytest.mark.parametrize(
    "solver", [*SOLVERS, Exponential(2, stochasticity=1.0), Exponential(3, weights="b2", corrector=True)]
)
def test_last_step_to_no_noise_is_the_estimate(solver: Exponential):
    for path in (RectifiedFlow(), VariancePreserving()):
        states = []
        options = {"grid": grids.Uniform(), "steps": 7, "shape": (3, 4), "dtype": WIDE}
        end = sample(mixture(path), solver=solver, callback=states.append, **options)
        torch.testing.assert_close(end, states[-1].x0)


@pytest.mark.parametrize(
    "solver", [*SOLVERS, Exponential(3, weights="b1", corrector=True), Exponential(2, stochasticity=1.0)]
)
def test_bridge_starts_ancestral_and_ends_at_the_data(solver: Exponential):
    path, y = Bridge(), torch.randn(4, 3, dtype=WIDE)
    states = []
    draws = torch.ones(4, 3, dtype=WIDE)
    noise = lambda step, *_: draws if step == 1 else torch.zeros(4, 3, dtype=WIDE)  # noqa: E731
    denoiser = gaussian(path)
    end = sample(denoiser, solver=solver, grid=grids.Uniform(), steps=5, y=y, noise=noise, callback=states.append)
    r = path.coefficients(torch.tensor(0.8, dtype=WIDE))
    torch.testing.assert_close(states[0].x, r.a * denoiser.mean + r.b * y + r.s * draws)
    assert bool(end.isfinite().all())
    torch.testing.assert_close(end, states[-1].x0)


def test_start_without_signal_gives_the_flow_of_the_gaussian():
    denoiser = gaussian(RectifiedFlow())
    x = torch.randn(6, 3, dtype=WIDE, generator=torch.Generator().manual_seed(0))
    wanted = denoiser.flow(x, 1.0, 0.0)
    for solver in SOLVERS:
        if solver.order > 1:
            end = sample(denoiser, solver=solver, grid=grids.Uniform(), steps=200, x_start=x)
            torch.testing.assert_close(end, wanted, rtol=0, atol=5e-3)


DTYPES = [torch.bfloat16, torch.float32, torch.float64, torch.complex64]
NOISY = [Exponential(1, renoise=True), Exponential(2, stochasticity=0.5)]
CORRECTED = [Exponential(3, weights="b2", corrector=True), Exponential(2, "noise", "b1", corrector=True)]


def check_finite(path: Path, solver: Exponential, kind: type, steps: int, dtype: torch.dtype) -> None:
    # The data lie within 4 of 0. Extrapolation over two to five steps from sigma 80 to 0.002 may overshoot, but not to
    # infinity, and in a / s, which grows 40,000-fold, it does overshoot; the first order cannot.
    end = sample(gaussian(path), solver=solver, grid=kind(), steps=steps, shape=(2, 3), dtype=dtype)
    assert end.dtype == dtype and end.shape == (2, 3) and bool(end.isfinite().all()), (solver, kind)
    assert solver.order > 1 or solver.corrector or float(end.abs().max()) < 10, (solver, kind)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
def test_results_are_finite_in_every_dtype(path: Path, dtype: torch.dtype):
    # Pairwise: every path and dtype with every solver, with grids and steps in turn; the slow test has all of them.
    kinds, counts = [grids.Uniform, grids.Karras, grids.LogSNR], [1, 2, 5, 50]
    for i, solver in enumerate([*SOLVERS, *NOISY, *CORRECTED]):
        shift = i + PATHS.index(path) + DTYPES.index(dtype)
        check_finite(path, solver, kinds[shift % 3], counts[shift % 4], dtype)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 2, 5, 50])
@pytest.mark.parametrize("kind", [grids.Uniform, grids.Quadratic, grids.Cosine, grids.Karras, grids.LogSNR])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
def test_all_combinations_are_finite(path: Path, dtype: torch.dtype, kind: type, steps: int):
    for solver in [*SOLVERS, *NOISY, *CORRECTED]:
        check_finite(path, solver, kind, steps, dtype)


@pytest.mark.parametrize(
    "settings",
    [
        {"order": 0},
        {"order": 4, "weights": "dpm"},
        {"order": 4, "multistep": False},
        {"order": 2, "multistep": False, "corrector": True},
        {"order": 2, "multistep": False, "weights": "b1"},
        {"order": 2, "multistep": False, "stochasticity": 1.0},
        {"order": 4, "weights": "adams", "corrector": True},
        {"order": 2, "weights": "adams", "eta": 1.0},
        {"eta": 1.1},
        {"eta": 0.5, "stochasticity": 1.0},
        {"eta": 0.5, "prediction": "noise"},
        {"prediction": "score"},
        {"weights": "euler"},
        {"stochasticity": -0.1},
        {"stochasticity": math.inf},
        {"order": 2, "renoise": True},
        {"order": 1, "renoise": True, "stochasticity": 1.0},
        {"corrector": True, "stochasticity": 1.0},
        {"order": 1, "corrector": True, "renoise": True},
    ],
)
def test_impossible_settings_are_refused(settings: dict):
    with pytest.raises(ValueError):
        Exponential(**settings)
