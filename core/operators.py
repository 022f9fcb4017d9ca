"""Linear operators A with their adjoints A^H, what is built from them, and conjugate gradients on A^H A."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


class LinearOperator(ABC):
    """A linear map A on batched tensors, real or complex, with <A x, y> = <x, A^H y>.

    `B @ A` applies A first, `A.H` is the adjoint, `2 * A` a multiple. Operators are values: what they hold is set when
    they are made. The batch comes first, (batch, ...), and the operator acts on each item by itself.

    Attributes:
        unitary: whether A^H A and A A^H are the identity, so that solving passes through it.
    """

    unitary: ClassVar[bool] = False

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """A x, (batch, *range) from (batch, *domain)."""

    @abstractmethod
    def adjoint(self, y: Tensor) -> Tensor:
        """A^H y, (batch, *domain) from (batch, *range)."""

    def normal(self, x: Tensor) -> Tensor:
        """A^H A x, (batch, *domain); an operator that has a shorter way than both in turn overrides it."""
        return self.adjoint(self.forward(x))

    def solve(self, b: Tensor, shift: Tensor | float, iterations: int, start: Tensor | None = None) -> Tensor:
        """x with (A^H A + shift I) x = b; by conjugate gradients unless the operator knows the inverse.

        Args:
            b: (batch, *domain).
            shift: above 0, of shape () or (batch,).
            iterations: of conjugate gradients, where these are used.
            start: where these start, like b; zero otherwise.
        """
        return conjugate_gradient(self.normal, b, start, iterations=iterations, shift=shift)

    @property
    def H(self) -> "LinearOperator":
        """The adjoint, as an operator."""
        return Adjoint(self)

    def __matmul__(self, other: "LinearOperator") -> "LinearOperator":
        if not isinstance(other, LinearOperator):
            return NotImplemented
        return Composition(self, other)

    def __rmul__(self, factor: complex) -> "LinearOperator":
        if not isinstance(factor, (int, float, complex)):
            return NotImplemented
        return Multiple(factor, self)


@dataclass(frozen=True, eq=False)
class Adjoint(LinearOperator):
    """A^H of an operator A."""

    operator: LinearOperator

    def forward(self, x: Tensor) -> Tensor:
        return self.operator.adjoint(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.operator.forward(y)

    @property
    def H(self) -> LinearOperator:
        return self.operator


@dataclass(frozen=True, eq=False)
class Composition(LinearOperator):
    """x -> outer(inner(x)); its normal is inner^H (outer^H outer) inner, so that a short outer normal is used."""

    outer: LinearOperator
    inner: LinearOperator

    def forward(self, x: Tensor) -> Tensor:
        return self.outer.forward(self.inner.forward(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return self.inner.adjoint(self.outer.adjoint(y))

    def normal(self, x: Tensor) -> Tensor:
        return self.inner.adjoint(self.outer.normal(self.inner.forward(x)))

    def solve(self, b: Tensor, shift: Tensor | float, iterations: int, start: Tensor | None = None) -> Tensor:
        if not self.inner.unitary:
            return super().solve(b, shift, iterations, start)
        first = None if start is None else self.inner.forward(start)
        return self.inner.adjoint(self.outer.solve(self.inner.forward(b), shift, iterations, first))


@dataclass(frozen=True, eq=False)
class Multiple(LinearOperator):
    """factor A, with a real factor on real tensors."""

    factor: complex
    operator: LinearOperator

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.operator.forward(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.factor.conjugate() * self.operator.adjoint(y)

    def normal(self, x: Tensor) -> Tensor:
        return abs(self.factor) ** 2 * self.operator.normal(x)


@dataclass(frozen=True, eq=False)
class Matrix(LinearOperator):
    """x -> M x for a dense matrix.

    Args:
        matrix: (m, n), or (batch, m, n) with one matrix an item.
    """

    matrix: Tensor

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-1] == self.matrix.shape[-1], f"x {tuple(x.shape)} on a matrix {tuple(self.matrix.shape)}"
        return (self.matrix @ x.unsqueeze(-1)).squeeze(-1)

    def adjoint(self, y: Tensor) -> Tensor:
        assert y.shape[-1] == self.matrix.shape[-2], f"y {tuple(y.shape)} on a matrix {tuple(self.matrix.shape)}^H"
        return (self.matrix.mH @ y.unsqueeze(-1)).squeeze(-1)


def eigen(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (..., n), ascending, and eigenvectors (..., n, n) of many small Hermitian matrices (..., n, n).

    On a CPU each thread takes matrices of its own: several that share out a single small one mostly wait for each other.
    """
    if matrices.device.type != "cpu" or matrices.ndim == 2:
        values, vectors = torch.linalg.eigh(matrices)
        return values, vectors
    threads = torch.get_num_threads()
    flat = matrices.flatten(0, -3)
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            parts = list(pool.map(torch.linalg.eigh, flat.chunk(4 * threads)))
    finally:
        torch.set_num_threads(threads)
    values, vectors = (torch.cat(part) for part in zip(*parts, strict=True))
    return values.reshape(matrices.shape[:-1]), vectors.reshape(matrices.shape)


def inner(u: Tensor, v: Tensor) -> Tensor:
    """Re <u, v> of each item, (batch,) from two (batch, ...)."""
    assert u.shape == v.shape, f"{tuple(u.shape)} against {tuple(v.shape)}"
    return torch.linalg.vecdot(u.flatten(1), v.flatten(1)).real


def conjugate_gradient(
    normal: Callable[[Tensor], Tensor],
    b: Tensor,
    x: Tensor | None = None,
    *,
    iterations: int,
    tolerance: float = 0.0,
    shift: Tensor | float = 0.0,
) -> Tensor:
    """x with (N + shift I) x = b, for a Hermitian positive (semi-)definite N: each item has its own steps.

    An item that has reached its tolerance stays as it is, so that its result does not depend on the batch around it.
    With tolerance 0 nothing is read back from the device.

    Args:
        normal: x -> N x on (batch, ...), `operator.normal` say.
        b: the right side (batch, ...), real or complex.
        x: where to start, like b; zero otherwise.
        iterations: steps at most, at least 0.
        tolerance: stop an item where |residual| <= tolerance |b|; 0 takes all the steps.
        shift: at least 0, of shape () or (batch,).

    Returns:
        x like b.

    Source: Hestenes and Stiefel (1952), Methods of conjugate gradients for solving linear systems, section 3.
    """
    real = b.real.dtype if b.is_complex() else b.dtype
    column = (-1, *[1] * (b.ndim - 1))
    shift = torch.as_tensor(shift, dtype=real, device=b.device)
    assert shift.ndim == 0 or shift.shape == (len(b),), f"shift {tuple(shift.shape)} for {len(b)} items"
    shift = shift.reshape(column) if shift.ndim else shift

    def apply(v: Tensor) -> Tensor:
        return torch.addcmul(normal(v), shift, v)

    residual = b.clone() if x is None else b - apply(x)
    x = torch.zeros_like(b) if x is None else x.clone()
    direction = residual.clone()
    power = inner(residual, residual)
    target = tolerance**2 * inner(b, b)
    for _ in range(iterations):
        if tolerance > 0 and bool((power <= target).all()):
            break
        image = apply(direction)
        curvature = inner(direction, image)
        # A solved item has power = curvature = 0 and takes no step; neither does one below its tolerance.
        step = torch.where((curvature > 0) & (power > target), power / curvature, 0)
        x.addcmul_(direction, step.reshape(column))
        residual.addcmul_(image, step.reshape(column), value=-1)
        before, power = power, inner(residual, residual)
        ratio = torch.where(before > 0, power / before, 0)
        direction = torch.addcmul(residual, direction, ratio.reshape(column))
    return x
