"""The exponential integrator: one loop, of which the published solvers of diffusion ODEs and SDEs are settings."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ornstein.core.denoisers import Denoiser
from ornstein.core.paths import Path
from ornstein.core.solvers.solver import Noise, Solver, State
from ornstein.core.solvers.weights import Array, interpolation_weights, log_moments, power_moments

Weights = Literal["exact", "dpm", "b1", "b2", "power"]


class _Step(NamedTuple):
    """x_r = x * state + sum_j weights_j * value_j + y * y + z * noise, and how to correct that once x0_hat(x_r) is known.

    `direct` steps take x0_hat itself for the only value, also where the history keeps the noise.
    """

    x: float
    weights: tuple[float, ...]
    y: float
    z: float
    direct: bool
    corrector: tuple[float, tuple[float, ...], float] | None


@dataclass(frozen=True)
class Exponential(Solver):
    """Multistep exponential integrator in the log-SNR lambda = log(a / s), for u = x - b y and h = lambda_r - lambda_t.

    With the stochasticity e (0 for the probability flow, 1 for the reverse SDE) and unit noise z,

        data    u_r = (s_r / s_t) exp(-e h) u_t + a_r (1 + e) int exp(-(1 + e)(lambda_r - l)) x0_hat(l) dl
                      + s_r sqrt(1 - exp(-2 e h)) z
        noise   u_r = (a_r / a_t) u_t - s_r (1 + e) int exp(lambda_r - l) z_hat(l) dl + s_r sqrt(e (exp(2h) - 1)) z

    where the polynomial through the last `order` values stands for x0_hat (for z_hat = (u - a x0_hat) / s). The first
    steps have only the values that there are; at order 3 the first is corrected, without another evaluation, once
    x0_hat is known at its end (not with the published weights).

    Where s_r = 0 the step is its limit, x_r = a_r x0_hat + b_r y; where s_t = 0 (a bridge at t = 1) it is ancestral,
    x_r = a_r x0_hat + b_r y + s_r z; both are of first order. Steps that reach back to a = 0 (rectified flow at t = 1)
    interpolate in a / s, which is 0 there, and not in lambda; equal steps of t from there, in which lambda never becomes
    smooth, leave order 2 at most, while `grids.LogSNR` and `grids.Karras` keep the order.

    | method | settings |
    |---|---|
    | DDIM, DPM-Solver-1 | order=1 |
    | DDPM's ancestral chain, SDE-DPM-Solver++ 1 | order=1, stochasticity=1 |
    | DPM-Solver++ 2M and 3M, their SDE twins | order=2 or 3, weights="dpm", stochasticity=0 or 1 |
    | DPM-Solver 2M | order=2, prediction="noise", weights="dpm" |
    | DEIS in log(rho); in rho | prediction="noise", weights="exact"; "power" |
    | UniPC | corrector=True, weights="b1" or "b2" |
    | the fully stochastic chain x_r = a_r x0_hat + b_r y + s_r z | order=1, renoise=True |

    Args:
        order: how many values are interpolated, 1 to 3; a corrector has one more.
        prediction: what is interpolated, "data" (x0_hat) or "noise".
        weights: "exact" integrates the polynomial in lambda exactly. "dpm" has the published DPM-Solver weights: at order 2
            the midpoint's, at order 3 half of the curvature, which leaves it of second order. "b1" and "b2" have those of
            UniPC, which differ from "exact" only where two values are interpolated. "power" integrates the polynomial in
            a / s (data) or s / a (noise), which is the Adams-Bashforth method.
        corrector: improve each state with the x0_hat that was evaluated there, before the next step; no more evaluations.
        stochasticity: e, at least 0.
        renoise: as if e were infinite; of order 1.

    Raises:
        ValueError: for settings out of range, and those that contradict each other.

    Source: Lu et al. (2022), DPM-Solver++, arXiv:2211.01095, eq. 8, and for the SDE section 5; Song, Meng, Ermon (2021),
    DDIM, arXiv:2010.02502, eq. 12; Zhang and Chen (2023), DEIS, arXiv:2204.13902; Zhao et al. (2023), UniPC,
    arXiv:2302.04867; Xue et al. (2023), SA-Solver, arXiv:2305.14267, for e between 0 and 1.
    """

    order: int = 2
    prediction: Literal["data", "noise"] = "data"
    weights: Weights = "exact"
    corrector: bool = False
    stochasticity: float = 0.0
    renoise: bool = False

    def __post_init__(self) -> None:
        if self.order not in (1, 2, 3):
            raise ValueError(f"order {self.order} is not 1, 2 or 3")
        if self.prediction not in ("data", "noise"):
            raise ValueError(f"prediction {self.prediction!r} is neither 'data' nor 'noise'")
        if self.weights not in get_args(Weights):
            raise ValueError(f"weights {self.weights!r}; known: {', '.join(get_args(Weights))}")
        if not 0 <= self.stochasticity < math.inf:
            raise ValueError(f"stochasticity {self.stochasticity} is not a finite number of at least 0")
        if self.renoise and (self.order != 1 or self.stochasticity):
            raise ValueError("renoise=True is a chain of order 1, with a stochasticity of its own: set order=1 alone")
        if self.corrector and (self.renoise or self.stochasticity):
            raise ValueError("a corrector needs a deterministic solver: stochasticity=0, renoise=False")

    @property
    def _corrects_start(self) -> bool:
        """The first step's error would be of second order in all, so a third-order method corrects it (as UniC would)."""
        return self.order == 3 and self.weights not in ("dpm", "b1", "b2") and not self.stochasticity

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
        plan, to_noise = _plan(self, denoiser.path, tuple(times.tolist()))
        evaluate, conditions = denoiser.along(times[:-1]), conditions or {}
        first, x, last, history, anchor = state
        drifts = any(step.y for step in plan)
        assert y is not None or not drifts, f"{denoiser.path} drifts to y, which is missing"

        def combine(
            x: Tensor, weight: float, weights: Sequence[float], values: Sequence[Tensor], of_y: float
        ) -> Tensor:
            total = torch.mul(x, weight)
            for w, value in zip(weights, values, strict=False):
                total.add_(value, alpha=w)
            return total if y is None or not drifts else total.add_(y, alpha=of_y)

        for i in range(first, len(plan)):
            step = plan[i]
            x0 = value = evaluate[i](x, y, **conditions)
            if to_noise is not None:
                value = combine(x, to_noise[i][0], to_noise[i][1:2], (x0,), to_noise[i][2])
            if i and (corrector := plan[i - 1].corrector) is not None:
                assert anchor is not None and last is not None, "the saved state comes from another solver"
                x = combine(
                    anchor, *corrector[:2], (x0, last) if plan[i - 1].direct else (value, *history), corrector[2]
                )
            history = (value, *history[: self.order - 1])
            anchor, last = (None if step.corrector is None else x), x0
            x = combine(x, step.x, step.weights, (x0,) if step.direct else history, step.y)
            if step.z:
                x.add_(noise(i + 1, x.shape, x.dtype, x.device), alpha=step.z)
            if callback is not None:
                callback(State(i + 1, x, x0, history, anchor))
        return x

    def plan(self, path: Path, times: Tensor) -> tuple[list[_Step], list[tuple[float, float, float]] | None]:
        """The coefficients of every step, and for predictions of the noise (x, x0_hat, y)'s weights in it, in float64."""
        c = path.coefficients(times)
        a, b, s = c.a.numpy(), c.b.numpy(), c.s.numpy()
        steps = len(times) - 1
        with np.errstate(divide="ignore", invalid="ignore"):
            log_snr = np.asarray(path.log_snr(times))
            to_noise = None
            if self.prediction == "noise":
                inverse = np.where(s[:-1] > 0, 1 / s[:-1], 0.0)
                to_noise = list(zip(*((w * inverse).tolist() for w in (1.0, -a[:-1], -b[:-1])), strict=True))

        # A first time with s = 0 has no log-SNR; its value is left out of the history.
        index = np.arange(steps)
        order = np.minimum(index + int(s[0] > 0), self.order)
        direct = (s[:-1] == 0) | (s[1:] == 0) | (a[:-1] == 0)
        plan: list[_Step | None] = [None] * steps
        for i in range(steps) if self.renoise else np.flatnonzero(direct):
            plan[i] = self._direct(*(float(v) for v in (a[i], b[i], s[i], a[i + 1], b[i + 1], s[i + 1])))
        for k in range(1, self.order + 1):
            # The steps that still reach back to a first time with a = 0 form a group of their own.
            for infinite in (False, True):
                at = np.flatnonzero(~direct & (order == k) & (((a[0] == 0) & (index == k - 1)) == infinite))
                if len(at) and not self.renoise:
                    for i, step in zip(at, self._steps(a, b, s, log_snr, at, k, infinite), strict=True):
                        plan[int(i)] = step
        return [step for step in plan if step is not None], to_noise

    def _direct(self, a_t: float, b_t: float, s_t: float, a_r: float, b_r: float, s_r: float) -> _Step:
        """A step that starts or ends where the log-SNR is infinite, or one of the fully stochastic chain."""
        fresh = self.renoise or s_t == 0 or self.stochasticity > 0
        keep = 0.0 if fresh else s_r / s_t
        drift = b_r - keep * b_t
        # From a = 0 the integral over a / s of the line through both values is their mean.
        corrected = (self.corrector or self._corrects_start) and a_t == 0 and not fresh and s_r > 0
        corrector = (keep, (a_r / 2, a_r / 2), drift) if corrected else None
        return _Step(keep, (a_r - keep * a_t,), drift, s_r if fresh else 0.0, True, corrector)

    def _steps(
        self, a: Array, b: Array, s: Array, log_snr: Array, at: NDArray[np.intp], k: int, infinite: bool
    ) -> list[_Step]:
        """The steps from the times `at`, each with k values; `infinite` if the last of these is at log-SNR -infinity."""
        past = at[:, None] - np.arange(k)
        a_t, b_t, s_t, a_r, b_r, s_r = a[at], b[at], s[at], a[at + 1], b[at + 1], s[at + 1]
        h, e = log_snr[at + 1] - log_snr[at], self.stochasticity
        with np.errstate(over="ignore"):
            if self.prediction == "data":
                keep, scale, spread = s_r / s_t * np.exp(-e * h), a_r * (1 + e), s_r * np.sqrt(-np.expm1(-2 * e * h))
            else:
                keep, scale, spread = a_r / a_t, -s_r * (1 + e), s_r * np.sqrt(e * np.expm1(2 * h))
        drift = b_r - keep * b_t
        weights = scale[:, None] * self._weights(h, log_snr[past], log_snr[at], infinite)
        corrector: list[tuple[float, tuple[float, ...], float] | None] = [None] * len(at)
        if self.corrector or (self._corrects_start and k == 1):
            values = np.concatenate([log_snr[at + 1][:, None], log_snr[past]], axis=1)
            corrected = scale[:, None] * self._weights(h, values, log_snr[at], infinite)
            corrector = list(zip(keep.tolist(), map(tuple, corrected.tolist()), drift.tolist(), strict=True))
        columns = (keep.tolist(), map(tuple, weights.tolist()), drift.tolist(), spread.tolist(), [False] * len(at))
        return [_Step(*row) for row in zip(*columns, corrector, strict=True)]

    def _weights(self, h: Array, nodes: Array, start: Array, infinite: bool) -> Array:
        """The integral's weights (steps, n) of the values at log-SNRs `nodes` (steps, n)."""
        n, p = nodes.shape[1], 1 + self.stochasticity if self.prediction == "data" else -1.0
        if infinite or self.weights == "power":
            sign = 1 if infinite or self.prediction == "data" else -1
            relative = np.exp(sign * (nodes - (start + h)[:, None]))
            return interpolation_weights(relative, power_moments(n, h, p, sign))
        moments = log_moments(n, h, p)
        if n == 2 and self.weights in ("dpm", "b2"):
            moments[:, 1] = moments[:, 0] / 2
        elif n == 2 and self.weights == "b1":
            moments[:, 1] = h / 2
        elif n == 3 and self.weights == "dpm":
            moments[:, 2] /= 2
        return interpolation_weights((nodes - start[:, None]) / h[:, None], moments)


@lru_cache(maxsize=128)
def _plan(
    solver: Exponential, path: Path, times: tuple[float, ...]
) -> tuple[list[_Step], list[tuple[float, float, float]] | None]:
    """`solver.plan`, which is all values, kept for the next run on the same grid: it costs as much as ten steps."""
    return solver.plan(path, torch.tensor(times, dtype=torch.float64))
