"""Paths from data to pure noise, x_t = a(t) x0 + s(t) z."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ornstein.core.paths.base import Coefficients, Path, time


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
        angle_min: angle at t = 0 in radians, at least 0.
        angle_max: angle at t = 1 in radians, at most pi / 2. From 0 to pi / 2 it is the trigonometric interpolant.

    Source: Nichol and Dhariwal (2021), Improved DDPM, arXiv:2102.09672, eq. 17, with the ends cut as in
    Karras et al. (2022), arXiv:2206.00364, table 1; Albergo et al. (2023), Stochastic interpolants, arXiv:2303.08797.
    """

    angle_min: float = 0.002
    angle_max: float = math.pi / 2 - 0.0125

    def coefficients(self, t: Tensor | float) -> Coefficients:
        t = time(t)
        rate = self.angle_max - self.angle_min
        angle = self.angle_min + rate * t
        a, s, zero = torch.sin(math.pi / 2 - angle), torch.sin(angle), torch.zeros_like(t)  # a is exactly 0 at pi / 2
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
    """x_t = (1 - t) x0 + t z, straight lines from data to noise, which is the linear one-sided interpolant.

    Source: Liu et al. (2022), Flow straight and fast, arXiv:2209.03003, eq. 1; Lipman et al. (2022), Flow matching for
    generative modeling, arXiv:2210.02747; Albergo et al. (2023), Stochastic interpolants, arXiv:2303.08797.
    """

    def coefficients(self, t: Tensor | float) -> Coefficients:
        t = time(t)
        one, zero = torch.ones_like(t), torch.zeros_like(t)
        return Coefficients(1 - t, zero, t, -one, zero, one)

    def time_of(self, log_snr: Tensor | float) -> Tensor:
        return torch.sigmoid(-time(log_snr))


@dataclass(frozen=True)
class SquareRoot(Path):
    """x_t = sqrt(1 - t^2) x0 + t z, the one-sided interpolant that preserves the variance and is linear in the noise.

    Source: Albergo, Boffi, Vanden-Eijnden (2023), Stochastic interpolants, arXiv:2303.08797.
    """

    def coefficients(self, t: Tensor | float) -> Coefficients:
        t = time(t)
        a, one, zero = torch.sqrt((1 - t) * (1 + t)), torch.ones_like(t), torch.zeros_like(t)
        return Coefficients(a, zero, t, -t / a, zero, one)

    def time_of(self, log_snr: Tensor | float) -> Tensor:
        return torch.rsqrt(1 + torch.exp(2 * time(log_snr)))


@dataclass(frozen=True)
class Shifted(Path):
    """A path in another time, so that sigma = s / a at t is `shift` times what it was at t: lambda falls by log(shift).

    A larger image keeps its coarse structure under more noise; with shift = its side over that which the path was made
    for, both are equally hidden at equal t. On the rectified flow it is the shift of Stable Diffusion 3,
    t -> shift t / (1 + (shift - 1) t). The times of the inner path may pass 1 (VP, EDM), where it is continued.

    Args:
        path: the path.
        shift: the ratio of the sides, above 0.

    Source: Hoogeboom, Heek, Salimans (2023), Simple diffusion, arXiv:2301.11093; Esser et al. (2024), Scaling rectified
    flow transformers, arXiv:2403.03206.
    """

    path: Path
    shift: float

    @property
    def drifts(self) -> bool:
        return self.path.drifts

    @property
    def gaussian(self) -> bool:
        return self.path.gaussian

    def coefficients(self, t: Tensor | float) -> Coefficients:
        t = time(t)
        # At the very ends the rate is a quotient of infinities; next to them it has its limit.
        inside = t.clamp(1e-8, 1 - 1e-8)
        inner, before, after = (
            self._inner(t),
            self.path.coefficients(inside),
            self.path.coefficients(self._inner(inside)),
        )
        rate = (before.da / before.a - before.ds / before.s) / (after.da / after.a - after.ds / after.s)
        c = self.path.coefficients(inner)
        return Coefficients(c.a, c.b, c.s, rate * c.da, rate * c.db, rate * c.ds)

    def log_snr(self, t: Tensor | float) -> Tensor:
        return self.path.log_snr(t) - math.log(self.shift)

    def time_of(self, log_snr: Tensor | float) -> Tensor:
        return self.path.time_of(time(log_snr) + math.log(self.shift))

    def fresh_noise(self, t: Tensor | float, r: Tensor | float) -> Tensor:
        return self.path.fresh_noise(self._inner(t), self._inner(r))

    def noise(self, z: Tensor) -> Tensor:
        return self.path.noise(z)

    def _inner(self, t: Tensor | float) -> Tensor:
        return self.path.time_of(self.log_snr(t))
