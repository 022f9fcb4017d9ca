"""Differentiable measurements that are not linear, and their derivative as an operator."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from ornstein.core.operators.linear import LinearOperator


@dataclass(frozen=True, eq=False)
class Nonlinear:
    """y = A(x) for a differentiable function of batched tensors that treats each item by itself.

    Args:
        function: x (batch, *domain) -> A(x) (batch, *range), of operations that torch.func can differentiate.
    """

    function: Callable[[Tensor], Tensor]

    def forward(self, x: Tensor) -> Tensor:
        """A(x), (batch, *range)."""
        return self.function(x)

    def linearise(self, x: Tensor) -> LinearOperator:
        """The derivative of A at x (batch, *domain): its forward is the JVP, its adjoint the VJP."""
        return Derivative(self.function, x.detach())


@dataclass(frozen=True, eq=False)
class Derivative(LinearOperator):
    """v -> dA(x)/dx v at a point x, by forward and reverse differentiation.

    Args:
        function: A.
        point: x, (batch, *domain).
    """

    function: Callable[[Tensor], Tensor]
    point: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, torch.func.jvp(self.function, (self.point,), (x,))[1])

    def adjoint(self, y: Tensor) -> Tensor:
        pull: Any = torch.func.vjp(self.function, self.point)[1]
        return cast(Tensor, pull(y)[0])
