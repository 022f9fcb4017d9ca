"""Maps of fields that lie in files: what is drawn is what the files hold, at the places where they hold it."""

import numpy as np
import pytest
import xarray as xr

from ornstein.core.errors import InputError
from ornstein.pipelines.atmosphere_pictures import show

TRUTH = 280 + np.arange(2 * 8 * 12, dtype=np.float32).reshape(2, 8, 12)


class Page:
    """A report that keeps its pictures."""

    def picture(self, figure, caption):
        self.caption = caption
        panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
        meshes = [axes.collections[0] for axes in panels]
        self.maps = {a.get_title(loc="left"): np.asarray(m.get_array()) for a, m in zip(panels, meshes)}
        self.scales = {a.get_title(loc="left"): m.get_clim() for a, m in zip(panels, meshes)}


def shown(*files) -> Page:
    page = Page()
    show(page, *files)
    return page


def fields(values, dims=("time", "latitude", "longitude"), longitude=-2.0, name="t2m") -> xr.Dataset:
    rows, columns = values.shape[-2:]
    places = {"latitude": 50 + 0.5 * np.arange(rows), "longitude": longitude + 0.5 * np.arange(columns)}
    stamps = np.datetime64("2019-03-01", "ns") + np.arange(len(values)) * np.timedelta64(1, "h")
    return xr.Dataset({name: (dims, values, {"units": "K", "long_name": "temperature"})}, {"time": stamps, **places})


@pytest.fixture
def folder(tmp_path):
    """A truth, and three members around the west of it, 1 K apart."""
    fields(TRUTH).to_netcdf(tmp_path / "truth.nc")
    members = np.stack([TRUTH + shift for shift in (-1, 0, 1)], 1)[..., :6]
    fields(members, ("time", "number", "latitude", "longitude")).to_netcdf(tmp_path / "members.nc")
    return tmp_path


def test_members_are_shown_by_their_mean_and_deviation_beside_the_truth_there(folder):
    page = shown(folder / "members.nc", folder / "truth.nc")
    assert list(page.maps) == ["mean", "reference", "deviation"] and "temperature" in page.caption
    np.testing.assert_allclose(page.maps["mean"], TRUTH[0, :, :6], rtol=1e-6)  # float32
    np.testing.assert_array_equal(page.maps["reference"], TRUTH[0, :, :6])
    np.testing.assert_allclose(page.maps["deviation"], 1.0, rtol=1e-6)
    assert page.scales["mean"] == page.scales["reference"] != page.scales["deviation"]


def test_a_mean_and_a_deviation_that_were_kept_are_shown_as_such(folder):
    kept = fields(TRUTH).assign(t2m_std=0 * fields(TRUTH)["t2m"] + 2)
    kept.to_zarr(folder / "kept.zarr", zarr_format=2)
    page = shown(folder / "kept.zarr")
    assert list(page.maps) == ["mean", "deviation"]
    np.testing.assert_array_equal(page.maps["mean"], TRUTH[0])
    np.testing.assert_array_equal(page.maps["deviation"], 2.0)


def test_one_field_is_shown_alone_at_the_time_that_it_has_in_the_reference(folder):
    # Elsewhere by name, not in truth: longitudes from 0 to 360, and the second time only.
    fields(TRUTH).isel(time=slice(1, 2)).assign_coords(longitude=358 + 0.5 * np.arange(12)).to_netcdf(folder / "one.nc")
    page = shown(folder / "one.nc", folder / "truth.nc")
    assert list(page.maps) == ["result", "reference"]
    np.testing.assert_array_equal(page.maps["result"], TRUTH[1])
    np.testing.assert_array_equal(page.maps["reference"], TRUTH[1])


@pytest.mark.parametrize(
    "other, says",
    [(fields(TRUTH, name="z"), "which has z"), (fields(TRUTH, longitude=40.0), "not cells of the reference")],
)
def test_a_reference_of_something_else_is_refused(folder, other, says):
    other.to_netcdf(folder / "other.nc")
    with pytest.raises(InputError, match=says):
        shown(folder / "members.nc", folder / "other.nc")
