"""Radiosonde files of the Integrated Global Radiosonde Archive, version 2: soundings and derived parameters.

Both formats are lines of fixed columns, a header that begins with # and as many levels as it says. Numbers are kept as
the integers that stand in the file; -9999 (never there) and -8888 (removed by the archive's own checks) stay apart.

Source: NOAA NCEI, igra2-data-format.txt and igra2-derived-format.txt.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ornstein.core.errors import InputError

MISSING, REMOVED = -9999, -8888
MISSING_DERIVED = -99999

# name: (first column, last column), counted from 1 as the archive's documents do
HEADER = {
    "id": (2, 12), "year": (14, 17), "month": (19, 20), "day": (22, 23), "hour": (25, 26), "release": (28, 31),
    "levels": (33, 36), "pressure_source": (38, 45), "other_source": (47, 54), "latitude": (56, 62), "longitude": (64, 71),
}  # fmt: skip
LEVEL = {
    "major": (1, 1), "minor": (2, 2), "elapsed": (4, 8), "pressure": (10, 15), "height": (17, 21),
    "temperature": (23, 27), "humidity": (29, 33), "depression": (35, 39), "direction": (41, 45), "speed": (47, 51),
}  # fmt: skip
FLAGS = {"pressure_flag": (16, 16), "height_flag": (22, 22), "temperature_flag": (28, 28)}
_INDICES = [
    "precipitable_water",
    "inversion_pressure",
    "inversion_height",
    "inversion_difference",
    "mixed_pressure",
    "mixed_height",
    "freezing_pressure",
    "freezing_height",
    "lcl_pressure",
    "lcl_height",
    "lfc_pressure",
    "lfc_height",
    "lnb_pressure",
    "lnb_height",
    "lifted_index",
    "showalter_index",
    "k_index",
    "total_totals",
    "cape",
    "convective_inhibition",
]
DERIVED_HEADER = {
    "id": (2, 12), "year": (14, 17), "month": (19, 20), "day": (22, 23), "hour": (25, 26), "release": (28, 31),
    "levels": (33, 36),
    **{name: (38 + 6 * i, 43 + 6 * i) for i, name in enumerate(_INDICES)},
}  # fmt: skip
_DERIVED = [
    "pressure",
    "reported_height",
    "height",
    "temperature",
    "temperature_gradient",
    "potential_temperature",
    "potential_temperature_gradient",
    "virtual_temperature",
    "virtual_potential_temperature",
    "vapour_pressure",
    "saturation_vapour_pressure",
    "reported_humidity",
    "humidity",
    "humidity_gradient",
    "u",
    "u_gradient",
    "v",
    "v_gradient",
    "refractivity",
]
DERIVED_LEVEL = {name: (1 + 8 * i, 7 + 8 * i) for i, name in enumerate(_DERIVED)}
# What one step of the integers is, in SI units (pressure in Pa, humidity in %, direction in degrees).
SCALE = {
    "pressure": 1.0,
    "height": 1.0,
    "temperature": 0.1,
    "humidity": 0.1,
    "depression": 0.1,
    "direction": 1.0,
    "speed": 0.1,
}
DERIVED_SCALE = {
    "pressure": 1.0, "reported_height": 1.0, "height": 1.0, "temperature": 0.1, "temperature_gradient": 0.1,
    "potential_temperature": 0.1, "virtual_temperature": 0.1, "virtual_potential_temperature": 0.1,
    "vapour_pressure": 0.1, "saturation_vapour_pressure": 0.1, "reported_humidity": 0.1, "humidity": 0.1, "u": 0.1,
    "v": 0.1, "refractivity": 1.0,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Sounding:
    """One ascent.

    Args:
        header: the header's fields: text for `id` and the sources, integers (as in the file) for the others.
        levels: the columns of the levels, name to (levels,) int32 as in the file; flags are text, blank where not set.
        derived: whether it comes from a file of derived parameters.
    """

    header: dict[str, int | str]
    levels: dict[str, np.ndarray]
    derived: bool = False

    @property
    def station(self) -> str:
        return str(self.header["id"])

    @property
    def position(self) -> tuple[float, float] | None:
        """Latitude and longitude in degrees; None in derived files, which do not say, and for mobile stations' gaps."""
        if self.derived:
            return None
        latitude, longitude = int(self.header["latitude"]) / 1e4, int(self.header["longitude"]) / 1e4
        return (latitude, longitude) if abs(latitude) <= 90 and abs(longitude) <= 180 else None

    @property
    def time(self) -> np.datetime64:
        """When it stands for: the nominal hour, the balloon's release where that is 99, not-a-time where both are missing."""
        day = np.datetime64(f"{self.header['year']:04d}-{self.header['month']:02d}-{self.header['day']:02d}", "s")
        hour = int(self.header["hour"])
        return day + np.timedelta64(hour, "h") if hour != 99 else self.released

    @property
    def released(self) -> np.datetime64:
        """The balloon's release (its minute 0 where that is unknown); not-a-time where it is unknown.

        The date is that of the nominal hour: a release at 23 h for 0 h was the evening before.
        """
        day = np.datetime64(f"{self.header['year']:04d}-{self.header['month']:02d}-{self.header['day']:02d}", "s")
        hour, minute = divmod(int(self.header["release"]), 100)
        if hour == 99 or int(self.header["release"]) == MISSING:
            return np.datetime64("NaT", "s")
        nominal = int(self.header["hour"])
        before = nominal != 99 and hour - nominal > 12
        return day + np.timedelta64(hour - 24 * before, "h") + np.timedelta64(0 if minute == 99 else minute, "m")

    def values(self, name: str) -> np.ndarray:
        """A column in its units (Pa, m, degC, %, degrees, m/s; derived: K instead of degC), NaN where it has no value.

        Of derived files the temperatures are in K, vapour pressures in Pa, gradients per km.
        """
        raw = self.levels[name].astype(np.float64)
        scale = (DERIVED_SCALE if self.derived else SCALE).get(name, 1.0)
        gaps = raw == MISSING_DERIVED if self.derived else (raw == MISSING) | (raw == REMOVED)
        return np.where(gaps, np.nan, raw * scale)

    def removed(self, name: str) -> np.ndarray:
        """Where a value was there and the archive's quality assurance removed it, (levels,)."""
        return (self.levels[name] == REMOVED) & (not self.derived)


def is_igra(path: Path | str) -> bool:
    """Whether a file begins as IGRA files do."""
    try:
        with open(path, "rb") as file:
            return file.read(1) == b"#"
    except OSError:
        return False


def read_igra(path: Path | str) -> list[Sounding]:
    """All soundings of a file, of either kind: the headers' length tells which.

    Raises:
        InputError: for a file that is cut, or has other columns; it names the line.
    """
    try:
        lines = Path(path).read_text(encoding="ascii", errors="strict").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as an IGRA file: {error}") from None
    soundings, at = [], 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        if not lines[at].startswith("#"):
            raise InputError(f"{path}: line {at + 1} is no header, which begins with #", "is the file cut or edited?")
        derived = len(lines[at].rstrip()) > 100
        try:
            header = _header(lines[at], DERIVED_HEADER if derived else HEADER)
            count = int(header["levels"])
            rows = lines[at + 1 : at + 1 + count]
            if len(rows) < count or any(row.startswith("#") for row in rows):
                raise ValueError(f"{count} levels are announced, {len(rows)} lines follow")
            columns = {n: _integers(rows, where) for n, where in (DERIVED_LEVEL if derived else LEVEL).items()}
            flags = {} if derived else {n: _texts(rows, where) for n, where in FLAGS.items()}
        except ValueError as error:
            raise InputError(f"{path}: line {at + 1}: {error}", "is the file cut or edited?") from None
        soundings.append(Sounding(header, columns | flags, derived))
        at += 1 + count
    if not soundings:
        raise InputError(f"{path}: holds no sounding", "is the file whole?")
    return soundings


def read_stations(path: Path | str) -> dict[str, tuple[float, float, float]]:
    """The archive's station list (igra2-station-list.txt): latitude, longitude in degrees and elevation in m by identifier.

    Positions of mobile stations (-98.8888) and unknown elevations (-999.9) are NaN.
    """
    found = {}
    for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
        if len(line) >= 37:
            latitude, longitude, elevation = (float(line[a:b]) for a, b in ((12, 20), (21, 30), (31, 37)))
            found[line[:11].strip()] = (
                latitude if abs(latitude) <= 90 else np.nan,
                longitude if abs(longitude) <= 180 else np.nan,
                elevation if elevation > -900 else np.nan,
            )
    return found


def _header(line: str, columns: dict[str, tuple[int, int]]) -> dict[str, int | str]:
    header: dict[str, int | str] = {}
    for name, (first, last) in columns.items():
        text = line[first - 1 : last].strip()
        header[name] = text if name in ("id", "pressure_source", "other_source") else int(text)
    return header


def _integers(rows: list[str], where: tuple[int, int]) -> np.ndarray:
    first, last = where
    return np.array([int(row[first - 1 : last]) for row in rows], dtype=np.int32)


def _texts(rows: list[str], where: tuple[int, int]) -> np.ndarray:
    return np.array([row[where[0] - 1 : where[1]].strip() for row in rows], dtype="<U1")
