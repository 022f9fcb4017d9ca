"""Inversion: from data up the grid to the noise that a deterministic solver would make them of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ornstein.core.denoisers import Denoiser
from ornstein.core.grids import Explicit, Grid, times_of
from ornstein.core.paths import Path
from ornstein.core.solvers.exponential import Exponential
from ornstein.core.solvers.plan import make_plan
from ornstein.core.solvers.solver import Noise, Solver, State, add, combine, per_item


@dataclass(frozen=True)
class BDIA(Solver):
    """DDIM steps that use the last one twice, so that they can be undone to rounding,

        x_next = gamma (x_before - D(x, t -> t_before)) + D(x, t -> t_next)

    where D is DDIM's step, forwards and back with the same x0_hat. Going up the grid 1 / gamma takes gamma's place, and
    the states x_before and x_next each other's. A run is undone exactly from its last two states: `State.turned`.

    Args:
        gamma: in (0, 1]; 0 would be DDIM. 1 is of second order, less of first. The inversion's rounding, and what it leaves
            in the noise, grow by 1 / gamma a step.

    Raises:
        ValueError: for gamma out of range.

    Source: Zhang, Lewis, Kleijn (2023), Exact diffusion inversion via bi-directional integration approximation,
    arXiv:2307.10829.
    """

    gamma: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.gamma <= 1:
            raise ValueError(f"gamma {self.gamma} is not in (0, 1]")

    @property
    def stochastic(self) -> bool:
        return False

    def evaluations(self, steps: int) -> int:
        return steps

    def solve(
        self,
        denoiser: Denoiser,
        times: Tensor,
        state: State,
        noise: Noise,
        y: Tensor | None = None,
        callback: Callable[[State], None] | None = None,
        conditions: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        x, before, path, ddim = state.x, state.anchor, denoiser.path, Exponential(1)
        ahead = per_item(lambda times: make_plan(ddim, path, times), times, x)
        back = per_item(lambda times: make_plan(ddim, path, times), times.flip(0), x).steps[::-1]
        assert y is not None or not ahead.drifts, f"{denoiser.path} drifts to y, which is missing"
        evaluate, conditions = denoiser.along(times[:-1]), conditions or {}
        gamma = self.gamma if bool((times[0] > times[-1]).all()) else 1 / self.gamma
        for i in range(state.step, len(times) - 1):
            x0 = evaluate[i](x, y, **conditions)
            step = ahead.steps[i]
            of_x, of_x0, of_y = step.x, step.weights[0], step.y
            if before is not None:
                undo = back[i - 1]
                of_x, of_x0 = of_x - gamma * undo.x, of_x0 - gamma * undo.weights[0]
                of_y = of_y - gamma * undo.y
            after = combine(x, of_x, (of_x0,), (x0,), y, of_y)
            if before is not None:
                after = add(after, gamma, before)
            if step.z is not None:
                after = add(after, step.z, noise(i + 1, x.shape, x.dtype, x.device))
            x, before = after, x
            if callback is not None:
                callback(State(i + 1, x, x0, anchor=before))
        return x


@torch.no_grad()
def invert(
    denoiser: Denoiser,
    x: Tensor | None = None,
    path: Path | None = None,
    solver: Solver | None = None,
    *,
    steps: int | None = None,
    grid: Grid | Explicit | Sequence[Grid | Explicit],
    state: State | None = None,
    y: Tensor | None = None,
    callback: Callable[[State], None] | None = None,
    **conditions: Tensor,
) -> State:
    """Takes data up the grid to noise: `sample` the other way round.

    Args:
        denoiser: E[x0 | x_t], on any path.
        x: the state at the grid's last time, (batch, ...); the data themselves, if there is hardly any noise there.
        path: the path, the denoiser's own by default.
        solver: a deterministic one; `BDIA()` by default. `Exponential(1)` is DDIM's inversion, which is not exact.
        steps: number of steps, at least 1; 20 by default, an explicit grid's own number with one.
        grid: as for `sample`, but its last time has noise, s > 0 (`end` above 0 where s(0) = 0), unless `state` is given.
        state: in place of x, a sampled run's last state `turned`, which BDIA undoes exactly.
        y: what the path drifts to, like x, on a path that does.
        callback: called with the `State` after every step.
        conditions: passed to the denoiser by keyword.

    Returns: the state at the grid's first time, `state.x`; `sample(..., state=state.turned())` goes back down.

    Raises:
        ValueError: for a stochastic solver, and where the grid ends without noise.

    Source: Song, Meng, Ermon (2021), Denoising diffusion implicit models, arXiv:2010.02502, section 4.3.

    Example:
        >>> from ornstein.core.analytic import GaussianDenoiser
        >>> from ornstein.core.grids import Karras
        >>> from ornstein.core.solvers import sample
        >>> prior = GaussianDenoiser(torch.zeros(3), torch.ones(3))
        >>> x = torch.tensor([[0.3, -1.0, 2.0]])
        >>> state = invert(prior, x, steps=5, grid=Karras())
        >>> torch.allclose(sample(prior, solver=BDIA(), steps=5, grid=Karras(), state=state.turned()), x, atol=1e-3)
        True
    """
    denoiser = denoiser if path is None else denoiser.on(path)
    solver = BDIA() if solver is None else solver
    if solver.stochastic:
        raise ValueError(f"{solver} is stochastic; only a deterministic solver can be inverted")
    if (x is None) == (state is None):
        raise ValueError("give either x, the data, or state, a run's last")
    times = times_of(grid, denoiser.path, steps).flip(0)
    if state is None:
        assert x is not None
        if bool((denoiser.path.coefficients(times[0]).s == 0).any()):
            raise ValueError(
                f"there is no noise at the grid's last time, {times[0].tolist()}: end it above, or give a state"
            )
        state = State(0, x)
    reached: list[State] = [state]

    def keep(state: State) -> None:
        reached[0] = state
        if callback is not None:
            callback(state)

    solver.solve(denoiser, times, state, _no_noise, y, keep, conditions)
    return reached[0]


def _no_noise(step: int, shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Tensor:
    raise AssertionError(f"a deterministic solver asked for noise in step {step}")
