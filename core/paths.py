"""Gaussian paths x_t = a(t) x0 + b(t) y + s(t) z: the coefficients, their log-SNR and what follows from them."""

import math
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
    """

    @abstractmethod
    def coefficients(self, t: Tensor | float) -> Coefficients:
        """a, b, s and their time derivatives at t of shape () or (batch,), in float64."""

    @abstractmethod
    def time_of(self, log_snr: Tensor | float) -> Tensor:
        """The time at which log(a / s) has this value: the inverse of `log_snr`, in float64."""

    def log_snr(self, t: Tensor | float) -> Tensor:
        """lambda(t) = log(a / s), falling in t (half the log of the signal-to-noise ratio in power)."""
        c = self.coefficients(t)
        return torch.log(c.a) - torch.log(c.s)

    def diffusion(self, t: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
        """f, the weight of y in the drift, and g^2 of dx = (f x + w y) dt + g dW, whose marginals are the path."""
        c = self.coefficients(t)
        f = c.da / c.a
        return f, c.db - f * c.b, 2 * c.s * (c.ds - f * c.s)

    def mix(self, x0: Tensor, z: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """x_t from data x0, unit noise z (and y, on a path that has one): (batch, ...)."""
        c = self.coefficients(t)
        x = expand(c.a, x0) * x0 + expand(c.s, x0) * z
        return x if y is None else x + expand(c.b, x0) * y


@dataclass(frozen=True)
class VariancePreserving(Path):
    """a^2 + s^2 = 1 with log a = -(beta_max - beta_min) t^2 / 4 - beta_min t / 2, the "linear" schedule.

    Args:
        beta_min: noise rate at t = 0, above 0.
        beta_max: noise rate at t = 1, above `beta_min`.

    Source: Song et al. (2021), Score-based generative modeling through SDEs, arXiv:2011.13456, eq. 33.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def coefficients(self, t: Tensor | float) -> Coefficients:
        t = time(t)
        log_a = -(self.beta_max - self.beta_min) * t**2 / 4 - self.beta_min * t / 2
        beta = self.beta_min + (self.beta_max - self.beta_min) * t
        a = torch.exp(log_a)
        s = torch.sqrt(-torch.expm1(2 * log_a))
        zero = torch.zeros_like(t)
        return Coefficients(a, zero, s, -beta / 2 * a, zero, beta / 2 * a**2 / s)

    def log_snr(self, t: Tensor | float) -> Tensor:
        t = time(t)
        log_a = -(self.beta_max - self.beta_min) * t**2 / 4 - self.beta_min * t / 2
        return log_a - torch.log(-torch.expm1(2 * log_a)) / 2

    def time_of(self, log_snr: Tensor | float) -> Tensor:
        log_a = -torch.nn.functional.softplus(-2 * time(log_snr)) / 2
        # The root of (beta_max - beta_min) t^2 / 4 + beta_min t / 2 = -log a, written so that small t keep their digits.
        slope = self.beta_max - self.beta_min
        return -4 * log_a / (self.beta_min + torch.sqrt(self.beta_min**2 - 4 * slope * log_a))


@dataclass(frozen=True)
class Cosine(Path):
    """a = cos(angle), s = sin(angle), with the angle linear in t from `angle_min` to `angle_max`.

    Args:
        angle_min: angle at t = 0 in radians, above 0 (s = 0 has no log-SNR).
        angle_max: angle at t = 1 in radians, below pi / 2.

    Source: Nichol and Dhariwal (2021), Improved DDPM, arXiv:2102.09672, eq. 17, with the ends cut as in
    Karras et al. (2022), arXiv:2206.00364, table 1.
    """

    angle_min: float = 0.002
    angle_max: float = math.pi / 2 - 0.0125

    def coefficients(self, t: Tensor | float) -> Coefficients:
        t = time(t)
        rate = self.angle_max - self.angle_min
        angle = self.angle_min + rate * t
        a, s, zero = torch.cos(angle), torch.sin(angle), torch.zeros_like(t)
        return Coefficients(a, zero, s, -rate * s, zero, rate * a)

    def time_of(self, log_snr: Tensor | float) -> Tensor:
        angle = torch.atan(torch.exp(-time(log_snr)))
        return (angle - self.angle_min) / (self.angle_max - self.angle_min)


@dataclass(frozen=True)
class VarianceExploding(Path):
    """x_t = x0 + s(t) z, with s geometric in t from `sigma_min` to `sigma_max`.

    Args:
        sigma_min: noise level at t = 0, in the data's units, above 0.
        sigma_max: noise level at t = 1, above `sigma_min`.

    Source: Song et al. (2021), Score-based generative modeling through SDEs, arXiv:2011.13456, eq. 31.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def coefficients(self, t: Tensor | float) -> Coefficients:
        t = time(t)
        growth = math.log(self.sigma_max / self.sigma_min)
        s = self.sigma_min * torch.exp(growth * t)
        one, zero = torch.ones_like(t), torch.zeros_like(t)
        return Coefficients(one, zero, s, zero, zero, growth * s)

    def time_of(self, log_snr: Tensor | float) -> Tensor:
        return (-time(log_snr) - math.log(self.sigma_min)) / math.log(self.sigma_max / self.sigma_min)


@dataclass(frozen=True)
class EDM(Path):
    """x_t = x0 + s(t) z, with s^(1/rho) linear in t: equal steps of t are the noise levels of Karras et al.

    Args:
        sigma_min: noise level at t = 0, in the data's units, above 0.
        sigma_max: noise level at t = 1, above `sigma_min`.
        rho: curvature, at least 1; larger spends more steps at low noise.

    Source: Karras et al. (2022), Elucidating the design space of diffusion-based generative models,
    arXiv:2206.00364, eq. 5.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def coefficients(self, t: Tensor | float) -> Coefficients:
        t = time(t)
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        root = low + (high - low) * t
        one, zero = torch.ones_like(t), torch.zeros_like(t)
        ds = self.rho * root ** (self.rho - 1) * (high - low)
        return Coefficients(one, zero, root**self.rho, zero, zero, ds)

    def time_of(self, log_snr: Tensor | float) -> Tensor:
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return (torch.exp(-time(log_snr) / self.rho) - low) / (high - low)


@dataclass(frozen=True)
class RectifiedFlow(Path):
    """x_t = (1 - t) x0 + t z, straight lines from data to noise.

    Source: Liu et al. (2022), Flow straight and fast, arXiv:2209.03003, eq. 1; Lipman et al. (2022), Flow matching for
    generative modeling, arXiv:2210.02747.
    """

    def coefficients(self, t: Tensor | float) -> Coefficients:
        t = time(t)
        one, zero = torch.ones_like(t), torch.zeros_like(t)
        return Coefficients(1 - t, zero, t, -one, zero, one)

    def time_of(self, log_snr: Tensor | float) -> Tensor:
        return torch.sigmoid(-time(log_snr))
