"""Which observations are believed."""

import torch
from torch import Tensor

from ornstein.core.operators import LinearOperator
from ornstein.domains.atmosphere.background import Background
from ornstein.domains.atmosphere.sampling import posterior_mean, posterior_of

DOUBTFUL = 5.0
"""Standard deviations beyond which an observation is left out."""


def plausible(
    background: Background,
    operator: LinearOperator,
    values: Tensor,
    noise: Tensor,
    points: LinearOperator,
    seen: Tensor,
    errors: Tensor,
) -> Tensor:
    """Which observations agree with what the coarse field says there, (n,) bool: the background check.

    One is left out that is more than `DOUBTFUL` standard deviations away, its own and the analysis' together.

    Args:
        background: of the fine field.
        operator, values, noise: the coarse field: what it measures, its values (m,) and their standard deviations.
        points: the operator of the observations.
        seen, errors: their values and standard deviations, (n,).

    Source: Lorenc and Hammon (1988), Objective quality control of observations using Bayesian methods.
    """
    device = background.mean.device
    posterior = posterior_of(background, operator, values.to(device), noise.to(device))
    deviation, mean = background.deviation, background.mean
    expected = points.forward(mean + deviation * posterior_mean(posterior))[0].cpu()
    variances = []
    for part in torch.eye(len(seen), dtype=torch.float64).split(64):
        spread = posterior.gaussian.covariance(points.adjoint(part.to(device)) * deviation)
        left = posterior.update(
            spread, torch.zeros_like(posterior.observations), posterior.gaussian.covariance.eigenvalues
        )
        variances.append((points.forward(left * deviation).cpu() * part).sum(1))
    limit = DOUBTFUL * (torch.cat(variances).clamp(min=0) + errors.square()).sqrt()
    return (seen - expected).abs() <= limit
