"""What is expected of a fine field before anything is measured: harmonics of the day, a file's climatology, or a low-order
fit to the coarse field itself."""

import numpy as np
import xarray as xr

from ornstein.core.errors import InputError
from ornstein.datasets.fields import Grid, Layout, find_axes
from ornstein.domains.atmosphere.operator import interpolation

HARMONICS = 5


def day_harmonics(hours: np.ndarray) -> np.ndarray:
    """1, cos h, sin h, cos 2h, sin 2h for hours of the day (UTC) as angles, (n, 5)."""
    angle = 2 * np.pi * np.asarray(hours, np.float64) / 24
    return np.stack([np.ones_like(angle), np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)], 1)


def fit_harmonics(fields: np.ndarray, hours: np.ndarray) -> np.ndarray:
    """Least squares of fields (times, rows, columns) in `day_harmonics`, (5, rows, columns); hours that the data do not
    tell apart (all at noon, say) leave the daily terms 0."""
    basis = day_harmonics(hours)
    distinct = len(np.unique(np.round(np.asarray(hours) % 24, 2)))
    used = 5 if distinct >= 5 else 3 if distinct >= 3 else 1
    found, *_ = np.linalg.lstsq(basis[:, :used], fields.reshape(len(fields), -1).astype(np.float64), rcond=None)
    full = np.zeros((HARMONICS, found.shape[1]))
    full[:used] = found
    return full.reshape(HARMONICS, *fields.shape[1:])


def low_order(
    coarse: np.ndarray, grid: Grid, fine: Grid, terrain: tuple[np.ndarray, np.ndarray] | None = None
) -> np.ndarray:
    """A smooth field fitted to each channel of a coarse one, with gaps: (channels, rows, columns) on the fine grid.

    On a region a polynomial of degree 2 in latitude and longitude; around the globe degree 4 in latitude and two waves
    along longitude. With terrain, and 30 coarse cells at least, a term in its height: what a lapse rate does.

    Args:
        coarse: (channels, rows, columns) on `grid`, NaN in gaps.
        grid, fine: the grids.
        terrain: heights on the coarse and on the fine grid.
    """
    basis, wanted = (_basis(g, grid) for g in (grid, fine))
    cells = np.isfinite(coarse).sum((1, 2)).min()
    if terrain is not None and cells >= 30:
        scale = max(float(np.std(terrain[0])), 200.0)  # low islands tell nothing of a lapse rate
        basis = np.concatenate([basis, terrain[0].reshape(-1, 1) / scale], 1)
        wanted = np.concatenate([wanted, terrain[1].reshape(-1, 1) / scale], 1)
    made = np.empty((len(coarse), *fine.shape))
    for channel, values in enumerate(coarse):
        there = np.isfinite(values).ravel()
        y = values.ravel()[there].astype(np.float64)
        if len(y) == 0:
            made[channel] = 0.0
            continue
        terms = basis.shape[1] if len(y) >= 2 * basis.shape[1] else 1
        middle = y.mean()
        # A ridge keeps terms out that the cells with values do not tell apart, the terrain's above all.
        left = basis[there, :terms]
        ridge = np.full(terms, 1e-6 * len(y))
        if terrain is not None and cells >= 30 and terms == basis.shape[1]:
            ridge[-1] = 0.03 * len(y)
        weights = np.linalg.solve(left.T @ left + np.diag(ridge), left.T @ (y - middle))
        made[channel] = (middle + wanted[:, :terms] @ weights).reshape(fine.shape)
    return made


def _basis(grid: Grid, frame: Grid) -> np.ndarray:
    """The low-order terms at the cells of a grid, in coordinates that span `frame`, (cells, terms); the constant first."""
    span = max(np.ptp(frame.latitudes), 1e-9)
    y = 2 * (grid.latitudes - frame.latitudes.mean()) / span
    yy = np.broadcast_to(y[:, None], grid.shape).ravel()
    if frame.periodic:
        angle = np.broadcast_to(np.deg2rad(grid.longitudes)[None], grid.shape).ravel()
        waves = [f(k * angle) for k in (1, 2) for f in (np.cos, np.sin)]
        return np.stack([np.ones_like(yy), *(yy**d for d in (1, 2, 3, 4)), *waves], 1)
    x = 2 * (grid.longitudes - frame.longitudes.mean()) / max(np.ptp(frame.longitudes), 1e-9)
    xx = np.broadcast_to(x[None], grid.shape).ravel()
    return np.stack([np.ones_like(yy), yy, xx, yy**2, yy * xx, xx**2], 1)


def from_file(data: xr.Dataset, name: str, fine: Grid, hour: float | None, month: int | None) -> np.ndarray:
    """A variable of a climatology file at the fine cells, bilinearly: (channels, rows, columns).

    Args:
        data: with the variable over latitude and longitude, and where it has them over `hour` (0 to 23), `month` (1 to
            12), or a time axis with one entry for each; a longer time axis is averaged over the entries that fit.
        name: of the variable.
        fine: the grid wanted.
        hour, month: of the field, None where it has no time.

    Raises:
        InputError: for a variable that is not there, or a grid that does not cover the fine one.
    """
    if name not in data.data_vars:
        raise InputError(f"the climatology holds no {name}; it has {', '.join(map(str, data.data_vars))}", "rename it")
    layout = Layout.of(data, "the climatology")
    field, axes = data[name], find_axes(data)
    if hour is not None and "hour" in field.dims:
        field = field.sel(hour=hour, method="nearest") if "hour" in field.coords else field.isel(hour=round(hour) % 24)
    if month is not None and "month" in field.dims:
        field = field.sel(month=month) if "month" in field.coords else field.isel(month=month - 1)
    if axes.time is not None and axes.time in field.dims:
        times = field[axes.time].dt
        fits = np.ones(field.sizes[axes.time], bool)
        if month is not None and (times.month == month).any():
            fits &= np.asarray(times.month == month)
        gap = np.abs((np.asarray(times.hour + times.minute / 60) - (hour or 0) + 12) % 24 - 12)
        if hour is not None:
            fits &= gap == gap[fits].min()
        field = field.isel({axes.time: np.flatnonzero(fits)}).mean(axes.time)
    values = layout.take(field)[0]
    rows = interpolation(layout.grid.latitudes, fine.latitudes)
    turned = fine.longitudes
    if not layout.grid.periodic:
        turned = layout.grid.longitudes[0] + np.mod(turned - layout.grid.longitudes[0] + 90, 360) - 90
    columns = interpolation(layout.grid.longitudes, turned, layout.grid.periodic)
    if (rows.sum(1) < 0.5).any() or (columns.sum(1) < 0.5).any():
        raise InputError("the climatology does not cover the field", "give one that reaches as far")
    return rows @ values.astype(np.float64) @ columns.T
