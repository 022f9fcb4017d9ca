"""Predictor-corrector sampling: steps of the reverse SDE, with annealed Langevin dynamics between them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ornstein.core.denoisers import Denoiser
from ornstein.core.paths import Path
from ornstein.core.solvers.exponential import Exponential
from ornstein.core.solvers.plan import make_plan
from ornstein.core.solvers.solver import Noise, Solver, State, add, combine, per_item, refuse_unless_gaussian

Predictor = Literal["euler-maruyama", "reverse-diffusion", "ancestral"]
StepSize = Literal["noise-level", "norm"]


class CorrectedStep(NamedTuple):
    """The weights of (x, x0, y) in s times the score (None where s = 0), s, and the predictor's of (x, x0, y) and of z."""

    score: tuple[float, float, float] | None
    s: float
    predictor: tuple[float, float, float]
    z: float | None


@dataclass(frozen=True)
class PredictorCorrector(Solver):
    """At each time of the grid some Langevin steps, and then a step of the reverse SDE to the next time.

    With the score (a x0_hat + b y - x) / s^2 and unit noise z the corrector is

        x <- x + eps score + sqrt(2 eps) k z,    eps = 2 (snr s)^2  or, of each item's own norms,  2 (snr |z| / |score|)^2

    and the predictor from t to r, where the path's SDE is dx = (f x + w y) dt + g dW and x_t = A x_r + B y + G z,

        euler-maruyama      x_r = x + (t - r) (g^2 score - f x - w y) + g sqrt(t - r) z
        reverse-diffusion   x_r = (2 - A) x - B y + G^2 score + G z
        ancestral           that of `Exponential(1, stochasticity=1)`, exact where x0_hat does not change

    and the ancestral one in any case where a = 0 or s = 0. The last step adds no noise.

    | method | settings |
    |---|---|
    | SGMSE+ | the defaults, on `paths.OUVE` with `grids.Uniform(end=0.03)`, 30 steps |
    | Song et al.'s PC sampler | predictor="reverse-diffusion", step_size="norm", snr=0.16 |
    | GDSS | step_size="norm", snr and noise_scale (its scale_eps) of the data set |

    Args:
        snr: the corrector's signal-to-noise ratio, above 0; below 1 with "noise-level", where it is stable.
        corrections: Langevin steps at each time, at least 0; each costs an evaluation.
        predictor: see above.
        step_size: eps by the "noise-level", or by the "norm" of the score, for items of many values: the score of a few may
            be near 0, and their step then large.
        noise_scale: k, at least 0; 1 leaves the marginal as it is, but for eps.

    Raises:
        ValueError: for settings out of range; in `solve`, on a path without an SDE.

    Source: Song et al. (2021), arXiv:2011.13456, algorithms 2 to 5; Richter et al. (2023), SGMSE+, arXiv:2208.05830; Jo, Lee,
    Hwang (2022), GDSS, arXiv:2202.02514. These share one eps in a batch, of its mean norms; here no item depends on others.
    """

    snr: float = 0.5
    corrections: int = 1
    predictor: Predictor = "euler-maruyama"
    step_size: StepSize = "noise-level"
    noise_scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.snr < (1 if self.step_size == "noise-level" else math.inf):
            raise ValueError(f"snr {self.snr} is not above 0, and below 1 where the noise level sets the step")
        if self.corrections < 0 or self.noise_scale < 0:
            raise ValueError(f"corrections and noise_scale are at least 0: {self}")
        if self.predictor not in get_args(Predictor) or self.step_size not in get_args(StepSize):
            known = ", ".join(get_args(Predictor) + get_args(StepSize))
            raise ValueError(f"predictor {self.predictor!r}, step_size {self.step_size!r}; known: {known}")

    @property
    def stochastic(self) -> bool:
        return True

    def evaluations(self, steps: int) -> int:
        return steps * (1 + self.corrections)

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
        assert y is not None or not denoiser.path.drifts, f"{denoiser.path} drifts to y, which is missing"
        x, draws, conditions = state.x, self.corrections + 1, conditions or {}
        plan = per_item(lambda times: self.plan(denoiser.path, times), times, x)
        evaluate = denoiser.along(times[:-1])

        for i in range(state.step, len(plan)):
            step = plan[i]
            for k in range(self.corrections if step.score is not None else 0):
                assert step.score is not None
                of_x, of_x0, of_y = step.score
                score = combine(x, of_x, (of_x0,), (evaluate[i](x, y, **conditions),), y, of_y)
                z = noise(i * draws + k + 1, x.shape, x.dtype, x.device)
                x = self.correct(x, score, z, step.s)
            x0 = evaluate[i](x, y, **conditions)
            of_x, of_x0, of_y = step.predictor
            x = combine(x, of_x, (of_x0,), (x0,), y, of_y)
            if i < len(plan) - 1 and step.z is not None:
                x = add(x, step.z, noise(i * draws + draws, x.shape, x.dtype, x.device))
            if callback is not None:
                callback(State(i + 1, x, x0))
        return x

    def correct(self, x: Tensor, score: Tensor, z: Tensor, s: float | Tensor) -> Tensor:
        """One Langevin step; `score` is s times the score, so that sqrt(eps / 2) / s = snr |z| / |score| in its terms."""
        if self.step_size == "noise-level":
            root: Tensor | float = self.snr
        else:
            energy = score.abs().flatten(1).double().square().sum(1)
            ratio = z.abs().flatten(1).double().square().sum(1) / energy
            # At a mode the score is nothing, and the noise level has to do.
            ratio = torch.where(energy > 0, ratio, 1.0)
            root = (self.snr * ratio.sqrt()).to(x.real.dtype).reshape(-1, *[1] * (x.ndim - 1))
        return x + score * (2 * s * root**2) + z * (2 * s * self.noise_scale * root)

    def plan(self, path: Path, times: Tensor) -> list[CorrectedStep]:
        """The coefficients of every step, in float64."""
        ancestral = make_plan(Exponential(1, stochasticity=1.0), path, times).steps
        c = path.coefficients(times)
        rows = torch.stack([times, c.a, c.b, c.s], dim=1).tolist()
        plan = []
        for i, ((t, a, b, s), (r, a_r, b_r, s_r)) in enumerate(pairwise(rows)):
            exact = ancestral[i]
            weights, z = (exact.x, exact.weights[0], exact.y), exact.z
            if a > 0 and s > 0 and self.predictor != "ancestral":
                if self.predictor == "reverse-diffusion":
                    keep, shift = 2 - a / a_r, a / a_r * b_r - b
                    variance = s**2 - (a / a_r * s_r) ** 2
                else:
                    f, w, g_square = (float(v) for v in path.diffusion(times[i]))
                    keep, shift, variance = 1 - f * (t - r), -w * (t - r), g_square * (t - r)
                gain = variance / s**2
                weights, z = (keep - gain, gain * a, shift + gain * b), math.sqrt(variance)
            plan.append(CorrectedStep((-1 / s, a / s, b / s) if s > 0 else None, s, weights, z))
        return plan
