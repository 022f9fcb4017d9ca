"""Paths that drift to a known y: Ornstein-Uhlenbeck processes that revert to it, and bridges that end in it."""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ornstein.core.paths.base import Coefficients, DriftingPath, time


@dataclass(frozen=True)
class OUVE(DriftingPath):
    """dx = gamma (y - x) dt + g dW with g = sigma_min (sigma_max / sigma_min)^t sqrt(2 log(sigma_max / sigma_min)).

        a = exp(-gamma t),  b = 1 - a,  s^2 = sigma_min^2 l (exp(2 l t) - exp(-2 gamma t)) / (gamma + l)

    with l = log(sigma_max / sigma_min). At t = 1 there is still a (x0 - y) in the mean; the start, y + s z, neglects it.

    Args:
        gamma: stiffness, above 0.
        sigma_min: noise scale at t = 0, in the data's units, above 0.
        sigma_max: noise scale at t = 1, above `sigma_min`.

    Source: Richter et al. (2023), Speech enhancement and dereverberation with diffusion-based generative models,
    arXiv:2208.05830.
    """

    gamma: float = 1.5
    sigma_min: float = 0.05
    sigma_max: float = 0.5

    def coefficients(self, t: Tensor | float) -> Coefficients:
        t = time(t)
        growth, rate = self._rates()
        a = torch.exp(-self.gamma * t)
        s = a * self.sigma_min * torch.sqrt(growth / rate * torch.expm1(2 * rate * t))
        g2 = 2 * growth * (self.sigma_min * torch.exp(growth * t)) ** 2
        return Coefficients(a, 1 - a, s, -self.gamma * a, self.gamma * a, g2 / (2 * s) - self.gamma * s)

    def log_snr(self, t: Tensor | float) -> Tensor:
        growth, rate = self._rates()
        variance = growth / rate * torch.expm1(2 * rate * time(t))
        return -torch.log(variance) / 2 - math.log(self.sigma_min)

    def time_of(self, log_snr: Tensor | float) -> Tensor:
        growth, rate = self._rates()
        variance = torch.exp(-2 * (time(log_snr) + math.log(self.sigma_min)))
        return torch.log1p(variance * rate / growth) / (2 * rate)

    def _rates(self) -> tuple[float, float]:
        growth = math.log(self.sigma_max / self.sigma_min)
        return growth, self.gamma + growth


@dataclass(frozen=True)
class MeanReverting(DriftingPath):
    """dx = theta (y - x) dt + sigma sqrt(2 theta) dW, with theta a function of t.

        a = exp(-int theta),  b = 1 - a,  s = sigma sqrt(1 - a^2)

    Args:
        sigma: stationary standard deviation, in the data's units, above 0; 50 of 255 grey levels.
        end: a at t = 1, in (0, 1).
        schedule: theta grows with t as 1 - cos^2, "cosine"; by the factor 200 from t = 0 to 1, "linear"; or is "constant".

    Source: Luo et al. (2023), Image restoration with mean-reverting stochastic differential equations, arXiv:2301.11699;
    Li et al. (2025), MR Sampler, arXiv:2502.07856.
    """

    sigma: float = 50 / 255
    end: float = 0.005
    schedule: Literal["cosine", "linear", "constant"] = "cosine"

    def coefficients(self, t: Tensor | float) -> Coefficients:
        t = time(t)
        theta, integral = self._theta(t)
        a = torch.exp(-integral)
        s = self.sigma * torch.sqrt(-torch.expm1(-2 * integral))
        return Coefficients(a, 1 - a, s, -theta * a, theta * a, self.sigma**2 * theta * a**2 / s)

    def log_snr(self, t: Tensor | float) -> Tensor:
        integral = self._theta(time(t))[1]
        return -integral - torch.log(-torch.expm1(-2 * integral)) / 2 - math.log(self.sigma)

    def _theta(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """theta and its integral from 0 to t, scaled so that the whole integral is -log(end)."""
        theta, integral = _THETA[self.schedule](t)
        scale = -math.log(self.end) / _THETA[self.schedule](time(1.0))[1]
        return scale * theta, scale * integral


def _constant_theta(t: Tensor) -> tuple[Tensor, Tensor]:
    return torch.ones_like(t), t


def _linear_theta(t: Tensor) -> tuple[Tensor, Tensor]:
    return 1 + 199 * t, t + 199 * t**2 / 2


def _cosine_theta(t: Tensor) -> tuple[Tensor, Tensor]:
    """1 - cos^2(p + q) / cos^2(p), q = t pi / 2 (1 + 0.008), p = 0.008 of it, times constants, and its integral over q."""
    rate = math.pi / 2 / 1.008
    p, q = 0.008 * rate, rate * t
    theta = torch.sin(q) * torch.sin(2 * p + q)
    # The integral, (q cos 2p - cos(2p + q) sin q) / 2, written so that small t keep their digits.
    integral = (math.cos(2 * p) * (q - torch.sin(2 * q) / 2) + math.sin(2 * p) * torch.sin(q) ** 2) / 2
    return theta * rate, integral


_THETA = {"constant": _constant_theta, "linear": _linear_theta, "cosine": _cosine_theta}


@dataclass(frozen=True)
class BrownianBridge(DriftingPath):
    """dx = (y - x) / (1 - t) dt + sigma dW: a = 1 - t, b = t, s = sigma sqrt(t (1 - t)).

    With sigma = sqrt(2) it is the linear two-sided stochastic interpolant.

    Args:
        sigma: the noise's scale, in the data's units, above 0.

    Source: Li et al. (2023), BBDM, arXiv:2205.07680; Albergo et al. (2023), Stochastic interpolants, arXiv:2303.08797.
    """

    sigma: float = 1.0

    def coefficients(self, t: Tensor | float) -> Coefficients:
        t = time(t)
        root, one = torch.sqrt(t * (1 - t)), torch.ones_like(t)
        return Coefficients(1 - t, t, self.sigma * root, -one, one, self.sigma * (1 - 2 * t) / (2 * root))

    def log_snr(self, t: Tensor | float) -> Tensor:
        t = time(t)
        return (torch.log1p(-t) - torch.log(t)) / 2 - math.log(self.sigma)

    def time_of(self, log_snr: Tensor | float) -> Tensor:
        return torch.sigmoid(-2 * (time(log_snr) + math.log(self.sigma)))


@dataclass(frozen=True)
class TrigonometricBridge(DriftingPath):
    """The trigonometric two-sided interpolant, a = cos(pi t / 2), b = sin(pi t / 2), s = sigma sqrt(t (1 - t)).

    The published start is y. Of the published s only this one serves a known y: with those that vanish faster at t = 1
    (sin^2(pi t), say) x_t still tells x0 from y there.

    Args:
        sigma: the noise's scale, in the data's units, above 0; sqrt(2) as published.

    Source: Albergo, Boffi, Vanden-Eijnden (2023), Stochastic interpolants, arXiv:2303.08797.
    """

    sigma: float = math.sqrt(2)

    def coefficients(self, t: Tensor | float) -> Coefficients:
        t = time(t)
        rate = math.pi / 2
        # cos(rate t), exact at t = 1.
        a, b, root = torch.sin(rate * (1 - t)), torch.sin(rate * t), torch.sqrt(t * (1 - t))
        return Coefficients(a, b, self.sigma * root, -rate * b, rate * a, self.sigma * (1 - 2 * t) / (2 * root))

    def log_snr(self, t: Tensor | float) -> Tensor:
        t = time(t)
        # sin(x) / x keeps its digits, and is not 0 / 0 in the end.
        sinc = torch.sinc((1 - t) / 2) * math.pi / 2
        return torch.log(sinc) + (torch.log1p(-t) - torch.log(t)) / 2 - math.log(self.sigma)


@dataclass(frozen=True)
class BBED(DriftingPath):
    """The Brownian bridge with exploding diffusion, dx = (y - x) / (1 - t) dt + sqrt(theta) k^t dW.

        a = 1 - t,  b = t,  s^2 = theta (1 - t)^2 int_0^t k^(2 r) / (1 - r)^2 dr

    Published runs start at t = 0.999 (or earlier, which is faster) from y + s z.

    Args:
        k: base of the diffusion, above 0, not 1 (then it is the Brownian bridge), at most 100.
        theta: its scale, in squared units of the data, above 0.

    Source: Lay et al. (2023), Reducing the prior mismatch of stochastic differential equations for diffusion-based speech
    enhancement, arXiv:2302.14748.
    """

    k: float = 2.6
    theta: float = 0.52

    def coefficients(self, t: Tensor | float) -> Coefficients:
        t = time(t)
        rest, integral, one = 1 - t, self._integral(t), torch.ones_like(t)
        s = torch.sqrt(self.theta * rest * integral)
        # The variance v follows v' = g^2 - 2 v / (1 - t).
        ds = self.theta * (torch.exp(2 * math.log(self.k) * t) - 2 * integral) / (2 * s)
        return Coefficients(rest, t, s, -one, one, ds)

    def log_snr(self, t: Tensor | float) -> Tensor:
        t = time(t)
        return (torch.log1p(-t) - torch.log(self.theta * self._integral(t))) / 2

    def _integral(self, t: Tensor) -> Tensor:
        """(1 - t) int_0^t k^(2 r) / (1 - r)^2 dr; with c = 2 log k, r = 1 - u and the power series of exp(-c u) it is

        k^2 (t + (1 - t) (c log(1 - t) + sum_n>1 (-c)^n (1 - (1 - t)^(n - 1)) / (n! (n - 1)))).
        """
        c = 2 * math.log(self.k)
        log_rest = torch.log1p(-t).clamp(min=-800)  # (1 - t) log(1 - t) is 0 in the end
        n = torch.arange(2, 30 + int(4 * abs(c)), dtype=torch.float64)
        sign = 1 if c < 0 else (-1) ** n
        weight = sign * torch.exp(n * math.log(abs(c)) - torch.lgamma(n + 1)) / (n - 1)
        total = c * log_rest - (weight * torch.expm1((n - 1) * log_rest[..., None])).sum(-1)
        return self.k**2 * (t + (1 - t) * total)


class _Reference(NamedTuple):
    """alpha, v = int g^2 / alpha^2 from 0 to t, the same from t to 1, and the derivatives of alpha and v."""

    alpha: Tensor
    v: Tensor
    v_rest: Tensor
    d_alpha: Tensor
    dv: Tensor


@dataclass(frozen=True)
class _SchroedingerBridge(DriftingPath):
    """The bridge from x0 to y of the reference process dx = f x dt + g dW, with alpha = exp(int f) and v = int g^2 / alpha^2:

        a = alpha v_rest / v_1,  b = alpha v / (alpha_1 v_1),  s^2 = alpha^2 v v_rest / v_1,  v_rest = v_1 - v.

    Source: Chen et al. (2023), Schrodinger bridges beat diffusion models on text-to-speech synthesis, arXiv:2312.03491;
    Jukic et al. (2024), Schroedinger bridge for generative speech enhancement, arXiv:2407.16074, table 1 for f and g.
    """

    @abstractmethod
    def _reference(self, t: Tensor) -> _Reference: ...

    def coefficients(self, t: Tensor | float) -> Coefficients:
        p, end = self._reference(time(t)), self._reference(time(1.0))
        total = end.v
        a, b = p.alpha * p.v_rest / total, p.alpha * p.v / (end.alpha * total)
        root = torch.sqrt(p.v * p.v_rest / total)
        da = (p.d_alpha * p.v_rest - p.alpha * p.dv) / total
        db = (p.d_alpha * p.v + p.alpha * p.dv) / (end.alpha * total)
        ds = p.d_alpha * root + p.alpha * p.dv * (p.v_rest - p.v) / (2 * total * root)
        return Coefficients(a, b, p.alpha * root, da, db, ds)

    def log_snr(self, t: Tensor | float) -> Tensor:
        p = self._reference(time(t))
        return (torch.log(p.v_rest) - torch.log(p.v) - torch.log(self._reference(time(1.0)).v)) / 2

    def _v_of(self, log_snr: Tensor | float) -> Tensor:
        total = self._reference(time(1.0)).v
        return total * torch.sigmoid(-2 * time(log_snr) - torch.log(total))


@dataclass(frozen=True)
class SchroedingerBridgeVE(_SchroedingerBridge):
    """The Schroedinger bridge of dx = sqrt(c) k^t dW, which starts from y.

        v = c (k^(2 t) - 1) / (2 log k),  a = 1 - v / v_1,  b = v / v_1,  s^2 = v (v_1 - v) / v_1

    Args:
        k: base of the diffusion, above 1 (at 1 it is the Brownian bridge).
        c: its scale, in squared units of the data, above 0.

    Source: Jukic et al. (2024), Schroedinger bridge for generative speech enhancement, arXiv:2407.16074, table 1.
    """

    k: float = 2.6
    c: float = 0.4

    def _reference(self, t: Tensor) -> _Reference:
        growth = 2 * math.log(self.k)
        scale, one = self.c / growth, torch.ones_like(t)
        v, dv = scale * torch.expm1(growth * t), self.c * torch.exp(growth * t)
        rest = -scale * math.exp(growth) * torch.expm1(-growth * (1 - t))
        return _Reference(one, v, rest, torch.zeros_like(t), dv)

    def time_of(self, log_snr: Tensor | float) -> Tensor:
        growth = 2 * math.log(self.k)
        return torch.log1p(self._v_of(log_snr) * growth / self.c) / growth


@dataclass(frozen=True)
class SchroedingerBridgeVP(_SchroedingerBridge):
    """The Schroedinger bridge of dx = -beta / 2 x dt + sqrt(c beta) dW, beta linear in t, which starts from y.

        alpha = exp(-B / 2),  v = c (exp(B) - 1),  B = int beta

    Args:
        beta_min: beta at t = 0, at least 0.
        beta_max: beta at t = 1, above `beta_min`.
        c: scale of the diffusion, in squared units of the data, above 0.

    Source: Jukic et al. (2024), Schroedinger bridge for generative speech enhancement, arXiv:2407.16074, table 1.
    """

    beta_min: float = 0.01
    beta_max: float = 20.0
    c: float = 0.3

    def _reference(self, t: Tensor) -> _Reference:
        slope = self.beta_max - self.beta_min
        beta, total = self.beta_min + slope * t, self.beta_min + slope / 2
        integral, rest = self.beta_min * t + slope * t**2 / 2, (1 - t) * (self.beta_min + slope * (1 + t) / 2)
        alpha = torch.exp(-integral / 2)
        v, dv = self.c * torch.expm1(integral), self.c * beta * torch.exp(integral)
        return _Reference(alpha, v, -self.c * math.exp(total) * torch.expm1(-rest), -beta / 2 * alpha, dv)

    def time_of(self, log_snr: Tensor | float) -> Tensor:
        integral, slope = torch.log1p(self._v_of(log_snr) / self.c), self.beta_max - self.beta_min
        # The root of slope t^2 / 2 + beta_min t = integral, written so that small t keep their digits.
        return 2 * integral / (self.beta_min + torch.sqrt(self.beta_min**2 + 2 * slope * integral))
