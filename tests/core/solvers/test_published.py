"""The published deterministic updates are settings of the exponential integrator."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from ornstein.core import grids
from ornstein.core.analytic import MixtureDenoiser
from ornstein.core.paths import EDM, Cosine, Path, RectifiedFlow, VarianceExploding, VariancePreserving
from ornstein.core.solvers import BDIA, Exponential, Solver, sample

WIDE = torch.float64
PATHS = [VariancePreserving(), Cosine(), VarianceExploding(), EDM(), RectifiedFlow()]


def mixture(path: Path) -> MixtureDenoiser:
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(3, 4, dtype=WIDE, generator=generator)
    return MixtureDenoiser(torch.tensor([0.2, 0.3, 0.5]), means, torch.tensor([0.01, 0.04, 0.09]), path)


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


def deis_3(denoise, x: Tensor, sigmas: list[float]) -> Tensor:
    """The integral over sigma of Lagrange's parabola in log(sigma), by 80 Gauss points a step."""
    points, shares = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(80))
    seen: list[tuple[float, Tensor]] = []
    for sigma, end in pairwise(sigmas):
        seen = [(math.log(sigma), (x - denoise(x, sigma)) / sigma), *seen[:2]]
        at = (end - sigma) / 2 * points + (end + sigma) / 2
        for level, value in seen:
            basis = torch.ones_like(at)
            for other, _ in seen:
                if other != level:
                    basis = basis * (at.log() - other) / (level - other)
            x = x + float((end - sigma) / 2 * (shares * basis).sum()) * value
    return x


def plms(denoise, x: Tensor, sigmas: list[float]) -> Tensor:
    """Pseudo linear multistep: fixed weights of up to four noises, after pseudo improved Euler for the first step."""
    seen: list[Tensor] = []
    for i, (sigma, end) in enumerate(pairwise(sigmas)):
        seen.insert(0, (x - denoise(x, sigma)) / sigma)
        if i == 0:
            guess = x + (end - sigma) * seen[0]
            slope = (seen[0] + (guess - denoise(guess, end)) / end) / 2
        elif i == 1:
            slope = (3 * seen[0] - seen[1]) / 2
        elif i == 2:
            slope = (23 * seen[0] - 16 * seen[1] + 5 * seen[2]) / 12
        else:
            slope = (55 * seen[0] - 59 * seen[1] + 37 * seen[2] - 9 * seen[3]) / 24
        x = x + (end - sigma) * slope
    return x


def dpm_plus_plus_2s(denoise, x: Tensor, sigmas: list[float]) -> Tensor:
    for sigma, end in pairwise(sigmas):
        h, middle = math.log(sigma / end), math.sqrt(sigma * end)
        x0 = denoise(x, sigma)
        u = middle / sigma * x - math.expm1(-h / 2) * x0
        x = end / sigma * x - math.expm1(-h) * denoise(u, middle)
    return x


def dpm_solver_2s(denoise, x: Tensor, sigmas: list[float]) -> Tensor:
    for sigma, end in pairwise(sigmas):
        h, middle = math.log(sigma / end), math.sqrt(sigma * end)
        u = x - middle * math.expm1(h / 2) * (x - denoise(x, sigma)) / sigma
        x = x - end * math.expm1(h) * (u - denoise(u, middle)) / middle
    return x


def dpm_solver_3s(denoise, x: Tensor, sigmas: list[float]) -> Tensor:
    """DPM-Solver-3 of its paper, algorithm 2, with r1 = 1/3 and r2 = 2/3."""
    for sigma, end in pairwise(sigmas):
        h, r1, r2 = math.log(sigma / end), 1 / 3, 2 / 3
        s1, s2 = sigma * math.exp(-r1 * h), sigma * math.exp(-r2 * h)
        noise = (x - denoise(x, sigma)) / sigma
        u1 = x - s1 * math.expm1(r1 * h) * noise
        d1 = (u1 - denoise(u1, s1)) / s1 - noise
        u2 = x - s2 * math.expm1(r2 * h) * noise - s2 * r2 / r1 * (math.expm1(r2 * h) / (r2 * h) - 1) * d1
        d2 = (u2 - denoise(u2, s2)) / s2 - noise
        x = x - end * math.expm1(h) * noise - end / r2 * (math.expm1(h) / h - 1) * d2
    return x


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
        (deis_3, Exponential(3, "noise", corrector=False)),
        (plms, Exponential(4, "noise", "adams")),
        (dpm_plus_plus_2s, Exponential(2, weights="dpm", multistep=False)),
        (dpm_solver_2s, Exponential(2, "noise", "dpm", multistep=False)),
        (dpm_solver_3s, Exponential(3, "noise", "dpm", multistep=False)),
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


def test_bdia_is_its_published_update():
    # In the paper's terms, a_i z + b_i noise for DDIM's step, on the variance-preserving path; down and up again.
    path, gamma, steps = VariancePreserving(), 0.7, 6
    denoiser, times = mixture(path), grids.Uniform(end=0.1)(path, steps)
    c = path.coefficients(times)
    z = [torch.randn(5, 4, dtype=WIDE, generator=torch.Generator().manual_seed(1))]

    def ddim(x: Tensor, noise: Tensor, i: int, j: int) -> Tensor:
        ratio = c.a[j] / c.a[i]
        return ratio * x + (c.s[j] - ratio * c.s[i]) * noise

    for i in range(steps):
        noise = (z[i] - c.a[i] * denoiser(z[i], times[i])) / c.s[i]
        change = ddim(z[i], noise, i, i + 1)
        if i:
            change = change + gamma * (z[i - 1] - ddim(z[i], noise, i, i - 1))
        z.append(change)
    found = sample(denoiser, solver=BDIA(gamma), grid=grids.Uniform(end=0.1), steps=steps, x_start=z[0])
    torch.testing.assert_close(found, z[-1], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("kind", "settings", "solver"),
    [
        ("DEISMultistepScheduler", {"solver_order": 2}, Exponential(2, "noise")),
        ("DEISMultistepScheduler", {"solver_order": 3}, Exponential(3, "noise", corrector=False)),
        ("UniPCMultistepScheduler", {"solver_order": 2}, Exponential(2, weights="b2", corrector=True)),
        ("UniPCMultistepScheduler", {"solver_order": 3}, Exponential(3, weights="b2", corrector=True)),
        (
            "UniPCMultistepScheduler",
            {"solver_order": 3, "solver_type": "bh1"},
            Exponential(3, weights="b1", corrector=True),
        ),
    ],
)
def test_solver_equals_that_of_diffusers_at_equal_noise_levels(kind: str, settings: dict, solver: Solver):
    diffusers = pytest.importorskip("diffusers")
    # Its noise levels are VP's, a^2 + s^2 = 1; the cosine path is.
    path, sigmas = Cosine(), torch.logspace(1, -1, 10, dtype=WIDE)
    denoiser, times = mixture(path), path.time_of(-sigmas.log())
    scheduler = getattr(diffusers, kind)(prediction_type="sample", lower_order_final=False, **settings)
    scheduler.set_timesteps(9)
    scheduler.sigmas = sigmas
    x = start = torch.randn(6, 4, dtype=WIDE, generator=torch.Generator().manual_seed(1))
    for t, r in zip(times[:-1], scheduler.timesteps, strict=True):
        x = scheduler.step(denoiser(x, t), r, x).prev_sample
    found = sample(denoiser, solver=solver, grid=grids.Explicit(tuple(times.tolist())), x_start=start)
    torch.testing.assert_close(found, x, rtol=1e-8, atol=1e-8)


def test_dpm_solver_plus_plus_equals_that_of_diffusers():
    # By its update functions: its `step` rounds to float32.
    diffusers = pytest.importorskip("diffusers")
    path, sigmas = Cosine(), torch.logspace(1, -1, 10, dtype=WIDE)
    denoiser, times = mixture(path), path.time_of(-sigmas.log())
    scheduler = diffusers.DPMSolverMultistepScheduler(final_sigmas_type="sigma_min")
    scheduler.set_timesteps(9)
    scheduler.sigmas = sigmas
    x = start = torch.randn(6, 4, dtype=WIDE, generator=torch.Generator().manual_seed(1))
    old = None
    for i in range(9):
        scheduler._step_index, x0 = i, denoiser(x, times[i])
        if old is None:
            x = scheduler.dpm_solver_first_order_update(x0, sample=x)
        else:
            x = scheduler.multistep_dpm_solver_second_order_update([old, x0], sample=x)
        old = x0
    grid = grids.Explicit(tuple(times.tolist()))
    found = sample(denoiser, solver=Exponential(2, weights="dpm"), grid=grid, x_start=start)
    torch.testing.assert_close(found, x, rtol=1e-8, atol=1e-8)


def test_ddim_equals_that_of_diffusers():
    diffusers = pytest.importorskip("diffusers")

    path, sigmas = Cosine(), torch.logspace(1, -1, 11, dtype=WIDE)
    times = path.time_of(-sigmas.log())
    denoiser, c = mixture(path), path.coefficients(times)
    for eta in (0.0, 1.0):
        scheduler = diffusers.DDIMScheduler(
            num_train_timesteps=11, prediction_type="sample", clip_sample=False, timestep_spacing="leading"
        )
        scheduler.alphas_cumprod = c.a.flip(0) ** 2
        scheduler.set_timesteps(11)
        draws = torch.randn(11, 6, 4, dtype=WIDE, generator=torch.Generator().manual_seed(1))
        x = start = draws[0]
        for i in range(10):
            now = 10 - i
            x = scheduler.step(denoiser(x, times[i]), now, x, eta=eta, variance_noise=draws[i + 1]).prev_sample
        grid = grids.Explicit(tuple(times.tolist()))
        options: dict = {"grid": grid, "x_start": start, "noise": lambda step, *_: draws[step]}  # noqa: B023
        found = sample(denoiser, solver=Exponential(1, eta=eta), **options)
        torch.testing.assert_close(found, x, rtol=1e-8, atol=1e-8)
