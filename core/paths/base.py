"""What every Gaussian path is: x_t = a(t) x0 + b(t) y + s(t) z, and what follows from (a, b, s)."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Coefficients(NamedTuple):
    """a, b, s of a path and their derivatives with respect to t, each float64 with the shape of t."""

    a: Tensor
    b: Tensor
    s: Tensor
    da: Tensor
    db: Tensor
    ds: Tensor


def time(t: Tensor | float) -> Tensor:
    """t as a float64 tensor of shape () or (batch,), in [0, 1]."""
    return torch.as_tensor(t, dtype=torch.float64)


def expand(coefficient: Tensor, x: Tensor) -> Tensor:
    """A coefficient of shape () or (batch,), cast once to the (real) dtype of x and shaped to multiply it."""
    dtype = x.real.dtype if x.is_complex() else x.dtype
    coefficient = coefficient.to(device=x.device, dtype=dtype)
    return coefficient if coefficient.ndim == 0 else coefficient.reshape(-1, *[1] * (x.ndim - 1))


@dataclass(frozen=True)
class Path(ABC):
    """x_t = a(t) x0 + b(t) y + s(t) z with z ~ N(0, I) and t from 0 (data) to 1 (noise, or y).

    Derived from (a, b, s): the half log-SNR lambda = log(a / s), the drift f x + (db - f b) y of the forward SDE with
    f = a' / a, and its squared diffusion g^2 = 2 s (s' - f s).

    A path with `drifts` has b > 0, and its samples need y. A path that is not `gaussian` has another z than N(0, I), made
    of it by `noise`: it has the deterministic solvers, but no SDE, no Tweedie score and no Gaussian covariance.
    """

    @property
    def drifts(self) -> bool:
        """Whether b > 0, so that mixing and sampling need y."""
        return False

    @property
    def gaussian(self) -> bool:
        """Whether z is N(0, I)."""
        return True

    @abstractmethod
    def coefficients(self, t: Tensor | float) -> Coefficients:
        """a, b, s and their time derivatives at t of shape () or (batch,), in float64."""

    def log_snr(self, t: Tensor | float) -> Tensor:
        """lambda(t) = log(a / s), falling in t (half the log of the signal-to-noise ratio in power)."""
        c = self.coefficients(t)
        return torch.log(c.a) - torch.log(c.s)

    def time_of(self, log_snr: Tensor | float) -> Tensor:
        """The time at which log(a / s) has this value: the inverse of `log_snr`, in float64.

        By Newton's method in log(t / (1 - t)), in which lambda is nearly straight, within a bracket that shrinks; values
        beyond those of t = 0 and t = 1 give these times.
        """
        target = time(log_snr)
        low, high = torch.full_like(target, -64.0), torch.full_like(target, 36.0)
        position = torch.zeros_like(target)
        for _ in range(64):
            t = torch.sigmoid(position)
            c, error = self.coefficients(t), self.log_snr(t) - target
            low, high = torch.where(error > 0, position, low), torch.where(error > 0, high, position)
            step = error / ((c.da / c.a - c.ds / c.s) * t * (1 - t))
            newton = position - step
            position = torch.where((newton >= low) & (newton <= high), newton, (low + high) / 2)
            if bool(((step.abs() < 1e-8) | (high - low < 1e-8)).all()):  # the next step's square is below rounding
                break
        t = torch.sigmoid(position)
        t = torch.where(target >= self.log_snr(0.0), 0.0, t)
        return torch.where(target <= self.log_snr(1.0), 1.0, t)

    def diffusion(self, t: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
        """f, the weight w of y in the drift, and g^2 of dx = (f x + w y) dt + g dW, whose marginals are the path.

        Raises:
            ValueError: on a path whose noise is not Gaussian.
        """
        self._demand_gaussian()
        c = self.coefficients(t)
        f = c.da / c.a
        return f, c.db - f * c.b, 2 * c.s * (c.ds - f * c.s)

    def fresh_noise(self, t: Tensor | float, r: Tensor | float) -> Tensor:
        """rho, the standard deviation of the new noise in one step, from t down to r, of the published chain

            x_r = a_r x0 + b_r y + sqrt(s_r^2 - rho^2) (x_t - a_t x0 - b_t y) / s_t + rho z.

        Here it is the SDE's, rho = s_r sqrt(1 - exp(-2 (lambda_r - lambda_t))); on VP that is the chain of DDPM.

        Raises:
            ValueError: on a path whose noise is not Gaussian.
        """
        self._demand_gaussian()
        h = self.log_snr(r) - self.log_snr(t)
        return self.coefficients(r).s * torch.sqrt(-torch.expm1(-2 * h))

    def noise(self, z: Tensor) -> Tensor:
        """The path's own unit noise, made of z ~ N(0, I) of shape (batch, ...): z itself where the path is Gaussian."""
        return z

    def mix(self, x0: Tensor, z: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """x_t from data x0, unit Gaussian noise z (and y, on a path that drifts): (batch, ...)."""
        c = self.coefficients(t)
        x = expand(c.a, x0) * x0 + expand(c.s, x0) * self.noise(z)
        return x if y is None else x + expand(c.b, x0) * y

    def start(self, z: Tensor, y: Tensor | None = None, t: Tensor | float = 1.0) -> Tensor:
        """The published state to start from at t, out of unit Gaussian noise z: s z, or (a + b) y + s z where it drifts.

        The unknown x0, of which there is little left at t, is taken to be 0, or y.
        """
        c = self.coefficients(t)
        x = expand(c.s, z) * self.noise(z)
        return x if y is None or not self.drifts else x + expand(c.a + c.b, x) * y

    def _demand_gaussian(self) -> None:
        if not self.gaussian:
            raise ValueError(f"{self} has no SDE: its noise is not Gaussian")


@dataclass(frozen=True)
class DriftingPath(Path):
    """A path with y: its mean goes from x0 to y, or near it."""

    @property
    def drifts(self) -> bool:
        return True
