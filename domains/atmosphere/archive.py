"""Fields to learn from: files as series of one variable on one grid, what is held out, and their climatology."""

import glob
from dataclasses import dataclass

import numpy as np
import xarray as xr

from ornstein.core.errors import InputError
from ornstein.datasets.field_files import open_fields
from ornstein.datasets.fields import Grid, Layout, field_names
from ornstein.datasets.quantities import GRAVITY, convert, quantity
from ornstein.domains.atmosphere.background import Region
from ornstein.domains.atmosphere.climatology import day_harmonics, fit_harmonics


@dataclass(frozen=True)
class FieldSource:
    """Where training fields come from.

    Args:
        path: netCDF, GRIB or zarr files, with wildcards; those of one grid and variable are joined along time.
        variables: names in the files; all that are known quantities where empty.
        weight: how often the source is drawn, relative to the others.
        stride: every so many times, at least 1.
        hold_out: times at the end (after the stride) that are kept for validation.
        region: a name, where the place is to have a climatology of its own, and, where it is small, a covariance.
    """

    path: str
    variables: tuple[str, ...] = ()
    weight: float = 1.0
    stride: int = 1
    hold_out: int = 0
    region: str = ""

    def __post_init__(self) -> None:
        if self.weight < 0 or self.stride < 1 or self.hold_out < 0:
            raise ValueError("weight and hold_out must be at least 0, stride at least 1")


@dataclass(frozen=True, eq=False)
class Series:
    """Fields of one variable at one level over time.

    Args:
        name: of the source and the level, for the log.
        variable: the quantity's name.
        values: (times, rows, columns) float32 in its SI units.
        grid: of the fields.
        hours: of the day (UTC), (times,).
        days: of the year from 0, (times,).
        stamps: hours from 1900, (times,).
        region: the name of the place, or empty.
        weight: see `FieldSource`.
        held_out: times at the end that are for validation.
    """

    name: str
    variable: str
    values: np.ndarray
    grid: Grid
    hours: np.ndarray
    days: np.ndarray
    stamps: np.ndarray
    region: str
    weight: float
    held_out: int

    @property
    def trained(self) -> int:
        """How many times, from the first, are trained on."""
        return len(self.values) - self.held_out

    def learn(self, times: np.ndarray, samples: int, dense: bool) -> Region:
        """The place as these times tell it.

        Args:
            times: indices.
            samples: most anomalies that are kept.
            dense: whether anomalies are kept at all.
        """
        values = self.values[times].astype(np.float64)
        harmonics = fit_harmonics(values, self.hours[times])
        anomalies = values - np.tensordot(day_harmonics(self.hours[times]), harmonics, 1)
        scale = float(max(anomalies.std(), 1e-6))
        step = max(1, -(-len(times) // max(samples, 1)))
        kept = anomalies[::step] / scale if dense else anomalies[:0]
        if not dense:
            harmonics[1:] = 0  # a large region's mean alone
        return Region(self.region, self.variable, self.grid, harmonics, scale, kept.astype(np.float32))


def load_series(source: FieldSource) -> list[Series]:
    """All series of a source.

    Raises:
        InputError: where no file is found, one has no known quantity, or more times are held out than there are.
    """
    found = sorted(glob.glob(source.path, recursive=True))
    if not found:
        raise InputError(f"data.path {source.path}: no such file", "it is relative to where you stand")
    parts: dict[tuple[str, str, tuple[int, int]], list[Series]] = {}
    for path in found:
        with open_fields(path) as data:
            for one in _series(data, path, source):
                parts.setdefault((one.variable, one.name, one.grid.shape), []).append(one)
    if not parts:
        raise InputError(f"data.path {source.path}: holds no known quantity", "name the variables as ECMWF or CF do")
    joined = [_joined(ones, source.hold_out) for ones in parts.values()]
    for one in joined:
        if one.trained < 0:
            raise InputError(
                f"data.path {source.path}: {len(one.values)} times of {one.variable}, hold_out {one.held_out}",
                "lower hold_out; it counts the times that stride leaves",
            )
    return joined


def load_terrain(path: str, coarsen: int = 1) -> tuple[Grid, np.ndarray]:
    """A global geopotential or height file as heights in m, its sea not below 0, every `coarsen`-th cell averaged."""
    with open_fields(path) as data:
        layout = Layout.of(data, path)
        name = field_names(data, layout.axes)[0]
        values = layout.take(data[name])[0, 0].astype(np.float64)
        if str(data[name].attrs.get("units", "")).startswith("m") and "s" in str(data[name].attrs.get("units", "")):
            values = values / GRAVITY
    return layout.grid, np.maximum(values, 0)


def stamps_of(data: xr.Dataset, time: str | None, name: str = "the input") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hour of the day, day of the year from 0 and hours from 1900 of a dataset's times, of any calendar; each (times,).

    Without a time dimension the scalar `valid_time` or `time` counts; where there is none the three are empty.

    Raises:
        InputError: for times that are no dates.
    """
    field = (
        data[time] if time is not None else next((data[n] for n in ("valid_time", "time") if n in data.coords), None)
    )
    if field is None or field.ndim > 1:
        return np.empty(0), np.empty(0), np.empty(0)
    if field.dtype.kind not in "MO":
        raise InputError(f"{name}: {field.name} holds no dates", "give it units like 'hours since 1900-01-01'")
    field = field.expand_dims("entry") if field.ndim == 0 else field
    hours = np.asarray(field.dt.hour + field.dt.minute / 60 + field.dt.second / 3600, np.float64)
    days = np.asarray(field.dt.dayofyear, np.float64) - 1
    years = np.asarray(field.dt.year, np.int64)
    # Days from 1900 by the calendar of the days of the year: only differences within a series matter.
    if field.dtype.kind == "M":
        stamps = (field.values - np.datetime64("1900-01-01")) / np.timedelta64(1, "h")
    else:
        stamps = (365.2425 * (years - 1900) + days) * 24 + hours
    return hours, days, np.asarray(stamps, np.float64)


def _series(data: xr.Dataset, path: str, source: FieldSource) -> list[Series]:
    layout = Layout.of(data, path)
    hours, days, stamps = stamps_of(data, layout.axes.time, path)
    made = []
    for name in field_names(data, layout.axes):
        if source.variables and name not in source.variables:
            continue
        field = data[name]
        known = quantity(name, str(field.attrs.get("standard_name", "")))
        static = layout.axes.time is not None and layout.axes.time not in field.dims
        if known is None or static:
            continue
        values = layout.take(field)[:: source.stride]
        units = str(field.attrs.get("units", ""))
        if units and not (known.name == "z" and units == "m"):
            values = convert(values, units, known.units).astype(np.float32)
        count = values.shape[1]
        for level in range(count):
            here = slice(None, None, source.stride)
            label = f"{source.region or source.path.rpartition('/')[2]} {known.name}" + (
                f" {level}" if count > 1 else ""
            )
            empty = np.zeros(len(values))
            made.append(
                Series(
                    label, known.name, values[:, level].astype(np.float32), layout.grid,
                    hours[here] if len(hours) else empty, days[here] if len(days) else empty,
                    stamps[here] if len(stamps) else empty, source.region, source.weight, source.hold_out,
                )
            )  # fmt: skip
    return made


def _joined(parts: list[Series], hold_out: int) -> Series:
    first = parts[0]
    if len(parts) == 1:
        return first
    columns = {n: np.concatenate([getattr(p, n) for p in parts]) for n in ("values", "hours", "days", "stamps")}
    return Series(
        first.name, first.variable, columns["values"], first.grid, columns["hours"], columns["days"],
        columns["stamps"], first.region, first.weight, hold_out,
    )  # fmt: skip
