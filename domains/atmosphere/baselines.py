"""The classical answers: interpolation, climatology and anomaly, kriging, and the ensemble of optimal interpolation."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ornstein.core.analytic import GaussianDenoiser
from ornstein.core.gaussian import GaussianPosterior
from ornstein.core.operators import LinearOperator
from ornstein.datasets.fields import Grid
from ornstein.domains.atmosphere.covariances import regional
from ornstein.domains.atmosphere.operator import Coarsening


def interpolate(coarse: np.ndarray, grid: Grid, fine: Grid, kind: Literal["bilinear", "bicubic"]) -> np.ndarray:
    """Coarse fields (..., rows, columns) at the fine cells, cell centre to cell centre.

    Bicubic is Keys' cubic convolution (a = -1/2). Beyond the outermost centres the ends go on.
    """
    taps = {"bilinear": _linear, "bicubic": _cubic}[kind]
    rows = _kernel(grid.latitudes, fine.latitudes, taps, None)
    columns = _kernel(grid.longitudes, fine.longitudes, taps, 360.0 if grid.periodic else None)
    return rows @ np.asarray(coarse, np.float64) @ columns.T


def anomaly(coarse: np.ndarray, climatology: np.ndarray, operator: Coarsening, grid: Grid, fine: Grid) -> np.ndarray:
    """The climatology (..., rows, columns) and the bicubic anomaly of the coarse field from its coarse average."""
    flat = torch.from_numpy(np.ascontiguousarray(climatology)).reshape(-1, 1, *fine.shape)
    expected = operator.whole(flat).numpy().reshape(*climatology.shape[:-2], *grid.shape)
    return climatology + interpolate(coarse - expected, grid, fine, "bicubic")


def optimal_interpolation(
    anomalies: Tensor,
    grid: Grid,
    operator: LinearOperator,
    observations: Tensor,
    noise: Tensor,
    radius: float = 24.0,
    inflation: float = 1.0,
) -> GaussianPosterior:
    """Optimal interpolation of anomalies: its mean is the posterior's answer to pure noise, its ensemble `draw`.

    Args:
        anomalies: of the past about the climatology, (samples, rows, columns): their localised covariance is the prior's.
        grid: of the fields.
        operator: A, on (batch, 1, rows, columns).
        observations: of the anomalies, (1, m).
        noise: standard deviations, (m,).
        radius: of the localisation in cells, where correlations have half of their reach.
        inflation: factor of the prior's standard deviation.

    Source: Gandin (1963); Oke et al. (2010), Ocean data assimilation: a case for ensemble optimal interpolation.
    """
    covariance = regional(anomalies, grid, radius, 1.0)
    covariance.variances.mul_(inflation**2)
    gaussian = GaussianDenoiser(torch.zeros(1, *grid.shape), covariance)
    return GaussianPosterior(gaussian, gaussian, operator, observations, noise)


def gaussian_mean(posterior: GaussianPosterior) -> Tensor:
    """The mean of a Gaussian's posterior, (1, ...), without sampling."""
    gaussian = posterior.gaussian
    start = gaussian.mean[None].to(posterior.observations.dtype)
    return posterior.update(start, posterior.observations[:1], gaussian.covariance.eigenvalues)


def _linear(x: np.ndarray) -> np.ndarray:
    return np.clip(1 - np.abs(x), 0, None)


def _cubic(x: np.ndarray) -> np.ndarray:
    """Source: Keys (1981), Cubic convolution interpolation for digital image processing, eq. 15."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _kernel(centres: np.ndarray, points: np.ndarray, taps, period: float | None) -> np.ndarray:
    """Convolution of values at even centres with a kernel, at points: (points, centres)."""
    n = len(centres)
    if n == 1:
        return np.ones((len(points), 1))
    if period is None:
        position = np.interp(points, centres, np.arange(n))
    else:
        position = (points - centres[0]) / (period / n)
    matrix = np.zeros((len(points), n))
    at = np.arange(len(points))
    first = np.floor(position).astype(int)
    for offset in (-1, 0, 1, 2):
        place = first + offset
        weight = taps(position - place)
        np.add.at(matrix, (at, place % n if period is not None else np.clip(place, 0, n - 1)), weight)
    return matrix
