"""Gridded fields: their axes found in any xarray dataset, brought into one order, and put back as they were.

The one order is (..., latitude ascending, longitude ascending and eastward). What a user's dataset looks like (names,
order of the dimensions, north up or down, 0 to 360 or +-180 degrees) is kept aside in a `Layout`, so that results go back
in the same form and do not depend on it.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from ornstein.core.errors import InputError

NAMES = {
    "latitude": ("latitude", "lat", "lats", "nav_lat"),
    "longitude": ("longitude", "lon", "lons", "long", "nav_lon"),
    "time": ("time", "valid_time", "forecast_reference_time", "date"),
    "level": (
        "level", "pressure_level", "isobaricinhpa", "isobaric", "plev", "lev", "pressure", "isobaricinpa",
        "heightaboveground", "height", "hybrid", "depth",
    ),
    "number": ("number", "member", "realization", "ensemble", "ens"),
}  # fmt: skip
STANDARD = {
    "latitude": ("latitude",),
    "longitude": ("longitude",),
    "time": ("time",),
    "level": ("air_pressure", "height", "altitude", "model_level_number", "depth"),
    "number": ("realization",),
}
DEGREES = {
    "latitude": ("degrees_north", "degree_north", "degrees_n", "degree_n", "degreen", "degreesn"),
    "longitude": ("degrees_east", "degree_east", "degrees_e", "degree_e", "degreee", "degreese"),
}
PACKING = (
    "scale_factor", "add_offset", "dtype", "_FillValue", "missing_value", "chunksizes", "preferred_chunks", "chunks",
    "shards", "original_shape", "source", "coordinates", "_Unsigned", "contiguous", "compressor", "compressors",
    "filters", "serializer", "missingValue", "szip", "zstd", "bzip2", "blosc", "zlib", "shuffle", "complevel",
    "fletcher32", "endian", "rio_dtype",
)  # fmt: skip
"""What an encoding says of the values and shape that a variable had in its file: stale for other values."""


@dataclass(frozen=True)
class Axes:
    """The names of a dataset's dimensions; None for those that it does not have."""

    latitude: str
    longitude: str
    time: str | None = None
    level: str | None = None
    number: str | None = None


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular latitude-longitude grid of cells, in our order.

    Args:
        latitudes: cell centres in degrees, (rows,), ascending.
        longitudes: cell centres in degrees, (columns,), ascending; less than 360 degrees in all.
        periodic: whether the last column is the neighbour of the first.

    Raises:
        InputError: for coordinates that are not ascending, or beyond the poles.
    """

    latitudes: np.ndarray
    longitudes: np.ndarray
    periodic: bool = False

    def __post_init__(self) -> None:
        for name in ("latitudes", "longitudes"):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            object.__setattr__(self, name, values)
            if values.ndim != 1 or len(values) == 0 or not np.isfinite(values).all() or (np.diff(values) <= 0).any():
                raise InputError(f"{name}: not distinct finite numbers in one direction", "is the grid regular?")
        if np.abs(self.latitudes).max() > 90.001:
            raise InputError(f"latitudes to {np.abs(self.latitudes).max():g} degrees", "they end at 90")

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return len(self.latitudes), len(self.longitudes)

    @property
    def spacing(self) -> tuple[float, float]:
        """Median distance of rows and of columns in degrees; one row or column counts as the other's."""
        steps = [float(np.median(np.diff(v))) if len(v) > 1 else 0.0 for v in (self.latitudes, self.longitudes)]
        return steps[0] or steps[1] or 1.0, steps[1] or steps[0] or 1.0

    @property
    def latitude_edges(self) -> np.ndarray:
        """The cells' borders, (rows + 1,), cut at the poles."""
        return np.clip(_edges(self.latitudes, self.spacing[0]), -90, 90)

    @property
    def longitude_edges(self) -> np.ndarray:
        """The cells' borders, (columns + 1,)."""
        return _edges(self.longitudes, self.spacing[1])

    @property
    def areas(self) -> np.ndarray:
        """Each row's cell area relative to the mean over all cells, (rows, 1)."""
        heights = np.diff(np.sin(np.deg2rad(self.latitude_edges)))
        return (heights / heights.mean())[:, None]

    @property
    def kilometres(self) -> tuple[float, float]:
        """The cells' height and, at the middle latitude, their width in km."""
        dy, dx = self.spacing
        middle = np.deg2rad(float(np.abs(self.latitudes).mean()))
        return 111.195 * dy, 111.195 * dx * max(float(np.cos(middle)), 0.05)

    def refine(self, factor: int) -> "Grid":
        """The grid whose cells are these, each cut in factor x factor; rows beyond a pole are left out."""
        dy, dx = self.spacing
        offsets = (np.arange(factor) - (factor - 1) / 2) / factor
        latitudes = (self.latitudes[:, None] + dy * offsets).ravel()
        longitudes = (self.longitudes[:, None] + dx * offsets).ravel()
        return Grid(latitudes[np.abs(latitudes) < 90 + 1e-9], longitudes, self.periodic)

    def coarsen(self, factor: int) -> "Grid":
        """The grid of whole blocks of factor x factor cells from the south-west; what is left over is cut.

        Raises:
            InputError: where not one block fits.
        """
        if min(self.shape) < factor:
            raise InputError(f"a grid of {self.shape[0]} x {self.shape[1]} cells, blocks of {factor}", "lower --factor")
        rows, columns = (n // factor * factor for n in self.shape)
        latitudes = self.latitudes[:rows].reshape(-1, factor).mean(1)
        longitudes = self.longitudes[:columns].reshape(-1, factor).mean(1)
        return Grid(latitudes, longitudes, self.periodic and columns == self.shape[1])

    def cut(self, rows: slice, columns: slice) -> "Grid":
        """A part of it."""
        whole = self.periodic and columns.indices(self.shape[1]) == (0, self.shape[1], 1)
        return Grid(self.latitudes[rows], self.longitudes[columns], whole)


@dataclass(frozen=True, eq=False)
class Layout:
    """How a dataset holds its fields: what `take` undoes and `put` restores.

    Args:
        axes: the names of its dimensions.
        grid: its grid in our order.
        rows: for each of our rows its index in the dataset, (rows,).
        columns: for each of our columns its index in the dataset, (columns,).
    """

    axes: Axes
    grid: Grid
    rows: np.ndarray
    columns: np.ndarray

    @classmethod
    def of(cls, data: xr.Dataset, name: str = "the input") -> "Layout":
        """The layout of a dataset.

        Raises:
            InputError: where it has no regular latitude-longitude grid.
        """
        axes = find_axes(data, name)
        latitude = np.asarray(data[axes.latitude].values, dtype=np.float64)
        longitude = np.asarray(data[axes.longitude].values, dtype=np.float64)
        for axis, values in ((axes.latitude, latitude), (axes.longitude, longitude)):
            if not np.isfinite(values).all():
                raise InputError(f"{name}: {axis} holds values that are not numbers", "repair the coordinate")
        rows = np.argsort(latitude, kind="stable")
        columns, values, periodic = _eastward(longitude)
        try:
            grid = Grid(latitude[rows], values, periodic)
        except InputError as error:
            raise InputError(f"{name}: {error}", error.hint) from None
        return cls(axes, grid, rows, columns)

    def take(self, field: xr.DataArray) -> np.ndarray:
        """A field's values as (time, channels, rows, columns) in float32 or float64: channels are all other dimensions.

        A field without time has one. Only what is asked for is loaded from a lazy dataset.
        """
        values = field.transpose(*self._order(field)).values
        values = values[..., self.rows, :][..., self.columns]
        values = values.reshape(*(values.shape[:1] if self._timed(field) else (1,)), -1, *self.grid.shape)
        return values.astype(np.float64 if values.dtype == np.float64 else np.float32)

    def put(self, values: np.ndarray, like: xr.DataArray, fine: "Layout", members: int | None = None) -> xr.DataArray:
        """Values on another grid as a field with the dimensions, names and attributes of `like`.

        Args:
            values: ([members,] time, channels, rows, columns) in our order, on the grid of `fine`.
            like: the field as it came.
            fine: the layout to write, `refined` say.
            members: their number where `values` has them: they get the dimension `number`, after a leading time.
        """
        back_rows, back_columns = np.argsort(fine.rows), np.argsort(fine.columns)
        values = values[..., back_rows, :][..., back_columns]
        ordered = list(self._order(like))
        lead = [] if members is None else ["number"]
        shape = [like.sizes[d] for d in ordered[:-2]]
        values = values.reshape([*([] if members is None else [members]), *shape, *fine.grid.shape])
        names = [fine.axes.latitude, fine.axes.longitude]
        made = xr.DataArray(values, dims=[*lead, *ordered[:-2], *names], attrs=dict(like.attrs), name=like.name)
        renamed = {self.axes.latitude: names[0], self.axes.longitude: names[1]}
        dims = [renamed.get(str(d), str(d)) for d in like.dims]
        if members is not None:
            dims.insert(1 if dims and dims[0] == self.axes.time else 0, "number")
        return made.transpose(*dims)

    def _timed(self, field: xr.DataArray) -> bool:
        return self.axes.time is not None and self.axes.time in field.dims

    def _order(self, field: xr.DataArray) -> list[Hashable]:
        axes = self.axes
        rest = [d for d in field.dims if d not in (axes.time, axes.latitude, axes.longitude)]
        return [*([axes.time] if self._timed(field) else []), *rest, axes.latitude, axes.longitude]

    def refined(self, factor: int) -> "Layout":
        """The layout of the grid with cells cut in factor x factor, in the same directions and starting where it did."""
        grid = self.grid.refine(factor)
        inside = np.arange(factor)
        if _falls(self.columns):
            inside = inside[::-1]
        columns = (self.columns[:, None] * factor + inside).ravel()
        return Layout(self.axes, grid, _direction(grid.shape[0], self.rows), columns)

    def coarsened(self, factor: int) -> "Layout":
        """The layout of the grid of blocks of factor x factor cells, in the same directions and order."""
        grid = self.grid.coarsen(factor)
        first = self.columns[: grid.shape[1] * factor : factor]
        return Layout(self.axes, grid, _direction(grid.shape[0], self.rows), np.argsort(np.argsort(first)))

    def coordinates(self, like: xr.Dataset, source: "Layout") -> dict[str, xr.DataArray]:
        """Its latitude and longitude as the dataset `like`, whose layout is `source`, writes them (0 to 360 or +-180)."""
        axis = self.axes.longitude
        # Whole turns by which the dataset's longitudes differ from ours, column by column.
        turns = np.round((np.asarray(like[axis].values, np.float64)[source.columns] - source.grid.longitudes) / 360)
        ours, theirs = self.grid.shape[1], len(turns)
        turns = np.repeat(turns, ours // theirs) if ours >= theirs else turns[:: theirs // ours][:ours]
        values = {self.axes.latitude: self.grid.latitudes, axis: self.grid.longitudes + 360 * turns}
        found = {}
        for name, order in ((self.axes.latitude, self.rows), (axis, self.columns)):
            kind = like[name].dtype if like[name].dtype.kind == "f" else np.dtype(np.float64)
            kept = {k: v for k, v in like[name].attrs.items() if k not in ("bounds", "valid_min", "valid_max")}
            found[name] = xr.DataArray(values[name][np.argsort(order)].astype(kind), dims=[name], attrs=kept)
        return found


def _falls(order: np.ndarray) -> bool:
    """Whether an order mostly descends (a rolled ascending one has a single step down)."""
    return int((np.diff(order) < 0).sum()) * 2 > len(order) - 1


def _direction(n: int, like: np.ndarray) -> np.ndarray:
    return np.arange(n)[::-1] if _falls(like) else np.arange(n)


def find_axes(data: xr.Dataset | xr.DataArray, name: str = "the input") -> Axes:
    """The dimensions of latitude, longitude, time, level and ensemble member: by CF attributes first, then by name.

    Raises:
        InputError: without a latitude and a longitude that are dimensions (curvilinear and unstructured grids).
    """
    found: dict[str, str] = {}
    for kind in NAMES:
        candidates = [str(d) for d in data.dims if str(d) not in found.values()]
        by = [d for d in candidates if d in data.coords and _says(data[d], kind)]
        by = by or [d for n in NAMES[kind] for d in candidates if d.lower() == n]
        if by:
            found[kind] = by[0]
    if missing := [kind for kind in ("latitude", "longitude") if kind not in found]:
        rotated = [str(d) for d in data.dims if "rlat" in str(d) or "grid_latitude" in str(d)]
        raise InputError(
            f"{name}: no dimension is the {' or the '.join(missing)}; found {', '.join(map(str, data.dims)) or 'none'}",
            "remap rotated and curvilinear grids to a latitude-longitude grid first (cdo remapbil)"
            if rotated
            else "wanted dimensions like latitude, longitude, with coordinates",
        )
    for kind in ("latitude", "longitude"):
        if found[kind] not in data.coords:
            raise InputError(f"{name}: the dimension {found[kind]} has no coordinate", "give it one, in degrees")
    return Axes(**found)


def _says(coordinate: xr.DataArray, kind: str) -> bool:
    """Whether the attributes of a coordinate say what it is."""
    attributes = coordinate.attrs
    if attributes.get("standard_name") in STANDARD[kind]:
        return True
    units = str(attributes.get("units", "")).lower().replace(" ", "_")
    if kind in DEGREES:
        return units in DEGREES[kind]
    if kind == "time":
        return coordinate.dtype.kind == "M" or attributes.get("axis") == "T" or "since" in units
    return kind == "level" and (attributes.get("axis") == "Z" or "positive" in attributes)


def pressures(data: xr.Dataset, axes: Axes) -> np.ndarray | None:
    """The levels in hPa, (levels,), or None where the dataset has none or they are no pressures."""
    if axes.level is None or axes.level not in data.coords:
        return None
    level = data[axes.level]
    values, units = np.asarray(level.values, dtype=np.float64), str(level.attrs.get("units", "")).lower()
    if units in ("pa", "pascal"):
        return values / 100
    known = units in ("hpa", "mb", "mbar", "millibar", "millibars")
    named = str(axes.level).lower() in ("level", "pressure_level", "isobaricinhpa", "plev", "isobaric", "pressure")
    if known or (named and units in ("", "1", "level")):
        return values / 100 if values.max() > 2000 else values
    return None


def field_names(data: xr.Dataset, axes: Axes) -> list[str]:
    """The variables that are fields: numbers over latitude and longitude."""
    return [
        str(n) for n, v in data.data_vars.items()
        if axes.latitude in v.dims and axes.longitude in v.dims and v.dtype.kind in "fiu"
    ]  # fmt: skip


def with_history(attributes: dict[Hashable, Any], line: str) -> dict[Hashable, Any]:
    """Attributes with a line appended to `history`."""
    before = str(attributes.get("history", "")).rstrip("\n")
    return {**attributes, "history": f"{before}\n{line}" if before else line}


def encoding_for(field: xr.DataArray) -> dict[str, Any]:
    """The encoding of a field that keeps what is true of its new values: float32 (float64 where it was), compressed."""
    kept = {k: v for k, v in field.encoding.items() if k not in PACKING}
    wide = field.encoding.get("dtype") == np.float64 and "scale_factor" not in field.encoding
    return {**kept, "dtype": np.dtype(np.float64 if wide else np.float32), "_FillValue": np.nan}


def _edges(centres: np.ndarray, spacing: float) -> np.ndarray:
    if len(centres) == 1:
        return np.array([centres[0] - spacing / 2, centres[0] + spacing / 2])
    inner = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - inner[0]], inner, [2 * centres[-1] - inner[-1]]])


def _eastward(longitude: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """The order that makes longitudes ascend eastward from behind the largest gap, their values, whether they close."""
    turned = np.mod(longitude, 360)
    turned[np.isclose(turned, 360, rtol=0, atol=1e-6)] = 0.0
    order = np.argsort(turned, kind="stable")
    values = turned[order]
    if len(values) < 2:
        return order, values, False
    gaps = np.diff(np.append(values, values[0] + 360))
    step = float(np.median(gaps))
    if gaps.max() < 1.5 * step:  # no gap: the circle is closed, and begins at its first meridian from Greenwich
        return order, values, True
    start = (int(gaps.argmax()) + 1) % len(values)
    values = np.concatenate([values[start:], values[:start] + 360])
    return np.roll(order, -start), values, False
