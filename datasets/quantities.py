"""Quantities of the atmosphere: their names in files, their units and how these turn into each other, their bounds.

>>> quantity("2m_temperature").name, quantity("air_temperature").name
('t2m', 't')
>>> float(convert(10.0, "degC", "K"))
283.15
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ornstein.core.errors import InputError

GRAVITY = 9.80665
"""m / s^2, of the geopotential metre (WMO)."""
LAPSE_RATE = 0.0065
"""K / m, of the standard atmosphere below 11 km."""


@dataclass(frozen=True)
class Quantity:
    """What a variable is.

    Args:
        name: our name of it, the short name of ECMWF where it has one.
        units: its units here, SI.
        names: how files call it, in lower case.
        standard_names: the CF standard names that mean it.
        low: its physical lower bound in `units`, or None.
        usual: least and greatest value in `units` that a field of it can have on Earth, or None: what lies beyond has
            other units than it says, or an undeclared mark of missing values.
        error: standard deviation of a station's observation (near the surface, or at 850 hPa and below), in `units`.
        aloft: the same at 300 hPa and above; between them it changes with log pressure. By default like `error`.
    """

    name: str
    units: str
    names: tuple[str, ...]
    standard_names: tuple[str, ...] = ()
    low: float | None = None
    error: float = 1.0
    aloft: float | None = None
    usual: tuple[float, float] | None = None

    def default_error(self, pressure: npt.ArrayLike) -> np.ndarray:
        """The standard deviation at pressures in hPa (NaN: the surface), in `units`."""
        height = np.log(850 / np.nan_to_num(np.asarray(pressure, float), nan=1013.0)) / np.log(850 / 300)
        aloft = self.error if self.aloft is None else self.aloft
        return self.error + (aloft - self.error) * np.clip(height, 0, 1)


EARTHLY = (100.0, 400.0)
"""K, of surface temperatures: degrees Celsius that call themselves kelvin lie below."""

QUANTITIES = (
    Quantity("t2m", "K", ("t2m", "2t", "tas", "2m_temperature", "t2", "2m_air_temperature"), (), 0, 1.0, usual=EARTHLY),
    Quantity("d2m", "K", ("d2m", "2d", "tdps", "2m_dewpoint_temperature"), ("dew_point_temperature",), 0, 1.5, usual=EARTHLY),
    Quantity("t", "K", ("t", "ta", "temperature", "air_temperature", "temp", "temperature_isobaric"), ("air_temperature",), 0, 1.0, 0.7),
    Quantity("sst", "K", ("sst", "sea_surface_temperature", "tos"), ("sea_surface_temperature",), 0, 0.3, usual=EARTHLY),
    Quantity(
        "z", "m2 s-2", ("z", "geopotential", "gph", "zg", "hgt", "geopotential_height", "gh", "geopotential_height_isobaric"),
        ("geopotential", "geopotential_height"), None, 80.0, 250.0,
    ),
    Quantity("u", "m s-1", ("u", "ua", "u_component_of_wind", "uwnd", "u-component_of_wind_isobaric"), ("eastward_wind",), None, 1.8, 3.0),
    Quantity("v", "m s-1", ("v", "va", "v_component_of_wind", "vwnd", "v-component_of_wind_isobaric"), ("northward_wind",), None, 1.8, 3.0),
    Quantity("u10", "m s-1", ("u10", "10u", "uas", "10m_u_component_of_wind"), (), None, 1.8),
    Quantity("v10", "m s-1", ("v10", "10v", "vas", "10m_v_component_of_wind"), (), None, 1.8),
    Quantity("q", "kg kg-1", ("q", "hus", "huss", "specific_humidity", "sphum"), ("specific_humidity",), 0, 8e-4, 5e-5),
    Quantity("r", "%", ("r", "hur", "hurs", "rh", "relative_humidity", "relative_humidity_isobaric"), ("relative_humidity",), 0, 8.0, 15.0),
    Quantity(
        "tcwv", "kg m-2", ("tcwv", "tqv", "prw", "pwat", "total_column_water_vapour", "total_column_vertically_integrated_water_vapour"),
        ("atmosphere_mass_content_of_water_vapor", "lwe_thickness_of_atmosphere_mass_content_of_water_vapor"), 0, 2.0,
    ),
    Quantity("tp", "m", ("tp", "total_precipitation", "precip"), ("precipitation_amount", "lwe_thickness_of_precipitation_amount"), 0, 5e-4),
    Quantity("pr", "kg m-2 s-1", ("pr", "prate", "mtpr"), ("precipitation_flux",), 0, 1e-5),
    Quantity("msl", "Pa", ("msl", "psl", "mslp", "prmsl", "mean_sea_level_pressure"), ("air_pressure_at_mean_sea_level", "air_pressure_at_sea_level"), 0, 100.0),
    Quantity("sp", "Pa", ("sp", "ps", "surface_pressure"), ("surface_air_pressure",), 0, 100.0),
)  # fmt: skip

# Offset and factor to SI: SI = factor * (value + offset). A height becomes a geopotential.
UNITS: dict[str, tuple[str, float, float]] = {}
for _names, _kind, _offset, _factor in (
    ("k kelvin degk", "temperature", 0.0, 1.0),
    ("degc c celsius deg_c degree_celsius degrees_celsius °c", "temperature", 273.15, 1.0),
    ("degf f fahrenheit", "temperature", 459.67, 5 / 9),
    ("0.1degc tenths_of_degc", "temperature", 2731.5, 0.1),
    ("m2 s-2|m**2 s**-2|m2/s2|m^2/s^2|m^2 s^-2|m2s-2|j/kg|j kg-1", "geopotential", 0.0, 1.0),
    ("gpm", "geopotential", 0.0, GRAVITY),
    ("dam gpdm", "geopotential", 0.0, 10 * GRAVITY),
    ("m s-1|m s**-1|m/s|ms-1|m s^-1", "speed", 0.0, 1.0),
    ("knots kts knot kt", "speed", 0.0, 1852 / 3600),
    ("km/h km/hr", "speed", 0.0, 1 / 3.6),
    ("kg kg-1|kg kg**-1|kg/kg|kg kg^-1", "humidity", 0.0, 1.0),
    ("g kg-1|g kg**-1|g/kg", "humidity", 0.0, 1e-3),
    ("% percent", "percentage", 0.0, 1.0),
    ("kg m-2|kg m**-2|kg/m2|kg m^-2", "column", 0.0, 1.0),
    ("mm", "column", 0.0, 1.0),
    ("m metre meter metres meters", "length", 0.0, 1.0),
    ("kg m-2 s-1|kg m**-2 s**-1|mm/s|mm s-1", "flux", 0.0, 1.0),
    ("mm/day|mm d-1|mm day-1", "flux", 0.0, 1 / 86400),
    ("pa pascal", "pressure", 0.0, 1.0),
    ("hpa mb mbar millibar millibars", "pressure", 0.0, 100.0),
):
    for _name in _names.split("|") if "|" in _names else _names.split():
        UNITS[_name] = (_kind, _offset, _factor)

# Pairs of kinds that mean the same for one quantity: what one of the first is in the second.
_BRIDGES = {
    ("length", "geopotential"): GRAVITY,
    ("geopotential", "length"): 1 / GRAVITY,
    ("length", "column"): 1000.0,  # metres of water
    ("column", "length"): 1e-3,
    ("dimensionless", "percentage"): 100.0,
    ("percentage", "dimensionless"): 0.01,
    ("dimensionless", "humidity"): 1.0,
    ("humidity", "dimensionless"): 1.0,
}


def quantity(name: str, standard_name: str = "") -> Quantity | None:
    """The quantity that a variable of this name (or CF standard name) is, or None.

    The name decides before the standard name: t2m and t share one.
    """
    key = name.lower()
    for one in QUANTITIES:
        if key in one.names or key == one.name:
            return one
    wanted = standard_name or key
    return next((one for one in QUANTITIES if wanted in one.standard_names), None)


def convert(values: npt.ArrayLike, units: str, wanted: str, difference: bool = False) -> np.ndarray:
    """Values in other units; a height in metres becomes a geopotential (and back) by g = 9.80665 m / s^2.

    Args:
        values: of any shape.
        units, wanted: as files spell them.
        difference: whether the values are differences (errors, deviations): offsets do not count.

    Raises:
        InputError: for units that are unknown, or not of one kind.
    """
    array = np.asarray(values, dtype=np.float64)
    if _spelling(units) == _spelling(wanted):
        return array
    (kind, offset, factor), (kind_to, offset_to, factor_to) = _unit(units), _unit(wanted)
    bridge = 1.0 if kind == kind_to else _BRIDGES.get((kind, kind_to))
    if bridge is None:
        raise InputError(f"units {units!r} do not turn into {wanted!r}", "correct the units, or convert the values")
    if difference:
        offset = offset_to = 0.0
    return factor * (array + offset) * bridge / factor_to - offset_to


def _spelling(units: str) -> str:
    return " ".join(units.strip().lower().split())


def _unit(units: str) -> tuple[str, float, float]:
    text = _spelling(units)
    if text in ("1", "", "dimensionless", "(0 - 1)", "fraction"):
        return ("dimensionless", 0.0, 1.0)
    if text not in UNITS:
        raise InputError(f"units {units!r} are unknown", "give SI units, degC, hPa, knots, g/kg, % or gpm")
    return UNITS[text]


def specific_humidity(vapour_pressure: npt.ArrayLike, pressure: npt.ArrayLike) -> np.ndarray:
    """q = 0.622 e / (p - 0.378 e) in kg / kg, from the vapour pressure e and the pressure p in the same units."""
    e, p = np.asarray(vapour_pressure, float), np.asarray(pressure, float)
    return 0.622 * e / (p - 0.378 * e)


def saturation_pressure(temperature: npt.ArrayLike) -> np.ndarray:
    """The saturation vapour pressure over water in Pa, 611.2 exp(17.67 T / (T + 243.5)), for T in K (in it, degC).

    Source: Bolton (1980), The computation of equivalent potential temperature, Monthly Weather Review 108, eq. 10.
    """
    celsius = np.asarray(temperature, float) - 273.15
    return 611.2 * np.exp(17.67 * celsius / (celsius + 243.5))


def wind_components(direction: npt.ArrayLike, speed: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Eastward and northward components (u, v) of a wind that blows FROM a direction in degrees east of north."""
    angle = np.deg2rad(np.asarray(direction, float))
    speed = np.asarray(speed, float)
    return -speed * np.sin(angle), -speed * np.cos(angle)
