"""Files of gridded fields: netCDF, GRIB and zarr read lazily, netCDF and zarr written block by block over time."""

import itertools
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ornstein.core.errors import InputError
from ornstein.datasets.fields import Axes, Grid, encoding_for, field_names, find_axes

READ = (".nc", ".nc4", ".cdf", ".grib", ".grb", ".grib2", ".grb2", ".zarr")
WRITTEN = (".nc", ".zarr")


def open_fields(source: Any) -> xr.Dataset:
    """A dataset from a file or an xarray object, its values not loaded yet.

    Args:
        source: a netCDF or GRIB file, a zarr folder, a `Dataset` or a named `DataArray`.

    Raises:
        InputError: for a file that cannot be read as what its name says.
    """
    if isinstance(source, xr.Dataset):
        return source
    if isinstance(source, xr.DataArray):
        return source.to_dataset(name=source.name or "field")
    path = Path(source)
    if not path.exists():
        raise InputError(f"{path}: no such file", "is the name right?")
    suffix = path.suffix.lower()
    if suffix not in READ:
        raise InputError(f"{path}: {suffix or 'no suffix'} is not a kind of field", f"wanted {', '.join(READ)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if suffix == ".zarr":
                data = xr.open_zarr(path, chunks=None)
            elif suffix in (".nc", ".nc4", ".cdf"):
                data = xr.open_dataset(path, decode_timedelta=False)
            else:
                data = _open_grib(path)
    except ModuleNotFoundError:
        raise
    except Exception as error:  # each of the libraries has errors of its own
        # xarray's own advice, which installation to choose and which argument to give, is none for a user of files.
        text = " ".join(str(error).split()).split(" Consider explicitly")[0][:160].rstrip(".")
        kind = {".zarr": "zarr"}.get(suffix, "GRIB" if suffix.startswith(".gr") else "netCDF")
        raise InputError(
            f"{path}: cannot be read as {kind}: {text}", "is the file whole, and what its name says?"
        ) from error
    if not data.data_vars:
        raise InputError(f"{path}: holds no variables", "is the file whole?")
    return data


def _open_grib(path: Path) -> xr.Dataset:
    """A GRIB file; where messages of several kinds of level are mixed, all that fits on one grid in one dataset."""
    import cfgrib

    options = {"indexpath": ""}  # no index file is left beside the user's
    try:
        return xr.open_dataset(path, engine="cfgrib", backend_kwargs=options, decode_timedelta=False)
    except cfgrib.DatasetBuildError:
        parts = cfgrib.open_datasets(str(path), indexpath="")
        scalars = ("heightAboveGround", "surface", "meanSea", "step", "valid_time", "number")
        parts = [p.drop_vars([n for n in scalars if n in p.coords and n not in p.dims]) for p in parts]
        return xr.merge(parts, compat="override", join="outer")


def check_values(field: xr.DataArray, values: np.ndarray, name: str) -> None:
    """Raises: InputError for infinite values, and where nothing but missing values is."""
    if np.isinf(values).any():
        raise InputError(f"{name}: {field.name} holds infinite values", "repair them, or mark them as missing")
    if not np.isfinite(values).any():
        raise InputError(f"{name}: {field.name} holds nothing but missing values", "leave the variable out")


def time_blocks(data: xr.Dataset, axes: Axes, cells: int = 4_000_000) -> Iterator[slice]:
    """Slices of time whose fields have about so many values together; one slice where there is no time."""
    if axes.time is None:
        yield slice(0, 1)
        return
    names = field_names(data, axes)
    each = sum(data[n].size // (data.sizes[axes.time] if axes.time in data[n].dims else 1) for n in names)
    step = max(1, cells // max(each, 1))
    for start in range(0, data.sizes[axes.time], step):
        yield slice(start, min(start + step, data.sizes[axes.time]))


def write_fields(path: Path, blocks: Iterable[xr.Dataset], time: str | None) -> None:
    """Writes datasets that follow each other in time as one netCDF file or zarr folder, one block in memory at a time."""
    blocks = iter(blocks)
    first = next(blocks)
    rest = list(itertools.islice(blocks, 1))
    if path.suffix.lower() == ".zarr":
        _to_zarr(path, itertools.chain([first], rest, blocks), time)
    elif not rest:
        first.to_netcdf(path, unlimited_dims=[time] if time in first.dims else None)
    else:
        # netCDF libraries do not append through xarray: zarr does, and is copied chunk by chunk.
        folder = Path(tempfile.mkdtemp(prefix=".blocks.", dir=path.parent.parent))
        try:
            _to_zarr(folder / "all.zarr", itertools.chain([first], rest, blocks), time)
            with xr.open_zarr(folder / "all.zarr", decode_timedelta=False) as whole:
                for name in whole.variables:
                    like = first.variables[name]
                    whole[name].encoding = {k: v for k, v in like.encoding.items() if k not in ("chunks", "shards")}
                    if name in first.data_vars and "_FillValue" not in whole[name].encoding and like.dtype.kind == "f":
                        whole[name].encoding["_FillValue"] = np.nan
                whole.to_netcdf(path, unlimited_dims=[time] if time in whole.dims else None)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _to_zarr(path: Path, blocks: Iterable[xr.Dataset], time: str | None) -> None:
    for number, block in enumerate(blocks):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # zarr 3 warns of types and metadata without a specification
            if number == 0:
                block.to_zarr(path, mode="w", consolidated=True)
            else:
                block.drop_vars([n for n, v in block.variables.items() if time not in v.dims]).to_zarr(
                    path, mode="a", append_dim=time, consolidated=True
                )


def finish(data: xr.Dataset) -> xr.Dataset:
    """The dataset ready to be written: stale encodings are gone, coordinates keep theirs where it still holds."""
    axes = find_axes(data)
    for name in field_names(data, axes):
        data[name].encoding = encoding_for(data[name])
    return data


def read_grid(path: Path | str) -> tuple[Grid, xr.Dataset]:
    """The grid of a file of fields, or of a cdo grid description (`gridtype = lonlat` with xfirst, xinc, yfirst, yinc,
    or with xvals, yvals), and a dataset that holds its coordinates in its order.

    Raises:
        InputError: for a file that has no regular latitude-longitude grid.
    """
    from ornstein.datasets.fields import Layout

    path = Path(path)
    if path.suffix.lower() in READ:
        data = open_fields(path)
        axes = find_axes(data, str(path))
        data = data[[axes.latitude, axes.longitude]]
    else:
        data = _described(path)
    return Layout.of(data, str(path)).grid, data


def _described(path: Path) -> xr.Dataset:
    """A cdo grid description as a dataset of coordinates. Source: the manual of CDO, section 1.5.2.4."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a grid description: {error}") from None
    fields: dict[str, str] = {}
    last = ""
    for line in text.splitlines():
        line = line.partition("#")[0]
        name, equals, value = line.partition("=")
        if equals:
            last = name.strip().lower()
            fields[last] = value.strip()
        elif last and line.strip():
            fields[last] += " " + line.strip()
    if fields.get("gridtype", "lonlat").strip("'\"") not in ("lonlat", "gaussian"):
        raise InputError(f"{path}: gridtype is {fields['gridtype']}", "wanted lonlat")
    try:
        axes = []
        for letter in "yx":
            if f"{letter}vals" in fields:
                axes.append(np.array([float(v) for v in fields[f"{letter}vals"].replace(",", " ").split()]))
            else:
                first, step = float(fields[f"{letter}first"]), float(fields[f"{letter}inc"])
                axes.append(first + step * np.arange(int(fields[f"{letter}size"])))
    except (KeyError, ValueError) as error:
        raise InputError(
            f"{path}: not a lonlat grid description: {error}", "give xsize, xfirst, xinc, ysize, ..."
        ) from None
    units = {"lat": "degrees_north", "lon": "degrees_east"}
    return xr.Dataset(coords={n: (n, v, {"units": units[n]}) for n, v in zip(("lat", "lon"), axes)})
