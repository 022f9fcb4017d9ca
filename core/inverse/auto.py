"""The default posterior sampler: no setting to tune, exact on Gaussians, and right in the limit of many samples elsewhere."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ornstein.core.covariances import Covariance
from ornstein.core.denoisers import Denoiser
from ornstein.core.grids import Explicit, Grid, Karras
from ornstein.core.inverse.jacobian import Moments
from ornstein.core.inverse.noise_level import estimate_noise
from ornstein.core.inverse.observation import Observation
from ornstein.core.levels import Levels
from ornstein.core.noise import KeyedUniform
from ornstein.core.operators import LinearOperator, Nonlinear
from ornstein.core.particles import resample

LARGEST = 512  # values of an item whose Jacobian is taken whole
MANY = 32  # samples of a problem from which on they are weighted
LOWEST = 0.01  # last noise level, in units of the data's scale
PER_ITEM = 65536  # samples that one problem may have, as its noise is keyed


@torch.no_grad()
def sample_posterior(
    prior: Denoiser,
    operator: LinearOperator | Nonlinear,
    observations: Tensor,
    noise: Tensor | float | Covariance | None,
    *,
    shape: Sequence[int],
    samples: int,
    steps: int = 50,
    seed: int = 0,
    items: Sequence[int] | None = None,
    grid: Grid | Explicit | None = None,
    weighted: bool | None = None,
) -> Tensor:
    """Samples of p(x0 | y), y = A(x0) + n, for some problems with some samples each.

    A chain down the noise levels. At each, p(x0 | x_t) counts as N(x0_hat, V) with the covariance of the denoiser's own
    Jacobian. So p(y | x_t) is psi_t = N(y; A x0_hat, A V A^T + R), x0 is drawn from N(x0_hat, V) given y (Matheron's
    rule), and x_r from p(x_r | x_t, x0). What this errs where p(x0 | x_t) is no Gaussian is made good by weights,

        w <- w psi_r(x_r) / p_G(y | x_r, x_t),

    p_G the same Gaussian's, and by systematic resampling among the samples of one problem where their effective number
    falls below half. On a Gaussian prior every weight is 1, and any number of steps is exact. Elsewhere the samples
    become exact as they grow in number, but for what is left of the steps: that p(x_r | x_t) is a Gaussian.

    Everything is in the units of the noise, so that those of y do not matter, and each problem is by itself.

    Args:
        prior: E[x0 | x_t] on any Gaussian path without y, differentiable, of real items of at most 512 values.
        operator: A, on items of the given shape.
        observations: y, (problems, *range).
        noise: of y, see `Observation`; None has `estimate_noise` find it, of each problem, for a linear operator.
        shape: of one item.
        samples: of each problem, at least 1.
        steps: evaluations of the prior for each sample, at least 1; each with as many vector-Jacobian products as an item
            has values.
        seed: of the noise.
        items: the problems' numbers, which key their noise; 0, 1, ... by default.
        grid: where the levels lie; `Karras` down to a hundredth of the prior's scale by default.
        weighted: None weights from 32 samples of a problem on: fewer would lose their variety by it.

    Returns: (problems, samples, *shape), of equal weight, in the precision of the observations.

    Raises:
        ValueError: for items that are too large, and a noise that is not above 0.

    Source: Wu et al. (2023), Practical and asymptotically exact conditional sampling in diffusion models (TDS),
    arXiv:2306.17775, with the twist of Rozet et al. (2024), Learning diffusion priors from observations by expectation
    maximization (MMPS), arXiv:2405.13712, and the transitions of the same Gaussian.
    """
    size, problems = torch.Size(shape).numel(), len(observations)
    if size > LARGEST:
        raise ValueError(f"items of {size} values: the whole Jacobian serves up to {LARGEST}; see docs/inverse.md")
    assert samples >= 1 and steps >= 1, f"{samples} samples, {steps} steps"
    weighted = samples >= MANY if weighted is None else weighted
    if noise is None:
        assert isinstance(operator, LinearOperator), "the noise is estimated for linear operators"
        found = estimate_noise(prior, operator, observations, shape)
        noise = found.reshape(-1, *[1] * (observations.ndim - 1))
    numbers = range(problems) if items is None else items
    rows = KeyedUniform(seed, [item * PER_ITEM + k for item in numbers for k in range(samples)])
    selection = KeyedUniform(seed, list(numbers))
    dtype, device = observations.dtype, observations.device
    chain = _Chain(prior, Observation(operator, observations, noise), tuple(shape), problems, samples, grid, steps)

    def white(step: int, count: int, stream: int) -> Tensor:
        return rows.normal(step, (problems * samples, count), stream, device).reshape(problems, samples, count)

    x = chain.sigma[0] * white(0, size, 0)
    log_weights = torch.zeros(problems, samples, dtype=torch.float64, device=device)
    expected: Tensor | float = 0.0
    for i in range(steps):
        here = chain.look(i, x)
        last = i + 1 == steps
        if weighted:
            u = selection(i, (problems, 1), 0, device)[:, 0]
            log_weights = log_weights + chain.log_likelihood(here) - expected
            kept, log_weights = resample({**here, "x": x}, log_weights, u, 1.0 if last else 0.5)
            x, here = kept["x"], dict(kept)
        x0 = chain.draw(here, white(i + 1, size, 1), white(i + 1, chain.count, 2))
        if last:
            break
        before, x = x, chain.renoise(i, x, x0, white(i + 1, size, 3))
        expected = chain.expect(i, here, before, x)
    return x0.to(dtype).reshape(problems, samples, *shape)


class _Chain:
    """The Gaussian algebra of one run, in float64: states (problems, samples, d), matrices (problems, samples, d, d)."""

    def __init__(
        self,
        prior: Denoiser,
        observation: Observation,
        shape: tuple[int, ...],
        problems: int,
        samples: int,
        grid: Grid | Explicit | None,
        steps: int,
    ) -> None:
        if grid is None:
            grid = Karras(end=float(prior.path.time_of(-torch.tensor(LOWEST * prior.scale).log())))
        # The last of the levels is looked at too: one evaluation each.
        self.levels = Levels(prior, grid, max(steps - 1, 1))
        self.sigma = self.levels.sigma
        self.observation, self.shape = observation, shape
        self.rows, self.dtype = (problems, samples), observation.values.dtype
        self.linear = isinstance(observation.operator, LinearOperator)
        self.matrix = observation.matrix(shape, problems).double()[:, None] if self.linear else None
        self.values = observation.whiten(observation.values).flatten(1).double()[:, None]
        self.count = self.values.shape[-1]

    def look(self, i: int, x: Tensor) -> dict[str, Tensor]:
        """At level i: x0_hat, a root of V, the whitened rows of A, those times V, the misfit, and the root of its covariance."""
        flat = x.reshape(-1, *self.shape).to(self.dtype)
        moments = Moments(lambda x: self.levels(i, x), flat, self.sigma[i] ** 2)
        x0 = moments.x0.double().reshape(*self.rows, -1)
        root, covariance = positive(moments.dense().unflatten(0, self.rows))
        matrix, misfit = self._linearise(x0)
        spread = matrix @ covariance
        unit = torch.eye(self.count, dtype=torch.float64, device=x.device)
        factor = torch.linalg.cholesky(spread @ matrix.mT + unit)
        return {"x0": x0, "root": root, "matrix": matrix, "spread": spread, "misfit": misfit, "factor": factor}

    def log_likelihood(self, here: dict[str, Tensor]) -> Tensor:
        """log psi_t up to a constant, (problems, samples)."""
        return log_normal(here["misfit"], here["factor"])

    def draw(self, here: dict[str, Tensor], z: Tensor, n: Tensor) -> Tensor:
        """x0 from N(x0_hat, V) given y, with white z and n."""
        step = (here["root"] @ z[..., None])[..., 0]
        gap = here["misfit"] + n - (here["matrix"] @ step[..., None])[..., 0]
        gain = torch.cholesky_solve(gap[..., None], here["factor"])
        return here["x0"] + step + (here["spread"].mT @ gain)[..., 0]

    def renoise(self, i: int, x: Tensor, x0: Tensor, z: Tensor) -> Tensor:
        """x_r of p(x_r | x_t, x0) at the next level."""
        keep, fresh = self._bridge(i)
        return keep * x + (1 - keep) * x0 + fresh**0.5 * z

    def expect(self, i: int, here: dict[str, Tensor], x: Tensor, after: Tensor) -> Tensor:
        """log p_G(y | x_r, x_t), like psi at the next level were p(x0 | x_t) the Gaussian that it counts as."""
        keep, fresh = self._bridge(i)
        gain, spread = 1 - keep, here["spread"]
        covariance = here["root"] @ here["root"].mT
        unit = torch.eye(x.shape[-1], dtype=torch.float64, device=x.device)
        factor = torch.linalg.cholesky(gain**2 * covariance + fresh * unit)
        offset = after - keep * x - gain * here["x0"]
        solved = torch.cholesky_solve(torch.cat([spread.mT, offset[..., None]], dim=-1), factor)
        misfit = here["misfit"] - gain * (spread @ solved[..., -1:])[..., 0]
        # S less what x_r tells: both of them in the order of A's rows.
        left = here["factor"] @ here["factor"].mT - gain**2 * spread @ solved[..., :-1]
        return log_normal(misfit, torch.linalg.cholesky((left + left.mT) / 2))

    def _bridge(self, i: int) -> tuple[float, float]:
        """The weight of x_t, and the variance of the fresh noise, in p(x_r | x_t, x0)."""
        s, r = self.sigma[i], self.sigma[i + 1]
        return (r / s) ** 2, r**2 * (1 - (r / s) ** 2)

    def _linearise(self, x0: Tensor) -> tuple[Tensor, Tensor]:
        """The whitened rows of A's derivative, (problems, samples or 1, m, d), and the whitened misfit of x0."""
        if self.matrix is not None:
            return self.matrix.expand(*self.rows, -1, -1), self.values - (self.matrix @ x0[..., None])[..., 0]
        operator = self.observation.operator
        flat = x0.reshape(-1, *self.shape).to(self.dtype)
        values = self.observation.values.repeat_interleave(self.rows[1], dim=0)
        each = Observation(operator, values, self._noise_of_each())
        derivative = operator.linearise(flat)
        unit = torch.eye(x0.shape[-1], dtype=self.dtype, device=x0.device).reshape(-1, *self.shape)
        columns = [each.whiten(derivative.forward(e.expand_as(flat))).flatten(1) for e in unit]
        matrix = torch.stack(columns, dim=2).double().unflatten(0, self.rows)
        return matrix, each.misfit(flat).flatten(1).double().unflatten(0, self.rows)

    def _noise_of_each(self) -> Tensor | float | Covariance:
        """The noise for rows of all problems' samples."""
        noise = self.observation.noise
        if isinstance(noise, Tensor) and noise.ndim == self.observation.values.ndim and len(noise) > 1:
            return noise.repeat_interleave(self.rows[1], dim=0)
        return noise


def log_normal(misfit: Tensor, factor: Tensor) -> Tensor:
    """log N(misfit; 0, L L^T) up to a constant, (...,) from (..., m) and L (..., m, m)."""
    white = torch.linalg.solve_triangular(factor, misfit[..., None], upper=False)[..., 0]
    return -white.square().sum(-1) / 2 - factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def positive(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """A root of a symmetric matrix (..., d, d) and its square; without the negative part that a network's Jacobian may have."""
    size = matrix.diagonal(dim1=-2, dim2=-1).abs().mean(-1)[..., None, None]
    unit = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    matrix = matrix + 1e-12 * size * unit
    root, failed = torch.linalg.cholesky_ex(matrix)
    bad = failed > 0
    if bool(bad.any()):
        values, vectors = torch.linalg.eigh(matrix[bad])
        values = values.clamp(min=0) + 1e-12 * size[bad][..., 0]
        root[bad] = vectors * values.sqrt()[..., None, :]
        matrix = torch.where(bad[..., None, None], root @ root.mT, matrix)
    return root, matrix
