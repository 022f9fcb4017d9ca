"""Operators that leave values out or take means of blocks of them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ornstein.core.operators.linear import LinearOperator, column


@dataclass(frozen=True, eq=False)
class Mask(LinearOperator):
    """x -> mask x, of the shape of x: what is not measured is 0.

    Args:
        mask: bool, or weights from 0 to 1, broadcastable to an item (or, with the batch, to x).
    """

    mask: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.mask

    def adjoint(self, y: Tensor) -> Tensor:
        return y * self.mask

    def solve(self, b: Tensor, shift: Tensor | float, iterations: int, start: Tensor | None = None) -> Tensor:
        """Exact, value by value."""
        return b / (self.mask.to(column(1.0, b).dtype) ** 2 + column(shift, b))


@dataclass(frozen=True, eq=False)
class Select(LinearOperator):
    """x -> the values at some places, (batch, m) in the order of the places: sub-sampling, stations.

    Args:
        mask: bool, of the shape of one item; m of its values are true.
    """

    mask: Tensor

    def __post_init__(self) -> None:
        assert self.mask.dtype == torch.bool, f"mask {self.mask.dtype}"

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1:] == self.mask.shape, f"x {tuple(x.shape)}, mask {tuple(self.mask.shape)}"
        return x[:, self.mask]

    def adjoint(self, y: Tensor) -> Tensor:
        x = y.new_zeros(len(y), *self.mask.shape)
        x[:, self.mask] = y
        return x


@dataclass(frozen=True, eq=False)
class BlockMean(LinearOperator):
    """x -> the mean over blocks of so many values along the last axes, each axis shorter by its factor.

    Args:
        factors: of the last axes, each at least 1; a factor divides its axis.
        weights: of the mean, above 0, broadcastable to those axes (a latitude's area, say); equal by default.
    """

    factors: tuple[int, ...]
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        assert self.factors and min(self.factors) >= 1, f"factors {self.factors}"

    def forward(self, x: Tensor) -> Tensor:
        return self._sum(x * self._share(x))

    def adjoint(self, y: Tensor) -> Tensor:
        x = self._spread(y)
        return x * self._share(x)

    def _share(self, x: Tensor) -> Tensor:
        """The weight of each value in its block, over the last axes of x."""
        axes = x.shape[-len(self.factors) :]
        real = x.real.dtype if x.is_complex() else x.dtype
        weights = (
            torch.ones(axes, dtype=real, device=x.device) if self.weights is None else self.weights.to(x.device, real)
        )
        weights = weights.expand(axes)
        return weights / self._spread(self._sum(weights))

    def _sum(self, x: Tensor) -> Tensor:
        for i, factor in enumerate(self.factors):
            axis = i - len(self.factors)
            assert x.shape[axis] % factor == 0, f"x {tuple(x.shape)} in blocks of {self.factors}"
            x = x.unflatten(axis, (-1, factor)).sum(axis)
        return x

    def _spread(self, x: Tensor) -> Tensor:
        for i, factor in enumerate(self.factors):
            x = x.repeat_interleave(factor, dim=i - len(self.factors))
        return x
