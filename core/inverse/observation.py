"""What was measured: y = A(x0) + n with n ~ N(0, R), in units of its noise."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ornstein.core.covariances import Covariance
from ornstein.core.operators import LinearOperator, Nonlinear, Stack


@dataclass(frozen=True, eq=False)
class Observation:
    """y = A(x0) + n, n ~ N(0, R).

    Args:
        operator: A, on tensors like x_t.
        values: y, (batch, *range), or (1, *range) for the same in every item.
        noise: the standard deviation of n, above 0, of a shape that broadcasts to y: each value may have its own (of a
            complex n it is sqrt(E|n|^2), both parts together). Or R itself as a `Covariance` of full rank: `Modes` with a
            rest is of low rank beside white noise.

    Raises:
        ValueError: for a noise that is not above 0.
    """

    operator: LinearOperator | Nonlinear
    values: Tensor
    noise: Tensor | float | Covariance

    def __post_init__(self) -> None:
        if isinstance(self.noise, Covariance):
            size = self.values[0].numel()
            if self.noise.size != size:
                raise ValueError(f"noise: a covariance of {self.noise.size} values for {size} observations")
            least = self.noise.eigenvalues.min()
        else:
            real = self.values.real.dtype if self.values.is_complex() else self.values.dtype
            noise = torch.as_tensor(self.noise, dtype=real, device=self.values.device)
            object.__setattr__(self, "noise", noise)
            least = noise.min()
        if not float(least) > 0:
            raise ValueError("noise: the standard deviation of observations is above 0")

    def whiten(self, v: Tensor) -> Tensor:
        """R^(-1/2) v for v like y; symmetric, so that it is its own adjoint."""
        if isinstance(self.noise, Covariance):
            return self.noise.function(v, self.noise.eigenvalues.rsqrt()).to(v.dtype)
        return v / self.noise

    def misfit(self, x: Tensor) -> Tensor:
        """R^(-1/2) (y - A(x)), (batch, *range)."""
        return self.whiten(self.values - self.operator.forward(x))

    def precision(self, v: Tensor) -> Tensor:
        """R^-1 v."""
        return self.whiten(self.whiten(v))

    def matrix(self, shape: Sequence[int], problems: int) -> Tensor:
        """R^(-1/2) A as matrices (problems, m, d) of the real items of that shape; for a linear operator, small items."""
        assert isinstance(self.operator, LinearOperator), f"{self.operator} is not linear"
        size = torch.Size(shape).numel()
        unit = torch.eye(size, dtype=self.values.dtype, device=self.values.device)
        # One call for each value: an operator may hold something of each item, and so fixes the batch.
        columns = [
            self.whiten(self.operator.forward(e.reshape(1, *shape).expand(problems, *shape).contiguous())).flatten(1)
            for e in unit
        ]
        return torch.stack(columns, dim=2)


def stack(
    *parts: tuple[LinearOperator, Tensor, Tensor | float],
) -> tuple[LinearOperator, Tensor, Tensor]:
    """Several linear measurements of one thing, each (operator, y, noise), as one: values in a row, each with its noise.

    Args:
        parts: y (batch, *range) and the standard deviation of its noise, which broadcasts to y.

    Returns: operator, y (batch, m) and noise (batch, m), as every posterior takes them.
    """
    operators = tuple(operator for operator, _, _ in parts)
    ranges = tuple(tuple(y.shape[1:]) for _, y, _ in parts)
    values = torch.cat([y.flatten(1) for _, y, _ in parts], dim=1)
    real = values.real.dtype if values.is_complex() else values.dtype
    noises = [torch.as_tensor(noise, dtype=real).expand(y.shape).flatten(1) for _, y, noise in parts]
    return Stack(operators, ranges), values, torch.cat(noises, dim=1)
