"""What a forecaster has of a fine field: averages over coarse cells, values at coarse points, observations at stations.

Fields are (batch, channels, rows, columns) in the order of `datasets.fields.Grid`; channels are levels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ornstein.core.operators import LinearOperator
from ornstein.datasets.fields import Grid

EARTH_RADIUS = 6371.0
"""km."""


@dataclass(frozen=True, eq=False)
class Coarsening(LinearOperator):
    """x -> R x C^T at the coarse cells that are kept: one matrix over latitude, one over longitude.

    Args:
        rows: R, (coarse rows, fine rows).
        columns: C, (coarse columns, fine columns).
        kept: which coarse values there are, (channels, coarse rows, coarse columns), bool.

    Its range is (batch, number of values kept).
    """

    rows: Tensor
    columns: Tensor
    kept: Tensor

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-2:] == (self.rows.shape[1], self.columns.shape[1]), (
            f"fields {tuple(x.shape)} for {self.rows.shape[1]} rows and {self.columns.shape[1]} columns"
        )
        rows, columns = self.rows.to(x), self.columns.to(x)
        return (rows @ x @ columns.mT)[:, self.kept]

    def adjoint(self, y: Tensor) -> Tensor:
        rows, columns = self.rows.to(y), self.columns.to(y)
        full = y.new_zeros(len(y), *self.kept.shape)
        full[:, self.kept] = y
        return rows.mT @ full @ columns

    def whole(self, x: Tensor) -> Tensor:
        """All coarse values of x, kept or not: (batch, channels, coarse rows, coarse columns)."""
        return self.rows.to(x) @ x @ self.columns.to(x).mT

    @classmethod
    def between(
        cls, fine: Grid, coarse: Grid, kind: Literal["mean", "point"] = "mean", kept: np.ndarray | None = None
    ) -> "Coarsening":
        """The coarsening from one grid to the other.

        Args:
            fine, coarse: the grids.
            kind: `mean` over the coarse cell, by area; `point`: the bilinear interpolation at its centre.
            kept: the coarse values there are, (channels, rows, columns); all of one channel by default. Coarse cells that
                the fine grid does not cover are never kept.
        """
        if kind == "mean":
            rows = overlap(np.sin(np.deg2rad(fine.latitude_edges)), np.sin(np.deg2rad(coarse.latitude_edges)))
            columns = overlap(fine.longitude_edges, coarse.longitude_edges, 360.0)
        else:
            rows = interpolation(fine.latitudes, coarse.latitudes)
            columns = interpolation(fine.longitudes, coarse.longitudes, fine.periodic)
        there = np.outer(rows.sum(1) > 1 - 1e-6, columns.sum(1) > 1 - 1e-6)[None]
        kept = there if kept is None else kept & there
        return cls(torch.from_numpy(rows), torch.from_numpy(columns), torch.from_numpy(np.ascontiguousarray(kept)))


@dataclass(frozen=True, eq=False)
class Points(LinearOperator):
    """x -> weighted sums of a few of its values, one for each observation.

    Args:
        index: (observations, k) into the flattened (channels, rows, columns).
        weight: (observations, k).
        shape: (channels, rows, columns).

    Its range is (batch, observations).
    """

    index: Tensor
    weight: Tensor
    shape: tuple[int, ...]

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1:] == self.shape, f"fields {tuple(x.shape)} for a grid of {self.shape}"
        return (x.flatten(1)[:, self.index] * self.weight.to(x)).sum(-1)

    def adjoint(self, y: Tensor) -> Tensor:
        out = y.new_zeros(len(y), int(np.prod(self.shape)))
        values = (y[..., None] * self.weight.to(y)).flatten(1)
        return out.index_add_(1, self.index.flatten(), values).reshape(len(y), *self.shape)


@dataclass(frozen=True, eq=False)
class Scaling(LinearOperator):
    """x -> scale x, its own adjoint.

    Args:
        scale: real, of a shape that broadcasts to an item.
    """

    scale: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale.to(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return y * self.scale.to(y)


def overlap(fine: np.ndarray, coarse: np.ndarray, period: float | None = None) -> np.ndarray:
    """The share of each coarse interval that each fine one has, (coarse, fine); a row sums to 1 where it is covered.

    Args:
        fine, coarse: the intervals' borders, ascending, one more than intervals.
        period: of the axis, where it closes.
    """
    shares = np.zeros((len(coarse) - 1, len(fine) - 1))
    for shift in (0.0,) if period is None else (-period, 0.0, period):
        low = np.maximum(coarse[:-1, None], fine[None, :-1] + shift)
        high = np.minimum(coarse[1:, None], fine[None, 1:] + shift)
        shares += np.clip(high - low, 0, None)
    return shares / np.diff(coarse)[:, None]


def interpolation(fine: np.ndarray, points: np.ndarray, periodic: bool = False) -> np.ndarray:
    """Linear interpolation from `fine` to `points` as a matrix, (points, fine).

    Points up to half a cell beyond the ends take the end's value; rows of points further out are zero.
    """
    low, high, weight, inside = bracket(fine, points, periodic)
    matrix = np.zeros((len(points), len(fine)))
    at = np.arange(len(points))
    np.add.at(matrix, (at, low), 1 - weight)
    np.add.at(matrix, (at, high), weight)
    return matrix * inside[:, None]


def bracket(
    centres: np.ndarray, points: np.ndarray, periodic: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """For each point the two centres around it (indices), the weight of the second, and whether it is inside the grid.

    Args:
        centres: ascending.
        points: any.
        periodic: centres are longitudes in degrees that close, and so are points.
    """
    n = len(centres)
    points = np.asarray(points, np.float64)
    step = float(np.median(np.diff(centres))) if n > 1 else np.inf
    if periodic:
        points = centres[0] + np.mod(points - centres[0], 360)
        low = np.clip(np.searchsorted(centres, points, side="right") - 1, 0, n - 1)
        high = (low + 1) % n
        width = np.where(high == 0, centres[0] + 360 - centres[-1], centres[high] - centres[low])
        return low, high, (points - centres[low]) / width, np.ones(len(points), bool)
    inside = (points >= centres[0] - 0.5001 * step) & (points <= centres[-1] + 0.5001 * step)
    if n == 1:
        zero = np.zeros(len(points), int)
        return zero, zero, np.zeros(len(points)), np.ones(len(points), bool)
    low = np.clip(np.searchsorted(centres, points, side="right") - 1, 0, n - 2)
    weight = np.clip((points - centres[low]) / (centres[low + 1] - centres[low]), 0, 1)
    return low, low + 1, weight, inside


def at_points(
    grid: Grid,
    latitude: np.ndarray,
    longitude: np.ndarray,
    levels: Sequence[float] | np.ndarray | None = None,
    pressure: np.ndarray | None = None,
    channels: int = 1,
    method: Literal["bilinear", "great-circle"] = "bilinear",
) -> tuple[Points, np.ndarray]:
    """The operator that gives a field's values at observations, and which of these lie in the field.

    Args:
        grid: of the fields.
        latitude, longitude: of the observations, degrees, (n,).
        levels: pressures of the channels in hPa, or None where the channels are none: then every observation is of the
            first channel.
        pressure: of the observations in hPa, (n,); between two levels weights go by log pressure. NaN is outside.
        channels: their number where `levels` is None.
        method: `bilinear` in degrees, or `great-circle`: the four cells around weighed by their inverse distance.

    Returns:
        The operator for the observations inside, (m,), and which these are, (n,) bool.
    """
    rows_low, rows_high, north, in_rows = bracket(grid.latitudes, latitude)
    turned = longitude if grid.periodic else grid.longitudes[0] + np.mod(longitude - grid.longitudes[0] + 90, 360) - 90
    columns_low, columns_high, east, in_columns = bracket(grid.longitudes, turned, grid.periodic)
    inside = in_rows & in_columns
    row = np.stack([rows_low, rows_low, rows_high, rows_high], 1)
    column = np.stack([columns_low, columns_high, columns_low, columns_high], 1)
    if method == "bilinear":
        weight = np.stack([(1 - north) * (1 - east), (1 - north) * east, north * (1 - east), north * east], 1)
    else:
        there = great_circle(latitude[:, None], longitude[:, None], grid.latitudes[row], grid.longitudes[column])
        weight = 1 / np.maximum(there, 1e-6)
        weight /= weight.sum(1, keepdims=True)
    count = channels if levels is None else len(levels)
    area = grid.shape[0] * grid.shape[1]
    index = row * grid.shape[1] + column
    if levels is not None:
        assert pressure is not None, "levels want the observations' pressures"
        order = np.argsort(levels)
        logs = np.log(np.asarray(levels, np.float64)[order])
        known = np.isfinite(pressure) & (np.nan_to_num(pressure) > 0)
        logp = np.log(np.where(known, pressure, 1.0))
        near = np.abs(logp[:, None] - logs).min(1) < 1e-4
        low, high, up, _ = bracket(logs, logp)
        inside &= known & (near | ((logp >= logs[0]) & (logp <= logs[-1])))
        index = np.concatenate([index + area * order[low][:, None], index + area * order[high][:, None]], 1)
        weight = np.concatenate([weight * (1 - up)[:, None], weight * up[:, None]], 1)
    made = Points(
        torch.from_numpy(index[inside].astype(np.int64)), torch.from_numpy(weight[inside]), (count, *grid.shape)
    )
    return made, inside


def great_circle(
    latitude: np.ndarray, longitude: np.ndarray, other_latitude: np.ndarray, other_longitude: np.ndarray
) -> np.ndarray:
    """Distances on the sphere in km, by the haversine formula, from degrees."""
    a, b, c, d = (np.deg2rad(v) for v in (latitude, other_latitude, longitude, other_longitude))
    h = np.sin((b - a) / 2) ** 2 + np.cos(a) * np.cos(b) * np.sin((d - c) / 2) ** 2
    return 2 * EARTH_RADIUS * np.arcsin(np.sqrt(np.clip(h, 0, 1)))


def time_weights(times: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each observation's time the steps before and after it and the weight of the second; outside weigh 0 and 1.

    Args:
        times: of the fields, datetime64 or hours, ascending, (steps,).
        observed: of the observations, in the same kind, (n,).
    """
    numbers = times.astype("datetime64[s]").astype(np.float64) if times.dtype.kind == "M" else times.astype(float)
    at = observed.astype("datetime64[s]").astype(np.float64) if observed.dtype.kind == "M" else observed.astype(float)
    low, high, weight, _ = bracket(numbers, at)
    return low, high, weight
