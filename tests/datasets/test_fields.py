"""Fields keep their names, orders, conventions and attributes, and mean the same however they are arranged."""

import numpy as np
import pytest
import xarray as xr

from ornstein.core.errors import InputError
from ornstein.datasets.field_files import open_fields, read_grid, time_blocks, write_fields
from ornstein.datasets.fields import Grid, Layout, encoding_for, find_axes, pressures, with_history


def dataset(longitudes=None, latitudes=None, times=2) -> xr.Dataset:
    lat = np.arange(4.0) * 2 if latitudes is None else latitudes
    lon = np.arange(6.0) * 3 if longitudes is None else longitudes
    values = np.random.default_rng(0).normal(280, 5, (times, len(lat), len(lon)))
    return xr.Dataset(
        {"t2m": (("time", "latitude", "longitude"), values, {"units": "K"})},
        {
            "time": np.datetime64("2020-01-01", "ns") + np.arange(times) * np.timedelta64(6, "h"),
            "latitude": ("latitude", lat, {"units": "degrees_north"}),
            "longitude": ("longitude", lon, {"units": "degrees_east"}),
        },
    )


def arranged(data: xr.Dataset) -> dict[str, xr.Dataset]:
    """The same fields in the arrangements that files come in."""
    turned = data.assign_coords(longitude=(data.longitude + 180) % 360 - 180)
    return {
        "north first": data.isel(latitude=slice(None, None, -1)),
        "transposed": data.transpose("longitude", "latitude", "time"),
        "renamed": data.rename(latitude="lat", longitude="lon", time="valid_time"),
        "rolled": data.roll(longitude=2, roll_coords=True),
        "other convention": turned,
        "sorted in the other convention": turned.sortby("longitude"),
        "east first": data.isel(longitude=slice(None, None, -1)),
    }


REGION = dataset(np.array([356.0, 357, 358, 359, 360, 361]) % 360)
GLOBE = dataset(np.arange(8) * 45.0)


@pytest.mark.parametrize("data", [REGION, GLOBE], ids=["across Greenwich", "around the globe"])
@pytest.mark.parametrize("how", list(arranged(GLOBE)))
def test_an_arrangement_does_not_change_what_is_taken(data, how):
    straight, other = Layout.of(data), arranged(data)[how]
    layout = Layout.of(other)
    field = other["t2m"]
    np.testing.assert_array_equal(layout.take(field), straight.take(data["t2m"]))
    np.testing.assert_allclose(layout.grid.longitudes, straight.grid.longitudes)
    assert layout.grid.periodic == straight.grid.periodic == (data is GLOBE)


@pytest.mark.parametrize("data", [REGION, GLOBE], ids=["across Greenwich", "around the globe"])
@pytest.mark.parametrize("how", list(arranged(GLOBE)))
def test_refined_fields_come_back_in_the_arrangement_of_the_input(data, how):
    other = arranged(data)[how]
    layout = Layout.of(other)
    fine = layout.refined(3)
    values = np.repeat(np.repeat(layout.take(other["t2m"]), 3, -1), 3, -2)
    made = layout.put(values, other["t2m"], fine)
    made = made.assign_coords(fine.coordinates(other, layout))
    assert made.dims == other["t2m"].dims and made.attrs == other["t2m"].attrs
    # Every fine cell has the value of the coarse cell around it, at its own coordinates.
    axes = find_axes(other)
    for point in (made.isel({axes.latitude: 4, axes.longitude: 7}), made.isel({axes.latitude: -1, axes.longitude: 0})):
        gap = np.abs((other[axes.longitude] - float(point[axes.longitude]) + 180) % 360 - 180)
        far = np.abs(other[axes.latitude].values - float(point[axes.latitude]))
        at = {axes.latitude: int(far.argmin()), axes.longitude: int(gap.values.argmin())}
        np.testing.assert_array_equal(point.values, other["t2m"].isel(at).values)
    steps, wanted = (np.median((np.diff(x[axes.longitude].values) + 180) % 360 - 180) for x in (made, other))
    assert steps == pytest.approx(wanted / 3)


def test_members_follow_a_leading_time():
    layout = Layout.of(REGION)
    made = layout.put(np.zeros((5, 2, 1, 4, 6)), REGION["t2m"], layout, members=5)
    assert made.dims == ("time", "number", "latitude", "longitude")


def test_blocks_of_a_coarser_grid_nest_in_the_finer():
    fine = Layout.of(REGION)
    coarse = fine.coarsened(2)
    assert coarse.grid.shape == (2, 3)
    np.testing.assert_allclose(coarse.grid.refine(2).latitudes, fine.grid.latitudes)
    np.testing.assert_allclose(coarse.grid.refine(2).longitudes, fine.grid.longitudes)


def test_rows_beyond_the_pole_are_left_out():
    grid = Grid(np.array([-90.0, 0, 90]), np.arange(4) * 90.0, True)
    assert np.abs(grid.refine(4).latitudes).max() < 90 and grid.refine(4).shape[0] == 8
    assert grid.latitude_edges[0] == -90 and grid.latitude_edges[-1] == 90


def test_attributes_decide_before_names():
    data = xr.Dataset(
        {"a": (("y", "x"), np.zeros((2, 2)))},
        {"y": ("y", [0.0, 1.0], {"standard_name": "latitude"}), "x": ("x", [0.0, 1.0], {"units": "degrees_east"})},
    )
    axes = find_axes(data)
    assert (axes.latitude, axes.longitude, axes.time) == ("y", "x", None)


def test_curvilinear_grids_are_refused_with_what_was_found():
    data = xr.Dataset({"a": (("rlat", "rlon"), np.zeros((2, 2)))})
    with pytest.raises(InputError, match="rlat, rlon") as error:
        find_axes(data)
    assert "remap" in error.value.hint


def test_levels_are_pressures_in_hpa():
    data = (
        dataset()
        .expand_dims(plev=[50000.0, 85000.0])
        .assign_coords(plev=("plev", [50000.0, 85000.0], {"units": "Pa", "axis": "Z"}))
    )
    assert pressures(data, find_axes(data)).tolist() == [500, 850]


def test_stale_packing_goes_and_the_calendar_stays(tmp_path):
    data = dataset()
    data["t2m"].encoding = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 280.0, "_FillValue": -32767}
    data.to_netcdf(tmp_path / "packed.nc")
    with open_fields(tmp_path / "packed.nc") as packed:
        assert "scale_factor" in packed["t2m"].encoding
        assert set(encoding_for(packed["t2m"])) == {"dtype", "_FillValue"}
        warm = (packed["t2m"] + 500).astype("float32")  # int16 at 0.01 K ends at 607 K
        warm.encoding = encoding_for(packed["t2m"])
        out = warm.to_dataset()
        write_fields(tmp_path / "out.nc", [out], "time")
    with open_fields(tmp_path / "out.nc") as back:
        assert float(back["t2m"].max()) > 700 and back["t2m"].dtype == np.float32
        assert back["time"].encoding["calendar"] == "proleptic_gregorian"


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_blocks_over_time_are_one_file(tmp_path, suffix):
    data = dataset(times=5)
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / f"x{suffix}"
    write_fields(path, (data.isel(time=s) for s in (slice(0, 2), slice(2, 4), slice(4, 5))), "time")
    with open_fields(path) as back:
        xr.testing.assert_allclose(back.load(), data)


def test_blocks_cover_all_times_once():
    data = dataset(times=7)
    blocks = list(time_blocks(data, find_axes(data), cells=50))
    assert np.concatenate([np.arange(b.start, b.stop) for b in blocks]).tolist() == list(range(7)) and len(blocks) == 4


def test_history_is_appended():
    assert with_history({"history": "then"}, "now")["history"] == "then\nnow"


def test_a_cdo_grid_description_is_a_grid(tmp_path):
    (tmp_path / "grid.txt").write_text(
        "gridtype = lonlat\nxsize = 4\nysize = 3\nxfirst = -10\nxinc = 0.5\nyfirst = 50 # north\nyinc = -0.25\n"
    )
    grid, data = read_grid(tmp_path / "grid.txt")
    assert grid.shape == (3, 4) and data["lat"].values[0] == 50 and grid.latitudes[0] == 49.5


@pytest.mark.parametrize("content", [b"", b"this is no netCDF" * 20], ids=["empty", "text"])
@pytest.mark.parametrize("suffix", [".nc", ".grib"])
def test_damaged_files_are_named(tmp_path, content, suffix):
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match="broken"):
        open_fields(path)


def test_real_files_have_their_axes(shared_data):
    wanted = {
        "era5_t2m_uk_201903_01-23_hourly.nc": (33, 49, False),
        "merra2_tqv_3h_tropics_20140601-08.nc": (121, 576, True),
        "era5_pl_tquv_europe_1deg_202007.nc": (21, 31, False),
        "gfs_analysis_1deg_namerica_20101026T12.nc": (46, 101, False),
        "era5-levels-members.grib": (61, 120, True),
        "era5_tl31_37level_19590102.nc": (32, 64, True),
    }
    for name, (rows, columns, periodic) in wanted.items():
        with open_fields(shared_data / "geo" / name) as data:
            grid = Layout.of(data).grid
            assert (*grid.shape, grid.periodic) == (rows, columns, periodic), name
