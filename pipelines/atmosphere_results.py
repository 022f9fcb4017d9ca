"""What the atmosphere's pipelines give back: fine and coarse fields, made block by block while they are written."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ornstein.pipelines import outputs
from ornstein.pipelines.results import Result

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

    from ornstein.datasets.fields import Axes, Layout
    from ornstein.datasets.soundings import Observations
    from ornstein.domains.atmosphere.superresolution import Superresolver
    from ornstein.pipelines.report import Report

CELLS = 8_000_000
"""Fine values (with members) that a block of times has at most, where it has more than one time."""


class _Fields(Result):
    """Fields that are made in blocks of times."""

    def _blocks(self) -> "Iterator[xr.Dataset]":
        raise NotImplementedError

    _time: str | None = None

    @property
    def dataset(self) -> "xr.Dataset":
        """All fields in memory."""
        import xarray as xr

        blocks = list(self._blocks())
        if len(blocks) == 1:
            return blocks[0]
        return xr.concat(
            blocks, dim=self._time, data_vars="minimal", coords="minimal", compat="override", join="override"
        )

    def _history(self) -> str:
        from ornstein import __version__

        command = self.provenance.command if self.provenance is not None else "ornstein"
        return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {command} (ornstein {__version__})"


class FineFields(_Fields):
    """An ensemble of fine fields.

    Attributes:
        dataset: all of it in memory, as xarray has it.
    """

    title = "Atmospheric super-resolution"

    def __init__(
        self,
        made: "Superresolver",
        fine: "Layout",
        coordinates: "xr.Dataset | None",
        keep: str,
        members_as: str,
        progress: Callable[[float, float], None] | None,
    ) -> None:
        super().__init__()
        self._made, self._fine, self._coordinates = made, fine, coordinates
        self._keep, self._members_as, self._progress = keep, members_as, progress
        self._time = made.layout.axes.time
        self._members = made.options.members
        self._excerpt: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        cells = fine.grid.shape[0] * fine.grid.shape[1]
        self.measures = {
            "members": self._members,
            "rows": fine.grid.shape[0],
            "columns": fine.grid.shape[1],
            "cells": cells,
        }

    def write(self, path: Path) -> None:
        from ornstein.datasets.field_files import write_fields

        if self._members_as == "dimension" or self._members == 1:
            write_fields(path, self._blocks(), self._time)
            return
        folder = path.parent
        # One pass: the members go to a store of their own, from which each file is read.
        import tempfile

        import xarray as xr

        with tempfile.TemporaryDirectory(prefix=".members.", dir=folder.parent) as hidden:
            whole = Path(hidden) / "members.zarr"
            write_fields(whole, self._blocks("all"), self._time)
            with xr.open_zarr(whole, decode_timedelta=False) as data:
                for i in range(self._members):
                    one = data.isel(number=i)
                    write_fields(outputs.sibling(path, f"member-{i + 1}"), self._in_blocks(one), self._time)
                write_fields(path, self._in_blocks(self._summary(data)), self._time)

    def describe(self, report: "Report") -> None:
        from ornstein.pipelines.atmosphere_pictures import maps, spectra

        if not self._excerpt:
            next(self._blocks())
        for name, (coarse, members) in list(self._excerpt.items())[:4]:
            attributes = self._made.data[name].attrs
            units = str(attributes.get("units", ""))
            report.section(str(attributes.get("long_name", name)))
            shown = "the coarse field and the analysis"
            if len(members) > 1:
                shown = (
                    f"the coarse field, the mean of {len(members)} members, one of them, and their standard deviation"
                )
            report.picture(
                maps(coarse, members, self._made.layout.grid, self._fine.grid, units),
                f"{name} at the first time: {shown}.",
            )
            if min(members.shape[-2:]) >= 8:
                report.picture(
                    spectra(coarse, members, self._made.layout.grid, self._fine.grid),
                    "Power over wavelength: the coarse field, the members, and their mean.",
                )
        account = self._made.account
        report.section("What it rests on").table(account.origins)
        moved = {n: account.rms(n) for n in ("moved by the coarse field", "moved by observations")}
        if moved["moved by observations"] is not None:
            report.table({f"{n} (in deviations of the background)": v for n, v in moved.items()})

    def _summary(self, data: "xr.Dataset") -> "xr.Dataset":
        """Mean and deviation over the members."""
        made = data.drop_vars([n for n in ("number",) if n in data.coords])
        for name in self._made.names:
            field = data[name]
            mean, std = field.mean("number", keep_attrs=True), field.std("number", ddof=1, keep_attrs=True)
            made[name] = mean.astype("float32")
            label = str(field.attrs.get("long_name", name))
            std.attrs = {
                k: v for k, v in field.attrs.items() if k in ("units", "grid_mapping")
            } | {"long_name": f"standard deviation of {label} over members"}  # fmt: skip
            made[f"{name}_std"] = std.astype("float32")
        return made

    def _in_blocks(self, data: "xr.Dataset") -> "Iterator[xr.Dataset]":
        from ornstein.datasets.field_files import finish, time_blocks
        from ornstein.datasets.fields import find_axes

        for times in time_blocks(data, find_axes(data), CELLS):
            part = data.isel({self._time: times}) if self._time in data.dims else data
            part = part.load()
            for name in part.variables:
                part[name].encoding = dict(self._encodings.get(str(name), {}))
            yield finish(part)

    def _blocks(self, keep: str | None = None) -> "Iterator[xr.Dataset]":
        from ornstein.datasets.field_files import time_blocks

        made = self._made
        total = self._count()
        done = 0

        def tick() -> None:
            nonlocal done
            done += 1
            if self._progress is not None:
                self._progress(done, total)

        ratio = max(
            1,
            self._fine.grid.shape[0]
            * self._fine.grid.shape[1]
            // max(1, made.layout.grid.shape[0] * made.layout.grid.shape[1]),
        )
        for times in time_blocks(made.data, made.layout.axes, max(1, CELLS // (ratio * self._members))):
            block = self._assembled(made.block(times, tick), times)
            if self._members > 1 and (keep or self._keep) == "mean,std":
                block = self._summary(block)
            self._encodings = {str(n): dict(block[n].encoding) for n in block.variables}
            from ornstein.datasets.field_files import finish

            yield finish(block)
        self._tell()

    def _count(self) -> int:
        data, time = self._made.data, self._time
        return sum(data.sizes[time] if time is not None and time in data[n].dims else 1 for n in self._made.names)

    def _assembled(self, fields: "dict[str, np.ndarray]", times: slice) -> "xr.Dataset":
        import numpy as np

        from ornstein.datasets.fields import with_history

        made, fine = self._made, self._fine
        axes, source = made.layout.axes, made.data
        part = source.isel({axes.time: times}) if axes.time is not None else source
        several = self._members if self._members > 1 else None
        variables = {}
        for name in made.names:
            values = fields[name] if several else fields[name][0]
            variables[name] = made.layout.put(values, part[name], fine, several)
            variables[name].encoding = dict(source[name].encoding)
            first = fields[name][:, 0]
            if name not in self._excerpt:
                coarse = made.layout.take(
                    part[name].isel({axes.time: slice(0, 1)}) if axes.time in part[name].dims else part[name]
                )
                self._excerpt[name] = (coarse[0, 0], first[:, 0])
        # Also where the input says which member it was: it is several now.
        data = _beside(part, axes, {*made.names, *(["number"] if several else [])})
        if self._coordinates is None:
            places = fine.coordinates(source, made.layout)
        else:
            places = {n: self._coordinates[n] for n in (axes.latitude, axes.longitude)}
        data = data.assign_coords(places)
        for name, field in variables.items():
            data[name] = field.variable
            data[name].encoding = field.encoding
        if several:
            about = {"standard_name": "realization", "long_name": "ensemble member", "units": "1", "axis": "E"}
            data = data.assign_coords(number=("number", np.arange(several, dtype=np.int32), about))
        data.attrs = with_history(dict(source.attrs), self._history())
        if self.warnings:
            data.attrs["comment_ornstein"] = "; ".join(self.warnings)
        return data

    def _tell(self) -> None:
        account = self._made.account
        for name in self._made.names:
            self.measures[f"{name}_coarse_consistency"] = account.rms(f"{name} consistency")
        if self._made.observations is not None:
            self.measures |= {
                "observations_used": account.used,
                "observations_rejected": account.doubtful,
                "observations_outside": account.outside,
                "moved_by_coarse_field": account.rms("moved by the coarse field"),
                "moved_by_observations": account.rms("moved by observations"),
            }
            if not account.used:
                text = "no observation lies in the fields' places, levels and times, so none was used"
                if account.doubtful:
                    text = (
                        "every observation in the fields' places, levels and times is far from them, so none was used"
                    )
                if text not in self.warnings:
                    self.warnings.append(text)


class CoarseFields(_Fields):
    """Coarse fields, and observations, of fine ones."""

    title = "Simulated coarse fields"

    def __init__(
        self,
        data: "xr.Dataset",
        name: str,
        options: dict[str, Any],
        observations: str | None,
        progress: Callable[[float, float], None] | None,
    ) -> None:
        from ornstein.core.errors import InputError
        from ornstein.datasets.fields import Layout, field_names

        super().__init__()
        self._data, self._name, self._options, self._target = data, name, options, observations
        self._layout = Layout.of(data, name)
        self._time = self._layout.axes.time
        self._progress = progress
        self._names = field_names(data, self._layout.axes)
        if not self._names:
            raise InputError(f"{name}: no variable lies over latitude and longitude", "is it the right file?")
        coarse = self._layout.grid.coarsen(options["factor"])
        left = [n - m * options["factor"] for n, m in zip(self._layout.grid.shape, coarse.shape)]
        if any(left):
            self.warnings.append(
                f"{left[0]} rows in the north and {left[1]} columns in the east make no whole block and were cut"
            )
        if observations is not None:
            self.further = {outputs.check_target(observations, (".csv", ".nc"), overwrite=True): (".csv", ".nc")}
        self.measures = {"rows": coarse.shape[0], "columns": coarse.shape[1], "observations": 0}
        self._shown: tuple[np.ndarray, np.ndarray] | None = None
        self._seen: list[Observations] = []

    def write(self, path: Path) -> None:
        from ornstein.datasets.field_files import write_fields
        from ornstein.datasets.soundings import Observations, write_csv, write_netcdf

        write_fields(path, self._blocks(), self._time)
        if self._target is not None:
            place = Path(self._target)
            with outputs.staged(place, overwrite=True) as staging:
                (write_csv if place.suffix == ".csv" else write_netcdf)(staging, Observations.join(self._seen))

    def describe(self, report: "Report") -> None:
        from ornstein.pipelines.atmosphere_pictures import pair

        if self._shown is None:
            next(self._blocks())
        assert self._shown is not None
        report.section("The fields").picture(
            pair(*self._shown, self._layout.grid, self._layout.grid.coarsen(self._options["factor"])),
            "The first field, fine and coarse.",
        )

    def _blocks(self) -> "Iterator[xr.Dataset]":

        from ornstein.datasets.field_files import finish, time_blocks
        from ornstein.datasets.fields import with_history
        from ornstein.domains.atmosphere.simulation import coarsened

        data, axes, o = self._data, self._layout.axes, self._options
        self._seen = []
        total = data.sizes[axes.time] if axes.time is not None else 1
        for times in time_blocks(data, axes, CELLS):
            fields, coarse = coarsened(data, o["factor"], o["coarse"], times, self._name)
            part = data.isel({axes.time: times}) if axes.time is not None else data
            made = _beside(part, axes, set(self._names))
            made = made.assign_coords(coarse.coordinates(data, self._layout))
            for name, values in fields.items():
                field = self._layout.put(values.astype("float32"), part[name], coarse)
                made[name] = field.variable
                made[name].encoding = dict(data[name].encoding)
            made.attrs = with_history(dict(data.attrs), self._history())
            if self._shown is None:
                name = self._names[0]
                first = part[name].isel({axes.time: slice(0, 1)}) if axes.time in part[name].dims else part[name]
                self._shown = (self._layout.take(first)[0, 0], fields[name][0, 0])
            if self._target is not None:
                self._seen.append(self._observe(part))
                self.measures["observations"] = sum(len(s) for s in self._seen)
            if self._progress is not None:
                self._progress(times.stop, total)
            yield finish(made)

    def _observe(self, part: "xr.Dataset") -> "Observations":
        """Every known variable at the stations of a block, with noise."""
        import numpy as np

        from ornstein.core.errors import InputError
        from ornstein.datasets.fields import pressures
        from ornstein.datasets.quantities import convert, quantity
        from ornstein.datasets.soundings import Observations

        grid, axes = self._layout.grid, self._layout.axes
        random = np.random.default_rng([self._options["seed"], 1])
        count = min(self._options["stations"], grid.shape[0] * grid.shape[1])
        cells = random.choice(grid.shape[0] * grid.shape[1], count, replace=False)
        row, column = np.unravel_index(cells, grid.shape)
        parts = []
        levels = pressures(part, axes)
        for name in self._names:
            known = quantity(name, str(part[name].attrs.get("standard_name", "")))
            if known is None:
                continue
            units = str(part[name].attrs.get("units", "")) or known.units
            values = self._layout.take(part[name])[..., row, column]
            there = (
                [axes.time] if axes.time in part[name].dims else [n for n in ("valid_time", "time") if n in part.coords]
            )
            stamps = [*np.atleast_1d(part[there[0]].values)] if there else [np.datetime64("1970-01-01")]
            for stamp, rows in zip(stamps, values):
                for channel, seen in enumerate(rows):
                    pressure = levels[channel] if levels is not None and len(levels) == len(rows) else np.nan
                    try:
                        when = np.datetime64(str(stamp)[:19], "s")
                    except ValueError:
                        raise InputError(
                            f"{self._name}: the time {stamp} is of a calendar that observations lack"
                        ) from None
                    noisy = np.random.default_rng([self._options["seed"], 2, abs(int(when.astype(int))), channel])
                    seen = seen + self._options["error"] * noisy.standard_normal(len(seen))
                    parts.append(
                        Observations.make(
                            when, grid.latitudes[row], (grid.longitudes[column] + 180) % 360 - 180, known.name,
                            convert(seen, units, known.units), pressure,
                            max(float(convert(self._options["error"], units, known.units, difference=True)), 1e-6),
                            np.array([f"station-{i + 1}" for i in range(count)]),
                        )
                    )  # fmt: skip
        if not parts:
            raise InputError(f"{self._name}: holds no quantity that observations know", "name it as ECMWF or CF do")
        return Observations.join(parts)


def _beside(part: "xr.Dataset", axes: "Axes", taken: set[str]) -> "xr.Dataset":
    """What a dataset holds beside its fields: all that does not lie over latitude or longitude."""
    import xarray as xr

    horizontal = {axes.latitude, axes.longitude}
    kept = [n for n, v in part.variables.items() if not horizontal & set(map(str, v.dims)) and str(n) not in taken]
    # As variables: an array would bring all of its coordinates along.
    return xr.Dataset(
        {n: part.variables[n].load() for n in kept if n in part.data_vars},
        {n: part.variables[n].load() for n in kept if n in part.coords},
    )
