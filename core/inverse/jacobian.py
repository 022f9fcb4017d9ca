"""The covariance of p(x0 | x_t) from the denoiser's own Jacobian, and the count of what that costs."""

from collections.abc import Callable

import torch
from torch import Tensor

from ornstein.core.denoisers import Denoiser, Traits


class Counted(Denoiser):
    """A denoiser that counts how often it is asked.

    Attributes:
        evaluations: calls, each of a whole batch.
        vjps: vector-Jacobian products, likewise.
    """

    def __init__(self, inner: Denoiser) -> None:
        super().__init__(inner.path)
        self.inner = inner
        self.evaluations = self.vjps = 0

    @property
    def traits(self) -> Traits:
        return self.inner.traits

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
        self.evaluations += 1
        x0 = self.inner(x_t, t, y, **conditions)
        if x0.requires_grad:
            x0.register_hook(self._count)
        return x0

    def _count(self, gradient: Tensor) -> None:
        self.vjps += 1


class Moments:
    """x0_hat and the covariance of p(x0 | x_t) by Tweedie's second formula,

        Cov[x0 | x_t] = (s^2 / a) dx0_hat / dx_t.

    Args:
        ask: x_t (rows, ...) -> x0_hat.
        x_t: where.
        gain: s^2 / a there, a number or something that multiplies x_t.

    Attributes:
        x0: x0_hat, like x_t, without a gradient.

    Source: Efron (2011), Tweedie's formula and selection bias; Rozet et al. (2024), arXiv:2405.13712, eq. 13.
    """

    def __init__(self, ask: Callable[[Tensor], Tensor], x_t: Tensor, gain: Tensor | float) -> None:
        with torch.enable_grad():
            self._x = x_t.detach().requires_grad_()
            self._x0 = ask(self._x)
        assert self._x0.requires_grad, "the denoiser records no gradient: its Jacobian is not to be had"
        self._gain = gain
        self.x0 = self._x0.detach()

    def product(self, v: Tensor) -> Tensor:
        """Cov v as the vector-Jacobian product (the Jacobian of an exact denoiser is symmetric), like x_t."""
        return torch.autograd.grad(self._x0, self._x, v, retain_graph=True)[0] * self._gain

    def dense(self) -> Tensor:
        """Cov as matrices (rows, d, d), symmetrised, float64; d vector-Jacobian products."""
        flat = self._x0.flatten(1)
        size = flat.shape[1]
        unit = torch.eye(size, dtype=flat.dtype, device=flat.device)
        rows = [
            torch.autograd.grad(flat, self._x, e.expand_as(flat), retain_graph=i + 1 < size)[0] * self._gain
            for i, e in enumerate(unit)
        ]
        matrix = torch.stack([row.flatten(1) for row in rows], dim=1).double()
        return (matrix + matrix.mT) / 2
