"""Paths of residual restoration, which shift x0 to y and add noise, with the stochasticity of their published chains."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ornstein.core.paths.base import Coefficients, DriftingPath, Path, time
from ornstein.core.paths.standard import VariancePreserving


def _markov(s_t: Tensor, s_r: Tensor) -> Tensor:
    """The new noise of a chain whose forward steps add independent noise to x_r + (a shift by y - x0 alone)."""
    return s_r * torch.sqrt((1 - (s_r / s_t) ** 2).clamp(min=0))


@dataclass(frozen=True)
class ResShift(DriftingPath):
    """x_t = x0 + eta (y - x0) + kappa sqrt(eta) z, with eta from near 0 to near 1:

        log(eta) = log(eta_min) + t^power log(eta_max / eta_min)

    Equal steps of t are the published chain, t = (k - 1) / (T - 1) for k = 1..T, with its last step to x0_hat.

    Args:
        kappa: the noise at eta = 1, in the data's units (published: of [-1, 1]), above 0.
        power: p, above 0; larger spends more steps near the data.
        eta_min: eta at t = 0, in (0, eta_max); published: (0.04 / kappa)^2.
        eta_max: eta at t = 1, at most 1; published: 0.99^2 in the code, 0.999 in the paper.

    Source: Yue, Wang, Loy (2023), ResShift, arXiv:2307.12348.
    """

    kappa: float = 2.0
    power: float = 0.3
    eta_min: float = 0.0004
    eta_max: float = 0.9801

    def coefficients(self, t: Tensor | float) -> Coefficients:
        t = time(t)
        growth = self._growth()
        eta = self.eta_min * torch.exp(growth * t**self.power)
        d_eta = eta * growth * self.power * t ** (self.power - 1)
        root = torch.sqrt(eta)
        return Coefficients(1 - eta, eta, self.kappa * root, -d_eta, d_eta, self.kappa * d_eta / (2 * root))

    def time_of(self, log_snr: Tensor | float) -> Tensor:
        # sqrt(eta) is the root of 1 - q^2 = e q.
        e = self.kappa * torch.exp(time(log_snr))
        eta = (2 / (e + torch.sqrt(e**2 + 4))) ** 2
        return (torch.log(eta / self.eta_min) / self._growth()).clamp(min=0) ** (1 / self.power)

    def fresh_noise(self, t: Tensor | float, r: Tensor | float) -> Tensor:
        """rho^2 = kappa^2 (eta_t - eta_r) eta_r / eta_t, the posterior's of the published Markov chain."""
        return _markov(self.coefficients(t).s, self.coefficients(r).s)

    def _growth(self) -> Tensor:
        return torch.log(time(self.eta_max / self.eta_min))


@dataclass(frozen=True)
class RDDM(DriftingPath):
    """x_t = x0 + alpha_bar (y - x0) + beta_bar z, where the residual and the noise have schedules of their own:

        alpha_bar = 1 - (1 - t)^(p + 1),  beta_bar^2 = sigma^2 t^(q + 1)

    Published for restoration: alpha falls (p = 1), beta^2 grows (q = 1), and the chain is deterministic.

    Args:
        sigma: the noise at t = 1, in the data's units (of [-1, 1]), above 0.
        p: power of the residual's rate (1 - t)^p, at least 0.
        q: power of the noise's rate t^q, at least 0.

    Source: Liu et al. (2024), Residual denoising diffusion models, arXiv:2308.13712.
    """

    sigma: float = 0.1
    p: float = 1.0
    q: float = 1.0

    def coefficients(self, t: Tensor | float) -> Coefficients:
        t = time(t)
        a, s = (1 - t) ** (self.p + 1), self.sigma * t ** ((self.q + 1) / 2)
        da = -(self.p + 1) * (1 - t) ** self.p
        return Coefficients(a, 1 - a, s, da, -da, self.sigma * (self.q + 1) / 2 * t ** ((self.q - 1) / 2))

    def fresh_noise(self, t: Tensor | float, r: Tensor | float) -> Tensor:
        """rho^2 = (beta_bar_t^2 - beta_bar_r^2) beta_bar_r^2 / beta_bar_t^2, which the published eta multiplies."""
        return _markov(self.coefficients(t).s, self.coefficients(r).s)


@dataclass(frozen=True)
class Resfusion(DriftingPath):
    """x_t = c x0 + (1 - c) (y - x0) + sqrt(1 - c^2) z with c = sqrt(alpha_bar) of a variance-preserving path:

        a = 2 c - 1,  b = 1 - c,  s = sqrt(1 - c^2)

    It ends (t = 1) where a = 0, c = 1/2, and starts there from (y + sqrt(3) z) / 2.

    Args:
        schedule: the path that c is of, with a^2 + s^2 = 1 and a < 1/2 at t = 1.

    Source: Shi et al. (2024), Resfusion, arXiv:2311.14900.
    """

    schedule: Path = field(default_factory=VariancePreserving)

    def coefficients(self, t: Tensor | float) -> Coefficients:
        t = time(t)
        end = self._end()
        c = self.schedule.coefficients(t * end)
        # The end is found to rounding only; there a is 0.
        a = torch.where(t == 1, 0.0, 2 * c.a - 1)
        return Coefficients(a, 1 - c.a, c.s, 2 * end * c.da, -end * c.da, end * c.ds)

    def time_of(self, log_snr: Tensor | float) -> Tensor:
        # With c = cos(angle), s = sin(angle) and e = a / s: 2 cos(angle) - e sin(angle) = 1.
        e = torch.exp(time(log_snr))
        angle = torch.atan(2 / e) - torch.asin(torch.rsqrt(4 + e**2))
        return self.schedule.time_of(-torch.log(torch.tan(angle))) / self._end()

    def fresh_noise(self, t: Tensor | float, r: Tensor | float) -> Tensor:
        """rho of the schedule's own chain, that of DDPM."""
        end = self._end()
        return self.schedule.fresh_noise(time(t) * end, time(r) * end)

    def _end(self) -> Tensor:
        """The time of c = 1/2, where log(c / s) = -log(3) / 2."""
        return self.schedule.time_of(-torch.log(time(3.0)) / 2)
