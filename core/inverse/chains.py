"""Published posterior samplers that are chains of their own: DPS, whose step is no score, and DAPS, which draws x0."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ornstein.core.denoisers import Denoiser
from ornstein.core.grids import Explicit, Grid, Karras, Uniform
from ornstein.core.inverse.jacobian import Moments
from ornstein.core.inverse.observation import Observation
from ornstein.core.levels import Levels
from ornstein.core.noise import KeyedNoise
from ornstein.core.operators import LinearOperator, Nonlinear, inner
from ornstein.core.paths import Path, time
from ornstein.core.solvers import Exponential, sample
from ornstein.core.solvers.solver import Noise


@torch.no_grad()
def sample_dps(
    prior: Denoiser,
    operator: LinearOperator | Nonlinear,
    observations: Tensor,
    *,
    shape: Sequence[int],
    steps: int = 1000,
    strength: float = 1.0,
    grid: Grid | Explicit | None = None,
    seed: int = 0,
    items: Sequence[int] | None = None,
    noise: Noise | None = None,
) -> Tensor:
    """Diffusion posterior sampling: after each step of the ancestral chain, in the state's own units,

        x_r <- x_r - strength grad_(x_t) |y - A(x0_hat(x_t))|,

    whose norm is each item's own. A heuristic: it needs many steps and its `strength` tuned, and is no posterior's chain.

    Args:
        prior: E[x0 | x_t] on a Gaussian path, differentiable.
        operator: A, on tensors (batch, *shape).
        observations: y, (batch, *range), or (1, *range).
        shape: (batch, ...) of the sample.
        steps: evaluations, each with a vector-Jacobian product.
        strength: zeta, at least 0.
        grid: of the levels; published for equal steps of t on `VariancePreserving`, elsewhere `Karras()`.
        seed, items, noise: as for `sample`.

    Source: Chung et al. (2023), Diffusion posterior sampling for general noisy inverse problems, arXiv:2209.14687,
    algorithm 1 with the step size of its appendix.
    """
    levels = Levels(prior, grid, steps)
    noise = noise or KeyedNoise(seed, range(shape[0]) if items is None else items)
    x = levels.sigma[0] * noise(0, torch.Size(shape), observations.dtype, observations.device)
    for i in range(steps):
        s, r = levels.sigma[i], levels.sigma[i + 1]
        moments = Moments(lambda x, i=i: levels(i, x), x, 1.0)  # type: ignore[misc]
        residual = observations - operator.forward(moments.x0)
        length = residual.flatten(1).norm(dim=1).clamp(min=1e-30).reshape(-1, *[1] * (residual.ndim - 1))
        gradient = -moments.product(operator.linearise(moments.x0).adjoint(residual / length))
        keep = (r / s) ** 2
        z = noise(i + 1, x.shape, x.dtype, x.device)
        # x is x_t / a: one division turns the gradient from x_t's units, the other the step into those of x_r / a_r.
        step = strength / (levels.a[i] * levels.a[i + 1])
        x = keep * x + (1 - keep) * moments.x0 + r * (1 - keep) ** 0.5 * z - step * gradient
    return levels.a[-1] * x


@torch.no_grad()
def sample_daps(
    prior: Denoiser,
    operator: LinearOperator | Nonlinear,
    observations: Tensor,
    noise_level: Tensor | float,
    *,
    shape: Sequence[int],
    steps: int = 20,
    inner_steps: int = 5,
    langevin: int = 100,
    deviation: float = 1.0,
    grid: Grid | Explicit | None = None,
    seed: int = 0,
    items: Sequence[int] | None = None,
    noise: Noise | None = None,
) -> Tensor:
    """Decoupled annealing: at each level x0_hat from the probability flow, x0 by Langevin steps on

        |x - x0_hat|^2 / 2 r^2 + |R^(-1/2) (y - A(x))|^2 / 2,      1 / r^2 = 1 / sigma^2 + 1 / deviation^2,

    and the next state from x0 by fresh noise alone, so that what one level errs the next may mend. The Langevin step is
    half of what the sharpest curvature allows, estimated by three power iterations of A^T R^-1 A at x0_hat.

    Args:
        prior: E[x0 | x_t] on a Gaussian path.
        operator: A, on tensors (batch, *shape).
        observations: y, (batch, *range), or (1, *range).
        noise_level: of y, see `Observation`.
        shape: (batch, ...) of the sample.
        steps: levels.
        inner_steps: evaluations at each of them.
        langevin: steps of Langevin dynamics at each, which cost no evaluation.
        deviation: of the data, above 0.
        grid: of the levels, `Karras()` by default.
        seed, items, noise: as for `sample`.

    Source: Zhang et al. (2024), Improving diffusion inverse problem solving with decoupled noise annealing,
    arXiv:2407.01521, algorithm 1 (with r bounded by the data's deviation).
    """
    observation = Observation(operator, observations, noise_level)
    levels = Levels(prior, grid, steps)
    noise = noise or KeyedNoise(seed, range(shape[0]) if items is None else items)
    size, dtype, device = torch.Size(shape), observations.dtype, observations.device
    x = levels.sigma[0] * noise(0, size, dtype, device)
    for i in range(steps):
        x0_hat = x0 = _flow(prior, levels, i, x, inner_steps)
        r = levels.sigma[i] * deviation / (levels.sigma[i] ** 2 + deviation**2) ** 0.5
        derivative = operator.linearise(x0_hat)
        step = 1 / (1 / r**2 + _curvature(observation, derivative, x0_hat))
        step = step.reshape(-1, *[1] * (x.ndim - 1))
        for k in range(langevin):
            pull = operator.linearise(x0).adjoint(observation.whiten(observation.misfit(x0)))
            z = noise((i + 1) * (langevin + 1) + k, size, dtype, device)
            x0 = x0 + step / 2 * (pull + (x0_hat - x0) / r**2) + step.sqrt() * z
        if i + 1 < steps:
            z = noise((i + 2) * (langevin + 1) - 1, size, dtype, device)
            x = x0 + levels.sigma[i + 1] * z
    return x0


def _flow(prior: Denoiser, levels: Levels, i: int, x: Tensor, steps: int) -> Tensor:
    """The end of the probability flow from x at level i."""
    path: Path = levels.path
    start, end = float(levels.times[i]), float(levels.times[-1])
    if steps == 1 or start <= end:
        return levels(i, x)
    state = levels.a[i] * x
    grid = Karras(start=start, end=end) if float(path.coefficients(time(end)).s) > 0 else Uniform(start, end)
    return sample(prior, solver=Exponential(2), grid=grid, steps=steps, x_start=state) / levels.a[-1]


def _curvature(observation: Observation, derivative: LinearOperator, x: Tensor) -> Tensor:
    """About the largest eigenvalue of A^T R^-1 A of each item, (batch,)."""
    v = x + torch.finfo(x.dtype).tiny
    value = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    for _ in range(3):
        v = v / v.flatten(1).norm(dim=1).clamp(min=1e-30).reshape(-1, *[1] * (x.ndim - 1))
        image = derivative.adjoint(observation.precision(derivative.forward(v)))
        value, v = inner(image, image).sqrt(), image
    return 1.5 * value
