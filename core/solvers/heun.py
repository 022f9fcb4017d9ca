"""Heun's method in the noise level, with the churn of Karras et al."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ornstein.core.denoisers import Denoiser
from ornstein.core.paths import Path
from ornstein.core.solvers.solver import Noise, Solver, State, add, combine, per_item, refuse_unless_gaussian


class _Step(NamedTuple):
    """Weights of (x, y, z) in the churned state, of (x, x0, y) in Euler's, of (x, euler, x0, x0', y) in Heun's."""

    time: Tensor
    churn: tuple[float, float, float] | None
    euler: tuple[float, float, float]
    fresh: float | None
    heun: tuple[float, float, float, float, float] | None


@dataclass(frozen=True)
class Heun(Solver):
    """Heun's second-order method for d(u / a) / d sigma = z_hat, with sigma = s / a and u = x - b y.

    Each step takes an Euler (DDIM) step and, unless it ends at s = 0, a second evaluation there: 2 steps - 1 evaluations
    where the grid ends at the data, and else 2 steps. With churn, noise first raises sigma to sigma (1 + gamma), gamma =
    min(churn / steps, sqrt(2) - 1), but not above that of t = 1. Where a = 0 (rectified flow at t = 1) the step is Heun's
    for d(u / s) / d(a / s) = x0_hat; where s = 0 at t = 1 (bridges) it is ancestral.

    Args:
        churn: S_churn, at least 0; 0 is deterministic.
        churn_min: S_min, the least sigma that is churned, at least 0.
        churn_max: S_max, the greatest sigma that is churned.
        churn_noise: S_noise, the added noise's standard deviation, near 1.

    Raises:
        ValueError: for settings out of range.

    Source: Karras et al. (2022), arXiv:2206.00364, algorithms 1 and 2, for any (a, b, s).
    """

    churn: float = 0.0
    churn_min: float = 0.0
    churn_max: float = math.inf
    churn_noise: float = 1.0

    def __post_init__(self) -> None:
        if self.churn < 0 or self.churn_noise < 0 or not 0 <= self.churn_min <= self.churn_max:
            raise ValueError(f"churn settings are at least 0, with churn_min <= churn_max: {self}")

    @property
    def stochastic(self) -> bool:
        return self.churn > 0

    def evaluations(self, steps: int) -> int:
        return 2 * steps

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
        refuse_unless_gaussian(self, denoiser.path)
        x, conditions = state.x, conditions or {}
        plan = per_item(lambda times: self._plan(denoiser.path, times), times, x)
        evaluate = denoiser.along(torch.stack([step.time for step in plan]))
        evaluate_ahead = denoiser.along(times[1:])
        assert y is not None or not denoiser.path.drifts, f"{denoiser.path} drifts to y, which is missing"

        for i in range(state.step, len(plan)):
            step = plan[i]
            if step.churn is not None:
                of_x, of_y, of_z = step.churn
                x = combine(x, of_x, (of_z,), (noise(i + 1, x.shape, x.dtype, x.device),), y, of_y)
            x0 = evaluate[i](x, y, **conditions)
            of_x, *weights, of_y = step.euler
            euler = combine(x, of_x, weights, (x0,), y, of_y)
            if step.fresh is not None:
                euler = add(euler, step.fresh, noise(i + 1, x.shape, x.dtype, x.device))
            if step.heun is not None:
                ahead = evaluate_ahead[i](euler, y, **conditions)
                of_x, *weights, of_y = step.heun
                euler = combine(x, of_x, weights, (euler, x0, ahead), y, of_y)
            x = euler
            if callback is not None:
                callback(State(i + 1, x, x0))
        return x

    def _plan(self, path: Path, times: Tensor) -> list[_Step]:
        """The coefficients of every step, in float64."""
        c, steps = path.coefficients(times), len(times) - 1
        top = path.coefficients(1.0)
        ceiling = float(top.s / top.a)
        gamma = min(self.churn / steps, math.sqrt(2) - 1)
        rows = list(zip(c.a.tolist(), c.b.tolist(), c.s.tolist(), strict=True))
        plan = []
        for i, ((a, b, s), after) in enumerate(pairwise(rows)):
            moment, churn = times[i], None
            sigma = s / a if a else math.inf
            raised = min(sigma * (1 + gamma), ceiling) if self.churn_min <= sigma <= self.churn_max else sigma
            if raised > sigma > 0:
                moment = path.time_of(-math.log(raised))
                higher = path.coefficients(moment)
                a_h, b_h, s_h = float(higher.a), float(higher.b), float(higher.s)
                spread = a_h * math.sqrt(raised**2 - sigma**2) * self.churn_noise
                churn = (a_h / a, b_h - a_h / a * b, spread)
                a, b, s = a_h, b_h, s_h
            plan.append(_Step(moment, churn, *_step(a, b, s, *after)))
        return plan


def _step(a: float, b: float, s: float, a_r: float, b_r: float, s_r: float) -> tuple:
    """Euler's weights, the fresh noise, and Heun's weights if there is a second evaluation."""
    if s == 0:
        return (0.0, a_r, b_r), s_r, None
    keep = s_r / s
    gain = a_r - keep * a
    euler = (keep, gain, b_r - keep * b)
    if s_r == 0 or a_r == 0:
        return euler, None, None
    if a == 0:
        return euler, None, (keep, 0.0, gain / 2, gain / 2, b_r - keep * b)
    half = (s_r / a_r - s / a) / 2
    of_x, of_euler = a_r * (1 / a + half / s), a_r * half / s_r
    heun = (of_x, of_euler, -a_r * half * a / s, -a_r * half * a_r / s_r, b_r - of_x * b - of_euler * b_r)
    return euler, None, heun
