"""Posteriors by the score of p(y | x_t): the denoiser's Jacobian outside, a model of Cov[x0 | x_t] inside."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from ornstein.core.analytic import GaussianDenoiser
from ornstein.core.covariances import Covariance
from ornstein.core.denoisers import Denoiser, Traits
from ornstein.core.inverse.jacobian import Moments
from ornstein.core.inverse.observation import Observation
from ornstein.core.operators import LinearOperator, Nonlinear, conjugate_gradient, gmres
from ornstein.core.paths import expand, time

Model = Literal["jacobian", "row-sums"] | GaussianDenoiser | Callable[[float], float]


class MatchedPosterior(Denoiser):
    """E[x0 | x_t, y] for y = A(x0) + n, n ~ N(0, R), by the score of N(y; A x0_hat, A V A^T + R),

        x0_hat + C A^T (A V A^T + R)^-1 (y - A(x0_hat)),       C = (s^2 / a) dx0_hat / dx_t,

    where C is the denoiser's own Cov[x0 | x_t], by one vector-Jacobian product, and V a model of it:

    | method | covariance |
    |---|---|
    | MMPS | "jacobian": V = C, by a vector-Jacobian product in each iteration |
    | TMPD | "row-sums": A V A^T is diag(A C A^T 1), by one more |
    | moments of the data | a `GaussianDenoiser`: V is its posterior covariance |
    | PiGDM | r(sigma): V = r^2 I; `spherical` has theirs |

    Exact where p(x0 | x_t) is a Gaussian of covariance V = C, and where its A V A^T is right otherwise.
    A non-linear A stands for its derivative at x0_hat.

    Args:
        prior: E[x0 | x_t] on a Gaussian path, differentiable, of real x_t.
        operator: A, on tensors like x_t.
        observations: y, (batch, *range), or (1, *range) for the same in every item.
        noise: of y, see `Observation`.
        covariance: see above.
        iterations: of GMRES ("jacobian": a network's Jacobian need not be symmetric), or else of conjugate gradients. As
            many as there are observations solve exactly; few stop where the noise hides what is left.

    Raises:
        ValueError: for a noise that is not above 0.

    Source: Rozet et al. (2024), Learning diffusion priors from observations by expectation maximization, arXiv:2405.13712
    (MMPS); Boys et al. (2023), Tweedie moment projected diffusions for inverse problems, arXiv:2310.06721 (TMPD); Song et
    al. (2023), Pseudoinverse-guided diffusion models for inverse problems, OpenReview 9_gsMA8MRKQ (PiGDM).
    """

    def __init__(
        self,
        prior: Denoiser,
        operator: LinearOperator | Nonlinear,
        observations: Tensor,
        noise: Tensor | float | Covariance,
        covariance: Model = "jacobian",
        iterations: int = 5,
    ) -> None:
        super().__init__(prior.path)
        self.prior = prior
        self.observation = Observation(operator, observations, noise)
        self.covariance = covariance.on(prior.path) if isinstance(covariance, GaussianDenoiser) else covariance
        self.iterations = iterations

    @property
    def traits(self) -> Traits:
        return self.prior.traits

    @torch.no_grad()
    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
        c = self.path.coefficients(time(t))
        if not bool((c.a > 0).all()):  # no signal, so that x_t says nothing of how x0_hat would move
            raise ValueError("a posterior needs some signal in x_t: begin the grid where a > 0")
        gain = expand(c.s**2 / c.a, x_t)
        moments = Moments(lambda x: self.prior(x, t, y, **conditions), x_t, gain)
        x0, seen = moments.x0, self.observation
        derivative = seen.operator.linearise(x0)
        misfit = seen.misfit(x0)
        # In units of the noise, so that R is I.
        solved = self._solve(moments, derivative, misfit, t)
        return x0 + moments.product(derivative.adjoint(seen.whiten(solved)).to(x0.dtype))

    def _solve(self, moments: Moments, derivative: LinearOperator, misfit: Tensor, t: Tensor) -> Tensor:
        """(R^(-1/2) A V A^T R^(-1/2) + I)^-1 misfit."""
        whiten, model = self.observation.whiten, self.covariance

        def spread(v: Tensor) -> Tensor:
            return whiten(derivative.forward(self._model(moments, derivative.adjoint(whiten(v)), t)))

        if model == "row-sums":
            # A C A^T + R is diagonal, in the units of y, before it is put in those of the noise.
            ones = torch.ones_like(misfit)
            rows = derivative.forward(moments.product(derivative.adjoint(ones)))
            return misfit / (1 + whiten(whiten(rows.clamp(min=0))))
        if model == "jacobian":
            return gmres(lambda v: v + spread(v), misfit, iterations=self.iterations)
        return conjugate_gradient(spread, misfit, iterations=self.iterations, shift=1.0, tolerance=1e-12)

    def _model(self, moments: Moments, v: Tensor, t: Tensor) -> Tensor:
        """V v."""
        model = self.covariance
        if isinstance(model, GaussianDenoiser):
            return model.covariance.function(v, model.posterior_eigenvalues(t)).to(v.dtype)
        if isinstance(model, str):
            return moments.product(v)
        sigma = torch.exp(-self.path.log_snr(time(t))).reshape(-1)
        r = torch.tensor([model(level) for level in sigma.tolist()], dtype=torch.float64)
        return expand((r if len(r) > 1 else r[0]) ** 2, v) * v


def spherical(deviation: float) -> Callable[[float], float]:
    """r(sigma) of white data with this standard deviation, 1 / r^2 = 1 / sigma^2 + 1 / deviation^2: PiGDM's own.

    Source: Song et al. (2023), OpenReview 9_gsMA8MRKQ, section 3.2.
    """
    return lambda sigma: sigma * deviation / (sigma**2 + deviation**2) ** 0.5
