"""Categorical paths q(x_t | x0) = alpha(t) [x_t = x0] + (1 - alpha(t)) pi(x_t): masked, absorbing, uniform and marginal."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ornstein.core.discrete.draws import one_hot

SMALL = 1e-12
"""Likelihoods below it count as it in `evidence`, whose logarithm stays finite."""


@dataclass(frozen=True)
class Schedule(ABC):
    """alpha(t), the share of positions that still hold their data: 1 at t = 0, falling to 0 at t = 1."""

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """alpha at t in [0, 1], float64 of the shape of t."""

    @abstractmethod
    def slope(self, t: Tensor) -> Tensor:
        """-alpha'(t), at least 0. Positions are noised anew at the rate beta = -alpha' / alpha."""

    @abstractmethod
    def time_of(self, alpha: Tensor) -> Tensor:
        """The time at which alpha has this value in [0, 1]."""


@dataclass(frozen=True)
class Linear(Schedule):
    """alpha = 1 - t: that of masked models, and of the interpolations of discrete flow matching."""

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def slope(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def time_of(self, alpha: Tensor) -> Tensor:
        return 1 - alpha


@dataclass(frozen=True)
class CosineSquared(Schedule):
    """alpha = cos^2(pi t / 2): that of DiGress.

    Source: Nichol, Dhariwal (2021), Improved denoising diffusion probabilistic models, arXiv:2102.09672, eq. 17 (s = 0).
    """

    def alpha(self, t: Tensor) -> Tensor:
        return torch.where(t < 1, torch.cos(math.pi / 2 * t) ** 2, 0.0)  # cos(pi / 2) is not 0 in floating point

    def slope(self, t: Tensor) -> Tensor:
        return math.pi / 2 * torch.sin(math.pi * t)

    def time_of(self, alpha: Tensor) -> Tensor:
        return torch.acos(alpha.sqrt()) * 2 / math.pi


@dataclass(frozen=True)
class CategoricalPath(ABC):
    """Each position keeps its class or is drawn anew from pi, at the rate beta of the schedule, apart from all others.

    From r up to t, with a = alpha_t / alpha_r, q(x_t | x_r) = a [x_t = x_r] + (1 - a) pi(x_t). Noise and data:

    - `Masked`: pi is a state of its own, which no data hold: absorbing diffusion.
    - `Absorbing`: pi is the first class of the data, such as no edge: noise takes away, and its reverse only adds.
    - `Uniform`: pi is uniform over the classes.
    - `Marginal`: pi holds the classes' frequencies in the data, so that noise is as near to the data as noise of
      independent positions can be.

    States of positions are int64 in [0, states), data in [0, classes). A predicted law of the data, `p0`, is float64
    (batch, positions, classes) and sums to 1; times are float64 (batch,) or ().

    Args:
        classes: of the data, at least 2 (masked: 1).
        schedule: alpha(t).

    Source: Austin et al. (2021), Structured denoising diffusion models in discrete state-spaces, arXiv:2107.03006; in continuous time
    Campbell et al. (2022), arXiv:2205.14987.
    """

    classes: int = 2
    schedule: Schedule = Linear()

    def __post_init__(self) -> None:
        if self.classes < 1:
            raise ValueError(f"classes {self.classes}: must be at least 1")

    @property
    def states(self) -> int:
        """How many values x_t can take: the classes, and the mask where there is one."""
        return self.classes

    @property
    @abstractmethod
    def stationary(self) -> tuple[float, ...]:
        """pi, one probability a state."""

    def alpha(self, t: Tensor | float) -> Tensor:
        """The share of positions that hold their data at t, float64."""
        return self.schedule.alpha(torch.as_tensor(t, dtype=torch.float64))

    def slope(self, t: Tensor | float) -> Tensor:
        """-alpha'(t), float64."""
        return self.schedule.slope(torch.as_tensor(t, dtype=torch.float64))

    def mix(self, x0: Tensor, t: Tensor | float, uniform: Tensor) -> Tensor:
        """x_t of data x0, both (batch, positions), by one uniform number in (0, 1) a position."""
        alpha = _column(self.alpha(t), x0)
        # Where u is above alpha, what is left of it is again uniform.
        return torch.where(uniform < alpha, x0, self.start((uniform - alpha) / (1 - alpha).clamp_min(1e-300)))

    def start(self, uniform: Tensor) -> Tensor:
        """x_1, of the law pi at each position, by one uniform number a position."""
        steps = torch.tensor(self.stationary, dtype=torch.float64, device=uniform.device).cumsum(0)[:-1]
        return torch.searchsorted(steps, uniform.clamp(0, 1).contiguous(), right=True)

    def likelihood(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        """q(x_t | x0) for every x0, (batch, positions, classes), float64."""
        return self._likelihood(x_t, _column(self.alpha(t), x_t)[..., None])

    def evidence(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        """log q(x_t | x0) but for a constant, like `likelihood`: what x_t by itself says of x0."""
        return self.likelihood(x_t, t).clamp_min(SMALL).log()

    def posterior(self, x_t: Tensor, p0: Tensor, t: Tensor | float, r: Tensor | float) -> Tensor:
        """The law of x_r, (batch, positions, states), where x0 has the law p0: sum over x0 of q(x_r | x_t, x0) p0(x0).

        With w(x0) = p0(x0) / q(x_t | x0) it is (a [x_r = x_t] + (1 - a) pi(x_t)) (alpha_r w(x_r) + (1 - alpha_r) pi(x_r) sum w).

        Args:
            x_t: (batch, positions).
            p0: of the data, given x_t.
            t, r: times, r below t.

        Source: Austin et al. (2021), arXiv:2107.03006, eqs. 3 and 4.
        """
        alpha_t, alpha_r = (_column(self.alpha(time), x_t)[..., None] for time in (t, r))
        here, pi = one_hot(x_t, self.states), self._pi(x_t)
        weights, total = self._weights(x_t, p0, alpha_t)
        a = alpha_t / alpha_r
        law = (a * here + (1 - a) * pi[x_t][..., None]) * (alpha_r * weights + (1 - alpha_r) * pi * total)
        total = law.sum(-1, keepdim=True)
        return torch.where(total > 0, law / total, here)  # data on a masked path at t = 1, which is given, stays

    def flow(self, x_t: Tensor, p0: Tensor, t: Tensor | float, r: Tensor | float) -> Tensor:
        """The law of x_r of the flow with the same marginals and the fewest jumps: to the data, or stay.

        j p0 + (1 - j) [x_r = x_t] with j = (alpha_r - alpha_t) / (1 - alpha_t). On a masked path it is the posterior.

        Source: Gat et al. (2024), Discrete flow matching, arXiv:2407.15595; Campbell et al. (2024), arXiv:2402.04997.
        """
        alpha_t, alpha_r = (_column(self.alpha(time), x_t)[..., None] for time in (t, r))
        jump = (alpha_r - alpha_t) / (1 - alpha_t)
        here = one_hot(x_t, self.states)
        settled = here * (self._pi(x_t)[x_t] == 0)[..., None]  # data on a masked path
        return settled + (1 - settled.sum(-1, keepdim=True)) * (jump * self._padded(p0) + (1 - jump) * here)

    def renewed(self, x_t: Tensor, p0: Tensor, r: Tensor | float) -> Tensor:
        """The law of x_r = noised x0 of the law p0, whatever x_t was: alpha_r p0 + (1 - alpha_r) pi."""
        alpha = _column(self.alpha(r), x_t)[..., None]
        return alpha * self._padded(p0) + (1 - alpha) * self._pi(x_t)

    def reverse_rates(self, x_t: Tensor, p0: Tensor, t: Tensor | float) -> Tensor:
        """The rates of the reverse process out of x_t, (batch, positions, states), 0 at x_t itself, for t in (0, 1):

        beta pi(x_t) (alpha w(k) + (1 - alpha) pi(k) sum w).

        Source: Campbell et al. (2022), A continuous time framework for discrete denoising models, arXiv:2205.14987, prop. 3.
        """
        alpha = _column(self.alpha(t), x_t)[..., None]
        beta = _column(self.slope(t), x_t)[..., None] / alpha
        pi = self._pi(x_t)
        weights, total = self._weights(x_t, p0, alpha)
        rates = beta * pi[x_t][..., None] * (alpha * weights + (1 - alpha) * pi * total)
        return rates * (1 - one_hot(x_t, self.states))

    def unknown(self, x_t: Tensor) -> Tensor:
        """At which positions x_t leaves x0 open, bool (batch, positions): everywhere, or where the mask is."""
        return self._pi(x_t)[x_t] > 0

    def loss_weight(self, x_t: Tensor, t: Tensor) -> Tensor:
        """How much a position's cross-entropy counts in training, (batch, positions).

        1 everywhere (Vignac et al. 2022, DiGress, arXiv:2209.14734, eq. 2); see `Masked`.
        """
        return torch.ones_like(x_t, dtype=torch.float64)

    def _pi(self, x: Tensor) -> Tensor:
        return torch.tensor(self.stationary, dtype=torch.float64, device=x.device)

    def _padded(self, p0: Tensor) -> Tensor:
        """A law of data as one of states."""
        return torch.nn.functional.pad(p0, (0, self.states - self.classes))

    def _likelihood(self, x_t: Tensor, alpha: Tensor) -> Tensor:
        """q(x_t | x0) for every x0, (batch, positions, classes)."""
        return alpha * one_hot(x_t, self.states)[..., : self.classes] + (1 - alpha) * self._pi(x_t)[x_t][..., None]

    def _weights(self, x_t: Tensor, p0: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        """w = p0 / q(x_t | x0), 0 where x_t excludes x0, (batch, positions, states), and its sum (..., 1)."""
        likelihood = self._likelihood(x_t, alpha)
        # A network may deny what x_t shows for certain; it is not believed.
        weights = torch.where(likelihood > 0, p0.clamp_min(1e-280) / likelihood.clamp_min(1e-300), 0.0)
        return self._padded(weights), weights.sum(-1, keepdim=True)


@dataclass(frozen=True)
class Masked(CategoricalPath):
    """Positions are masked, one state of its own, numbered `classes`; what is not masked is data.

    Source: Sahoo et al. (2024), MDLM, arXiv:2406.07524; Shi et al. (2024), MD4, arXiv:2406.04329.
    """

    @property
    def states(self) -> int:
        return self.classes + 1

    @property
    def stationary(self) -> tuple[float, ...]:
        return (*[0.0] * self.classes, 1.0)

    def evidence(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        return super().evidence(x_t, 0.5)  # what is not masked is certain at any time, also where it is given at t = 1

    def loss_weight(self, x_t: Tensor, t: Tensor) -> Tensor:
        """-alpha' / (1 - alpha) where the mask is and 0 elsewhere: the cross-entropy is then the likelihood's bound."""
        weight = self.slope(t) / (1 - self.alpha(t))
        return torch.where(x_t == self.classes, _column(weight, x_t), 0.0)


@dataclass(frozen=True)
class Absorbing(CategoricalPath):
    """Noise is the first class: edges go, one after the other, until the graph is empty.

    What a graph without some of its edges still has (no cycle, no crossing) every state of the way back can be held to; see
    `sample`'s `project`.

    Source: Madeira et al. (2024), Generative modelling of structurally constrained graphs, arXiv:2406.17341, section 3.2.
    """

    @property
    def stationary(self) -> tuple[float, ...]:
        return (1.0, *[0.0] * (self.classes - 1))


@dataclass(frozen=True)
class Uniform(CategoricalPath):
    """Noise is uniform over the classes.

    Source: Schiff et al. (2024), Simple guidance mechanisms for discrete diffusion models, arXiv:2412.10193.
    """

    @property
    def stationary(self) -> tuple[float, ...]:
        return (1 / self.classes,) * self.classes


@dataclass(frozen=True)
class Marginal(CategoricalPath):
    """Noise has the classes' frequencies in the data.

    Args:
        probabilities: one for each class, above 0, of sum 1; `classes` is their number.

    Source: Vignac et al. (2022), DiGress, arXiv:2209.14734, section 4.
    """

    classes: int = 0
    probabilities: tuple[float, ...] = (0.5, 0.5)

    def __post_init__(self) -> None:
        if min(self.probabilities) <= 0 or abs(sum(self.probabilities) - 1) > 1e-6:
            raise ValueError(f"probabilities {self.probabilities}: must be above 0, of sum 1")
        if self.classes not in (0, len(self.probabilities)):
            raise ValueError(f"classes {self.classes}: there are {len(self.probabilities)} probabilities")
        object.__setattr__(self, "classes", len(self.probabilities))

    @property
    def stationary(self) -> tuple[float, ...]:
        return self.probabilities


def _column(value: Tensor, x: Tensor) -> Tensor:
    """A number () or one an item (batch,), shaped to multiply (batch, positions)."""
    value = value.to(x.device)
    return value if value.ndim == 0 else value[:, None]
