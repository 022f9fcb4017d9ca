"""Every deterministic solver converges with the order that its paper says, on paths of every kind."""

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
    BrownianBridge,
    Cosine,
    Path,
    RectifiedFlow,
    VarianceExploding,
    VariancePreserving,
)
from ornstein.core.solvers import BDIA, Exponential, Heun, Solver, State, sample

WIDE = torch.float64
PATHS = [VariancePreserving(), Cosine(), VarianceExploding(), EDM(), RectifiedFlow()]
KINDS = [VariancePreserving(), EDM(), RectifiedFlow(), OUVE()]
named = {"ids": lambda value: type(value).__name__ if isinstance(value, Path) else None}
Y = torch.tensor([3.0, -2.0, 1.0], dtype=WIDE)


def gaussian(path: Path) -> GaussianDenoiser:
    return GaussianDenoiser(torch.tensor([0.5, -1.0, 0.0], dtype=WIDE), torch.tensor([0.3, 1.0, 2.0], dtype=WIDE), path)


def inner(path: Path, kind: type, high: float = 4.0, low: float = 0.2):
    """A grid between two noise levels s / a, the end time well above 0."""
    high = min(high, 0.99 * math.exp(-float(path.log_snr(1.0))))
    return kind(start=float(path.time_of(-math.log(high))), end=float(path.time_of(-math.log(low))))


def slope(counts: tuple[int, ...], errors: list[float]) -> float:
    return float(-np.polyfit(np.log(counts), np.log(errors), 1)[0])


def measured_order(path: Path, solver: Solver, grid, counts: tuple[int, ...]) -> float:
    """Minus the slope of log error over log steps, against the Gaussian's exact flow."""
    denoiser, errors = gaussian(path), []
    y = Y.expand(5, 3) if path.drifts else None
    for steps in counts:
        times = grid(path, steps)
        c = path.coefficients(times[0])
        x = c.a * denoiser.mean + c.s * torch.linspace(-2, 2, 15, dtype=WIDE).reshape(5, 3)
        x = x if y is None else x + c.b * y
        end = sample(denoiser, solver=solver, grid=grid, steps=steps, x_start=x, y=y)
        errors.append(float((end - denoiser.flow(x, times[0], times[-1], y)).norm()))
    return slope(counts, errors)


@pytest.mark.parametrize("kind", [grids.LogSNR, grids.Uniform])
@pytest.mark.parametrize("prediction", ["data", "noise"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("path", PATHS, **named)
def test_solver_converges_with_its_order(path: Path, order: int, prediction: str, kind: type):
    # Errors of 0.1 in the order are seen where steps are most unequal (the Cosine path's equal times), 0.05 elsewhere.
    counts = (400, 800) if order == 3 and kind is grids.Uniform else (50, 100)
    order_found = measured_order(path, Exponential(order, prediction), inner(path, kind), counts)
    assert order_found == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("prediction", ["data", "noise"])
def test_path_that_drifts_to_y_converges_with_the_order(order: int, prediction: str):
    for path in (OUVE(), BrownianBridge()):
        found = measured_order(path, Exponential(order, prediction), inner(path, grids.LogSNR), (100, 200))
        assert found == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("prediction", ["data", "noise"])
def test_power_weights_converge_with_their_order(prediction: str, order: int):
    for path in PATHS:
        found = measured_order(path, Exponential(order, prediction, "power"), inner(path, grids.LogSNR), (100, 200))
        assert found == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_interpolation_in_a_over_s_keeps_its_order_from_pure_noise(order: int):
    grid = grids.Uniform(end=0.05)
    found = measured_order(RectifiedFlow(), Exponential(order, weights="power"), grid, (80, 160, 320))
    assert found == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize("prediction", ["data", "noise"])
@pytest.mark.parametrize("weights", ["b1", "b2"])
def test_corrector_gains_an_order(weights: str, prediction: str):
    for path, grid in ((VariancePreserving(), grids.LogSNR(end=0.05)), (OUVE(), inner(OUVE(), grids.LogSNR))):
        for order in (1, 2):
            solver = Exponential(order, prediction, weights, corrector=True)
            assert measured_order(path, solver, grid, (40, 80, 160)) == pytest.approx(order + 1, abs=0.25)


def test_published_third_order_weights_are_of_second_order():
    # The published multistep code counts the parabola's curvature half, which costs the third order: why "exact" exists.
    for path in (VariancePreserving(), EDM()):
        grid = inner(path, grids.LogSNR)
        assert measured_order(path, Exponential(3, weights="dpm"), grid, (100, 200, 400)) == pytest.approx(2, abs=0.1)
        assert measured_order(path, Exponential(3), grid, (100, 200, 400)) == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize("prediction", ["data", "noise"])
@pytest.mark.parametrize("weights", ["exact", "dpm"])
@pytest.mark.parametrize("path", KINDS, **named)
def test_single_steps_converge_with_their_order(path: Path, weights: str, prediction: str):
    for order in (2, 3):
        solver = Exponential(order, prediction, weights, multistep=False)
        for kind in (grids.LogSNR, grids.Uniform):
            assert measured_order(path, solver, inner(path, kind), (20, 40)) == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize("prediction", ["data", "noise"])
@pytest.mark.parametrize("path", KINDS, **named)
def test_fixed_weights_converge_with_order_two(path: Path, prediction: str):
    # Of any number of values: the step's own formula, which takes the noise as constant, is of second order in them.
    for order in (2, 4):
        found = measured_order(path, Exponential(order, prediction, "adams"), inner(path, grids.Uniform), (100, 200))
        assert found == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("path", KINDS, **named)
def test_reversible_steps_converge_with_order_two(path: Path):
    assert measured_order(path, BDIA(), inner(path, grids.Uniform), (50, 100)) == pytest.approx(2, abs=0.1)
    assert measured_order(path, BDIA(0.5), inner(path, grids.Uniform), (50, 100)) == pytest.approx(1, abs=0.1)


@pytest.fixture(scope="module")
def nonlinear():
    """A mixture, whose flow is not linear in x (the Gaussian's is, which forgives some faults), from x to its end."""
    generator, path = torch.Generator().manual_seed(0), EDM()
    means = torch.randn(3, 4, dtype=WIDE, generator=generator)
    denoiser = MixtureDenoiser(torch.tensor([0.2, 0.3, 0.5]), means, torch.tensor([0.05, 0.1, 0.2]), path)
    grid = inner(path, grids.LogSNR, 6.0, 0.2)
    x = float(path.coefficients(grid.start).s) * torch.randn(6, 4, dtype=WIDE, generator=generator)
    # Two unlike methods of 1,200 and 400 steps agree to 1e-8, a thousandth of the least error that is compared.
    end = sample(denoiser, solver=Exponential(4, weights="b2", corrector=True), grid=grid, steps=1200, x_start=x)
    again = sample(denoiser, solver=Exponential(3, multistep=False), grid=grid, steps=400, x_start=x)
    torch.testing.assert_close(end, again, rtol=0, atol=5e-8)
    return denoiser, grid, x, end


@pytest.mark.parametrize(
    ("solver", "order"),
    [
        *[
            (Exponential(k, p, w, multistep=False), k)
            for k in (2, 3)
            for p in ("data", "noise")
            for w in ("dpm", "power")
        ],
        *[(Exponential(k, p), k) for k in (1, 2, 3) for p in ("data", "noise")],
        (Exponential(4, "noise", "adams"), 2),
        (Exponential(2, weights="b1", corrector=True), 3),
        (Heun(), 2),
    ],
)
def test_order_holds_for_a_flow_that_is_not_linear(solver: Solver, order: int, nonlinear):
    denoiser, grid, x, wanted = nonlinear
    counts = (40, 80, 160)
    ends = [sample(denoiser, solver=solver, grid=grid, steps=n, x_start=x) for n in counts]
    assert slope(counts, [float((end - wanted).norm()) for end in ends]) == pytest.approx(order, abs=0.25)


def exact_state(denoiser: GaussianDenoiser, solver: Exponential, times: Tensor, x: Tensor, done: int) -> State:
    """The state after `done` steps as it would be without any error so far."""
    path, states = denoiser.path, [denoiser.flow(x, times[0], t) for t in times[: done + 1]]
    x0s = [denoiser(u, t) for u, t in zip(states, times, strict=False)]
    levels = [path.coefficients(t) for t in times[: done + 1]]
    noises = [(u - c.a * x0) / c.s for u, x0, c in zip(states, x0s, levels, strict=True)]
    values = x0s if solver.prediction == "data" else noises
    return State(done, states[done], x0s[done - 1], tuple(values[done - 1 :: -1][: solver.order]), states[done - 1])


@pytest.mark.parametrize("prediction", ["data", "noise"])
@pytest.mark.parametrize("order", [3, 4, 5])
def test_unipc_of_any_order_has_its_own_and_one(order: int, prediction: str):
    # As in its paper, from starting values of that order; here exact ones.
    path, solver = VariancePreserving(), Exponential(order, prediction, "b2", corrector=True)
    denoiser, grid, counts, errors = gaussian(path), inner(path, grids.LogSNR, 3.0, 0.5), (45, 60, 90), []
    for steps in counts:
        times = grid(path, steps)
        x = torch.linspace(-2, 2, 15, dtype=WIDE).reshape(5, 3)
        state = exact_state(denoiser, solver, times, x, order)
        end = sample(denoiser, solver=solver, grid=grid, steps=steps, state=state)
        # The last step, which is predicted only, errs by as much once as the corrected ones do in all.
        errors.append(float((end - denoiser.flow(x, times[0], times[-1])).norm()))
    assert slope(counts, errors) == pytest.approx(order + 1, abs=0.25)


def test_evaluations_are_as_many_as_are_said():
    class Counted(GaussianDenoiser):
        calls = 0

        def forward(self, *arguments: Tensor, **conditions: Tensor) -> Tensor:
            Counted.calls += 1
            return super().forward(*arguments, **conditions)

    denoiser: Denoiser = Counted(torch.zeros(2), torch.ones(2))
    for solver in (
        Exponential(3),
        Exponential(1, multistep=False),
        Exponential(2, multistep=False),
        Exponential(3, "noise", "dpm", multistep=False),
        Exponential(1, "noise", "adams"),
        Exponential(4, "noise", "adams"),
        Heun(),
        BDIA(),
    ):
        Counted.calls = 0
        sample(denoiser, solver=solver, steps=7, shape=(1, 2))
        assert Counted.calls == solver.evaluations(7), solver
