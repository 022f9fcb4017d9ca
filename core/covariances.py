"""Covariances of large items by their eigenvectors, and their estimation from samples.

    C = V diag(v) V^H + rest (I - V V^H)

with orthonormal columns V (a Fourier transform, the values themselves, or a stored basis of any number of columns). Every
function of C that diffusion needs then costs two transforms:

    f(C) x = V (f(v) - f(rest)) V^H x + f(rest) x.

It is computed in float64. Complex items are circular: C = E[(x - m)(x - m)^H].
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)
TINY = torch.finfo(torch.float64).tiny


class Covariance(nn.Module, ABC):
    """The covariance of items of `size` values, which come as (batch, ...) of any shape with so many.

    Attributes:
        size: d, the number of values of an item.
        variances: v, (k,) float64, at least 0.
    """

    size: int
    variances: Tensor

    @abstractmethod
    def components(self, x: Tensor) -> Tensor:
        """V^H x, (batch, k) from (batch, ...), in float64 or complex128."""

    @abstractmethod
    def combine(self, components: Tensor, real: bool) -> Tensor:
        """V c, (batch, d) from (batch, k); its real part where all that is in x and C is real."""

    @abstractmethod
    def is_complex(self) -> bool:
        """Whether C itself, and so what it makes of real items, is complex."""

    @abstractmethod
    def diagonal(self, values: Tensor | None = None) -> Tensor:
        """The diagonal of C, or of f(C) for values f(eigenvalues) (..., n): real, (..., d)."""

    @property
    def eigenvalues(self) -> Tensor:
        """The distinct arguments of f: v, (n,); where k < d the rest's variance follows last."""
        return self.variances

    @property
    def multiplicities(self) -> Tensor:
        """How many dimensions each of the eigenvalues stands for, (n,)."""
        return torch.ones_like(self.variances)

    def function(self, x: Tensor, values: Tensor) -> Tensor:
        """f(C) x for values f(eigenvalues) of shape (n,) or (1 or batch, n): like x, but wide (float64, complex128)."""
        flat = wide(x).reshape(len(x), -1)
        assert flat.shape[1] == self.size, f"items of {flat.shape[1]} values, a covariance of {self.size}"
        k = len(self.variances)
        values = values if values.ndim == 2 else values[None]
        modes, rest = values[:, :k], values[:, k:]
        real = not (x.is_complex() or self.is_complex())
        if rest.shape[1] == 0:
            result = self.combine(self.components(flat) * modes, real)
        else:
            result = self.combine(self.components(flat) * (modes - rest), real) + rest * flat
        return result.reshape(x.shape)

    def forward(self, x: Tensor) -> Tensor:
        """C x, (batch, ...), in the precision of x."""
        return narrow(self.function(x, self.eigenvalues), x)

    def solve(self, x: Tensor, a: float = 1.0, s: float = 0.0) -> Tensor:
        """(a^2 C + s^2 I)^-1 x, (batch, ...), in the precision of x. With s = 0 C must have full rank."""
        return narrow(self.function(x, 1 / (a**2 * self.eigenvalues + s**2)), x)

    def root(self, x: Tensor) -> Tensor:
        """C^(1/2) x, (batch, ...), in the precision of x: of covariance C for white x."""
        return narrow(self.function(x, self.eigenvalues.sqrt()), x)

    def trace(self, values: Tensor | None = None) -> Tensor:
        """The trace of C, or of f(C) for values f(eigenvalues) (..., n): (...)."""
        return (self.eigenvalues if values is None else values) @ self.multiplicities

    def largest(self) -> float:
        """The largest eigenvalue."""
        return float(self.eigenvalues.max())

    def dense(self, values: Tensor | None = None) -> Tensor:
        """The matrix of C, or of f(C) for values (n,) or (batch, n): (d, d) or (batch, d, d). For small items."""
        values = self.eigenvalues if values is None else values
        if values.ndim == 2:
            return torch.stack([self.dense(row) for row in values])
        unit = torch.eye(self.size, dtype=torch.float64, device=values.device)
        return self.function(unit, values).mT  # row i is f(C) e_i, the i-th column


class Diagonal(Covariance):
    """Independent values, or, with axes, independent Fourier components: a stationary field on a torus.

    Args:
        variances: at least 0, of the shape of one item. With axes they are the spectrum: the variance of each component
            of the orthonormal FFT over these axes, in the FFT's order. Other axes are independent of each other.
        axes: the axes of an item over which it is stationary, none by default.

    Raises:
        ValueError: for variances that are complex or below 0, and for axes that the item does not have.
    """

    def __init__(self, variances: Tensor, axes: Sequence[int] = ()) -> None:
        super().__init__()
        if variances.is_complex() or bool((variances < 0).any()):
            raise ValueError("variances are real and at least 0")
        if not all(-variances.ndim <= axis < variances.ndim for axis in axes):
            raise ValueError(f"axes {tuple(axes)} of items of shape {tuple(variances.shape)}")
        self.shape, self.size = tuple(variances.shape), variances.numel()
        self.axes = tuple(axis % variances.ndim + 1 for axis in axes)  # after the batch
        spectrum = wide(variances.detach())
        self.register_buffer("variances", spectrum.reshape(-1).clone())
        if axes:  # what a state needs to be read again
            self.register_buffer("spectrum_axes", torch.tensor([axis - 1 for axis in self.axes]))
        # The spectrum of a real field is the same at k and -k.
        mirrored = spectrum[None].flip(self.axes).roll([1] * len(self.axes), self.axes)[0] if axes else spectrum
        self._complex = not torch.allclose(mirrored, spectrum, rtol=1e-6, atol=0)

    def components(self, x: Tensor) -> Tensor:
        if not self.axes:
            return wide(x).reshape(-1, self.size)
        return torch.fft.fftn(wide(x).reshape(-1, *self.shape), dim=self.axes, norm="ortho").reshape(-1, self.size)

    def combine(self, components: Tensor, real: bool) -> Tensor:
        if not self.axes:
            return components
        field = torch.fft.ifftn(components.reshape(-1, *self.shape), dim=self.axes, norm="ortho")
        return (field.real if real else field).reshape(-1, self.size)

    def is_complex(self) -> bool:
        return self._complex

    def diagonal(self, values: Tensor | None = None) -> Tensor:
        values = self.variances if values is None else values
        if not self.axes:
            return values
        field = values.reshape(-1, *self.shape)
        return field.mean(self.axes, keepdim=True).expand(field.shape).reshape(values.shape)

    @classmethod
    def from_samples(cls, x: Tensor, axes: Sequence[int] = ()) -> Self:
        """The samples' variances, or with axes (of an item) their mean spectrum, about the samples' mean.

        Args:
            x: (samples, ...), at least two.
        """
        offset = centred(x)
        dims = tuple(axis + 1 if axis >= 0 else axis for axis in axes)
        power = torch.fft.fftn(offset, dim=dims, norm="ortho") if axes else offset
        return cls(energy(power).sum(0) / (len(x) - 1), axes)


class Modes(Covariance):
    """V diag(v) V^H + rest (I - V V^H): dense with as many modes as values, of low rank and isotropic beyond with fewer.

    Args:
        basis: V, (d, k) with orthonormal columns, k <= d.
        variances: v, (k,), at least 0.
        rest: the variance in every direction that V leaves, at least 0; means nothing where k = d.

    Raises:
        ValueError: for shapes that disagree, variances below 0, or columns that are not orthonormal to 1e-3.
    """

    basis: Tensor
    rest: Tensor

    def __init__(self, basis: Tensor, variances: Tensor, rest: Tensor | float = 0.0) -> None:
        super().__init__()
        if basis.ndim != 2 or basis.shape[1] > basis.shape[0] or variances.shape != basis.shape[1:]:
            raise ValueError(f"{tuple(variances.shape)} variances for a basis of shape {tuple(basis.shape)}")
        if variances.is_complex() or bool((variances < 0).any()) or float(rest) < 0:
            raise ValueError("variances are real and at least 0")
        basis = wide(basis.detach())
        unit = torch.eye(basis.shape[1], dtype=basis.dtype, device=basis.device)
        if not torch.allclose(basis.mH @ basis, unit, rtol=0, atol=1e-3):
            raise ValueError("the columns of a basis are orthonormal")
        self.size = len(basis)
        self.register_buffer("basis", basis)
        self.register_buffer("variances", wide(variances.detach()))
        self.register_buffer("rest", torch.as_tensor(rest, dtype=torch.float64, device=basis.device).detach())

    @property
    def eigenvalues(self) -> Tensor:
        return self.variances if self._full else torch.cat([self.variances, self.rest[None]])

    @property
    def multiplicities(self) -> Tensor:
        ones = torch.ones_like(self.variances)
        return ones if self._full else torch.cat([ones, ones.new_full((1,), self.size - len(ones))])

    @property
    def _full(self) -> bool:
        return self.basis.shape[1] == self.size

    def components(self, x: Tensor) -> Tensor:
        flat = wide(x).reshape(-1, self.size)
        basis = match(self.basis, flat)
        return match(flat, basis) @ basis.conj()

    def combine(self, components: Tensor, real: bool) -> Tensor:
        return components @ match(self.basis, components).mT

    def is_complex(self) -> bool:
        return self.basis.is_complex()

    def diagonal(self, values: Tensor | None = None) -> Tensor:
        values = self.eigenvalues if values is None else values
        k, power = len(self.variances), energy(self.basis).mT
        if self._full:
            return values @ power
        return (values[..., :k] - values[..., k:]) @ power + values[..., k:]

    @classmethod
    def from_matrix(cls, matrix: Tensor) -> Self:
        """A covariance matrix (d, d) by its eigenvectors.

        Raises:
            ValueError: for a matrix that is not square and Hermitian, or has a negative eigenvalue.
        """
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"the covariance has shape {tuple(matrix.shape)}; wanted (d, d)")
        matrix = wide(matrix.detach())
        scale = float(matrix.abs().max())
        if not torch.allclose(matrix, matrix.mH, rtol=0, atol=1e-6 * scale):
            raise ValueError("a covariance is symmetric (Hermitian, if complex)")
        variances, basis = torch.linalg.eigh((matrix + matrix.mH) / 2)
        if float(variances.min()) < -1e-6 * scale:
            raise ValueError(f"a covariance has no negative eigenvalue; found {float(variances.min()):.3g}")
        return cls(basis, variances.clamp(min=0))

    @classmethod
    def from_samples(
        cls, x: Tensor, rank: int | None = None, shrinkage: float | None = None, taper: Tensor | None = None
    ) -> Self:
        """The samples' covariance about their mean, shrunk towards an isotropic one where they are few,

            C = (1 - shrinkage) S + shrinkage tr(S) / d I,

        then cut to its largest `rank` modes, with the mean of what is left as the rest.

        Args:
            x: (samples, ...), at least two.
            rank: of the modes kept; by default all that the samples have.
            shrinkage: in [0, 1]; by default Ledoit and Wolf's where samples <= values and there is no taper, and 0
                elsewhere.
            taper: correlations (p, p) that S is multiplied with, value by value, `gaspari_cohn(distances, radius)` say;
                where an item holds several fields of p values, each pair of fields. Needs the dense matrix.

        Raises:
            ValueError: for fewer than two samples, a rank below 1, a shrinkage outside [0, 1], a taper that does not fit.

        Source: Ledoit and Wolf (2004), A well-conditioned estimator for large-dimensional covariance matrices, Journal
        of Multivariate Analysis 88; Tipping and Bishop (1999), Probabilistic principal component analysis (the rest).
        """
        offset = centred(x)
        n, d = offset.reshape(len(x), -1).shape
        offset = offset.reshape(n, d)
        if rank is not None and rank < 1:
            raise ValueError(f"rank {rank}: must be at least 1")
        if shrinkage is None:
            shrinkage = ledoit_wolf(offset) if n <= d and taper is None else 0.0
        if not 0 <= shrinkage <= 1:
            raise ValueError(f"shrinkage {shrinkage}: must be in [0, 1]")
        if taper is not None:
            if taper.ndim != 2 or taper.shape[0] != taper.shape[1] or d % len(taper):
                raise ValueError(f"a taper of shape {tuple(taper.shape)} for items of {d} values")
            fields = d // len(taper)
            sample = offset.mT @ offset.conj() / (n - 1) * taper.to(offset.device, torch.float64).repeat(fields, fields)
            full = cls.from_matrix(sample)
            variances, basis = full.variances, full.basis
        else:
            _, singular, adjoint = torch.linalg.svd(offset, full_matrices=False)
            # S = offset^T conj(offset) / (n - 1), since a row is x^T; ascending, as `eigh` has them.
            variances, basis = singular.flip(0) ** 2 / (n - 1), adjoint.mT.flip(1)
            if n <= d:  # the mean took one dimension
                variances, basis = variances[1:], basis[:, 1:]
        total = float(variances.sum())
        variances = (1 - shrinkage) * variances + shrinkage * total / d
        kept = len(variances) if rank is None else min(rank, len(variances))
        left = d - kept
        rest = max(0.0, total - float(variances[len(variances) - kept :].sum())) / left if left else 0.0
        log.info(
            "covariance of %d values from %d samples: shrinkage %.3g, %d modes keep %.2f %% of the variance, rest %.3g",
            *(d, n, shrinkage, kept, 100 * (1 - rest * left / max(total, TINY)), rest),
        )
        return cls(basis[:, len(variances) - kept :], variances[len(variances) - kept :], rest)


def from_state(state: Mapping[str, Tensor], shape: Sequence[int]) -> Covariance:
    """The covariance of items of this shape whose `state_dict` this is, also when it was kept in fewer digits."""
    if "basis" not in state:
        axes = state["spectrum_axes"].tolist() if "spectrum_axes" in state else ()
        return Diagonal(state["variances"].reshape(tuple(shape)), axes)
    basis, _ = torch.linalg.qr(wide(state["basis"]))  # orthonormal again; signs do not matter
    return Modes(basis, state["variances"], state["rest"])


def gaspari_cohn(distance: Tensor, radius: float) -> Tensor:
    """A correlation that falls from 1 at distance 0 (like a Gaussian of deviation radius sqrt(.3)) to 0 at 2 radius,

        1 - 5/3 r^2 + 5/8 r^3 + 1/2 r^4 - 1/4 r^5                              r = distance / radius <= 1
        4 - 5 r + 5/3 r^2 + 5/8 r^3 - 1/2 r^4 + 1/12 r^5 - 2 / (3 r)           1 < r < 2.

    Args:
        distance: at least 0, Euclidean (on a sphere the chord's), of any shape.
        radius: above 0, in the same units.

    Source: Gaspari and Cohn (1999), Construction of correlation functions in two and three dimensions, Quarterly Journal
    of the Royal Meteorological Society 125, eq. 4.10.
    """
    if radius <= 0:
        raise ValueError(f"radius {radius}: must be above 0")
    r = distance.to(torch.float64) / radius
    near = 1 + r**2 * (-5 / 3 + r * (5 / 8 + r * (1 / 2 - r / 4)))
    far = 4 + r * (-5 + r * (5 / 3 + r * (5 / 8 + r * (-1 / 2 + r / 12)))) - 2 / (3 * r.clamp(min=1))
    return torch.where(r <= 1, near, torch.where(r < 2, far, 0)).clamp(min=0)


def ledoit_wolf(offset: Tensor) -> float:
    """The shrinkage towards tr(S) / d I that minimises the expected squared error, of centred samples (n, d).

    Source: Ledoit and Wolf (2004), lemma 3.2 to 3.4 (with the normalisation of S by n).
    """
    n, d = offset.shape
    gram = energy(offset @ offset.mH).sum() / n**2  # |S|^2
    mean = energy(offset).sum() / (n * d)
    spread = gram - d * mean**2  # |S - mean I|^2
    noise = (energy(offset).sum(1).square().mean() - gram) / n  # the mean of |x_i x_i^H - S|^2, over n
    return float((noise / spread.clamp(min=TINY)).clamp(0, 1))


def centred(x: Tensor) -> Tensor:
    """x less its mean over the samples, wide.

    Raises:
        ValueError: for fewer than two samples.
    """
    if len(x) < 2:
        raise ValueError(f"a covariance needs two samples at least, not {len(x)}")
    x = wide(x.detach())
    return x - x.mean(0)


def wide(x: Tensor) -> Tensor:
    """x in float64 or complex128."""
    return x.to(torch.complex128 if x.is_complex() else torch.float64)


def narrow(x: Tensor, like: Tensor) -> Tensor:
    """x in the precision of `like`; complex where x is."""
    return x.to(torch.promote_types(like.dtype, torch.complex32) if x.is_complex() else like.dtype)


def match(x: Tensor, other: Tensor) -> Tensor:
    """x wide, and complex if the other is: a matrix product does not promote."""
    return x.to(torch.complex128 if x.is_complex() or other.is_complex() else torch.float64)


def energy(x: Tensor) -> Tensor:
    """|x|^2, real, with a gradient at 0."""
    return x.real**2 + x.imag**2 if x.is_complex() else x**2
