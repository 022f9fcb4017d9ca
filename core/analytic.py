"""Denoisers that are exact: of a Gaussian, of a mixture of Gaussians and of a finite data set.

With u = x_t - b y the marginal of N(m, C) is N(a m, a^2 C + s^2 I), and everything below follows from it. These are the
truth that solvers and networks are measured against, and the classical answer that a network may be added to.

All of it is computed in float64 and returned in the dtype of x_t. Complex data are circular: C = E[(x - m)(x - m)^H], and
noise has unit variance in all, half of it in each part.
"""

import copy
import math
from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor

from ornstein.core.denoisers import Denoiser
from ornstein.core.paths import EDM, Path, expand, time

TINY = torch.finfo(torch.float64).tiny
CHUNK = 2**22  # values held at once by a sum over a data set


class _Exact(Denoiser):
    """A denoiser that knows its distribution, and so serves any path as it stands."""

    def on(self, path: Path) -> Self:
        other = copy.copy(self)
        other.path = path
        return other


class GaussianDenoiser(_Exact):
    """The posterior mean of N(m, C), which is the Wiener filter,

        x0_hat = m + a C (a^2 C + s^2 I)^-1 (u - a m),      u = x_t - b y.

    Args:
        mean: m, of the shape of one item.
        covariance: the variances, like `mean`, or the matrix (d, d) with d = the number of values in `mean`.
        path: the path of x_t, `EDM()` by default.

    Raises:
        ValueError: for a covariance of another shape, not Hermitian, or with a negative eigenvalue.

    Source: Wiener filtering; in diffusion models, Wang and Vastola (2024), The unreasonable effectiveness of Gaussian
    score approximation for diffusion models and its applications, arXiv:2412.09726.
    """

    mean: Tensor
    variances: Tensor
    basis: Tensor | None

    def __init__(self, mean: Tensor, covariance: Tensor, path: Path | None = None) -> None:
        super().__init__(EDM() if path is None else path)
        variances, basis = _spectrum(mean[None], covariance[None])
        self.register_buffer("mean", _wide(mean))
        self.register_buffer("variances", variances[0])
        self.register_buffer("basis", None if basis is None else basis[0])

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
        a, s, u = _standard(self.path, t, x_t, y)
        mean = self.mean.reshape(-1)
        # A direction with neither spread nor noise has gain 0, not 0 / 0.
        gain = a * self.variances / (a**2 * self.variances + s**2).clamp(min=TINY)
        return (mean + self._scale(u - a * mean, gain)).to(x_t.dtype).reshape(x_t.shape)

    def flow(self, x_t: Tensor, t: Tensor | float, r: Tensor | float, y: Tensor | None = None) -> Tensor:
        """The point at time r of the probability flow that passes x_t (batch, ...) at time t,

            u_r = a_r m + (a_r^2 C + s_r^2 I)^(1/2) (a_t^2 C + s_t^2 I)^(-1/2) (u_t - a_t m).

        Source: Wang and Vastola (2024), arXiv:2412.09726, for any (a, b, s).
        """
        a, s, u = _standard(self.path, t, x_t, y)
        end = self.path.coefficients(time(r))
        a_r, s_r = (c.to(x_t.device).reshape(-1, 1) for c in (end.a, end.s))
        mean = self.mean.reshape(-1)
        gain = ((a_r**2 * self.variances + s_r**2) / (a**2 * self.variances + s**2).clamp(min=TINY)).sqrt()
        u_r = (a_r * mean + self._scale(u - a * mean, gain)).to(x_t.dtype).reshape(x_t.shape)
        return u_r if y is None else u_r + expand(end.b, x_t) * y

    def posterior_covariance(self, t: Tensor | float) -> Tensor:
        """Cov[x0 | x_t] = s^2 C (a^2 C + s^2 I)^-1, which is the same for every x_t.

        Returns: float64 of the shape of the covariance that was given, after (batch,) where t is (batch,).
        """
        t = time(t)
        c = self.path.coefficients(t)
        a, s = (c.to(self.variances.device)[..., None] for c in (c.a, c.s))
        variances = s**2 * self.variances / (a**2 * self.variances + s**2).clamp(min=TINY)
        if self.basis is None:
            return variances.reshape(*t.shape, *self.mean.shape)
        return (self.basis * variances[..., None, :]) @ self.basis.mH

    def log_density(self, x_t: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """log p(x_t | y) of shape (batch,), float64."""
        a, s, u = _standard(self.path, t, x_t, y)
        offset = u - a * self.mean.reshape(-1)
        offset = offset if self.basis is None else _match(offset, self.basis) @ self.basis.conj()
        return _log_normal(offset, a**2 * self.variances + s**2)

    def _scale(self, offset: Tensor, gain: Tensor) -> Tensor:
        """Multiplies the components of offset (batch, d) along the eigenvectors by gain (1 or batch, d)."""
        if self.basis is None:
            return offset * gain
        basis = _match(self.basis, offset)
        return (_match(offset, basis) @ basis.conj() * gain) @ basis.mT


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
    variances: Tensor
    basis: Tensor | None

    def __init__(self, weights: Tensor, means: Tensor, covariances: Tensor, path: Path | None = None) -> None:
        super().__init__(EDM() if path is None else path)
        if weights.shape != means.shape[:1] or bool((weights <= 0).any()):
            raise ValueError(f"{len(means)} means need as many weights above 0, not {weights.tolist()}")
        if covariances.shape == weights.shape and covariances.shape != means.shape:
            covariances = covariances.reshape(-1, *[1] * (means.ndim - 1)).expand(means.shape)
        variances, basis = _spectrum(means, covariances)
        if float(variances.min()) <= 0:
            raise ValueError("a mixture's components have full rank; a finite data set is a DatasetDenoiser")
        weights = weights.detach().to(torch.float64)
        self.register_buffer("weights", weights / weights.sum())
        self.register_buffer("means", _wide(means))
        self.register_buffer("variances", variances)
        self.register_buffer("basis", basis)

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
        a, s, u = _standard(self.path, t, x_t, y)
        logits, x0 = [], []
        for weight, mean, variances, basis in self._components():
            total = a**2 * variances + s**2
            offset = u - a * mean
            offset = offset if basis is None else _match(offset, basis) @ basis.conj()
            logits.append(weight.log() + _log_normal(offset, total))
            shrunk = offset * (a * variances / total)
            x0.append(mean + (shrunk if basis is None else shrunk @ basis.mT))
        responsibility = torch.softmax(torch.stack(logits), dim=0)
        mixed = (responsibility[..., None] * torch.stack(x0)).sum(dim=0)
        return mixed.to(x_t.dtype).reshape(x_t.shape)

    def log_density(self, x_t: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """log p(x_t | y) of shape (batch,), float64."""
        a, s, u = _standard(self.path, t, x_t, y)
        logits = []
        for weight, mean, variances, basis in self._components():
            offset = u - a * mean
            offset = offset if basis is None else _match(offset, basis) @ basis.conj()
            logits.append(weight.log() + _log_normal(offset, a**2 * variances + s**2))
        return torch.logsumexp(torch.stack(logits), dim=0)

    def _components(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor | None]]:
        """w, m, the eigenvalues and the eigenvectors of each component, flat."""
        for k in range(len(self.weights)):
            basis = None if self.basis is None else self.basis[k]
            yield self.weights[k], self.means[k].reshape(-1), self.variances[k], basis


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
        probability = torch.softmax(logits, dim=1).to(_wide(flat[:1]).dtype)
        blocks = zip(probability.split(64, dim=1), flat.split(64), strict=True)
        mixed = torch.stack([weight @ _wide(block) for weight, block in blocks]).sum(dim=0)
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
        blocks = [_wide(block) for block in flat.split(rows)]
        distance = torch.cat([_energy(u[:, None] - a[:, None] * block).sum(dim=2) for block in blocks], dim=1)
        return distance, s, u.shape[1]


def _wide(x: Tensor) -> Tensor:
    """x, detached, in float64 or complex128."""
    return x.detach().to(torch.complex128 if x.is_complex() else torch.float64)


def _match(x: Tensor, other: Tensor) -> Tensor:
    """x, complex if the other is: a matrix product does not promote."""
    return x.to(torch.complex128) if other.is_complex() else x


def _energy(x: Tensor) -> Tensor:
    """|x|^2, real, with a gradient at 0."""
    return x.real**2 + x.imag**2 if x.is_complex() else x**2


def _log_normal(offset: Tensor, variances: Tensor) -> Tensor:
    """log N(offset; 0, diag(variances)), (batch,), from (batch, d) and (1 or batch, d)."""
    power = 1.0 if offset.is_complex() else 0.5
    return -power * (_energy(offset) / variances + torch.log(math.pi / power * variances)).sum(dim=1)


def _standard(path: Path, t: Tensor | float, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """a and s of shape (1 or batch, 1), and u = x_t - b y as (batch, d), all float64 (complex128)."""
    c = path.coefficients(time(t))
    # Not detached: scores are the gradient of log_density.
    u = x.to(torch.complex128 if x.is_complex() else torch.float64)
    u = u if y is None else u - expand(c.b, u) * y
    return c.a.to(x.device).reshape(-1, 1), c.s.to(x.device).reshape(-1, 1), u.reshape(len(x), -1)


def _spectrum(means: Tensor, covariances: Tensor) -> tuple[Tensor, Tensor | None]:
    """Eigenvalues (K, d) and eigenvectors (K, d, d) of covariances (K, d, d); None for those of variances (K, ...)."""
    count, d = len(means), means[0].numel()
    if covariances.shape == means.shape:
        if covariances.is_complex() or bool((covariances < 0).any()):
            raise ValueError("variances are real and at least 0")
        return _wide(covariances).reshape(count, d), None
    if covariances.shape != (count, d, d):
        found, wanted = tuple(covariances.shape[1:]), tuple(means.shape[1:])
        raise ValueError(f"the covariance has shape {found}; wanted {wanted} for variances or {(d, d)}")
    wide = _wide(covariances)
    scale = float(wide.abs().max())
    if not torch.allclose(wide, wide.mH, rtol=0, atol=1e-6 * scale):
        raise ValueError("a covariance is symmetric (Hermitian, if complex)")
    variances, basis = torch.linalg.eigh((wide + wide.mH) / 2)
    if float(variances.min()) < -1e-6 * scale:
        raise ValueError(f"a covariance has no negative eigenvalue; found {float(variances.min()):.3g}")
    return variances.clamp(min=0), basis
