"""Covariances of fields: a spectrum over wavenumbers for any grid, and the ensemble of a region's own past.

Fields are in units of their local standard deviation, so that covariances are correlations.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ornstein.core.covariances import Covariance, Modes, gaspari_cohn
from ornstein.datasets.fields import Grid

BINS = 24
"""Knots of a spectrum."""


class Stationary(Covariance):
    """B diag(v) B^T for the cosine waves of a grid (real Fourier waves along a periodic longitude), each of its variance.

    Args:
        variances: (channels, rows, columns): of each product of a wave along latitude and one along longitude; channels
            are independent.
        periodic: whether longitude closes.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, variances: Tensor, periodic: bool = False) -> None:
        super().__init__()
        assert variances.ndim == 3, f"variances {tuple(variances.shape)}, wanted (channels, rows, columns)"
        self.shape, self.size = tuple(variances.shape), variances.numel()
        _, rows, columns = self.shape
        self.register_buffer("variances", variances.detach().to(torch.float64).reshape(-1).clamp(min=0))
        self.register_buffer("rows", torch.from_numpy(cosine_waves(rows)))
        self.register_buffer("columns", torch.from_numpy(fourier_waves(columns) if periodic else cosine_waves(columns)))

    def components(self, x: Tensor) -> Tensor:
        fields = x.to(torch.float64).reshape(-1, *self.shape)
        return (self.rows.mT @ fields @ self.columns).reshape(-1, self.size)

    def combine(self, components: Tensor, real: bool) -> Tensor:
        return (self.rows @ components.reshape(-1, *self.shape) @ self.columns.mT).reshape(-1, self.size)

    def is_complex(self) -> bool:
        return False

    def diagonal(self, values: Tensor | None = None) -> Tensor:
        values = self.variances if values is None else values
        fields = values.reshape(-1, *self.shape)
        return (self.rows**2 @ fields @ (self.columns**2).mT).reshape(values.shape)


def cosine_waves(n: int) -> np.ndarray:
    """The orthonormal DCT-II's waves as columns, (n, n): wave k has k half periods over the axis."""
    x = (np.arange(n) + 0.5) / n
    waves = np.cos(np.pi * x[:, None] * np.arange(n)) * np.sqrt(2 / n)
    waves[:, 0] = np.sqrt(1 / n)
    return waves


def fourier_waves(n: int) -> np.ndarray:
    """The real orthonormal Fourier waves as columns, (n, n): the constant, then pairs of cosine and sine."""
    x = 2 * np.pi * np.arange(n) / n
    waves = np.empty((n, n))
    for j in range(n):
        k = (j + 1) // 2
        waves[:, j] = np.cos(k * x) if j % 2 or j == 0 else np.sin(k * x)
    return waves / np.sqrt((waves**2).sum(0))


def wavenumbers(grid: Grid) -> np.ndarray:
    """|k| of each wave of a grid in cycles per 1000 km, (rows, columns)."""
    ky, kx = _wave_vectors(grid)
    return 1000 * np.hypot(ky, kx)


def double_cosine(grid: Grid) -> np.ndarray:
    """cos(2 angle) of each wave's vector from the east, (rows, columns): 1 where it points east, -1 where north."""
    ky, kx = _wave_vectors(grid)
    return (kx**2 - ky**2) / np.maximum(kx**2 + ky**2, 1e-30)


def _wave_vectors(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """The wavenumbers northward (rows, 1) and eastward (1, columns) in cycles a kilometre."""
    height, width = grid.kilometres
    rows, columns = grid.shape
    ky = np.arange(rows) / (2 * rows * height)
    j = np.arange(columns)
    kx = (j + 1) // 2 / (columns * width) if grid.periodic else j / (2 * columns * width)
    return ky[:, None], kx[None]


@dataclass(frozen=True)
class Spectrum:
    """Power over wavenumber, log-linear between knots, with the last slopes beyond the ends (flat towards 0).

    Args:
        knots: log of the wavenumbers, cycles per 1000 km, ascending.
        power: log of the power density there; its level means nothing, a grid's variances are scaled to mean 1.
        tilt: what cos(2 angle) adds to `power`, with the angle of the wave vector from the east: below 0 where fields vary
            more from south to north; none by default.
    """

    knots: tuple[float, ...]
    power: tuple[float, ...]
    tilt: tuple[float, ...] = ()

    def variances(self, grid: Grid) -> np.ndarray:
        """The variance of each wave of a grid, (rows, columns), scaled so that a cell's variance is 1 on average."""
        k = wavenumbers(grid)
        log_k = np.log(np.maximum(k, np.exp(self.knots[0]) * 1e-3))
        value = np.interp(log_k, self.knots, self.power)
        knots, power = np.array(self.knots), np.array(self.power)
        tail = slice(-min(6, len(knots)), None)
        slope = min(float(np.polyfit(knots[tail], power[tail], 1)[0]), -1.0) if len(knots) > 1 else -3.0
        value = np.where(log_k > knots[-1], power[-1] + slope * (log_k - knots[-1]), value)
        if self.tilt:
            value = value + np.interp(log_k, self.knots, self.tilt) * double_cosine(grid)
        density = np.exp(value - value.max())
        return density / density.mean()

    @classmethod
    def fit(
        cls, power: Sequence[np.ndarray], grids: Sequence[Grid], weights: Sequence[np.ndarray] | None = None
    ) -> "Spectrum":
        """The mean power of waves over wavenumber, in up to `BINS` logarithmic bins.

        Args:
            power: mean squares of the waves of fields, (rows, columns), one array a grid.
            grids: of each.
            weights: which waves count, like power; all but the mean by default.
        """
        ks, values, angles = [], [], []
        for i, (p, grid) in enumerate(zip(power, grids)):
            k = wavenumbers(grid)
            use = (k > 0) & (p > 0) & (np.ones_like(k, bool) if weights is None else weights[i] > 0)
            ks.append(k[use])
            # A wave's variance times the cell's area is a density, which does not depend on the grid.
            values.append(p[use] * np.prod(grid.kilometres))
            angles.append(double_cosine(grid)[use])
        k, value, angle = np.concatenate(ks), np.concatenate(values), np.concatenate(angles)
        edges = np.geomspace(k.min() * 0.999, k.max() * 1.001, BINS + 1)
        which = np.digitize(k, edges) - 1
        knots, logs, tilts = [], [], []
        for b in range(BINS):
            here = which == b
            if here.any():
                knots.append(float(np.log(k[here]).mean()))
                logs.append(float(np.log(value[here].mean())))
                east, north = here & (angle > 0), here & (angle < 0)
                # Over half a circle cos(2 angle) has a mean of 2 / pi; few waves tell little of a direction.
                ratio = np.log(value[east].mean() / value[north].mean()) if east.any() and north.any() else 0.0
                few = min(east.sum(), north.sum())
                tilts.append(float(np.pi / 4 * ratio * few / (few + 10)))
        return cls(tuple(knots), tuple(logs), tuple(tilts))


def wave_power(fields: np.ndarray, periodic: bool = False) -> np.ndarray:
    """Mean squares of the waves of fields (..., rows, columns): (rows, columns)."""
    rows, columns = cosine_waves(fields.shape[-2]), cosine_waves(fields.shape[-1])
    if periodic:
        columns = fourier_waves(fields.shape[-1])
    waves = rows.T @ fields.astype(np.float64) @ columns
    return np.square(waves).reshape(-1, *waves.shape[-2:]).mean(0)


def spectrum_of_coarse(fields: np.ndarray, grid: Grid) -> Spectrum:
    """The spectrum of fine fields as their averages over coarse cells tell it, extrapolated beyond the cells by a slope.

    Waves up to 0.7 of the shortest count, above which the averages alias; what averaging leaves of a wave, sinc^2 along
    each axis, is put back. The slope is that of least squares over the shorter half (in the logarithm) of these waves, drawn
    to -3.3 as a hundred waves at that slope would, and kept between -5 and -2.5 (densities of temperature, wind and
    humidity: -8/3 to -4).

    Args:
        fields: anomalies of the coarse fields, (..., rows, columns), without gaps.
        grid: the coarse grid.
    """
    power = wave_power(fields, grid.periodic)
    rows, columns = grid.shape
    j = np.arange(columns)
    down = np.arange(rows) / (2 * rows)  # cycles per cell, up to 1/2
    along = (j + 1) // 2 / columns if grid.periodic else j / (2 * columns)
    left = (np.sinc(down)[:, None] * np.sinc(along)[None]) ** 2
    use = (down[:, None] <= 0.35) & (along[None] <= 0.35)
    if use.sum() < 4:
        use = np.ones_like(use)
    fitted = Spectrum.fit([power / left], [grid], [use])
    log_k = np.log(np.maximum(wavenumbers(grid), 1e-9))
    short = use & (power > 0) & (log_k > (fitted.knots[0] + fitted.knots[-1]) / 2)
    slope = -3.3
    if short.any():
        x, y = log_k[short] - log_k[short].mean(), np.log(power[short] / left[short])
        count = len(np.reshape(fields, (-1, rows * columns))) * short.sum()
        own = float((x * y).sum() / max((x**2).sum(), 1e-9))
        slope += (np.clip(own, -5.0, -2.5) - slope) * count / (count + 100)
    last = fitted.knots[-1]
    upper = np.array(fitted.knots) > last - np.log(2.0)
    level = float((np.array(fitted.power)[upper] - slope * np.array(fitted.knots)[upper]).mean())
    beyond = last + np.log(np.array([2.0, 8.0, 32.0]))
    return Spectrum(
        (*fitted.knots, *beyond.tolist()),
        (*fitted.power, *(level + slope * beyond).tolist()),
        (*fitted.tilt, *(fitted.tilt[-1] * np.array([0.5, 0.0, 0.0])).tolist()),
    )


def regional(anomalies: Tensor, grid: Grid, radius: float = 48.0, weight: float = 0.6) -> Modes:
    """The covariance of a region from samples of its past: localised, and mixed with what is the same everywhere,

        C = weight S o G(radius) + (1 - weight) D T(lag) D o G(48),

    with the sample covariance S, its correlations T averaged over all pairs of one lag, and Gaspari and Cohn's G.

    Args:
        anomalies: (samples, rows, columns), about the climatology.
        grid: of the region.
        radius: half of the distance where correlations end, in cells.
        weight: of the sample covariance, in [0, 1]; 1 is what optimal interpolation commonly has.
    """
    n, rows, columns = anomalies.shape
    assert (rows, columns) == grid.shape, f"anomalies {tuple(anomalies.shape)} on a grid of {grid.shape}"
    flat = anomalies.reshape(n, -1).double()
    sample = flat.mT @ flat / n
    deviation = sample.diagonal().clamp(min=1e-12).sqrt()
    distance = cell_distances(grid)
    covariance = weight * sample * gaspari_cohn(distance, radius)
    if weight < 1:
        same = same_everywhere(sample / deviation / deviation[:, None], rows, columns)
        covariance += (1 - weight) * same * deviation * deviation[:, None] * gaspari_cohn(distance, 48.0)
    # A little of its own for each cell: what a single analysis cell does not share with its neighbours.
    covariance.diagonal().add_(1e-4 * float(deviation.square().mean()))
    values, vectors = torch.linalg.eigh((covariance + covariance.mT) / 2)
    return Modes(vectors, values.clamp(min=1e-6 * float(values.max()) / len(values)))


def cell_distances(grid: Grid) -> Tensor:
    """Distances between all pairs of cells, in units of the cells' height, (cells, cells): longitudes by cos latitude."""
    dy, dx = grid.spacing
    width = grid.kilometres[1] / grid.kilometres[0]
    y, x = (grid.latitudes - grid.latitudes[0]) / dy, (grid.longitudes - grid.longitudes[0]) / dx * width
    yy, xx = np.meshgrid(y, x, indexing="ij")
    points = torch.from_numpy(np.stack([yy.ravel(), xx.ravel()], 1))
    return torch.cdist(points, points)


def same_everywhere(correlation: Tensor, rows: int, columns: int) -> Tensor:
    """Correlations (cells, cells) averaged over all pairs of cells of one lag."""
    i = torch.arange(rows).repeat_interleave(columns)
    j = torch.arange(columns).repeat(rows)
    lag = (i[:, None] - i + rows - 1) * (2 * columns - 1) + (j[:, None] - j + columns - 1)
    size = (2 * rows - 1) * (2 * columns - 1)
    total = torch.zeros(size, dtype=torch.float64).index_add_(0, lag.flatten(), correlation.flatten())
    count = torch.bincount(lag.flatten(), minlength=size).clamp(min=1)
    return (total / count)[lag]


def plane(values: np.ndarray) -> np.ndarray:
    """The plane through a field with gaps, (rows, columns)."""
    rows, columns = values.shape
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    basis = np.stack([np.ones(y.size), y.ravel(), x.ravel()], 1)
    there = np.isfinite(values).ravel()
    found, *_ = np.linalg.lstsq(basis[there], values.ravel()[there], rcond=None)
    return (basis @ found).reshape(values.shape)
