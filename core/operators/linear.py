"""Linear operators A with their adjoints A^H, and what is built from them."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ornstein.core.operators.krylov import conjugate_gradient


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

    def linearise(self, x: Tensor) -> "LinearOperator":
        """The derivative at x, which is the operator itself everywhere."""
        return self

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


@dataclass(frozen=True, eq=False)
class Stack(LinearOperator):
    """x -> (A_1 x, A_2 x, ...), several measurements of one thing, their values in one row (batch, m_1 + m_2 + ...).

    `observation.stack` gives each its own noise.

    Args:
        operators: with one domain, at least one.
        ranges: the shape of one item of each one's range.
    """

    operators: tuple[LinearOperator, ...]
    ranges: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        assert len(self.operators) == len(self.ranges) > 0, f"{len(self.operators)} operators, ranges {self.ranges}"

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([operator.forward(x).flatten(1) for operator in self.operators], dim=1)

    def adjoint(self, y: Tensor) -> Tensor:
        parts = y.split([torch.Size(shape).numel() for shape in self.ranges], dim=1)
        rows = zip(self.operators, parts, self.ranges, strict=True)
        backs = [operator.adjoint(part.reshape(len(y), *shape)) for operator, part, shape in rows]
        return torch.stack(backs).sum(0)

    def normal(self, x: Tensor) -> Tensor:
        return torch.stack([operator.normal(x) for operator in self.operators]).sum(0)


def column(shift: Tensor | float, x: Tensor) -> Tensor:
    """A shift of shape () or (batch,), in the real dtype of x and shaped to be added to it."""
    q = torch.as_tensor(shift, dtype=x.real.dtype if x.is_complex() else x.dtype, device=x.device)
    return q.reshape(-1, *[1] * (x.ndim - 1)) if q.ndim else q
