"""The exponential integrator: one loop, of which the published solvers of diffusion ODEs and SDEs are settings."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ornstein.core.denoisers import Denoiser
from ornstein.core.paths import Path
from ornstein.core.solvers.plan import Plan, make_plan
from ornstein.core.solvers.solver import Noise, Solver, State, add, combine, per_item, refuse_unless_gaussian

Weights = Literal["exact", "dpm", "b1", "b2", "power", "adams", "angle"]


@dataclass(frozen=True)
class Exponential(Solver):
    """Exponential integrator in the log-SNR lambda = log(a / s), for u = x - b y and h = lambda_r - lambda_t.

    With the stochasticity e (0 for the probability flow, 1 for the reverse SDE) and unit noise z,

        data    u_r = (s_r / s_t) exp(-e h) u_t + a_r (1 + e) int exp(-(1 + e)(lambda_r - l)) x0_hat(l) dl
                      + s_r sqrt(1 - exp(-2 e h)) z
        noise   u_r = (a_r / a_t) u_t - s_r (1 + e) int exp(lambda_r - l) z_hat(l) dl + s_r sqrt(e (exp(2h) - 1)) z

    where the polynomial through the last `order` values stands for x0_hat (for z_hat = (u - a x0_hat) / s): those of the
    steps before, or with multistep=False those of looks ahead within the step. The first steps of a multistep method
    have only the values that there are.

    Where s_r = 0 the step is its limit, x_r = a_r x0_hat + b_r y; where s_t = 0 (a bridge at t = 1) it is ancestral,
    x_r = a_r x0_hat + b_r y + s_r z; both are of first order. Steps that reach back to a = 0 (rectified flow at t = 1)
    interpolate in a / s, which is 0 there, and not in lambda; equal steps of t from there, in which lambda never becomes
    smooth, leave order 2 at most, while `grids.LogSNR` and `grids.Karras` keep the order.

    | method | settings |
    |---|---|
    | DDIM, DPM-Solver-1 | order=1 |
    | DDIM with eta; DDPM's ancestral chain, SDE-DPM-Solver++ 1 | order=1, eta=eta; eta=1 |
    | the chains of ResShift and RDDM | order=1, eta=1, on their paths |
    | DPM-Solver++ 2M and 3M, their SDE twins | order=2 or 3, weights="dpm", stochasticity=0 or 1 |
    | DPM-Solver 2M | order=2, prediction="noise", weights="dpm" |
    | DPM-Solver-2 and -3, DPM-Solver++ 2S | multistep=False, weights="dpm", prediction="noise"; "data" |
    | DEIS in log(rho); in rho | prediction="noise", corrector=False, weights="exact"; "power" |
    | PNDM (PLMS) | order=4, prediction="noise", weights="adams", on `grids.Uniform` |
    | UniPC of any order | corrector=True, weights="b1" or "b2" |
    | MR Sampler | order=1 or 2, prediction="data" or "noise", stochasticity=0 or 1, on its path |
    | the fully stochastic chain x_r = a_r x0_hat + b_r y + s_r z | order=1, renoise=True |

    Args:
        order: how many values are interpolated, at least 1 (a corrector has one more); at most 3 for the weights "dpm" and
            for single steps. Beyond 3 the start, whose own values are few, leaves order 3 in the limit of small steps.
        prediction: what is interpolated, "data" (x0_hat) or "noise".
        weights: "exact" integrates the polynomial in lambda exactly. "dpm" has the published DPM-Solver weights: at order 2
            the midpoint's, at order 3 half of the curvature, which leaves multistep methods of second order. "b1" and "b2"
            have those of UniPC, which differ from "exact" only where two values are interpolated. "power" integrates the
            polynomial in a / s (data) or s / a (noise), which is the Adams-Bashforth method. "adams" has the fixed weights
            of Adams and Bashforth for equal steps of t, of second order at most; its first step costs two evaluations.
            "angle" integrates the polynomial in atan(sigma / scale), sigma = s / a, which is smooth both at pure noise and
            at the data: steps may be longer there than in lambda.
        corrector: improve each state with the x0_hat that was evaluated there, before the next step; no more evaluations.
            None (the default) corrects only those first steps that would cost "exact", "power" and "angle" their order.
        stochasticity: e, at least 0.
        renoise: as if e were infinite; of order 1.
        multistep: use the values of earlier steps; or else those at equal parts of each step in lambda, which costs
            `order` evaluations a step and forgets them after it.
        scale: of the angle, in the data's units, above 0.
        eta: in place of `stochasticity`, the share of the fresh noise rho of the path's published chain, from 0 to 1.

    Raises:
        ValueError: for settings out of range, and those that contradict each other.

    Source: Lu et al. (2022), DPM-Solver, arXiv:2206.00927, algorithms 1 and 2; Lu et al. (2022), DPM-Solver++,
    arXiv:2211.01095, eq. 8, and for the SDE section 5; Song, Meng, Ermon (2021), DDIM, arXiv:2010.02502, eq. 12; Zhang and
    Chen (2023), DEIS, arXiv:2204.13902; Liu et al. (2022), PNDM, arXiv:2202.09778; Zhao et al. (2023), UniPC,
    arXiv:2302.04867; Li et al. (2025), MR Sampler, arXiv:2502.07856; Xue et al. (2023), SA-Solver, arXiv:2305.14267, for e
    between 0 and 1.
    """

    order: int = 2
    prediction: Literal["data", "noise"] = "data"
    weights: Weights = "exact"
    corrector: bool | None = None
    stochasticity: float = 0.0
    renoise: bool = False
    multistep: bool = True
    eta: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.order < 1:
            raise ValueError(f"order {self.order} is below 1")
        if self.order > 3 and (self.weights == "dpm" or not self.multistep):
            raise ValueError(f"order {self.order}: the weights 'dpm' and single steps have at most order 3")
        if self.prediction not in ("data", "noise"):
            raise ValueError(f"prediction {self.prediction!r} is neither 'data' nor 'noise'")
        if self.weights not in get_args(Weights):
            raise ValueError(f"weights {self.weights!r}; known: {', '.join(get_args(Weights))}")
        if not 0 <= self.stochasticity < math.inf:
            raise ValueError(f"stochasticity {self.stochasticity} is not a finite number of at least 0")
        if not 0 < self.scale < math.inf:
            raise ValueError(f"scale {self.scale} is not a finite number above 0")
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta {self.eta} is not between 0 and 1")
        if bool(self.renoise) + bool(self.eta) + bool(self.stochasticity) > 1:
            raise ValueError("renoise, eta and stochasticity each say how much noise is fresh: set one of them")
        if self.renoise and self.order != 1:
            raise ValueError("renoise=True is a chain of order 1: set order=1")
        if self.eta and self.prediction != "data":
            raise ValueError("eta keeps the noise of x0_hat's own chain: it needs prediction='data'")
        if self.corrector and self.stochastic:
            raise ValueError("a corrector needs a deterministic solver: stochasticity=0, eta=0, renoise=False")
        if self.weights == "adams" and (self.corrector or self.stochastic):
            raise ValueError("the weights 'adams' have neither a corrector nor noise")
        if not self.multistep and (self.corrector or self.stochastic or self.weights in ("b1", "b2", "adams")):
            raise ValueError("single steps are deterministic, have no corrector, and weights 'exact', 'dpm' or 'power'")

    @property
    def stochastic(self) -> bool:
        return bool(self.stochasticity or self.eta or self.renoise)

    @property
    def corrects_start(self) -> bool:
        """Whether first steps, whose error would cost the order in all, are corrected (as UniC would)."""
        return self.multistep and self.weights in ("exact", "power", "angle") and not self.stochastic

    def evaluations(self, steps: int) -> int:
        if not self.multistep:
            return self.order * steps
        return steps + (self.weights == "adams" and self.order > 1)

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
        plan = per_item(lambda times: _plan(self, denoiser.path, tuple(times.tolist())), times, state.x)
        steps, moments, begins, drifts = plan
        assert y is not None or not drifts, f"{denoiser.path} drifts to y, which is missing"
        of = y if drifts else None
        evaluate, conditions = denoiser.along(moments), conditions or {}
        done, x, last, history, start = state
        del state  # nothing but the history, the state and its successor is held while the denoiser works

        for i in range(begins[done] if done < len(begins) else len(steps), len(steps)):
            step, before = steps[i], steps[i - 1] if i else None
            x0 = evaluate[i](x, y, **conditions)
            value = x0 if step.noise is None else combine(x, step.noise[0], step.noise[1:2], (x0,), of, step.noise[2])
            if callback is None and not step.direct and (before is None or not before.direct):
                x0 = None  # type: ignore[assignment]  # let go of it
            if before is not None and before.corrector is not None:
                assert start is not None, "the saved state comes from another solver"
                values: tuple[Any, ...] = (x0, last) if before.direct else (value, *history)
                x = combine(start, before.corrector.x, before.corrector.weights, values, of, before.corrector.y)
                del values
            history = (value, *history)
            if not step.held or start is None:
                start = x
            x = combine(start, step.x, step.weights, (x0,) if step.direct else history, of, step.y)
            if step.corrector is None and step.ends:
                start = None
            if step.z is not None:
                x = add(x, step.z, noise(done + 1, x.shape, x.dtype, x.device))
            history, last = history[step.keep], x0
            del value, x0
            if step.ends:
                done += 1
                if callback is not None:
                    callback(State(done, x, last, history, start))
        return x


@lru_cache(maxsize=128)
def _plan(solver: Exponential, path: Path, times: tuple[float, ...]) -> Plan:
    """The plan, which is all values, kept for the next run on the same grid: it costs as much as ten steps."""
    return make_plan(solver, path, torch.tensor(times, dtype=torch.float64))
