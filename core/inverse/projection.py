"""Posteriors without a gradient: x0_hat is brought to agree with y, and the prior knows nothing of it."""

import torch
from torch import Tensor

from ornstein.core.denoisers import Denoiser, Traits
from ornstein.core.inverse.posterior import LinearPosterior
from ornstein.core.operators import LinearOperator
from ornstein.core.paths import expand, time


class NullSpacePosterior(Denoiser):
    """DDNM+: what the data see is taken from them, the rest from the prior,

        x0_hat + w A^+ (y - A x0_hat),       w = min(1, sigma / noise),  sigma = s / a,

    so that no more of the data's noise comes in than x_t has itself, for an A whose singular values are 0 or near 1.

    It goes with `Exponential(1, eta=0.85)`, as published, or `renoise=True`.

    Args:
        prior: E[x0 | x_t] on any path.
        operator: A, on tensors like x_t.
        observations: y, (batch, *range).
        noise: the standard deviation of y's noise, at least 0, of shape () or (batch,).
        iterations: of conjugate gradients for A^+, where the operator has no direct solution.

    Source: Wang, Yu, Zhang (2023), Zero-shot image restoration using denoising diffusion null-space model,
    arXiv:2212.00490, eq. 13 and section 3.3.
    """

    def __init__(
        self,
        prior: Denoiser,
        operator: LinearOperator,
        observations: Tensor,
        noise: Tensor | float = 0.0,
        iterations: int = 20,
    ) -> None:
        super().__init__(prior.path)
        self.prior, self.operator, self.observations = prior, operator, observations
        self.noise, self.iterations = torch.as_tensor(noise, dtype=torch.float64), iterations

    @property
    def traits(self) -> Traits:
        return self.prior.traits

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
        x0 = self.prior(x_t, t, y, **conditions)
        sigma = torch.exp(-self.path.log_snr(time(t)))
        weight = torch.where(self.noise > sigma, sigma / self.noise, 1.0)
        back = self.operator.adjoint(self.observations - self.operator.forward(x0))
        # The pseudo-inverse, by a shift that counts for nothing beside singular values near 1.
        return x0 + expand(weight, x0) * self.operator.solve(back, 1e-6, self.iterations).to(x0.dtype)


def proximal_posterior(
    prior: Denoiser,
    operator: LinearOperator,
    observations: Tensor,
    noise: Tensor | float,
    strength: float = 7.0,
    iterations: int = 20,
) -> LinearPosterior:
    """DiffPIR's step, argmin |y - A x|^2 / (2 noise^2) + strength |x - x0_hat|^2 / (2 sigma^2): a `LinearPosterior` with
    r = sigma / sqrt(strength). It goes with `Exponential(1, renoise=True)` (its zeta = 1), or with `eta`.

    Args:
        prior, operator, observations, noise, iterations: see `LinearPosterior`.
        strength: its lambda, above 0; published are 1 to 25.

    Source: Zhu et al. (2023), Denoising diffusion models for plug-and-play image restoration, arXiv:2305.08995, eq. 12.
    """
    if strength <= 0:
        raise ValueError(f"strength {strength} must be above 0")
    return LinearPosterior(prior, operator, observations, noise, lambda sigma: sigma / strength**0.5, iterations)
