"""Solvers: how a denoiser's answers become a sample."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from ornstein.core.denoisers import Denoiser
from ornstein.core.gaussian import Teleport
from ornstein.core.grids import Explicit, Grid, Karras, times_of
from ornstein.core.noise import KeyedNoise
from ornstein.core.paths import Path, time
from ornstein.core.solvers.auto import auto, raised
from ornstein.core.solvers.exponential import Exponential
from ornstein.core.solvers.heun import Heun
from ornstein.core.solvers.inversion import BDIA, invert
from ornstein.core.solvers.langevin import PredictorCorrector
from ornstein.core.solvers.solver import Noise, Solver, State

__all__ = ["BDIA", "Exponential", "Heun", "PredictorCorrector", "Solver", "State", "auto", "invert", "sample"]


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    path: Path | None = None,
    solver: Solver | Literal["auto"] = "auto",
    *,
    steps: int | None = None,
    grid: Grid | Explicit | Sequence[Grid | Explicit] | None = None,
    shape: Sequence[int] | None = None,
    x_start: Tensor | None = None,
    seed: int = 0,
    items: Sequence[int] | None = None,
    y: Tensor | None = None,
    noise: Noise | None = None,
    state: State | None = None,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
    teleport: Teleport | None = None,
    callback: Callable[[State], None] | None = None,
    **conditions: Tensor,
) -> Tensor:
    """Takes noise, or a given state, down the grid to a sample.

    Gradients are not recorded (a denoiser may enable them for its own use; `solver.solve` itself records them).

    Args:
        denoiser: E[x0 | x_t], on any path.
        path: the path to sample on, the denoiser's own by default.
        solver: "auto" takes what is best for the number of steps (docs/solvers.md); see `auto`.
        steps: number of steps, at least 1; 20 by default, an explicit grid's own number with one.
        grid: where the steps go; by default that of `auto`, and `Karras()` with a solver of your own; a list has one grid for each item, of as many steps.
        shape: (batch, ...) of the sample; needed unless `x_start`, `state` or `y` tells it.
        x_start: the state at the grid's first time, (batch, ...); by default the path's own start there.
        seed: the noise's seed, at least 0.
        items: each batch row's number, which its noise depends on (with the seed and the step, and on nothing else); 0, 1,
            ... by default.
        y: what the path drifts to, like the sample, on a path that does.
        noise: the noise itself, called as noise(step, shape, dtype, device); replaces `seed` and `items`.
        state: a saved state, to go on from; replaces `x_start`.
        dtype: of noise to start from; that of y by default, and float32 without one.
        device: of noise to start from; that of y by default, and the CPU without one.
        teleport: takes the start in one jump to its noise level, from where the grid goes on (not with a list of grids or
            an explicit one, nor with `state`).
        callback: called with the `State` after every step.
        conditions: passed to the denoiser by keyword.

    Returns: the state at the grid's last time, (batch, ...).

    Example:
        >>> from ornstein.core.analytic import GaussianDenoiser
        >>> prior = GaussianDenoiser(torch.zeros(3), torch.ones(3))
        >>> sample(prior, steps=10, shape=(2, 3)).shape
        torch.Size([2, 3])
    """
    denoiser = denoiser if path is None else denoiser.on(path)
    if denoiser.path.drifts and y is None:
        raise ValueError(f"{denoiser.path} drifts to y, which is missing")
    if solver == "auto":
        scale, learned = denoiser.traits
        count = steps or 20 if grid is None else len(times_of(grid, denoiser.path, steps)) - 1
        solver, own = auto(count, scale, teleport is not None, learned and not denoiser.path.drifts)
        grid = own if grid is None else grid
        teleport = teleport and raised(teleport, count)
    grid = Karras() if grid is None else grid
    start = grid.start if isinstance(grid, Grid) else 1.0
    if teleport is not None:
        if state is not None or not isinstance(grid, Grid):
            raise ValueError(
                "teleport sets the grid's start: give neither a state nor explicit times or a list of grids"
            )
        grid = replace(grid, start=min(start, teleport.time(denoiser.path)))
    times = times_of(grid, denoiser.path, steps)
    if sum(given is not None for given in (x_start, state)) == 2:
        raise ValueError("x_start and state are both given; a saved state replaces the start")

    x = state.x if state is not None else x_start
    if shape is None:
        if x is None and y is None:
            raise ValueError("shape is missing; it may be left out only with x_start, state or y")
        shape = (y if x is None and y is not None else x).shape  # type: ignore[union-attr]
    size = torch.Size(shape)
    assert x is None or x.shape == size, f"the state has shape {tuple(x.shape)}, shape says {tuple(size)}"
    assert y is None or y.shape == size, f"y has shape {tuple(y.shape)}, the sample {tuple(size)}"
    if noise is None:
        noise = KeyedNoise(seed, range(size[0]) if items is None else items)

    def begin() -> State:
        if state is not None:
            return state
        first = x
        if first is None:
            kind = dtype or (torch.float32 if y is None else y.dtype)
            z = noise(0, size, kind, torch.device(device or ("cpu" if y is None else y.device)))
            first = denoiser.path.start(z, y, times[0] if teleport is None else time(start))
        return State(0, first if teleport is None else teleport(first, start, denoiser.path, y)[0])

    # Not kept here, so that the solver may let go of it.
    return solver.solve(denoiser, times, begin(), noise, y, callback, conditions)
