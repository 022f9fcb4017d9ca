"""PFGM++: the path whose noise is that of Poisson flow in D more dimensions, between heavy tails and the Gaussian."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ornstein.core.paths.base import expand
from ornstein.core.paths.standard import EDM

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PFGMPP(EDM):
    """x_t = x0 + sigma z' on the noise levels of `EDM`, where z' has a random direction and the radius of a field line:

        p(x_t | x0) ~ (|x_t - x0|^2 + r^2)^(-(N + D) / 2),  r = sigma sqrt(D),

    which is Student's t with D degrees of freedom: R = |x_t - x0| has R^2 / r^2 ~ beta'(N / 2, D / 2). As D grows it
    becomes `EDM`. The field's lines are followed by the deterministic solvers of `EDM`, with E[x0 | x_t] under this
    noise.

    Args:
        dimensions: D, above 0; published: 64 to 3072 * 1000, 128 or 2048 the best.

    Source: Xu et al. (2023), PFGM++, arXiv:2302.04265 (the perturbation, and the alignment r = sigma sqrt(D)).
    """

    dimensions: float = 2048.0

    @property
    def gaussian(self) -> bool:
        return False

    def noise(self, z: Tensor) -> Tensor:
        """z' from Gaussian z, (batch, ...): the direction of z, and the quantile of the radius that |z| is of its own."""
        parts = torch.view_as_real(z) if z.is_complex() else z
        count = parts[0].numel()
        square = parts.double().square().flatten(1).sum(1) / (count / 2 if z.is_complex() else count)
        first, step, stretch = _stretch(count, self.dimensions)
        # Linear between the table's rows.
        position = ((torch.log(square) - first) / step).clamp(0, len(stretch) - 1.001)
        table, row = torch.as_tensor(stretch, device=z.device), position.long()
        log_stretch = torch.lerp(table[row], table[row + 1], position - row)
        return z * expand(torch.exp(log_stretch / 2), z)


@lru_cache(maxsize=16)
def _stretch(n: int, dimensions: float) -> tuple[float, float, Array]:
    """log(R^2 / sigma^2 |z|^2) as a table over l = log(|z|^2 / n): its first l, its step, and the values.

    Both logarithms have log-concave densities with the mode 0,

        |z|^2:      exp(n / 2 (l - exp(l)))
        R^2 / sigma^2:  exp(n / 2 l - (n + D) / 2 log(1 + n exp(l) / D))

    and equal quantiles are found by integrating them, each tail from its own end.
    """

    def gaussian(x: Array) -> Array:
        return n / 2 * (x - np.exp(x))

    def poisson(x: Array) -> Array:
        return n / 2 * x - (n + dimensions) / 2 * np.log1p(n / dimensions * np.exp(x))

    given, log_lower, log_upper = _tails(gaussian, math.sqrt(2 / n))
    wanted, lower_wanted, upper_wanted = _tails(poisson, math.sqrt(2 / n + 2 / dimensions))
    lower = np.interp(log_lower, lower_wanted, wanted)
    upper = np.interp(-log_upper, -upper_wanted, wanted)
    matched = np.where(log_lower < log_upper, lower, upper)
    return float(given[0]), float(given[1] - given[0]), matched - given


def _tails(log_density: Callable[[Array], Array], width: float) -> tuple[Array, Array, Array]:
    """A uniform grid that holds all but 1e-20 of a density with the mode 0, and the logarithms of both tails on it."""
    ends, peak = [], log_density(np.array(0.0))
    for side in (-1.0, 1.0):
        reach = np.array(width)
        while log_density(side * reach) - peak > -48:
            reach *= 1.1
        ends.append(side * float(reach))
    grid = np.linspace(ends[0], ends[1], 2**14)
    log = log_density(grid) - peak
    # The integral of an exponential between two rows, and beyond the ends.
    half = np.diff(log) / 2
    pieces = np.exp((log[1:] + log[:-1]) / 2) * np.sinh(half) / np.where(half == 0, 1, half) + (half == 0)
    below, above = np.exp(log[0]) / (log[1] - log[0]), np.exp(log[-1]) / (log[-2] - log[-1])
    lower = below + np.concatenate([[0.0], np.cumsum(pieces)])
    upper = above + np.concatenate([np.cumsum(pieces[::-1])[::-1], [0.0]])
    return grid, np.log(lower / lower[-1]), np.log(upper / upper[0])
