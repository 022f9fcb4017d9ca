"""What is expected of a fine field, and with which covariance, before it is measured."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, uniform_filter
from torch import Tensor

from ornstein.core.analytic import GaussianDenoiser
from ornstein.core.covariances import Covariance
from ornstein.core.paths import EDM
from ornstein.datasets.fields import Grid
from ornstein.domains.atmosphere.baselines import interpolate
from ornstein.domains.atmosphere.climatology import day_harmonics, low_order
from ornstein.domains.atmosphere.covariances import Spectrum, Stationary, regional
from ornstein.domains.atmosphere.operator import Coarsening

MOST_CELLS = 4096
"""Of a region whose covariance is a dense matrix."""


@dataclass(frozen=True, eq=False)
class Background:
    """x = mean + deviation z, with z of mean 0 and a covariance of about unit variance.

    Args:
        mean, deviation: (channels, rows, columns), float64, in the field's units.
        gaussian: of z.
        origin: where it comes from, for the report.
    """

    mean: Tensor
    deviation: Tensor
    gaussian: GaussianDenoiser
    origin: str

    def inflated(self, factor: float) -> "Background":
        """The same with the covariance of z times a factor."""
        if factor == 1:
            return self
        return replace(self, gaussian=scaled(self.gaussian, factor))

    def to(self, device: torch.device | str) -> "Background":
        if self.mean.device == torch.device(device):
            return self
        return Background(
            self.mean.to(device), self.deviation.to(device), copy.deepcopy(self.gaussian).to(device), self.origin
        )


@dataclass(frozen=True, eq=False)
class Region:
    """A place whose past is known: its daily climatology, and its anomalies for a covariance of its own.

    Args:
        name: of the place.
        variable: the quantity's name.
        grid: of the fields.
        harmonics: coefficients of `day_harmonics`, (5, rows, columns).
        scale: the anomalies' standard deviation over all cells, their unit.
        anomalies: samples of (field - climatology) / scale, (n, rows, columns); empty where the region is too large for a
            dense covariance: then only its mean is its own.
    """

    name: str
    variable: str
    grid: Grid
    harmonics: np.ndarray
    scale: float
    anomalies: np.ndarray

    def window(self, fine: Grid) -> tuple[slice, slice] | None:
        """Where a grid lies in the region's, cell on cell; None where it does not."""
        found = []
        for ours, theirs, turn in (
            (self.grid.latitudes, fine.latitudes, 720.0),
            (self.grid.longitudes, fine.longitudes, 360.0),
        ):
            start = int(np.argmin(np.abs(_turned(ours - theirs[0], turn))))
            part = ours[start : start + len(theirs)]
            step = float(np.median(np.diff(ours)))
            if len(part) < len(theirs) or np.abs(_turned(part - theirs, turn)).max() > 0.05 * step:
                return None
            found.append(slice(start, start + len(theirs)))
        return found[0], found[1]

    def mean(self, window: tuple[slice, slice], hour: float) -> np.ndarray:
        """The climatology at an hour of the day (UTC), (rows, columns)."""
        return np.tensordot(day_harmonics(np.array([hour]))[0], self.harmonics[(slice(None), *window)], 1)

    def covariance(self, window: tuple[slice, slice], grid: Grid) -> Covariance | None:
        """Of z on a part of the region; None where it has none of its own, or the part is too large for it."""
        if not len(self.anomalies) or grid.shape[0] * grid.shape[1] > MOST_CELLS:
            return None
        samples = torch.from_numpy(np.ascontiguousarray(self.anomalies[(slice(None), *window)]))
        return regional(samples, grid, radius=32.0)


def stationary(
    coarse: np.ndarray,
    coarse_grid: Grid,
    fine: Grid,
    operator: Coarsening,
    spectrum: Spectrum,
    origin: str,
    mean: np.ndarray | None = None,
    terrain: tuple[np.ndarray, np.ndarray] | None = None,
    gaussian: GaussianDenoiser | None = None,
    usual: np.ndarray | None = None,
) -> Background:
    """A background from a spectrum, its mean and its size fitted to the coarse field itself.

    The size is that with which the coarse anomalies' waves have, on average over all but the longest, their expected power.

    Args:
        coarse: (channels, rows, columns), NaN in gaps.
        coarse_grid, fine: the grids.
        operator: between them.
        spectrum: of z.
        origin: for the report.
        mean: of the fine field where it is known, (channels, rows, columns); a low-order fit by default.
        terrain: heights on the coarse and on the fine grid, for that fit.
        gaussian: of z where it was made already (for the same grid and channels).
        usual: the climatology of few weeks, like `mean`: SHARE of it is taken, and the fit is to what that leaves.
    """
    if mean is None:
        first = np.zeros((len(coarse), *fine.shape)) if usual is None else SHARE * usual
        rest = coarse - operator.whole(torch.from_numpy(first)[None])[0].numpy()
        mean = first + low_order(rest, coarse_grid, fine, terrain)
    expected = operator.whole(torch.from_numpy(mean)[None])[0].numpy()
    anomalies = np.where(np.isfinite(coarse), coarse - expected, 0.0)
    covariance = spectrum.variances(fine)
    if gaussian is None:
        gaussian = stationary_gaussian(covariance, len(coarse), fine.periodic)
    size = np.sqrt(np.maximum(wave_ratio(anomalies, covariance, fine, operator), 1e-12))
    deviation = size[:, None, None] * activity(anomalies, coarse_grid, fine)
    return Background(torch.from_numpy(mean), torch.from_numpy(deviation), gaussian, origin)


SHARE = 0.7
"""How much of the climatology of few weeks is lasting; the rest is their weather."""

ACTIVITY = 0.5
"""How much of the coarse field's unevenness the deviation follows, in the logarithm: between none (0) and all (1)."""


def activity(anomalies: np.ndarray, coarse: Grid, fine: Grid) -> np.ndarray:
    """Where a field is busier than elsewhere: the factor of the deviation, (channels, rows, columns), of mean square 1.

    The shortest scales of the coarse field (what a 3 x 3 mean leaves), squared and smoothed over some cells, to the power
    ACTIVITY / 2, bilinearly on the fine grid.
    """
    if min(coarse.shape) < 4:
        return np.ones((len(anomalies), *fine.shape))
    along = "wrap" if coarse.periodic else "nearest"
    size = (0, 1.5, 1.5)
    short = anomalies - uniform_filter(anomalies, (1, 3, 3), mode=("nearest", "nearest", along))
    busy = gaussian_filter(short**2, size, mode=("nearest", "nearest", along))
    busy = busy / np.maximum(busy.mean((1, 2), keepdims=True), 1e-30)
    factor = np.clip(busy, 0.05, 20.0) ** (ACTIVITY / 2)
    made = interpolate(factor, coarse, fine, "bilinear")
    return made / np.sqrt(np.square(made).mean((1, 2), keepdims=True))


def stationary_gaussian(variances: np.ndarray, channels: int, periodic: bool) -> GaussianDenoiser:
    """N(0, B diag(variances) B^T) in every channel, on the EDM path."""
    stack = torch.from_numpy(np.ascontiguousarray(variances))[None].expand(channels, -1, -1)
    return GaussianDenoiser(torch.zeros(stack.shape), Stationary(stack, periodic), EDM())


def wave_ratio(anomalies: np.ndarray, variances: np.ndarray, fine: Grid, operator: Coarsening) -> np.ndarray:
    """The mean ratio of the coarse anomalies' power to that which unit deviation has, wave by wave: (channels,).

    The waves shorter than half the region count; the longest are few, and the fit has taken a part of them.
    """
    expected = Stationary(torch.from_numpy(variances)[None], fine.periodic)
    rows, columns = operator.rows @ expected.rows, operator.columns @ expected.columns
    # The coarse waves' variances, from those of all fine waves: cos^2 and aliases come out of the products.
    coarse_rows, coarse_columns = _waves(rows.shape[0], False), _waves(columns.shape[0], fine.periodic)
    left, right = (coarse_rows.mT @ rows).square(), (coarse_columns.mT @ columns).square()
    power = left @ torch.from_numpy(variances) @ right.mT
    found = (coarse_rows.mT @ torch.from_numpy(anomalies) @ coarse_columns).square()
    use = torch.ones_like(power, dtype=torch.bool)
    use[:2, :2] = False
    if not bool(use.any()):
        use[:] = True
    return (found[:, use] / power[use].clamp(min=1e-30)).mean(1).numpy()


def adaptive(gaussian: GaussianDenoiser, anomalies: Tensor, operator: Coarsening, exponent: float = 0.25) -> float:
    """The factor of a region's deviation that the size of today's coarse anomalies suggests,

        (v^T (A C A^T)^-1 v / m)^exponent        limited to [1/2, 2],

    with exponent 1/2 the likeliest, and 1/4 half of that in the logarithm: the coarse and the fine scales share a part of
    their ups and downs.

    Args:
        gaussian: of z.
        anomalies: v, the coarse values of z, (m,).
        operator: A.

    Source: Dee (1995), On-line estimation of error covariance parameters for atmospheric data assimilation, Monthly
    Weather Review 123.
    """
    count = len(anomalies)
    if count == 0 or count > 1500 or exponent == 0:
        return 1.0
    unit = torch.eye(count, dtype=torch.float64).reshape(count, -1)
    rows = operator.adjoint(unit)
    matrix = operator.forward(gaussian.covariance(rows))
    matrix = (matrix + matrix.mT) / 2
    matrix.diagonal().add_(1e-6 * float(matrix.diagonal().mean()))
    ratio = float(anomalies @ torch.linalg.solve(matrix, anomalies)) / count
    return float(np.clip(ratio**exponent, 0.5, 2.0))


def scaled(gaussian: GaussianDenoiser, factor: float) -> GaussianDenoiser:
    """The Gaussian with its covariance times a factor; the eigenvectors are shared."""
    covariance = copy.copy(gaussian.covariance)
    covariance._buffers = {**covariance._buffers, "variances": covariance.variances * factor}
    return GaussianDenoiser(gaussian.mean, covariance, gaussian.path)


def find_region(regions: Sequence[Region], variable: str, fine: Grid) -> tuple[Region, tuple[slice, slice]] | None:
    """The region of a variable that a grid lies in, and where."""
    for region in regions:
        window = region.window(fine) if region.variable == variable else None
        if window is not None:
            return region, window
    return None


def _turned(angle: np.ndarray, turn: float) -> np.ndarray:
    """Angles in [-turn / 2, turn / 2)."""
    return np.mod(angle + turn / 2, turn) - turn / 2


def _waves(n: int, periodic: bool) -> Tensor:
    from ornstein.domains.atmosphere.covariances import cosine_waves, fourier_waves

    return torch.from_numpy(fourier_waves(n) if periodic else cosine_waves(n))
