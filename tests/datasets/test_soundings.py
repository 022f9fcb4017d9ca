"""Radiosonde and station files are read to the last column, and observations keep their units and errors."""

import io

import numpy as np
import pandas as pd
import pytest

from ornstein.core.errors import InputError
from ornstein.datasets import igra
from ornstein.datasets.igra import read_igra, read_stations
from ornstein.datasets.quantities import convert, quantity, specific_humidity, wind_components
from ornstein.datasets.soundings import Observations, from_columns, open_observations, write_csv, write_netcdf

FILES = ("igra_OAX_2025030812.txt", "igra_OAX_ytd.txt", "USM00070026-data.txt", "USM00070026-drvd.txt")

ONE = "\n".join(
    [
        "#USM00072558 2025 03 08 99 1110    3          ncdc-nws  413200  -963669",
        "21     0  97904B-8888   -44B  880    17   286    21 ",
        "10   122  92500   803B   -4B-9999   203   242    38 ",
        "30 -9999  -9999  1000 -8888 -9999 -9999 -9999 -9999 ",
        "",
    ]
)


@pytest.mark.parametrize("name", FILES)
def test_every_column_of_every_real_file_is_exact(shared_data, name):
    """An independent reader of fixed columns finds the same numbers in all lines of all files."""
    path = shared_data / "geo" / name
    soundings = read_igra(path)
    lines = path.read_text().splitlines()
    heads = [line for line in lines if line.startswith("#")]
    body = [line for line in lines if line and not line.startswith("#")]
    derived = soundings[0].derived
    assert derived == name.endswith("drvd.txt")
    for columns, rows, found in (
        (
            igra.DERIVED_LEVEL if derived else igra.LEVEL,
            body,
            lambda n: np.concatenate([s.levels[n] for s in soundings]),
        ),
        (igra.DERIVED_HEADER if derived else igra.HEADER, heads, lambda n: np.array([s.header[n] for s in soundings])),
    ):
        table = pd.read_fwf(
            io.StringIO("\n".join(rows)), colspecs=[(a - 1, b) for a, b in columns.values()], names=list(columns),
            header=None, dtype=str, keep_default_na=False,
        )  # fmt: skip
        for column in columns:
            ours = found(column)
            wanted = table[column].to_numpy()
            np.testing.assert_array_equal(
                ours, wanted if ours.dtype.kind == "U" else wanted.astype(int), err_msg=column
            )
    # Nothing of a line stands outside the columns, but the flags and blanks between.
    spare = set(range(1, 52)) - {c for a, b in [*igra.LEVEL.values(), *igra.FLAGS.values()] for c in range(a, b + 1)}
    if not derived:
        assert all(line[c - 1 : c].strip() == "" for line in body for c in spare)


def test_missing_removed_and_blank_stay_apart(tmp_path):
    (tmp_path / "x.txt").write_text(ONE)
    (sounding,) = read_igra(tmp_path / "x.txt")
    assert sounding.header["pressure_source"] == "" and sounding.header["other_source"] == "ncdc-nws"
    assert sounding.removed("height").tolist() == [True, False, False]
    assert sounding.removed("temperature").tolist() == [False, False, True]
    assert np.isnan(sounding.values("pressure")).tolist() == [False, False, True]
    assert sounding.levels["pressure_flag"].tolist() == ["B", "", ""]
    assert sounding.values("temperature")[0] == pytest.approx(-4.4)
    assert sounding.position == (41.32, -96.3669)


@pytest.mark.parametrize(
    ("hour", "release", "time"),
    [
        ("12", "1110", "2025-03-08T12:00"),
        ("99", "1110", "2025-03-08T11:10"),
        ("99", "1199", "2025-03-08T11:00"),
        ("99", "9999", "NaT"),
    ],
)
def test_hour_99_falls_back_to_the_release(tmp_path, hour, release, time):
    (tmp_path / "x.txt").write_text(ONE.replace("08 99 1110", f"08 {hour} {release}"))
    found = read_igra(tmp_path / "x.txt")[0].time
    assert np.array_equal(found, np.datetime64(time, "s"), equal_nan=True)


def test_a_release_before_midnight_belongs_to_the_day_before(tmp_path):
    (tmp_path / "x.txt").write_text(ONE.replace("08 99 1110", "08 00 2303"))
    sounding = read_igra(tmp_path / "x.txt")[0]
    assert sounding.released == np.datetime64("2025-03-07T23:03") and sounding.time == np.datetime64("2025-03-08T00:00")


def test_a_cut_file_is_refused_with_its_line(tmp_path):
    (tmp_path / "x.txt").write_text("\n".join(ONE.splitlines()[:3]))
    with pytest.raises(InputError, match=r"line 1.*3 levels are announced"):
        read_igra(tmp_path / "x.txt")


def test_station_list_is_read(shared_data):
    stations = read_stations(shared_data / "geo" / "igra2-station-list.txt")
    assert len(stations) == 2788 and stations["ACM00078861"] == (17.117, -61.783, 10.0)


def test_a_sounding_becomes_observations_in_si_units(tmp_path):
    (tmp_path / "x.txt").write_text(ONE)
    found = open_observations(tmp_path / "x.txt")
    t = found.of("t")
    np.testing.assert_allclose(t.value, [273.15 - 4.4, 273.15 - 0.4])
    np.testing.assert_allclose(t.pressure, [979.04, 925.0])
    assert found.of("z").value == pytest.approx([803 * 9.80665])  # the other was removed
    assert (found.error > 0).all() and set(found.variable) == {"t", "z", "u", "v", "r", "q"}


def test_csv_and_netcdf_hold_what_was_written(tmp_path):
    made = Observations.make(
        "2020-01-01T06:00",
        [50.0, 51.0],
        [-1.0, 359.0],
        ["t2m", "t"],
        [280.0, 270.5],
        [np.nan, 850.0],
        [0.5, np.nan],
        "A",
        12.0,
    )
    write_csv(tmp_path / "o.csv", made)
    write_netcdf(tmp_path / "o.nc", made)
    for path in ("o.csv", "o.nc"):
        back = open_observations(tmp_path / path)
        for column in (
            "time",
            "latitude",
            "longitude",
            "pressure",
            "variable",
            "value",
            "error",
            "station",
            "elevation",
        ):
            np.testing.assert_array_equal(getattr(back, column), getattr(made, column), err_msg=f"{path} {column}")


def test_units_and_default_errors():
    columns = {
        "time": np.array(["2020-01-01 06:00", "2020-01-01T06:00Z"]), "lat": [50.0, 50.0], "lon": [0.0, 0.0],
        "variable": np.array(["2t", "gh"]), "value": np.array(["10", "5500"]), "units": np.array(["degC", "gpm"]),
        "level": np.array(["", "500"]), "error": np.array(["0.5", ""]),
    }  # fmt: skip
    found = from_columns({k: np.asarray(v) for k, v in columns.items()}, "o")
    np.testing.assert_allclose(found.value, [283.15, 5500 * 9.80665])
    assert found.error[0] == 0.5 and found.error[1] == pytest.approx(quantity("z").default_error(500.0))


@pytest.mark.parametrize(
    ("column", "value", "match"),
    [
        ("time", "yesterday", "no date"),
        ("value", "warm", "no number"),
        ("variable", "mood", "unknown"),
        ("units", "furlong", "unknown"),
        ("latitude", "95", r"\.csv: latitude or longitude beyond the globe"),
    ],
)
def test_what_is_wrong_in_a_table_is_named(column, value, match):
    row = {"time": "2020-01-01", "latitude": "50", "longitude": "0", "variable": "t2m", "value": "280", "units": "K"}
    with pytest.raises(InputError, match=match):
        from_columns({k: np.array([v]) for k, v in {**row, column: value}.items()}, "o.csv")


def test_a_missing_column_is_named():
    with pytest.raises(InputError, match="variable"):
        from_columns(
            {
                "time": np.array(["2020-01-01"]),
                "lat": np.array([1.0]),
                "lon": np.array([1.0]),
                "value": np.array([1.0]),
            },
            "o",
        )


def test_duplicates_are_one_observation():
    made = Observations.make(
        "2020-01-01", [50.0] * 3, [10.0, 370.0 - 360, 11.0], "t2m", [280.0, 282.0, 1.0], error=[0.5, 1.0, 1.0]
    )
    merged = made.merged()
    assert merged.value.tolist() == [281.0, 1.0] and merged.error.tolist() == [0.5, 1.0]


def test_conversions():
    assert convert(1.0, "g/kg", "kg kg-1") == pytest.approx(1e-3)
    assert convert(10, "knots", "m/s") == pytest.approx(5.14444, abs=1e-4)
    assert convert(2.0, "degC", "K", difference=True) == pytest.approx(2.0)
    with pytest.raises(InputError, match="do not turn"):
        convert(1.0, "K", "m/s")
    u, v = wind_components([270.0, 0.0], [10.0, 5.0])  # from the west; from the north
    np.testing.assert_allclose([u, v], [[10, 0], [0, -5]], atol=1e-12)
    assert specific_humidity(1000.0, 100_000.0) == pytest.approx(0.622 * 1000 / (100_000 - 378))
