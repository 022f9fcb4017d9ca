"""The posterior of a linear measurement, as a denoiser: E[x0 | x_t, y] with a Gaussian for p(x0 | x_t)."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from ornstein.core.denoisers import Denoiser
from ornstein.core.operators import LinearOperator
from ornstein.core.paths import expand


class LinearPosterior(Denoiser):
    """E[x0 | x_t, y] for y = A x0 + n, n ~ N(0, noise^2 I), where p(x0 | x_t) is N(x0_hat, r^2 I):

        x0_hat + r^2 A^H (r^2 A A^H + noise^2 I)^-1 (y - A x0_hat)

    which solves (A^H A + q I) x = A^H y + q x0_hat with q = (noise / r)^2: by conjugate gradients from x0_hat, of which a
    few iterations move it only along what the data see, or as the operator knows better. r is the prior's own root-mean-square error at the noise level of x_t.

    Args:
        prior: E[x0 | x_t] on any path.
        operator: A, on tensors like x_t.
        measurement: y, of the operator's range.
        noise: standard deviation of n (of its real and of its imaginary part), above 0, of shape () or (batch,).
        error: sigma = s / a to r, both in the data's units.
        iterations: of conjugate gradients, at least 1.

    Source: Chung, Lee, Ye (2024), Decomposed diffusion sampler, arXiv:2303.05754, eq. 16; Song et al. (2023),
    Pseudoinverse-guided diffusion models (r), OpenReview 9_gsMA8MRKQ, eq. 8; Zhu et al. (2023), DiffPIR,
    arXiv:2305.08995, eq. 12.
    """

    def __init__(
        self,
        prior: Denoiser,
        operator: LinearOperator,
        measurement: Tensor,
        noise: Tensor | float,
        error: Callable[[float], float],
        iterations: int = 5,
    ) -> None:
        super().__init__(prior.path)
        self.prior = prior
        self.operator = operator
        self.noise = noise
        self.error = error
        self.iterations = iterations
        self.back_projection = operator.adjoint(measurement)

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
        x0 = self.prior(x_t, t, y, **conditions)
        r = self.error(float(torch.exp(-self.path.log_snr(t))))
        shift = torch.as_tensor((self.noise / r) ** 2, dtype=torch.float64)
        b = self.back_projection + expand(shift, x0) * x0
        return self.operator.solve(b, shift, self.iterations, start=x0)


def error_curve(measured: Mapping[str, float]) -> Callable[[float], float]:
    """r(sigma) from errors measured at some noise levels: log-linear between them, and like its ends beyond.

    Below the lowest level the error falls with sigma; above the highest it is the data's own deviation.

    Args:
        measured: sigma (as text, as JSON keeps it) to the root-mean-square error there, at least two.
    """
    levels = np.log(np.array([float(level) for level in measured]))
    errors = np.log(np.array(list(measured.values())))
    order = np.argsort(levels)
    levels, errors = levels[order], errors[order]

    def error(sigma: float) -> float:
        log_sigma = np.log(sigma)
        below = min(0.0, log_sigma - levels[0])
        return float(np.exp(np.interp(log_sigma, levels, errors) + below))

    return error
