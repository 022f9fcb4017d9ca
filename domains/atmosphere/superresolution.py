"""Super-resolution of datasets: one block of times after the other, every variable with its prior, grid and observations."""

import contextlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ornstein.core.errors import InputError, TooLargeError
from ornstein.core.operators import LinearOperator, Stack
from ornstein.core.precision import autocast
from ornstein.datasets.field_files import check_values
from ornstein.datasets.fields import Grid, Layout, field_names, pressures
from ornstein.datasets.quantities import LAPSE_RATE, Quantity, convert, quantity
from ornstein.datasets.soundings import Observations
from ornstein.domains.atmosphere.archive import stamps_of
from ornstein.domains.atmosphere.background import Background
from ornstein.domains.atmosphere.baselines import interpolate
from ornstein.domains.atmosphere.climatology import from_file
from ornstein.domains.atmosphere.covariances import plane, spectrum_of_coarse
from ornstein.domains.atmosphere.observing import plausible
from ornstein.domains.atmosphere.operator import Coarsening, at_points
from ornstein.domains.atmosphere.prior import Backgrounds, Prior
from ornstein.domains.atmosphere.sampling import DENSE, Settings, ensemble, keep_bounds, posterior_mean, posterior_of

EXACT = 1e-3
"""The error of a coarse value that is given without one, in units of the background's deviation."""
NEARLY = 5e-3
"""The same where there are too many values for a matrix, and conjugate gradients have to converge."""


@dataclass(frozen=True)
class Options:
    """What a user asks for.

    Args:
        members: at least 1; 1 is the posterior mean.
        method: `diffusion`, or `optimal` interpolation (the same without the network), or plain interpolation.
        kind: what a coarse value is, the mean of its cell or the value at its centre.
        coarse_error: standard deviation of the coarse values in the fields' units, None where they are exact.
        steps: of the sampler.
        seed: of all noise.
        device, precision: of the computation.
        memory: bytes that may be taken, or None.
    """

    members: int = 16
    method: Literal["diffusion", "optimal", "bicubic", "bilinear"] = "diffusion"
    kind: Literal["mean", "point"] = "mean"
    coarse_error: float | None = None
    steps: int = 8
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "fp32"
    memory: int | None = None


@dataclass
class Account:
    """What happened on the way, summed over all blocks.

    Attributes:
        origins: of each variable's background.
        used, doubtful, outside: observations that were used, failed the background check, or lay outside.
        squares: sums of squares and counts by name: how far the coarse field and the observations moved the analysis, in
            units of the background's deviation, and how far the members' averages are from the coarse values.
    """

    origins: dict[str, str] = field(default_factory=dict)
    used: int = 0
    doubtful: int = 0
    outside: int = 0
    squares: dict[str, tuple[float, int]] = field(default_factory=dict)

    def add(self, name: str, values: Tensor) -> None:
        total, count = self.squares.get(name, (0.0, 0))
        self.squares[name] = (total + float(values.double().square().sum()), count + values.numel())

    def rms(self, name: str) -> float | None:
        """The root mean square of what was added under a name."""
        total, count = self.squares.get(name, (0.0, 0))
        return float(np.sqrt(total / count)) if count else None


class Superresolver:
    """Makes the fine fields of a coarse dataset, block by block; what one variable needs is made when it comes first.

    Args:
        prior: the model.
        data: the coarse dataset, lazy or not.
        fine: the grid wanted, in our order.
        options: see there.
        observations: of any variables and times, or None.
        climatology: a dataset with the variables' names, or None.
        static: a dataset with orography (geopotential or height) or None; its heights replace the model's terrain.
        name: of the input, for messages.

    Raises:
        InputError: for a dataset without fields.
    """

    def __init__(
        self,
        prior: Prior,
        data: xr.Dataset,
        fine: Grid,
        options: Options,
        observations: Observations | None = None,
        climatology: xr.Dataset | None = None,
        static: np.ndarray | None = None,
        name: str = "the input",
    ) -> None:
        self.prior, self.data, self.fine, self.options, self.name = prior, data, fine, options, name
        self.layout = Layout.of(data, name)
        self.names = field_names(data, self.layout.axes)
        if not self.names:
            raise InputError(f"{name}: no variable lies over latitude and longitude", "is it the right file?")
        if self.layout.axes.number is not None:
            raise InputError(
                f"{name}: it has an ensemble dimension already, {self.layout.axes.number}", "select one member first"
            )
        self.observations = None if observations is None else observations.merged()
        self.climatology, self.static = climatology, static
        self.hours, self.days, self.stamps = stamps_of(data, self.layout.axes.time, name)
        self.account = Account()
        self._backgrounds: dict[str, Backgrounds] = {}

    @property
    def kinds(self) -> dict[str, Quantity | None]:
        """What each field is, None where it is no known quantity."""
        return {n: quantity(n, str(self.data[n].attrs.get("standard_name", ""))) for n in self.names}

    def block(self, times: slice, progress: Callable[[], None] | None = None) -> dict[str, np.ndarray]:
        """The fine fields of some times: (members, times, channels, rows, columns) in the variables' own units, float32.

        Args:
            times: of the dataset; of a field without time, slice(0, 1).
            progress: called after each field.
        """
        made = {}
        time = self.layout.axes.time
        for name in self.names:
            timed = time is not None and time in self.data[name].dims
            here = self.data[name].isel({time: times}) if timed else self.data[name]
            try:
                coarse = self.layout.take(here)
            except (OSError, RuntimeError, KeyError) as error:
                raise InputError(f"{self.name}: {name} cannot be read: {error}", "is the file whole?") from error
            check_values(here, coarse, self.name)
            self._check_units(name, coarse)
            numbers = range(times.start, times.stop) if timed else [0]
            fields = []
            for number, values in zip(numbers, coarse):
                fields.append(self._field(name, values.astype(np.float64), number if timed or time is None else None))
                if progress is not None:
                    progress()
            made[name] = np.stack(fields, 1)
        return made

    def _field(self, name: str, coarse: np.ndarray, number: int | None) -> np.ndarray:
        """The members of one time, (members, channels, rows, columns)."""
        known, to_si, from_si = self._units(name)
        coarse = to_si(coarse)
        there = np.isfinite(coarse)
        operator = Coarsening.between(self.fine, self.layout.grid, self.options.kind, there)
        if self.options.method in ("bicubic", "bilinear"):
            filled = np.where(there, coarse, np.nanmean(coarse) if there.any() else 0.0)
            method: Any = self.options.method
            members = torch.from_numpy(interpolate(filled, self.layout.grid, self.fine, method))[None]
            self.account.origins[name] = "none: interpolation"
        elif not there.any():
            members = torch.zeros(self.options.members, len(coarse), *self.fine.shape, dtype=torch.float64)
        else:
            members = self._sampled(name, known, coarse, number, operator)
        low = None if known is None else known.low
        members = keep_bounds(members, low, operator if bool(operator.kept.any()) else None)
        if bool(operator.kept.any()):
            values = torch.from_numpy(coarse)[operator.kept]
            self.account.add(f"{name} consistency", operator.forward(members) - values)
        whole = from_si(members.numpy())
        if not there.all():
            cover = Coarsening.between(self.fine, self.layout.grid, "mean", there)
            shares = cover.adjoint(torch.ones(1, int(cover.kept.sum()), dtype=torch.float64))[0].numpy()
            whole = np.where(shares > 0, whole, np.nan)
        return whole.astype(np.float32)

    def _sampled(
        self, name: str, known: Quantity | None, coarse: np.ndarray, number: int | None, operator: Coarsening
    ) -> Tensor:
        options, device = self.options, self.options.device
        hour = float(self.hours[number]) if number is not None and len(self.hours) else None
        day = float(self.days[number]) if number is not None and len(self.days) else None
        backgrounds = self._made(name, known, coarse, operator)
        background = backgrounds.at(coarse, hour, self._expected(name, hour, day)).to(device)
        values = torch.from_numpy(coarse)[operator.kept]
        if options.coarse_error is None:
            own = (EXACT if len(values) <= DENSE else NEARLY) * float(background.deviation.mean())
        else:  # a field that is off by so much leaves at least so much unsaid
            own = self._error(name, known)
            background = replace(background, deviation=background.deviation.clamp(min=own))
        noise = torch.full_like(values, own)
        measured: LinearOperator = operator
        seen = self._observed(name, known, number, background, operator, values, noise, backgrounds)
        coarse_only = values, noise
        if seen is not None:
            points, more, errors = seen
            measured = Stack((operator, points), ((len(values),), (len(more),)))
            values, noise = torch.cat([values, more]), torch.cat([noise, errors])
        self._moved(background, operator, coarse_only, measured, (values, noise), seen is not None)
        network = self.prior.network if options.method == "diffusion" and known is not None else None
        features = None
        if network is not None:
            assert known is not None
            planes = self.prior.features(known.name, self.fine, hour, day, self.static)
            features = planes.expand(1, len(coarse), *planes.shape).to(device)
        calibration = backgrounds.calibration
        stamp = float(self.stamps[number]) if number is not None and len(self.stamps) else 0.0
        settings = Settings(
            options.members, options.steps,
            (options.seed * 1_000_003 + zlib.crc32((known.name if known else name).encode())) % 2**32, stamp,
            calibration.memory, calibration.strength, calibration.inflation,
            calibration.spread if network is not None else 1.0, self._batch(len(coarse), network is not None),
        )  # fmt: skip
        with autocast(self.options.device, self.options.precision):
            return ensemble(
                background, measured, values.to(device), noise.to(device), settings, network, features,
                self.fine.periodic,
            ).cpu()  # fmt: skip

    def _made(self, name: str, known: Quantity | None, coarse: np.ndarray, operator: Coarsening) -> Backgrounds:
        if name not in self._backgrounds:
            spectrum = None
            variable = known.name if known is not None else name
            if variable not in self.prior.variables:
                spectrum = spectrum_of_coarse(self._anomalies(name), self.layout.grid)
            made = Backgrounds(
                self.prior, variable, self.fine, self.layout.grid, operator, spectrum, self.static,
                use_regions=self.climatology is None,
            )  # fmt: skip
            self._backgrounds[name] = made
            self.account.origins[name] = made.origin + (
                "" if self.climatology is None else ", about the climatology given"
            )
        made = self._backgrounds[name]
        made.operator = operator  # what is missing differs from time to time
        return made

    def _anomalies(self, name: str) -> np.ndarray:
        """Up to 32 times of a coarse field about their planes, gaps as 0, (fields, rows, columns)."""
        here, time = self.data[name], self.layout.axes.time
        if time in here.dims:
            here = here.isel({time: np.unique(np.linspace(0, here.sizes[time] - 1, 32).astype(int))})
        fields = self.layout.take(here).reshape(-1, *self.layout.grid.shape).astype(np.float64)
        return np.stack([np.nan_to_num(f - plane(f)) for f in fields if np.isfinite(f).sum() > 3])

    def _expected(self, name: str, hour: float | None, day: float | None) -> np.ndarray | None:
        if self.climatology is None:
            return None
        month = (
            None
            if day is None
            else int(np.searchsorted([31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334], day, "right")) + 1
        )
        _, to_si, _ = self._units(name)
        return to_si(from_file(self.climatology, name, self.fine, hour, month))

    def _observed(
        self,
        name: str,
        known: Quantity | None,
        number: int | None,
        background: Background,
        operator: Coarsening,
        values: Tensor,
        noise: Tensor,
        backgrounds: Backgrounds,
    ) -> tuple[LinearOperator, Tensor, Tensor] | None:
        """The operator, values and errors of the observations of a field, those left out that the coarse field contradicts."""
        if self.observations is None or known is None:
            return None
        here = self.observations.of(known.name)
        if number is not None and len(self.stamps):
            stamps = (here.time - np.datetime64("1900-01-01")) / np.timedelta64(1, "h")
            step = float(np.median(np.diff(self.stamps))) if len(self.stamps) > 1 else 6.0
            nearest = np.abs(stamps[:, None] - self.stamps).argmin(1) if len(here) else np.empty(0, int)
            here = here.select((nearest == number) & (np.abs(stamps - self.stamps[number]) <= step / 2 + 1e-6))
        if not len(here):
            return None
        levels = pressures(self.data, self.layout.axes) if self._leveled(name) else None
        points, inside = at_points(
            self.fine, here.latitude, here.longitude, levels, here.pressure, channels=background.mean.shape[0]
        )
        self.account.outside += int((~inside).sum())
        here = here.select(inside)
        if not len(here):
            return None
        seen, errors = here.value.copy(), torch.from_numpy(here.error)
        heights = backgrounds.heights
        if known.name == "t2m" and heights is not None:
            model = points.forward(torch.from_numpy(heights)[None, None])[0].numpy()
            seen += np.where(np.isfinite(here.elevation), -LAPSE_RATE * (model - here.elevation), 0.0)
        good = plausible(background, operator, values, noise, points, torch.from_numpy(seen), errors)
        self.account.doubtful += int((~good).sum())
        self.account.used += int(good.sum())
        if not bool(good.any()):
            return None
        return (
            replace(points, index=points.index[good], weight=points.weight[good]),
            torch.from_numpy(seen)[good],
            errors[good],
        )

    def _moved(
        self,
        background: Background,
        operator: Coarsening,
        coarse: tuple[Tensor, Tensor],
        measured: LinearOperator,
        everything: tuple[Tensor, Tensor],
        observed: bool,
    ) -> None:
        """Notes how far each kind of measurement moves the analysis, where there are two kinds."""
        if not observed:
            return
        device = background.mean.device
        first, both = (
            posterior_mean(posterior_of(background, o, v.to(device), n.to(device)))
            for o, (v, n) in ((operator, coarse), (measured, everything))
        )
        self.account.add("moved by the coarse field", first)
        self.account.add("moved by observations", both - first)

    def _units(self, name: str) -> tuple[Quantity | None, Callable, Callable]:
        known, units = self.kinds[name], str(self.data[name].attrs.get("units", ""))
        if known is None or not units:
            return known, lambda x: x, lambda x: x
        try:
            convert(0.0, units, known.units)
        except InputError:  # a unit that we do not know is left alone, and so are its bounds
            return replace(known, low=None, usual=None), lambda x: x, lambda x: x
        return known, lambda x: convert(x, units, known.units), lambda x: convert(x, known.units, units)

    def _check_units(self, name: str, values: np.ndarray) -> None:
        """Raises: InputError for values that the quantity cannot have in the units that the file names."""
        known, to_si, _ = self._units(name)
        if known is None or known.usual is None:
            return
        low, high = float(to_si(np.nanmin(values))), float(to_si(np.nanmax(values)))
        if low < known.usual[0] or high > known.usual[1]:
            raise InputError(
                f"{self.name}: {name} from {low:.4g} to {high:.4g} {known.units} is implausible",
                "correct the attribute units, and mark missing values as NaN or by _FillValue",
            )

    def _error(self, name: str, known: Quantity | None) -> float:
        units = str(self.data[name].attrs.get("units", ""))
        error = float(self.options.coarse_error or 0.0)
        if known is None or not units:
            return error
        with contextlib.suppress(InputError):
            return float(convert(error, units, known.units, difference=True))
        return error

    def _leveled(self, name: str) -> bool:
        level = self.layout.axes.level
        others = {self.layout.axes.time, self.layout.axes.latitude, self.layout.axes.longitude}
        return level is not None and [d for d in self.data[name].dims if d not in others] == [level]

    def _batch(self, channels: int, network: bool) -> int:
        """Members at a time."""
        cells = channels * self.fine.shape[0] * self.fine.shape[1]
        each = cells * (8 * 24 + (4 * 600 if network else 0))
        memory = self.options.memory
        if memory is None:
            memory = 2_000_000_000
        if memory < each:
            raise TooLargeError(
                f"{self.name}: one member needs about {each / 1e9:.1f} GB, and {memory / 1e9:.1f} GB are left",
                "allow more memory, or cut the region into parts",
            )
        return max(1, min(self.options.members, int(memory // each)))
