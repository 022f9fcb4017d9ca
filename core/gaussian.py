"""What a Gaussian of the data's mean and covariance is good for: a denoiser's skip, observations, the start of sampling."""

import copy
import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from ornstein.core.analytic import GaussianDenoiser
from ornstein.core.covariances import wide
from ornstein.core.denoisers import Denoiser
from ornstein.core.operators import LinearOperator, conjugate_gradient
from ornstein.core.paths import Path, expand, time


class PreconditionedDenoiser(Denoiser):
    """The optimal linear denoiser of N(m, C), and a network for what it leaves,

        x0_hat = g(x_t) + e F((u - a m) / sqrt(a^2 tr(C) / d + s^2), log(sigma) / 4),      u = x_t - b y,

    where g is the `GaussianDenoiser` and e = sqrt(tr Cov[x0 | x_t] / d) its error. With m = 0 and C = sigma_data^2 I it is
    the preconditioning of Karras et al.; with the data's covariance an untrained network (F = 0) is the Wiener filter
    already, and what a network is trained for, (x0 - g) / e, has unit variance at every noise level.

    The network is called as F(input, noise_label, **conditions), as `NetworkDenoiser` calls it.

    Args:
        network: a module that keeps the shape of its first argument.
        gaussian: the linear denoiser, whose path is the path of x_t.

    Source: Karras et al. (2022), arXiv:2206.00364, section 5, with their scalar skip replaced by the Wiener filter.
    """

    def __init__(self, network: nn.Module, gaussian: GaussianDenoiser) -> None:
        super().__init__(gaussian.path)
        self.network = network
        self.gaussian = gaussian

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
        t = time(t)
        c = self.path.coefficients(t)
        linear = self.gaussian(x_t, t, y)
        offset = x_t if y is None else x_t - expand(c.b, x_t) * y
        mean = self.gaussian.mean.to(offset.dtype if offset.is_complex() else self.gaussian.mean.dtype)
        offset = offset - expand(c.a, x_t) * mean.to(x_t.dtype)
        variance = self.gaussian.covariance.trace().to(c.a.device) / self.gaussian.mean.numel()
        scale = torch.rsqrt(c.a**2 * variance + c.s**2)
        label = -self.path.log_snr(t).clamp(-20, 20) / 4
        if y is not None:
            conditions = {**conditions, "y": y}
        label = label.to(device=x_t.device, dtype=torch.float32).expand(len(x_t))
        f = self.network(expand(scale, offset) * offset, label, **conditions).to(linear.dtype)
        return linear + expand(self.gaussian.error(t), linear) * f

    def loss_weight(self, t: Tensor) -> Tensor:
        """1 / e^2, with which the squared error of x0_hat is |F - target|^2 for a target of unit variance; like t."""
        return self.gaussian.error(t) ** -2

    def replace_network(self, network: nn.Module) -> Self:
        """The same denoiser around another network (its moving average, say)."""
        other = copy.copy(self)
        other._modules = {**self._modules, "network": network}
        return other


class GaussianPosterior(Denoiser):
    """E[x0 | x_t, v] for observations v = A x0 + n, n ~ N(0, R), where p(x0 | x_t) is N(x0_hat, P_t),

        x0_hat + P_t A^H (A P_t A^H + R)^-1 (v - A x0_hat),

    with the Gaussian's own posterior covariance P_t = s^2 C (a^2 C + s^2 I)^-1. Where x0_hat is the Gaussian's answer too
    (an untrained `PreconditionedDenoiser`, say) this is exact, and what is sampled has the mean and the covariance of
    optimal interpolation,

        m + K (v - A m)   and   C - K A C,      K = C A^H (A C A^H + R)^-1.

    Args:
        prior: E[x0 | x_t], on the Gaussian's path or another.
        gaussian: the mean and the covariance of the data.
        operator: A, on tensors like x_t.
        observations: v, (batch, *range), or (1, *range) for the same in every item; in the precision of x_t.
        noise: standard deviation of n, above 0, of a shape that broadcasts to v: each observation may have its own. That
            of a complex n is sqrt(E|n|^2), both parts together.
        iterations: None solves with the matrix of A P_t A^H + R, once for all items: for up to some thousand
            observations, by an operator that treats all items alike. A number solves by so many conjugate gradients at
            most: 100 reach 1e-6 on block means of fields, sooner than the matrix where C is stationary, later where it is
            a dense basis.

    Raises:
        ValueError: for a noise that is not above 0.

    Source: Gandin (1963), Objective analysis of meteorological fields (optimal interpolation); Song et al. (2023),
    Pseudoinverse-guided diffusion models, OpenReview 9_gsMA8MRKQ (the Gaussian p(x0 | x_t)).
    """

    def __init__(
        self,
        prior: Denoiser,
        gaussian: GaussianDenoiser,
        operator: LinearOperator,
        observations: Tensor,
        noise: Tensor | float,
        iterations: int | None = None,
    ) -> None:
        super().__init__(prior.path)
        self.prior = prior
        self.gaussian = gaussian.on(prior.path)
        self.operator = operator
        self.observations = observations
        real = observations.real.dtype if observations.is_complex() else observations.dtype
        self.noise = torch.as_tensor(noise, dtype=real, device=observations.device)
        if not bool((self.noise > 0).all()):
            raise ValueError("noise: the standard deviation of observations is above 0")
        self.iterations = iterations
        self._rows = None if iterations is not None else self._observe()

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
        x0 = self.prior(x_t, t, y, **conditions)
        return self.update(x0, self.observations, self.gaussian.posterior_eigenvalues(t))

    def draw(self, z: Tensor, n: Tensor) -> Tensor:
        """Exact samples of the Gaussian's posterior, (batch, ...), without a sampler: optimal interpolation's ensemble.

            x + K (v + R^(1/2) n - A x),      x = m + C^(1/2) z

        Args:
            z: white noise like x0.
            n: white noise like (batch, *range).

        Source: Matheron's rule; Wilson et al. (2021), Pathwise conditioning of Gaussian processes, arXiv:2011.04026.
        """
        covariance = self.gaussian.covariance
        x = self.gaussian.mean.to(z.dtype) + covariance.root(z)
        return self.update(x, self.observations + self.noise * n, covariance.eigenvalues)

    def update(self, x: Tensor, observations: Tensor, values: Tensor) -> Tensor:
        """x + P A^H (A P A^H + R)^-1 (observations - A x), for a P of the Gaussian's own eigenvectors.

        Args:
            x: like x0, (batch, ...).
            observations: like v.
            values: the eigenvalues of P, (n,) or (batch, n): those of C for the prior itself.
        """
        # In units of the noise, so that R is I and conjugate gradients see one scale.
        misfit = (observations - self.operator.forward(x)) / self.noise
        if self._rows is None:
            assert self.iterations is not None
            weights = conjugate_gradient(
                lambda v: self.operator.forward(self._spread(v, x, values)) / self.noise,
                misfit,
                iterations=self.iterations,
                shift=1.0,
                tolerance=10 * torch.finfo(misfit.dtype).eps,
            )
        else:
            flat = wide(misfit).reshape(len(misfit), -1, 1)
            factor = torch.linalg.cholesky(self._matrix(values))
            flat = flat.to(torch.promote_types(flat.dtype, factor.dtype))
            # One factor serves all items by one product; torch would otherwise copy it for each.
            right = flat if factor.ndim == 3 else flat[..., 0].mT
            solved = torch.cholesky_solve(right, factor)
            weights = (solved if factor.ndim == 3 else solved.mT).reshape(misfit.shape).to(misfit.dtype)
        return x + self._spread(weights, x, values)

    def _spread(self, weights: Tensor, x: Tensor, values: Tensor) -> Tensor:
        """P A^H R^(-1/2) weights, like x."""
        return self.gaussian.covariance.function(self.operator.adjoint(weights / self.noise), values).to(x.dtype)

    def _observe(self) -> tuple[Tensor, Tensor]:
        """The rows of R^(-1/2) A in the covariance's modes, (m, k), and their own products, (m, m)."""
        shape = self.observations.shape[1:]
        assert self.noise.ndim <= len(shape) or self.noise.shape[: -len(shape)].numel() == 1, (
            f"noise {tuple(self.noise.shape)}: one for all items, or a number of iterations"
        )
        unit = torch.eye(shape.numel(), dtype=self.observations.dtype, device=self.observations.device)
        rows = wide(self.operator.adjoint(unit.reshape(-1, *shape) / self.noise)).reshape(len(unit), -1)
        return self.gaussian.covariance.components(rows), rows.conj() @ rows.mT

    def _matrix(self, values: Tensor) -> Tensor:
        """R^(-1/2) A P A^H R^(-1/2) + I, (m, m) or (batch, m, m)."""
        assert self._rows is not None
        rows, products = self._rows
        k = rows.shape[1]
        modes, rest = values[..., None, :k], values[..., None, k:]
        unit = torch.eye(len(rows), dtype=torch.float64, device=rows.device)
        if rest.shape[-1] == 0:
            matrix = (rows.conj() * modes) @ rows.mT + unit
        else:
            matrix = (rows.conj() * (modes - rest)) @ rows.mT + rest * products + unit
        real = not (self.observations.is_complex() or self.gaussian.covariance.is_complex())
        return matrix.real if real else matrix  # Fourier components are complex also where the field is real


@dataclass(frozen=True, eq=False)
class Teleport:
    """The high-noise start of sampling in closed form: while noise hides all but the data's mean and covariance, the
    probability flow is that of a Gaussian.

    It goes down to sigma = factor times the square root of the covariance's largest eigenvalue, which the data set and
    not the number of steps: below it the flow begins to choose among modes.

    Args:
        gaussian: the data's mean and covariance, exact or estimated.
        factor: above 0; `auto` raises it with the number of steps. The jump of exact moments to 4 moves samples by 7e-5
            (gmm2 of benchmarks/solvers.py) and 7e-4 (gmm64) and sends 2 in 1,000 of gmm64 to another mode; to 12, 2e-4 and
            none. With moments of 1,000 samples their error counts for more, and falls as 1 / factor.

    Source: Wang and Vastola (2024), arXiv:2412.09726.
    """

    gaussian: GaussianDenoiser
    factor: float = 14.0

    def __post_init__(self) -> None:
        if self.factor <= 0:
            raise ValueError(f"factor {self.factor} must be above 0")

    @property
    def level(self) -> float:
        """The noise level sigma = s / a where it ends, in the data's units."""
        return self.factor * math.sqrt(self.gaussian.covariance.largest())

    def time(self, path: Path) -> float:
        """The time where it ends, in [0, 1]; 1 on a path that is never so noisy."""
        return float(path.time_of(-math.log(self.level)).clamp(0, 1))

    def __call__(self, x_t: Tensor, t: float, path: Path, y: Tensor | None = None) -> tuple[Tensor, float]:
        """The state (batch, ...) at its end and the time there; what it was given where t is not above that."""
        end = self.time(path)
        return (x_t, t) if t <= end else (self.gaussian.on(path).flow(x_t, t, end, y), end)
