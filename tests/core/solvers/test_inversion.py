"""Inversion: BDIA comes back exactly, DDIM's inversion as nearly as its order says."""

import numpy as np
import pytest
import torch

from ornstein.core import grids
from ornstein.core.analytic import GaussianDenoiser, MixtureDenoiser
from ornstein.core.paths import EDM, OUVE, BrownianBridge, Path, RectifiedFlow, VariancePreserving
from ornstein.core.solvers import BDIA, Exponential, Heun, PredictorCorrector, State, invert, sample

WIDE = torch.float64
PATHS = [VariancePreserving(), EDM(), RectifiedFlow(), OUVE(), BrownianBridge()]
paths = pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)


def mixture(path: Path) -> MixtureDenoiser:
    means = torch.randn(3, 4, dtype=WIDE, generator=torch.Generator().manual_seed(0))
    return MixtureDenoiser(torch.tensor([0.2, 0.3, 0.5]), means, torch.tensor([0.01, 0.04, 0.09]), path)


def data(path: Path) -> tuple[torch.Tensor, torch.Tensor | None]:
    generator = torch.Generator().manual_seed(1)
    x = mixture(path).means[[0, 1, 2, 2]] + 0.2 * torch.randn(4, 4, dtype=WIDE, generator=generator)
    return x, torch.randn(4, 4, dtype=WIDE, generator=generator) if path.drifts else None


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


@paths
@pytest.mark.parametrize("steps", [1, 2, 10, 50])
def test_exact_inversion_comes_back_to_the_data(path: Path, steps: int):
    x, y = data(path)
    for grid in (grids.Uniform(start=0.95, end=0.05), grids.Karras(start=0.95, end=0.05)):
        state = invert(mixture(path), x, steps=steps, grid=grid, y=y)
        assert state.step == steps and bool(state.x.isfinite().all())
        back = sample(mixture(path), solver=BDIA(), steps=steps, grid=grid, state=state.turned(), y=y)
        # Rounding, and on EDM, whose noise is 1,000 times the data, as many times that. One step has no pair of states.
        assert relative(back, x) < (1e-10 if steps > 1 else 1.0)


@paths
def test_exact_inversion_comes_back_to_the_noise(path: Path):
    # To s = 0 where the path does, and back.
    _, y = data(path)
    states: list[State] = []
    start = torch.randn(4, 4, dtype=WIDE)
    grid = grids.Uniform(start=0.95)
    options: dict = {"steps": 12, "grid": grid, "y": y}
    sample(mixture(path), solver=BDIA(0.9), x_start=start, callback=states.append, **options)
    state = invert(mixture(path), solver=BDIA(0.9), state=states[-1].turned(), **options)
    assert relative(state.x, start) < 1e-10


@paths
def test_single_precision_comes_back_to_its_rounding(path: Path):
    x, y = data(path)
    x, y = x.float(), None if y is None else y.float()
    state = invert(mixture(path), x, steps=20, grid=grids.Karras(start=0.95, end=0.05), y=y)
    options: dict = {"steps": 20, "grid": grids.Karras(start=0.95, end=0.05), "y": y}
    # 1,000 times the rounding of the data where the noise (EDM's) is so much larger.
    assert relative(sample(mixture(path), solver=BDIA(), state=state.turned(), **options), x) < 1e-3


@pytest.mark.parametrize(
    ("solver", "order"), [(Exponential(1), 1), (Exponential(2), 2), (Exponential(3, multistep=False), 3), (Heun(), 2)]
)
def test_other_inversions_reach_the_noise_with_their_order(solver, order: int):
    path = VariancePreserving()
    denoiser = GaussianDenoiser(torch.tensor([0.5, -1.0], dtype=WIDE), torch.tensor([0.3, 2.0], dtype=WIDE), path)
    x, counts, errors = torch.randn(5, 2, dtype=WIDE, generator=torch.Generator().manual_seed(0)), (40, 80), []
    for steps in counts:
        state = invert(denoiser, x, solver=solver, steps=steps, grid=grids.LogSNR(start=0.8, end=0.1))
        errors.append(float((state.x - denoiser.flow(x, 0.1, 0.8)).norm()))
    assert -np.polyfit(np.log(counts), np.log(errors), 1)[0] == pytest.approx(order, abs=0.25)


def test_inversion_of_the_flow_reaches_pure_noise():
    x, _ = data(RectifiedFlow())
    for solver in (BDIA(), Exponential(3), Exponential(2, "noise"), Exponential(2, multistep=False), Heun()):
        state = invert(mixture(RectifiedFlow()), x, solver=solver, steps=20, grid=grids.Uniform(end=0.02))
        assert bool(state.x.isfinite().all()) and 0.3 < float(state.x.std()) < 3


def test_what_cannot_be_inverted_is_refused():
    x, _ = data(EDM())
    for solver in (PredictorCorrector(), Heun(churn=1.0), Exponential(1, eta=0.5)):
        with pytest.raises(ValueError, match="stochastic"):
            invert(mixture(EDM()), x, solver=solver, steps=3, grid=grids.Karras())
    with pytest.raises(ValueError, match="no noise"):
        invert(mixture(RectifiedFlow()), x, steps=3, grid=grids.Uniform())
    with pytest.raises(ValueError, match="either"):
        invert(mixture(EDM()), steps=3, grid=grids.Karras())
    with pytest.raises(ValueError, match="gamma"):
        BDIA(0.0)
