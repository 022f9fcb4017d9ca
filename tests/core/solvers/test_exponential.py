"""The exponential integrator where the log-SNR is infinite, and what its settings refuse."""

import math
from itertools import pairwise

import pytest
import torch

from ornstein.core import grids
from ornstein.core.analytic import GaussianDenoiser, MixtureDenoiser
from ornstein.core.paths import OUVE, BrownianBridge, Path, RectifiedFlow, VariancePreserving
from ornstein.core.solvers import Exponential, sample

WIDE = torch.float64


def gaussian(path: Path) -> GaussianDenoiser:
    return GaussianDenoiser(torch.tensor([0.5, -1.0, 0.0], dtype=WIDE), torch.tensor([0.3, 1.0, 2.0], dtype=WIDE), path)


def mixture(path: Path) -> MixtureDenoiser:
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(3, 4, dtype=WIDE, generator=generator)
    return MixtureDenoiser(torch.tensor([0.2, 0.3, 0.5]), means, torch.tensor([0.01, 0.04, 0.09]), path)


def test_second_order_needs_a_tenth_of_the_steps_of_eulers_method_on_a_path_with_y():
    path, y = OUVE(), torch.tensor([3.0, -2.0, 1.0], dtype=WIDE).expand(5, 3)
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


SOLVERS = [
    Exponential(k, p, w) for k in (1, 2, 3) for p in ("data", "noise") for w in ("exact", "dpm", "power", "adams")
]
SINGLE = [Exponential(k, p, w, multistep=False) for k in (2, 3) for p in ("data", "noise") for w in ("exact", "dpm")]


@pytest.mark.parametrize(
    "solver", [*SOLVERS, *SINGLE, Exponential(2, stochasticity=1.0), Exponential(3, weights="b2", corrector=True)]
)
def test_last_step_to_no_noise_is_the_estimate(solver: Exponential):
    for path in (RectifiedFlow(), VariancePreserving()):
        states = []
        options = {"grid": grids.Uniform(), "steps": 7, "shape": (3, 4), "dtype": WIDE}
        end = sample(mixture(path), solver=solver, callback=states.append, **options)
        torch.testing.assert_close(end, states[-1].x0)


@pytest.mark.parametrize(
    "solver", [*SOLVERS, *SINGLE, Exponential(3, weights="b1", corrector=True), Exponential(2, stochasticity=1.0)]
)
def test_bridge_starts_ancestral_and_ends_at_the_data(solver: Exponential):
    path, y = BrownianBridge(), torch.randn(4, 3, dtype=WIDE)
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
