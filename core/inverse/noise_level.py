"""The noise of y from y alone, where the prior's moments do not explain it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ornstein.core.denoisers import Denoiser
from ornstein.core.inverse.jacobian import Moments
from ornstein.core.inverse.observation import Observation
from ornstein.core.operators import LinearOperator
from ornstein.core.paths import time

LEVELS = 2001  # candidates of the standard deviation, over ten decades


@torch.no_grad()
def estimate_noise(prior: Denoiser, operator: LinearOperator, observations: Tensor, shape: Sequence[int]) -> Tensor:
    """The standard deviation of white noise on y that makes y likeliest, were x0 a Gaussian of the prior's moments,

        y ~ N(A m, A C A^T + noise^2 I),      m = x0_hat and C = Cov[x0 | x_t] where x_t is nearly all noise.

    Good to about 1 / sqrt(2 k), relative, for k directions of y that the prior leaves (more of them observed than it has
    freedom, or where A C A^T is small); where there is none, it cannot be told from the data themselves.

    Args:
        prior: E[x0 | x_t] on a Gaussian path, differentiable, of real items of at most some hundred values.
        operator: A, on items of the given shape.
        observations: y, (problems, *range).
        shape: of one item.

    Returns: one for each problem, (problems,), in the units of y.

    Source: type II maximum likelihood; Wahba (1990), Spline models for observational data, chapter 4.
    """
    path, dtype = prior.path, observations.dtype
    t = path.time_of(torch.tensor(-12.0)).clamp(max=1.0)  # sigma of some 1e5, or the path's own largest
    c = path.coefficients(time(t))
    x = torch.zeros(1, *shape, dtype=dtype, device=observations.device)
    moments = Moments(lambda x: prior(x, t), x, float(c.s**2 / c.a))
    covariance, mean = moments.dense()[0], moments.x0.double()
    problems = len(observations)
    white = Observation(operator, observations, 1.0)
    matrix = white.matrix(shape, problems).double()
    misfit = observations.flatten(1).double() - (matrix @ mean.flatten())
    values, vectors = torch.linalg.eigh(matrix @ covariance @ matrix.mT)
    power = (vectors.mT @ misfit[..., None])[..., 0].square()
    scale = power.mean(1, keepdim=True).clamp(min=1e-300)
    candidates = scale * torch.logspace(-10, 1, LEVELS, dtype=torch.float64, device=power.device)
    total = values.clamp(min=0)[:, None] + candidates[..., None]
    cost = (power[:, None] / total + total.log()).sum(-1)
    best = candidates.gather(1, cost.argmin(1, keepdim=True))[:, 0]
    return best.sqrt().to(dtype)
