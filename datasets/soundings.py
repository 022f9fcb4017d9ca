"""Observations at points: radiosondes and stations from IGRA files, CSV and netCDF, in SI units, each with its error."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ornstein.core.errors import InputError
from ornstein.datasets.igra import Sounding, is_igra, read_igra
from ornstein.datasets.quantities import (
    GRAVITY,
    convert,
    quantity,
    saturation_pressure,
    specific_humidity,
    wind_components,
)

COLUMNS = ("time", "latitude", "longitude", "level", "variable", "value", "units", "error")
ALIASES = {
    "time": ("time", "time_utc", "valid_time", "date", "datetime"),
    "latitude": ("latitude", "lat"),
    "longitude": ("longitude", "lon", "long"),
    "level": ("level", "pressure", "level_hpa", "pressure_hpa"),
    "variable": ("variable", "name", "parameter"),
    "value": ("value",),
    "units": ("units", "unit"),
    "error": ("error", "std", "sd", "uncertainty"),
    "station": ("station", "station_id", "id", "wmo"),
    "elevation": ("elevation", "elev", "elev_m", "height", "altitude"),
}


@dataclass(frozen=True, eq=False)
class Observations:
    """Values at points, all columns of length n.

    Args:
        time: UTC, datetime64[s].
        latitude, longitude: degrees; longitudes from -180 to 360.
        pressure: hPa; NaN at the surface and for fields of a single level.
        variable: the names of `quantities`.
        value: in the quantity's units.
        error: standard deviation in the same units, above 0.
        station: identifiers, empty where unknown.
        elevation: of the station in m, NaN where unknown.
    """

    time: np.ndarray
    latitude: np.ndarray
    longitude: np.ndarray
    pressure: np.ndarray
    variable: np.ndarray
    value: np.ndarray
    error: np.ndarray
    station: np.ndarray
    elevation: np.ndarray

    def __len__(self) -> int:
        return len(self.value)

    def select(self, which: npt.ArrayLike) -> "Observations":
        """Those of a mask or of indices."""
        return Observations(**{f.name: getattr(self, f.name)[np.asarray(which)] for f in fields(self)})

    def of(self, name: str) -> "Observations":
        """Those of one variable."""
        return self.select(self.variable == name)

    def around(self, time: np.datetime64, window: np.timedelta64) -> "Observations":
        """Those at most `window` away from a time."""
        return self.select(np.abs(self.time - time.astype("datetime64[s]")) <= window)

    def merged(self) -> "Observations":
        """Duplicates (one place, time, pressure and variable) as one: their mean, with the least of their errors."""
        keys = list(
            zip(
                self.time.astype(np.int64).tolist(), np.round(self.latitude, 4).tolist(), np.round(self.longitude % 360, 4).tolist(),
                np.round(np.nan_to_num(self.pressure, nan=-1), 2).tolist(), self.variable.tolist(),
            )
        )  # fmt: skip
        groups: dict[Any, list[int]] = {}
        for i, key in enumerate(keys):
            groups.setdefault(key, []).append(i)
        first = self.select([g[0] for g in groups.values()])
        value = np.array([self.value[g].mean() for g in groups.values()])
        error = np.array([self.error[g].min() for g in groups.values()])
        return Observations(
            **{**{f.name: getattr(first, f.name) for f in fields(first)}, "value": value, "error": error}
        )

    @classmethod
    def join(cls, parts: Sequence["Observations"]) -> "Observations":
        """Several one after the other."""
        return cls(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)})

    @classmethod
    def make(
        cls,
        time: npt.ArrayLike,
        latitude: npt.ArrayLike,
        longitude: npt.ArrayLike,
        variable: str | npt.ArrayLike,
        value: npt.ArrayLike,
        pressure: npt.ArrayLike = np.nan,
        error: npt.ArrayLike = np.nan,
        station: npt.ArrayLike = "",
        elevation: npt.ArrayLike = np.nan,
        name: str = "observations",
    ) -> "Observations":
        """From columns, each of length n or one for all; a missing error becomes the table's for the variable and level.

        Values that are NaN are left out. `name` is what an error calls them.

        Raises:
            InputError: for positions off the globe, unknown variables, errors that are not above 0.
        """
        value = np.atleast_1d(np.asarray(value, np.float64))
        n = len(value)

        def column(values: npt.ArrayLike, kind: Any) -> np.ndarray:
            return np.broadcast_to(np.asarray(values, dtype=kind), (n,)).copy()

        latitude, longitude = column(latitude, np.float64), column(longitude, np.float64)
        pressure, error = column(pressure, np.float64), column(error, np.float64)
        names = column(variable, np.str_)
        if (np.abs(latitude) > 90).any() or (longitude < -180).any() or (longitude > 360).any():
            raise InputError(f"{name}: latitude or longitude beyond the globe", "latitudes end at 90 degrees")
        if (error <= 0).any():
            raise InputError(f"{name}: error is not above 0", "give a standard deviation, or leave it empty")
        for kind in np.unique(names):
            known = quantity(str(kind))
            if known is None:
                raise InputError(f"{name}: variable {str(kind)!r} is unknown", "use names like t2m, t, z, u, v, q, r")
            here = names == kind
            error[here] = np.where(np.isnan(error[here]), known.default_error(pressure[here]), error[here])
        made = cls(
            column(time, "datetime64[s]"), latitude, longitude, pressure, names, value, error,
            column(station, np.str_), column(elevation, np.float64),
        )  # fmt: skip
        good = np.isfinite(value) & np.isfinite(latitude) & np.isfinite(longitude) & ~np.isnat(made.time)
        return made.select(good)


def open_observations(source: Any) -> Observations:
    """Observations from an IGRA, CSV or netCDF file, a mapping of columns (a pandas table too), or as they are.

    CSV and netCDF have the columns time (UTC), latitude, longitude, level (hPa, empty at the surface), variable, value,
    units, error (standard deviation in those units), and may have station and elevation (m).

    Raises:
        InputError: for what cannot be read; it names the column and the line.
    """
    if isinstance(source, Observations):
        return source
    if isinstance(source, Mapping) or hasattr(source, "columns") or hasattr(source, "data_vars"):
        names = source.columns if hasattr(source, "columns") else getattr(source, "variables", source)
        return from_columns({str(n): np.asarray(source[n]) for n in names}, "observations")
    path = Path(source)
    if not path.is_file():
        raise InputError(f"{path}: no such file", "is the name right?")
    if is_igra(path):
        return from_soundings(read_igra(path))
    if path.suffix.lower() in (".nc", ".nc4"):
        import xarray as xr

        try:
            with xr.open_dataset(path) as data:
                columns = {str(n): np.asarray(data[n].values) for n in data.variables if data[n].ndim <= 1}
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"{path}: cannot be read as netCDF: {error}", "is the file whole?") from None
        return from_columns({n: v for n, v in columns.items() if v.ndim == 1}, str(path))
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV: {error}", "wanted IGRA v2, CSV or netCDF") from None
    if not rows:
        raise InputError(f"{path}: holds no observations", f"wanted a table with the columns {', '.join(COLUMNS)}")
    return from_columns({n: np.array([row[n] or "" for row in rows]) for n in rows[0] if n}, str(path))


def from_columns(columns: Mapping[str, np.ndarray], name: str) -> Observations:
    """Observations from named columns of text or numbers, in their own units.

    Raises:
        InputError: for missing columns and values that are none.
    """
    lower = {key.strip().lower(): key for key in columns}
    found = {ours: columns[lower[n]] for ours, names in ALIASES.items() for n in names[::-1] if n in lower}
    if missing := [c for c in COLUMNS[:3] + COLUMNS[4:6] if c not in found]:
        raise InputError(
            f"{name}: the column{'s' * (len(missing) > 1)} {', '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing; found {', '.join(columns)}",
            f"wanted {', '.join(COLUMNS)}",
        )
    n = len(found["value"])
    times = _times(found["time"], name)
    value = _numbers(found["value"], "value", name)
    error = _numbers(found.get("error", np.full(n, np.nan)), "error", name)
    level = _numbers(found.get("level", np.full(n, np.nan)), "level", name)
    units = np.array([_text(v) for v in found.get("units", np.full(n, ""))])
    variables = np.array([_text(v) for v in found["variable"]])
    names = np.empty(n, dtype="<U8")
    for variable, unit in {(str(v), str(u)) for v, u in zip(variables, units)}:
        known = quantity(variable)
        if known is None:
            raise InputError(f"{name}: variable {variable!r} is unknown", "use names like t2m, t, z, u, v, q, r")
        here = (variables == variable) & (units == unit)
        names[here] = known.name
        if unit:
            value[here] = convert(value[here], unit, known.units)
            error[here] = convert(error[here], unit, known.units, difference=True)
    return Observations.make(
        times, _numbers(found["latitude"], "latitude", name), _numbers(found["longitude"], "longitude", name), names,
        value, level, error, np.array([_text(v) for v in found.get("station", np.full(n, ""))]),
        _numbers(found.get("elevation", np.full(n, np.nan)), "elevation", name), name,
    )  # fmt: skip


def from_soundings(soundings: Sequence[Sounding]) -> Observations:
    """The levels with pressure of soundings as observations of t, z, u, v, r and q.

    Humidity comes from the relative humidity where it is reported, else from the dew point's depression.

    Raises:
        InputError: for soundings without a position (files of derived parameters).
    """
    parts = []
    for sounding in soundings:
        if sounding.position is None:
            raise InputError(
                f"{sounding.station}: the file of derived parameters has no positions", "use the station's -data.txt"
            )
        latitude, longitude = sounding.position
        pressure = sounding.values("pressure") / 100
        temperature = sounding.values("temperature") + 273.15
        dew_point = temperature - sounding.values("depression")
        humidity = sounding.values("humidity")
        vapour = np.where(
            np.isnan(humidity), saturation_pressure(dew_point), humidity / 100 * saturation_pressure(temperature)
        )
        u, v = wind_components(sounding.values("direction"), sounding.values("speed"))
        columns = {
            "t": temperature,
            "z": sounding.values("height") * GRAVITY,
            "u": u,
            "v": v,
            "r": 100 * vapour / saturation_pressure(temperature),
            "q": specific_humidity(vapour, pressure * 100),
        }
        good = np.isfinite(pressure) & (pressure > 0)
        parts += [
            Observations.make(
                sounding.time, latitude, longitude, name, values[good], pressure[good], station=sounding.station
            )
            for name, values in columns.items()
        ]
    return Observations.join(parts)


def write_csv(path: Path, observations: Observations) -> None:
    """Writes observations as a table that `open_observations` reads."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS, "station", "elevation"])
        for row in _rows(observations):
            writer.writerow(row)


def write_netcdf(path: Path, observations: Observations) -> None:
    """Writes observations as netCDF, one dimension `observation`, that `open_observations` reads."""
    import xarray as xr

    columns = list(zip(*_rows(observations))) or [()] * 10
    numbers = {"latitude", "longitude", "level", "value", "error", "elevation"}
    data = xr.Dataset(attrs={"Conventions": "CF-1.11", "featureType": "point"})
    for name, column in zip([*COLUMNS, "station", "elevation"], columns):
        if name == "time":
            data[name] = ("observation", observations.time.astype("datetime64[ns]"))
        elif name in numbers:
            data[name] = ("observation", np.array([np.nan if v == "" else float(v) for v in column]))
        else:
            data[name] = ("observation", np.array([str(v) for v in column], dtype=object))
    data["level"].attrs = {"units": "hPa", "standard_name": "air_pressure"}
    data.to_netcdf(path)


def _rows(observations: Observations) -> list[list[str]]:
    o = observations

    def number(x: float) -> str:
        return "" if np.isnan(x) else repr(float(x))

    units = {str(n): known.units for n in np.unique(o.variable) if (known := quantity(str(n))) is not None}
    return [
        [
            str(o.time[i]), number(o.latitude[i]), number(o.longitude[i]), number(o.pressure[i]), str(o.variable[i]),
            number(o.value[i]), units[str(o.variable[i])], number(o.error[i]), str(o.station[i]), number(o.elevation[i]),
        ]
        for i in range(len(o))
    ]  # fmt: skip


def _text(value: Any) -> str:
    text = value.decode() if isinstance(value, bytes) else str(value)
    return "" if text.lower() in ("nan", "none") else text.strip()


def _numbers(values: np.ndarray, column: str, name: str) -> np.ndarray:
    if np.asarray(values).dtype.kind in "fiu":
        return np.asarray(values, np.float64).copy()
    made = np.empty(len(values))
    for i, value in enumerate(values):
        text = _text(value)
        try:
            made[i] = float(text) if text else np.nan
        except ValueError:
            raise InputError(f"{name}: row {i + 1}: {column} {text!r} is no number", "correct the table") from None
    return made


def _times(values: np.ndarray, name: str) -> np.ndarray:
    values = np.asarray(values)
    if values.dtype.kind == "M":
        return values.astype("datetime64[s]")
    made = np.empty(len(values), "datetime64[s]")
    for i, value in enumerate(values):
        text = _text(value).removesuffix("Z").removesuffix("+00:00").replace(" ", "T", 1)
        try:
            made[i] = np.datetime64(text, "s") if text else np.datetime64("NaT", "s")
        except ValueError:
            raise InputError(
                f"{name}: row {i + 1}: time {text!r} is no date (YYYY-MM-DDThh:mm)", "correct it"
            ) from None
    return made
