"""Denoisers that are exact: of a Gaussian, of a mixture of Gaussians and of a finite data set.

With u = x_t - b y the marginal of N(m, C) is N(a m, a^2 C + s^2 I), and everything below follows from it. These are the
truth that solvers and networks are measured against, and the classical answer that a network may be added to.

All of it is computed in float64 and returned in the dtype of x_t. Complex data are circular: C = E[(x - m)(x - m)^H], and
noise has unit variance in all, half of it in each part.
"""

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Self

import torch
from torch import Tensor, nn

from ornstein.core.covariances import TINY, Covariance, Diagonal, Modes, energy, from_state, wide
from ornstein.core.denoisers import Denoiser
from ornstein.core.paths import EDM, Path, expand, time

CHUNK = 2**22  # values held at once by a sum over a data set


class _Exact(Denoiser):
    """A denoiser that knows its distribution, and so serves any Gaussian path as it stands."""

    def __init__(self, path: Path) -> None:
        _demand_gaussian(path)
        super().__init__(path)

    def on(self, path: Path) -> Self:
        _demand_gaussian(path)
        other = copy.copy(self)
        other.path = path
        return other


def _demand_gaussian(path: Path) -> None:
    if not path.gaussian:
        raise ValueError(f"{path} has no closed form here: its noise is not Gaussian")


class GaussianDenoiser(_Exact):
    """The posterior mean of N(m, C), which is the Wiener filter,

        x0_hat = m + a C (a^2 C + s^2 I)^-1 (u - a m),      u = x_t - b y.

    Args:
        mean: m, of the shape of one item.
        covariance: any `Covariance` of such items; or the variances, like `mean`, or the matrix (d, d) with d = the
            number of values in `mean`.
        path: the path of x_t, `EDM()` by default.

    Raises:
        ValueError: for a covariance of another shape, not Hermitian, or with a negative eigenvalue.

    Source: Wiener filtering; in diffusion models, Wang and Vastola (2024), The unreasonable effectiveness of Gaussian
    score approximation for diffusion models and its applications, arXiv:2412.09726.
    """

    mean: Tensor
    covariance: Covariance

    def __init__(self, mean: Tensor, covariance: Tensor | Covariance, path: Path | None = None) -> None:
        super().__init__(EDM() if path is None else path)
        self.register_buffer("mean", wide(mean.detach()))
        self.covariance = _covariance(mean, covariance)

    @classmethod
    def from_samples(cls, x: Tensor, rank: int | None = None, path: Path | None = None) -> Self:
        """The Gaussian of samples (n, ...): their mean and `Modes.from_samples`, shrunk where they are few."""
        return cls(wide(x).mean(0), Modes.from_samples(x, rank), path)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], path: Path | None = None) -> Self:
        """The denoiser whose `state_dict` this is, which `save_tensors` keeps beside a model."""
        prefix = "covariance."
        parts = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        return cls(state["mean"], from_state(parts, state["mean"].shape), path)

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
        a, s, u = _standard(self.path, t, x_t, y)
        mean, variances = self.mean.reshape(-1), self.covariance.eigenvalues
        # A direction with neither spread nor noise has gain 0, not 0 / 0.
        gain = a * variances / (a**2 * variances + s**2).clamp(min=TINY)
        return (mean + self.covariance.function(u - a * mean, gain)).to(x_t.dtype).reshape(x_t.shape)

    def flow(self, x_t: Tensor, t: Tensor | float, r: Tensor | float, y: Tensor | None = None) -> Tensor:
        """The point at time r of the probability flow that passes x_t (batch, ...) at time t,

            u_r = a_r m + (a_r^2 C + s_r^2 I)^(1/2) (a_t^2 C + s_t^2 I)^(-1/2) (u_t - a_t m).

        Source: Wang and Vastola (2024), arXiv:2412.09726, for any (a, b, s).
        """
        a, s, u = _standard(self.path, t, x_t, y)
        end = self.path.coefficients(time(r))
        a_r, s_r = (c.to(x_t.device).reshape(-1, 1) for c in (end.a, end.s))
        mean, variances = self.mean.reshape(-1), self.covariance.eigenvalues
        gain = ((a_r**2 * variances + s_r**2) / (a**2 * variances + s**2).clamp(min=TINY)).sqrt()
        u_r = (a_r * mean + self.covariance.function(u - a * mean, gain)).to(x_t.dtype).reshape(x_t.shape)
        return u_r if y is None else u_r + expand(end.b, x_t) * y

    def posterior_eigenvalues(self, t: Tensor | float) -> Tensor:
        """s^2 v / (a^2 v + s^2) for the eigenvalues v of C, (n,) or (batch, n): the posterior covariance as `values`
        of `covariance.function`, `diagonal`, `trace` and `dense`."""
        c = self.path.coefficients(time(t))
        variances = self.covariance.eigenvalues
        a, s = (c.to(variances.device)[..., None] for c in (c.a, c.s))
        return s**2 * variances / (a**2 * variances + s**2).clamp(min=TINY)

    def posterior_covariance(self, t: Tensor | float) -> Tensor:
        """Cov[x0 | x_t] = s^2 C (a^2 C + s^2 I)^-1, which is the same for every x_t: float64, (d, d) or (batch, d, d)."""
        return self.covariance.dense(self.posterior_eigenvalues(t))

    def posterior_variance(self, t: Tensor | float) -> Tensor:
        """The diagonal of the posterior covariance, of the shape of one item, or (batch, ...) where t is (batch,)."""
        values = self.covariance.diagonal(self.posterior_eigenvalues(t))
        return values.reshape(*values.shape[:-1], *self.mean.shape)

    def error(self, t: Tensor | float) -> Tensor:
        """The root-mean-square error of x0_hat on data with this covariance, sqrt(tr Cov[x0 | x_t] / d), like t."""
        return (self.covariance.trace(self.posterior_eigenvalues(t)) / self.mean.numel()).sqrt()

    def log_density(self, x_t: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """log p(x_t | y) of shape (batch,), float64."""
        a, s, u = _standard(self.path, t, x_t, y)
        return _log_normal(u - a * self.mean.reshape(-1), self.covariance, a, s)


class MixtureDenoiser(_Exact):
    """The posterior mean of sum_k w_k N(m_k, C_k): the Gaussians' posterior means, weighted by their responsibilities,

        x0_hat = sum_k p(k | x_t) x0_hat_k,     p(k | x_t) ~ w_k N(u; a m_k, a^2 C_k + s^2 I).

    Args:
        weights: w, (K,), above 0; scaled to sum to 1.
        means: m, (K, ...) over the shape of one item.
        covariances: (K,) for C_k = c_k I, like `means` for variances, or (K, d, d); positive definite.
        path: the path of x_t, `EDM()` by default.

    Raises:
        ValueError: for shapes that disagree, a weight or an eigenvalue that is not above 0.
    """

    weights: Tensor
    means: Tensor

    def __init__(self, weights: Tensor, means: Tensor, covariances: Tensor, path: Path | None = None) -> None:
        super().__init__(EDM() if path is None else path)
        if weights.shape != means.shape[:1] or bool((weights <= 0).any()):
            raise ValueError(f"{len(means)} means need as many weights above 0, not {weights.tolist()}")
        if len(covariances) != len(means):
            raise ValueError(f"{len(means)} means need as many covariances, not {len(covariances)}")
        if covariances.shape == weights.shape and covariances.shape != means.shape:
            covariances = covariances.reshape(-1, *[1] * (means.ndim - 1)).expand(means.shape)
        parts = [_covariance(mean, covariance) for mean, covariance in zip(means, covariances, strict=True)]
        if min(float(part.eigenvalues.min()) for part in parts) <= 0:
            raise ValueError("a mixture's components have full rank; a finite data set is a DatasetDenoiser")
        weights = weights.detach().to(torch.float64)
        self.register_buffer("weights", weights / weights.sum())
        self.register_buffer("means", wide(means.detach()))
        self.covariances = nn.ModuleList(parts)

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
        a, s, u = _standard(self.path, t, x_t, y)
        logits, x0 = [], []
        for weight, mean, covariance in self._components():
            offset, variances = u - a * mean, covariance.eigenvalues
            logits.append(weight.log() + _log_normal(offset, covariance, a, s))
            total = (a**2 * variances + s**2).clamp(min=TINY)  # 0 where a bridge ends, and u with it
            x0.append(mean + covariance.function(offset, a * variances / total))
        responsibility = torch.softmax(torch.stack(logits), dim=0)
        mixed = (responsibility[..., None] * torch.stack(x0)).sum(dim=0)
        return mixed.to(x_t.dtype).reshape(x_t.shape)

    def log_density(self, x_t: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """log p(x_t | y) of shape (batch,), float64."""
        a, s, u = _standard(self.path, t, x_t, y)
        logits = [
            weight.log() + _log_normal(u - a * mean, covariance, a, s)
            for weight, mean, covariance in self._components()
        ]
        return torch.logsumexp(torch.stack(logits), dim=0)

    def _components(self) -> Iterator[tuple[Tensor, Tensor, Covariance]]:
        """w, m (flat) and C of each component."""
        for weight, mean, covariance in zip(self.weights, self.means, self.covariances, strict=True):
            assert isinstance(covariance, Covariance)
            yield weight, mean.reshape(-1), covariance


class DatasetDenoiser(_Exact):
    """The posterior mean of a finite data set, which is what a network that fits its training set perfectly learns,

        x0_hat = sum_k p_k x_k,     p_k ~ exp(-|u - a x_k|^2 / 2 s^2).

    Where s = 0 it is the nearest point. Memory stays bounded whatever the number of points.

    Args:
        points: x, (n, ...) over the shape of one item.
        path: the path of x_t, `EDM()` by default.

    Source: Karras et al. (2022), arXiv:2206.00364, appendix B.3, eq. 57.
    """

    points: Tensor

    def __init__(self, points: Tensor, path: Path | None = None) -> None:
        super().__init__(EDM() if path is None else path)
        if len(points) == 0:
            raise ValueError("a data set has at least one point")
        self.register_buffer("points", points.detach().clone())

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
        distance, s, _ = self._distances(x_t, t, y)
        # The nearest point's distance goes before the division, which may be by almost nothing.
        scale = (1 if self._is_complex(x_t) else 2) * s**2
        logits = -(distance - distance.min(dim=1, keepdim=True).values) / scale.clamp(min=TINY)
        flat = self.points.reshape(len(self.points), -1)
        probability = torch.softmax(logits, dim=1).to(wide(flat[:1]).dtype)
        blocks = zip(probability.split(64, dim=1), flat.split(64), strict=True)
        mixed = torch.stack([weight @ wide(block) for weight, block in blocks]).sum(dim=0)
        return mixed.to(x_t.dtype).reshape(x_t.shape)

    def log_density(self, x_t: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """log p(x_t | y) of shape (batch,), float64, where s > 0."""
        distance, s, d = self._distances(x_t, t, y)
        power = 1.0 if self._is_complex(x_t) else 0.5
        log_volume = d * power * torch.log(math.pi / power * s**2)
        return torch.logsumexp(-power * distance / s**2 - log_volume, dim=1) - math.log(len(self.points))

    def _is_complex(self, x: Tensor) -> bool:
        return x.is_complex() or self.points.is_complex()

    def _distances(self, x_t: Tensor, t: Tensor | float, y: Tensor | None) -> tuple[Tensor, Tensor, int]:
        """|u - a x_k|^2 (batch, n), s (1 or batch, 1), and the number of values."""
        a, s, u = _standard(self.path, t, x_t, y)
        # Differences, not |u|^2 - 2 u x + |x|^2: at low noise the latter has no digits left.
        flat, rows = self.points.reshape(len(self.points), -1), max(1, CHUNK // u.numel())
        blocks = [wide(block) for block in flat.split(rows)]
        distance = torch.cat([energy(u[:, None] - a[:, None] * block).sum(dim=2) for block in blocks], dim=1)
        return distance, s, u.shape[1]


def _log_normal(offset: Tensor, covariance: Covariance, a: Tensor, s: Tensor) -> Tensor:
    """log N(offset; 0, a^2 C + s^2 I), (batch,), from (batch, d) and a, s of (1 or batch, 1)."""
    power = 0.5 if not offset.is_complex() and not covariance.is_complex() else 1.0
    variances = (a**2 * covariance.eigenvalues + s**2).clamp(min=TINY)
    white = covariance.function(offset, variances.rsqrt())
    log_volume = torch.log(math.pi / power * variances) @ covariance.multiplicities
    return -power * (energy(white).sum(dim=1) + log_volume)


def _standard(path: Path, t: Tensor | float, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """a and s of shape (1 or batch, 1), and u = x_t - b y as (batch, d), all float64 (complex128)."""
    c = path.coefficients(time(t))
    # Not detached: scores are the gradient of log_density.
    u = wide(x)
    u = u if y is None else u - expand(c.b, u) * y
    return c.a.to(x.device).reshape(-1, 1), c.s.to(x.device).reshape(-1, 1), u.reshape(len(x), -1)


def _covariance(mean: Tensor, covariance: Tensor | Covariance) -> Covariance:
    """A covariance of items like `mean`; from their variances, or their matrix, where that is given."""
    if isinstance(covariance, Tensor):
        if covariance.shape == mean.shape:
            return Diagonal(covariance)
        covariance = Modes.from_matrix(covariance)
    if covariance.size != mean.numel():
        raise ValueError(f"a covariance of {covariance.size} values for items of shape {tuple(mean.shape)}")
    return covariance
