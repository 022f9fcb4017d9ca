"""Operators that are diagonal in Fourier components: sampling of the spectrum, convolution on a torus."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ornstein.core.operators.linear import LinearOperator, column


@dataclass(frozen=True, eq=False)
class Fourier(LinearOperator):
    """x -> mask F x with the centred orthonormal Fourier transform, for complex x.

    Args:
        mask: bool, broadcastable to the transformed axes; what is not sampled is 0.
        axes: how many of the last axes are transformed, at least 1.
    """

    mask: Tensor
    axes: int = 2

    def forward(self, x: Tensor) -> Tensor:
        return self._transform(x) * self.mask

    def adjoint(self, y: Tensor) -> Tensor:
        return self._back(y * self.mask)

    def solve(self, b: Tensor, shift: Tensor | float, iterations: int, start: Tensor | None = None) -> Tensor:
        """Exact, component by component."""
        return self._back(self._transform(b) / (self.mask.to(b.real.dtype) ** 2 + column(shift, b)))

    @property
    def _dims(self) -> tuple[int, ...]:
        return tuple(range(-self.axes, 0))

    def _transform(self, x: Tensor) -> Tensor:
        centred = torch.fft.ifftshift(x, self._dims)
        return torch.fft.fftshift(torch.fft.fftn(centred, dim=self._dims, norm="ortho"), self._dims)

    def _back(self, y: Tensor) -> Tensor:
        centred = torch.fft.ifftshift(y, self._dims)
        return torch.fft.fftshift(torch.fft.ifftn(centred, dim=self._dims, norm="ortho"), self._dims)


@dataclass(frozen=True, eq=False)
class Convolution(LinearOperator):
    """x -> kernel * x over the last axes, which wrap around: blur. Real for real x and kernel.

    Args:
        kernel: of odd sides, its middle the origin; as many axes as are blurred, none longer than that of x.
    """

    kernel: Tensor

    def __post_init__(self) -> None:
        assert all(side % 2 for side in self.kernel.shape), f"kernel {tuple(self.kernel.shape)}: odd sides"

    def forward(self, x: Tensor) -> Tensor:
        return self._multiply(x, self._transfer(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return self._multiply(y, self._transfer(y).conj())

    def solve(self, b: Tensor, shift: Tensor | float, iterations: int, start: Tensor | None = None) -> Tensor:
        """Exact, component by component."""
        power = self._transfer(b).abs().square()
        return self._multiply(b, 1 / (power + column(shift, b)))

    def _transfer(self, x: Tensor) -> Tensor:
        """The kernel's spectrum on the axes of x."""
        sides, axes = self.kernel.shape, x.shape[x.ndim - self.kernel.ndim :]
        assert all(k <= n for k, n in zip(sides, axes, strict=True)), f"kernel {tuple(sides)} on {tuple(axes)}"
        padded = self.kernel.new_zeros(axes)
        padded[tuple(slice(0, side) for side in sides)] = self.kernel
        padded = padded.roll([-(side // 2) for side in sides], tuple(range(len(sides))))
        return torch.fft.fftn(padded.to(x.device))

    def _multiply(self, x: Tensor, transfer: Tensor) -> Tensor:
        dims = tuple(range(-self.kernel.ndim, 0))
        y = torch.fft.ifftn(torch.fft.fftn(x, dim=dims) * transfer, dim=dims)
        return (y if x.is_complex() or self.kernel.is_complex() else y.real).to(x.dtype)
