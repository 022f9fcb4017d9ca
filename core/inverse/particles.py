"""Posteriors by weighted particles, which become exact as the particles (and the steps) grow in number.

Both samplers go down the noise levels with particles whose weights make good what their moves get wrong: twisted SMC moves
by an approximate posterior score, the weighted ensemble by the likelihood of the noisy state itself, without a gradient.
They serve linear measurements of items small enough for their matrix: weights spread as the dimensions that are measured.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ornstein.core.covariances import Covariance
from ornstein.core.denoisers import Denoiser
from ornstein.core.grids import Explicit, Grid
from ornstein.core.inverse.observation import Observation
from ornstein.core.levels import Levels
from ornstein.core.noise import KeyedUniform
from ornstein.core.operators import LinearOperator
from ornstein.core.particles import Particles, feynman_kac

Error = Callable[[float], float]


@torch.no_grad()
def twisted_particles(
    prior: Denoiser,
    operator: LinearOperator,
    observations: Tensor,
    noise: Tensor | float | Covariance,
    *,
    shape: Sequence[int],
    particles: int,
    steps: int = 100,
    error: Error | None = None,
    threshold: float = 0.5,
    grid: Grid | Explicit | None = None,
    seed: int = 0,
    items: Sequence[int] | None = None,
) -> Particles:
    """Twisted diffusion sampler (TDS): p(y | x_t) is taken to be psi = N(y; A x0_hat, R + r^2 A A^T), its gradient through
    the denoiser moves the particles, and weights correct both,

        x_r ~ N(q x + (1 - q)(x0_hat + sigma^2 grad log psi), v I),
        w <- w p(x_r | x) psi_r(x_r) / (p~(x_r | x) psi(x)),

    with p~ that Gaussian, and p without the gradient. The last psi is the likelihood itself.

    Args:
        prior: E[x0 | x_t] on any Gaussian path without y, differentiable, of real items.
        operator: A, on items of that shape.
        observations: y, (problems, *range).
        noise: of y, see `Observation`.
        shape: of one item.
        particles: of each problem, at least 1.
        steps: evaluations of the prior for each particle, each with a vector-Jacobian product.
        error: r by sigma, the error of x0_hat, root mean square of a value, in the data's units: also makes the kernels p of
            `Levels.kernel` right at few steps. By default r is that of a round Gaussian of the prior's scale, and the kernels
            are those of small steps.
        threshold: share of the particles that their effective number falls below before they are resampled.
        grid: of the levels, `Karras()` by default.
        seed, items: of the noise; the problems' numbers, 0, 1, ... by default, key it.

    Returns: x (problems, particles, *shape) with log-weights, whose evidence is that of the whitened y, up to a constant.

    Source: Wu et al. (2023), Practical and asymptotically exact conditional sampling in diffusion models, arXiv:2306.17775,
    algorithm 1.
    """
    run = _Run(prior, Observation(operator, observations, noise), shape, particles, grid, steps, seed, items)
    deviation = prior.scale / 2

    def spread(i: int) -> float:
        sigma = run.levels.sigma[i]
        r = error(sigma) if error is not None else sigma * deviation / math.hypot(sigma, deviation)
        return r**2

    def look(i: int, x: Tensor) -> tuple[Mapping[str, Tensor], Tensor]:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            x0 = run.ask(i, x)
            value = run.seen.log_likelihood(x0, spread(i))
            (gradient,) = torch.autograd.grad(value.sum(), x)
        return {"x0": x0.detach(), "gradient": gradient, "value": value.detach()}, value.detach()

    def move(i: int, of: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        q, v = run.levels.kernel(i, error)
        mean = q * of["x"] + (1 - q) * of["x0"]
        if v == 0:  # the last step to no noise at all: the denoiser's answer
            return mean, -of["value"]
        shift = (1 - q) * run.levels.sigma[i] ** 2 * of["gradient"]
        fresh = math.sqrt(v) * run.white(i + 1)
        ratio = -(shift * (shift + 2 * fresh)).sum(2) / (2 * v)
        return mean + shift + fresh, ratio - of["value"]

    cloud = feynman_kac(run.levels.sigma[0] * run.white(0), look, move, run.levels.steps, run.uniforms, threshold)
    return run.finish(cloud, run.seen.log_likelihood(cloud.x, 0.0))


@torch.no_grad()
def weighted_ensemble(
    prior: Denoiser,
    operator: LinearOperator,
    observations: Tensor,
    noise: Tensor | float | Covariance,
    *,
    shape: Sequence[int],
    particles: int,
    steps: int = 100,
    error: Error | None = None,
    smoothing: float = 1.0,
    threshold: float = 0.5,
    grid: Grid | Explicit | None = None,
    seed: int = 0,
    items: Sequence[int] | None = None,
) -> Particles:
    """Approximation-free ensemble (AFDPS): on the way the density is p_t(x) L_t(x), the noisy prior times a likelihood of x
    itself, so that no model of p(x0 | x_t) is needed, and no gradient,

        L_t(x) = N(y; A x, R + k sigma^2 A A^T),    k the smoothing.

    The paper has k = 0 and small steps of a guided, weighted SDE. Here a step is whole: x_r is drawn from the Gaussian that
    the reverse kernel times L_r is, and the weight is its integral over L_t(x), which stays stable however small R is. A
    small k makes the density on the way much narrower than what it has to become, and a large one has the measurement come
    late; of 0 to 10, 1 errs least (16 values, 8 of them measured). `twisted_particles` err
    half as much, for a derivative.

    Args:
        prior, operator, observations, noise, shape, particles, threshold, grid, seed, items: as for `twisted_particles`.
        steps: evaluations of the prior for each particle, without any derivative.
        error: of x0_hat by sigma, with which the kernels are right at few steps, see `Levels.kernel`.
        smoothing: k, at least 0. Any is exact in the limit.

    Returns: x (problems, particles, *shape) with log-weights.

    Source: Chen et al. (2025), Solving inverse problems via diffusion-based priors: an approximation-free ensemble sampling
    approach, arXiv:2506.03979.
    """
    if smoothing < 0:
        raise ValueError(f"smoothing {smoothing} is below 0")
    run = _Run(prior, Observation(operator, observations, noise), shape, particles, grid, steps, seed, items)
    seen, sigma = run.seen, run.levels.sigma

    def look(i: int, x: Tensor) -> tuple[Mapping[str, Tensor], Tensor]:
        q, v = run.levels.kernel(i, error)
        mean = q * x + (1 - q) * run.ask(i, x)
        after = seen.log_likelihood(mean, smoothing * sigma[i + 1] ** 2 + v)
        return {"mean": mean}, after - seen.log_likelihood(x, smoothing * sigma[i] ** 2)

    def move(i: int, of: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        _, v = run.levels.kernel(i, error)
        x = seen.draw(of["mean"], v, smoothing * sigma[i + 1] ** 2, run.white(i + 1), run.white(i + 1, seen.rank))
        return x, torch.zeros_like(run.zero)

    start = seen.draw(0 * run.white(0), sigma[0] ** 2, smoothing * sigma[0] ** 2, run.white(0), run.white(0, seen.rank))
    cloud = feynman_kac(start, look, move, run.levels.steps, run.uniforms, threshold)
    gain = seen.log_likelihood(cloud.x, 0.0) - seen.log_likelihood(cloud.x, smoothing * sigma[-1] ** 2)
    return run.finish(cloud, gain)


class _Seen:
    """A whitened linear measurement in its singular vectors, R^(-1/2) A = U S V^T, in float64: all that follows is diagonal.

    Particles are (problems, particles, d). What of y no x reaches is the same for all, and left out.
    """

    def __init__(self, observation: Observation, shape: Sequence[int], problems: int) -> None:
        matrix = observation.matrix(shape, problems).double()
        u, singular, v = torch.linalg.svd(matrix, full_matrices=False)
        y = observation.whiten(observation.values).flatten(1).double().expand(problems, -1)
        self.singular = singular[:, None]
        self.directions = v.mT
        self.y = (u.mT @ y[..., None])[..., 0][:, None]
        self.rank = singular.shape[1]

    def log_likelihood(self, x: Tensor, variance: float) -> Tensor:
        """log N(y; A x, R + variance A A^T), (problems, particles), up to a constant of the problem."""
        total = 1 + variance * self.singular**2
        offset = self.y - self.singular * (x.double() @ self.directions)
        return -(offset.square() / total + total.log()).sum(2) / 2

    def draw(self, mean: Tensor, variance: float, smoothing: float, z: Tensor, n: Tensor) -> Tensor:
        """From N(x; mean, variance I) N(y; A x, R + smoothing A A^T), normalised, with white z and n, by Matheron's rule."""
        x = mean + math.sqrt(variance) * z
        left = 1 + smoothing * self.singular**2
        gap = self.y + left.sqrt() * n - self.singular * (x @ self.directions)
        gain = variance * self.singular / (left + variance * self.singular**2)
        return x + (gain * gap) @ self.directions.mT


class _Run:
    """What both samplers share: the levels, the measurement, and noise that is keyed by the problem."""

    def __init__(
        self,
        prior: Denoiser,
        observation: Observation,
        shape: Sequence[int],
        particles: int,
        grid: Grid | Explicit | None,
        steps: int,
        seed: int,
        items: Sequence[int] | None,
    ) -> None:
        assert particles >= 1, f"{particles} particles"
        values = observation.values
        assert not values.is_complex(), "particles are real: give complex data as two channels"
        self.levels = Levels(prior, grid, steps)
        self.shape, self.particles, self.problems = tuple(shape), particles, len(values)
        self.seen = _Seen(observation, shape, self.problems)
        self.dtype, self.device = values.dtype, values.device
        self.keyed = KeyedUniform(seed, list(range(self.problems) if items is None else items))
        self.zero = torch.zeros(self.problems, particles, dtype=torch.float64, device=self.device)

    def ask(self, i: int, x: Tensor) -> Tensor:
        """x0_hat of particles (problems, particles, d), at level i."""
        flat = x.reshape(-1, *self.shape).to(self.dtype)
        return self.levels(i, flat).double().reshape(x.shape)

    def white(self, step: int, size: int | None = None) -> Tensor:
        """White noise for a step, (problems, particles, d), or with `size` values in place of d, of another stream."""
        stream, count = (0, math.prod(self.shape)) if size is None else (1, size)
        draw = self.keyed.normal(step, (self.problems, self.particles * count), stream, self.device)
        return draw.reshape(self.problems, self.particles, count)

    def uniforms(self, step: int) -> Tensor:
        return self.keyed(step, (self.problems, 1), 2, self.device)[:, 0]

    def finish(self, cloud: Particles, gain: Tensor) -> Particles:
        """With the last gain of the weights, in the units, the shape and the precision of the data."""
        x = self.levels.state(self.levels.steps, cloud.x).to(self.dtype)
        return Particles(x.reshape(self.problems, self.particles, *self.shape), cloud.log_weights + gain)


def equal_samples(cloud: Particles, seed: int = 0, items: Sequence[int] | None = None) -> Tensor:
    """Particles as samples of equal weight, (problems, particles, ...): some of them more than once."""
    keyed = KeyedUniform(seed, list(range(len(cloud.x)) if items is None else items))
    return cloud.equal(keyed(0, (len(cloud.x), 1), 3, cloud.x.device)[:, 0])
