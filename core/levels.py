"""A denoiser in the units of its data: x_t / a = x0 + sigma z, in which papers on particles and densities are written."""

import math
from collections.abc import Callable, Mapping

from torch import Tensor

from ornstein.core.denoisers import Denoiser
from ornstein.core.grids import Explicit, Grid, Karras, times_of


class Levels:
    """x = (x_t - b y) / a = x0 + sigma z at the times of a grid, with sigma = s / a: any Gaussian path without its drift.

    There the reverse SDE over a step, in which sigma^2 falls by D, is dx = D score + sqrt(D) z, with
    score = (x0_hat - x) / sigma^2.

    Args:
        denoiser: E[x0 | x_t] on its path.
        grid: where the steps go, one for all items; `Karras()` for None.
        steps: how many; 20, or an explicit grid's own number, for None.
        y: what the path drifts to, (rows, ...), where it drifts.
        conditions: passed to the denoiser, (rows, ...) each.

    Raises:
        ValueError: on a path that is not Gaussian, without the y that it drifts to, or at a time without signal (a = 0).
    """

    def __init__(
        self,
        denoiser: Denoiser,
        grid: Grid | Explicit | None = None,
        steps: int | None = None,
        y: Tensor | None = None,
        conditions: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.path = path = denoiser.path
        if not path.gaussian:
            raise ValueError(f"{path} has no SDE and no density here: its noise is not Gaussian")
        if path.drifts and y is None:
            raise ValueError(f"{path} drifts to y, which is missing")
        self.times = times_of(Karras() if grid is None else grid, path, steps)
        c = path.coefficients(self.times)
        if not bool((c.a > 0).all()):
            raise ValueError(f"{path} has no signal at {float(self.times[0])}: begin the grid later")
        self.a, self.b = c.a.tolist(), c.b.tolist()
        self.sigma: list[float] = (c.s / c.a).tolist()
        self._evaluate = denoiser.along(self.times)
        self._y, self._conditions = y, conditions or {}

    @property
    def steps(self) -> int:
        """How many steps there are."""
        return len(self.sigma) - 1

    def __call__(self, i: int, x: Tensor) -> Tensor:
        """x0_hat for x of shape (rows, ...) at time number i."""
        return self._evaluate[i](self.state(i, x), self._y, **self._conditions)

    def score(self, i: int, x: Tensor) -> Tensor:
        """The gradient of the log-density of x (rows, ...) at time number i."""
        return (self(i, x) - x) / self.sigma[i] ** 2

    def noisiest(self, x: Tensor) -> Tensor:
        """log p of x (rows, ...) at the first time, where noise hides all of the data but their mean, (rows,) float64:
        log N(x; x0_hat, sigma^2 I), which errs by the data's variance over that of the noise."""
        return log_normal(x - self(0, x), self.sigma[0] ** 2)

    def variance(self, i: int) -> float:
        """D, by which sigma^2 falls in the step from time number i."""
        return self.sigma[i] ** 2 - self.sigma[i + 1] ** 2

    def kernel(self, i: int, error: Callable[[float], float] | None = None) -> tuple[float, float]:
        """The step p(x_r | x) from time number i as N(q x + (1 - q) x0_hat, v I): q and v,

            q = (sigma_after / sigma)^2,     v = D q + (1 - q)^2 error(sigma)^2.

        Args:
            error: of x0_hat by sigma, root mean square of a value, both in the data's units: exact for round Gaussians. None
                takes 0, which is the ancestral step, right where steps are small.

        Source: Ho, Jain, Abbeel (2020), Denoising diffusion probabilistic models, arXiv:2006.11239 (its beta-tilde); Bao et
        al. (2022), Analytic-DPM, arXiv:2201.06503 (the error's share).
        """
        q = (self.sigma[i + 1] / self.sigma[i]) ** 2
        share = 0.0 if error is None else (1 - q) * error(self.sigma[i])
        return q, self.variance(i) * q + share**2

    def state(self, i: int, x: Tensor) -> Tensor:
        """x_t = a x + b y, (rows, ...)."""
        x_t = self.a[i] * x
        return x_t if self._y is None else x_t + self.b[i] * self._y


def log_normal(x: Tensor, variance: float) -> Tensor:
    """log N(x; 0, variance I) of each item (rows, ...), (rows,) in float64."""
    flat = x.flatten(1).double()
    return -(flat.square().sum(1) / variance + flat.shape[1] * math.log(2 * math.pi * variance)) / 2
