"""Time grids: where a solver stops between noise and data."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor

from ornstein.core.paths import Path


@dataclass(frozen=True)
class Grid(ABC):
    """`grid(path, steps)` is a float64 tensor of steps + 1 strictly descending times, from `start` to `end`.

    Args:
        start: first time, above `end`, at most 1.
        end: last time, at least 0. Where s(0) = 0 (rectified flow, VP) a grid that ends at 0 ends exactly at the data.

    Raises:
        ValueError: unless 0 <= end < start <= 1.
    """

    start: float = 1.0
    end: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.end < self.start <= 1:
            raise ValueError(f"a grid needs 0 <= end < start <= 1, not start {self.start} and end {self.end}")

    def __call__(self, path: Path, steps: int) -> Tensor:
        """steps + 1 times, the ends exact."""
        if steps < 1:
            raise ValueError(f"a grid has at least 1 step, not {steps}")
        fraction = torch.arange(steps + 1, dtype=torch.float64) / steps
        return self.times(path, fraction)

    @abstractmethod
    def times(self, path: Path, fraction: Tensor) -> Tensor:
        """The times at these fractions of the way from start (0) to end (1)."""

    def _between(self, weight: Tensor) -> Tensor:
        """end + (start - end) weight, exact at the weights 0 and 1."""
        return self.start * weight + self.end * (1 - weight)


@dataclass(frozen=True)
class Uniform(Grid):
    """t falls in equal steps. On the `EDM` path these are the noise levels of Karras et al."""

    def times(self, path: Path, fraction: Tensor) -> Tensor:
        return self._between(1 - fraction)


@dataclass(frozen=True)
class Quadratic(Grid):
    """sqrt(t) falls in equal steps, so that they shorten towards the data.

    Source: Song, Meng, Ermon (2021), Denoising diffusion implicit models, arXiv:2010.02502, appendix D.2.
    """

    def times(self, path: Path, fraction: Tensor) -> Tensor:
        root = math.sqrt(self.start) * (1 - fraction) + math.sqrt(self.end) * fraction
        return _pin(root**2, self.start, self.end)


@dataclass(frozen=True)
class Cosine(Grid):
    """t = end + (start - end) cos^2(pi k / 2n): short steps at both ends, long ones between (Chebyshev's extrema)."""

    def times(self, path: Path, fraction: Tensor) -> Tensor:
        return _pin(self._between(torch.cos(math.pi / 2 * fraction) ** 2), self.start, self.end)


@dataclass(frozen=True)
class _NoiseLevels(Grid):
    """A grid made in sigma = s / a, which an end with infinite log-SNR would stretch without limit.

    Where sigma(start) is infinite (rectified flow at t = 1) the first time is that of `sigma_max`, and where sigma(end)
    is 0 the last is that of `sigma_min`; finite ends are kept as they are.

    Args:
        sigma_min: stands for sigma = 0, in the data's units, above 0; the noise that is left in the result.
        sigma_max: stands for an infinite sigma, above `sigma_min`.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.sigma_min < self.sigma_max < math.inf:
            raise ValueError(f"a grid needs 0 < sigma_min < sigma_max, not {self.sigma_min} and {self.sigma_max}")

    def _ends(self, path: Path) -> tuple[float, float, float, float]:
        """The log-SNRs and the times of both ends."""
        first, last = path.log_snr(torch.tensor([self.start, self.end], dtype=torch.float64)).tolist()
        t_first, t_last = self.start, self.end
        if not math.isfinite(first):
            first = -math.log(self.sigma_max)
            t_first = float(path.time_of(first))
        if not math.isfinite(last):
            last = -math.log(self.sigma_min)
            t_last = float(path.time_of(last))
        assert first < last, f"log-SNR {first} at the start is not below {last} at the end"
        return first, last, t_first, t_last


@dataclass(frozen=True)
class LogSNR(_NoiseLevels):
    """log(a / s) rises in equal steps.

    Source: Lu et al. (2022), DPM-Solver, arXiv:2206.00927, section 3.4.
    """

    def times(self, path: Path, fraction: Tensor) -> Tensor:
        first, last, t_first, t_last = self._ends(path)
        return _pin(path.time_of(first * (1 - fraction) + last * fraction), t_first, t_last)


@dataclass(frozen=True)
class Karras(_NoiseLevels):
    """sigma^(1/rho) falls in equal steps.

    Args:
        rho: at least 1; larger spends more steps at low noise.

    Source: Karras et al. (2022), arXiv:2206.00364, eq. 5.
    """

    rho: float = 7.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rho < 1:
            raise ValueError(f"rho {self.rho} is below 1")

    def times(self, path: Path, fraction: Tensor) -> Tensor:
        first, last, t_first, t_last = self._ends(path)
        root = math.exp(-first / self.rho) * (1 - fraction) + math.exp(-last / self.rho) * fraction
        return _pin(path.time_of(-self.rho * torch.log(root)), t_first, t_last)


@dataclass(frozen=True)
class LogOnePlus(_NoiseLevels):
    """log(1 + sigma / scale)^(1 / rho) falls in equal steps: those of the log-SNR above `scale`, of Karras et al. below.

    Args:
        scale: where the two meet, in the data's units, above 0.
        rho: at least 1; larger spends more steps at low noise.
    """

    scale: float = 0.5
    rho: float = 3.8

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.scale > 0 and self.rho >= 1):
            raise ValueError(f"scale {self.scale} must be above 0 and rho {self.rho} at least 1")

    def times(self, path: Path, fraction: Tensor) -> Tensor:
        first, last, t_first, t_last = self._ends(path)
        high, low = (math.log1p(math.exp(-end) / self.scale) ** (1 / self.rho) for end in (first, last))
        sigma = self.scale * torch.expm1((high * (1 - fraction) + low * fraction) ** self.rho)
        return _pin(path.time_of(-torch.log(sigma)), t_first, t_last)


@dataclass(frozen=True)
class Explicit:
    """The times themselves.

    Args:
        moments: at least two, strictly descending, in [0, 1].

    Raises:
        ValueError: for times that do not descend or leave [0, 1], and for a number of steps that is not theirs.
    """

    moments: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "moments", tuple(float(t) for t in self.moments))
        t = self.moments
        if len(t) < 2 or not all(a > b for a, b in pairwise(t)) or not (t[0] <= 1 and t[-1] >= 0):
            raise ValueError(f"times must descend strictly within [0, 1], two at least: {t}")

    def __call__(self, path: Path, steps: int) -> Tensor:
        if steps != len(self.moments) - 1:
            raise ValueError(f"{steps} steps were asked of an explicit grid of {len(self.moments) - 1}")
        return torch.tensor(self.moments, dtype=torch.float64)


def times_of(grid: Grid | Explicit | Sequence[Grid | Explicit], path: Path, steps: int | None) -> Tensor:
    """The times (steps + 1,), or (steps + 1, batch) of a grid for each item; 20 steps, or an explicit grid's, for None."""
    if not isinstance(grid, Grid | Explicit):
        return torch.stack([times_of(one, path, steps) for one in grid], dim=1)
    if steps is None:
        steps = len(grid.moments) - 1 if isinstance(grid, Explicit) else 20
    return _cached(grid, path, steps)


@lru_cache(maxsize=128)
def _cached(grid: Grid | Explicit, path: Path, steps: int) -> Tensor:
    """The same times again cost nothing; they are read only."""
    return grid(path, steps)


def _pin(times: Tensor, first: float, last: float) -> Tensor:
    """The times with exact ends: an inverse returns them only to rounding."""
    times[0], times[-1] = first, last
    return times
