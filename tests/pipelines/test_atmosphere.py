"""Fields through the command line and in Python: they keep their form, mean the same however arranged, and what is wrong is named."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from toy_weather import HERE, fine_dataset, run

from ornstein.core.errors import InputError, RefusedError, UsageError
from ornstein.datasets.fields import Grid
from ornstein.datasets.soundings import Observations, write_csv
from ornstein.domains.atmosphere.prior import load_prior
from ornstein.pipelines import atmosphere


def test_a_prior_is_what_was_saved(weather_model):
    prior = load_prior(weather_model)
    assert prior.variables == ("t2m", "q") and prior.calibration["t2m"].memory == 3.0
    (region,) = prior.regions
    assert region.anomalies.shape == (60, 16, 24) and np.abs(region.harmonics[0] - 270).max() < 1e-3
    assert region.window(region.grid.cut(slice(2, 10), slice(0, 8))) == (slice(2, 10), slice(0, 8))
    assert region.window(HERE) is None


def test_members_keep_the_coarse_field_and_the_datasets_form(coarse, weather_model):
    made = run(coarse, weather_model)
    assert made["t2m"].dims == ("time", "number", "latitude", "longitude") and made["t2m"].shape == (3, 3, 16, 24)
    assert made["t2m"].attrs == coarse["t2m"].attrs and made.attrs["title"] == "test"
    assert made.attrs["history"].startswith("made\n") and made["number"].attrs["standard_name"] == "realization"
    np.testing.assert_allclose(made["latitude"], HERE.latitudes)
    back = atmosphere.simulate(made.isel(number=1).drop_vars("number"), factor=4).dataset
    # The stated error of an exact value is a thousandth of the background's deviation, here about 4 K.
    assert float(np.sqrt(np.square(back["t2m"] - coarse["t2m"]).mean())) < 0.02
    assert float(made["t2m"].std("number").mean()) > 0.1


def arranged(data):
    half = (data.longitude + 180) % 360 - 180
    return {
        "flipped": data.isel(latitude=slice(None, None, -1)),
        "0 to 360": data.assign_coords(longitude=data.longitude % 360),
        "renamed": data.rename(latitude="lat", longitude="lon", time="valid_time", t2m="2t"),
        "transposed": data.transpose("longitude", "time", "latitude"),
        "dask": data.chunk(time=1),
        "later times alone": data.isel(time=slice(1, None)),
        "rolled": data.assign_coords(longitude=half).roll(longitude=2, roll_coords=True),
    }


@pytest.mark.parametrize("how", list(arranged(fine_dataset())))
def test_an_arrangement_does_not_change_the_answer(coarse, weather_model, how):
    straight, other = run(coarse, weather_model), run(arranged(coarse)[how], weather_model)
    other = other.rename(
        {
            n: m
            for n, m in {"lat": "latitude", "lon": "longitude", "valid_time": "time", "2t": "t2m"}.items()
            if n in other.variables
        }
    )
    other = other.assign_coords(longitude=(other.longitude + 180) % 360 - 180).sortby("longitude").sortby("latitude")
    straight = straight.sel(time=other.time)
    np.testing.assert_allclose(other["t2m"].transpose(*straight["t2m"].dims), straight["t2m"], atol=1e-5 * 280)


def test_zarr_and_netcdf_and_blocks_agree(coarse, weather_model, tmp_path, monkeypatch):
    from ornstein.pipelines import atmosphere_results

    coarse.to_netcdf(tmp_path / "in.nc")
    coarse.to_zarr(tmp_path / "in.zarr")
    options = {"factor": 4, "members": 3, "steps": 3, "model": weather_model}
    atmosphere.superresolve(str(tmp_path / "in.nc"), **options).save(tmp_path / "a.nc")
    monkeypatch.setattr(atmosphere_results, "CELLS", 1)  # one time a block
    atmosphere.superresolve(str(tmp_path / "in.zarr"), **options).save(tmp_path / "b.zarr")
    atmosphere.superresolve(str(tmp_path / "in.zarr"), **options).save(tmp_path / "c.nc")
    with (
        xr.open_dataset(tmp_path / "a.nc") as a,
        xr.open_zarr(tmp_path / "b.zarr") as b,
        xr.open_dataset(tmp_path / "c.nc") as c,
    ):
        np.testing.assert_allclose(a["t2m"], b["t2m"], atol=1e-3)
        np.testing.assert_array_equal(b["t2m"], c["t2m"])
        assert a["time"].equals(c["time"])


def test_a_globe_has_no_seam_and_no_poles_beyond_90(weather_model):
    globe = Grid(-87.5 + 5 * np.arange(36), 7.5 * np.arange(48), True)
    coarse = atmosphere.simulate(fine_dataset(globe, 1), factor=4).dataset
    made = run(coarse, weather_model, factor=4)["t2m"].values
    inside = np.abs(np.diff(made, axis=-1)).mean()
    assert np.abs(made[..., 0] - made[..., -1]).mean() < 1.3 * inside  # one column has few values


def test_missing_cells_stay_missing(coarse, weather_model):
    holed = coarse.copy(deep=True)
    holed["t2m"][:, 1, 2] = np.nan
    made = run(holed, weather_model)["t2m"]
    assert np.isnan(made[..., 4:8, 8:12]).all() and int(np.isnan(made).sum()) == 3 * 3 * 16


def test_humidity_is_not_negative_and_keeps_its_average(weather_model):
    fine = fine_dataset(name="q")
    fine["q"] = ((fine["q"] - 280) * 1e-3).clip(min=0).assign_attrs(units="kg kg-1")
    coarse = atmosphere.simulate(fine, factor=4).dataset
    made = run(coarse, weather_model)["q"]
    assert float(made.min()) >= 0
    back = atmosphere.simulate(made.isel(number=0, drop=True).to_dataset(), factor=4).dataset["q"]
    np.testing.assert_allclose(back, coarse["q"], atol=2e-5)


def test_a_variable_that_the_model_lacks_is_refused_and_forced_with_a_mark(coarse, weather_model, tmp_path):
    other = coarse.rename(t2m="dust")
    with pytest.raises(RefusedError, match="dust"):
        run(other, weather_model)
    result = atmosphere.superresolve(other, factor=4, members=2, model=weather_model, force=True)
    assert "stationary Gaussian" in result.warnings[0]
    assert "stationary Gaussian" in result.dataset.attrs["comment_ornstein"]


def test_force_needs_no_model_where_none_is_shipped(coarse, monkeypatch):
    monkeypatch.setattr(atmosphere.models, "shipped", lambda domain=None: [])
    assert atmosphere.superresolve(coarse, factor=4, members=2, force=True).dataset["t2m"].shape == (3, 2, 16, 24)


def test_one_member_is_the_mean_without_noise(coarse, weather_model):
    one = run(coarse, weather_model, members=1, method="optimal")["t2m"]
    assert one.dims == ("time", "latitude", "longitude")
    many = run(coarse, weather_model, members=64, method="optimal")["t2m"]
    error = np.sqrt(float(np.square(many.mean("number") - one).mean()))
    assert error < 2 * float(many.std("number").mean()) / 8  # the mean of 64 members, within two of its deviations


def test_mean_and_deviation_alone_are_those_of_the_members(coarse, weather_model):
    every, kept = run(coarse, weather_model), run(coarse, weather_model, keep="mean,std")
    assert set(kept.data_vars) == {"t2m", "t2m_std"}
    np.testing.assert_allclose(kept["t2m"], every["t2m"].mean("number"), atol=1e-3)
    np.testing.assert_allclose(kept["t2m_std"], every["t2m"].std("number", ddof=1), atol=1e-3)


def test_members_as_files(coarse, weather_model, tmp_path):
    atmosphere.superresolve(coarse, factor=4, members=2, steps=2, model=weather_model, members_as="files").save(
        tmp_path / "o.nc"
    )
    assert sorted(p.name for p in tmp_path.glob("*.nc")) == ["o-member-1.nc", "o-member-2.nc", "o.nc"]
    with xr.open_dataset(tmp_path / "o-member-1.nc") as one:
        assert one["t2m"].dims == ("time", "latitude", "longitude")


def test_a_grid_file_is_the_grid_of_the_result(coarse, weather_model, tmp_path):
    (tmp_path / "grid.txt").write_text(
        "gridtype = lonlat\nxsize = 20\nysize = 10\nxfirst = -9.5\nxinc = 0.2\nyfirst = 53\nyinc = -0.2\n"
    )
    made = run(coarse, weather_model, factor=None, grid=str(tmp_path / "grid.txt"))["t2m"]
    assert made.shape == (3, 3, 10, 20) and float(made.latitude[0]) == 53 and made.longitude[1] == pytest.approx(-9.3)
    (tmp_path / "far.txt").write_text((tmp_path / "grid.txt").read_text().replace("-9.5", "9.5"))
    with pytest.raises(InputError, match="beyond"):
        run(coarse, weather_model, factor=None, grid=str(tmp_path / "far.txt"))


def test_packed_input_is_not_clipped(coarse, weather_model, tmp_path):
    coarse["t2m"].encoding = {"dtype": "int16", "scale_factor": 0.0005, "add_offset": 280.0}  # ends at 296.4 K
    coarse.clip(270, 290).to_netcdf(tmp_path / "in.nc", encoding={"t2m": coarse["t2m"].encoding})
    atmosphere.superresolve(str(tmp_path / "in.nc"), factor=4, members=2, model=weather_model, method="optimal").save(
        tmp_path / "o.nc"
    )
    with xr.open_dataset(tmp_path / "o.nc") as made:
        assert "scale_factor" not in made["t2m"].encoding and made["t2m"].dtype == np.float32


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({}, "--factor or --grid"),
        ({"factor": 4, "grid": __file__}, "--factor or --grid"),
        ({"factor": 4, "method": "bicubic", "model": "x"}, "contradict"),
    ],
)
def test_options_that_contradict_are_refused(coarse, options, match):
    with pytest.raises(UsageError, match=match):
        atmosphere.superresolve(coarse, **options)


def test_incomplete_blocks_are_cut_with_a_warning():
    result = atmosphere.simulate(fine_dataset(Grid(50 + 0.25 * np.arange(17), -10 + 0.25 * np.arange(24))), factor=4)
    assert result.dataset["t2m"].shape == (3, 4, 6) and "1 rows" in result.warnings[0]


def test_evaluation_scores_the_ensemble_and_what_bicubic_would(coarse, weather_model, tmp_path):
    made = run(coarse, weather_model, members=8)
    found = atmosphere.evaluate(made, fine_dataset(), input=coarse).record
    assert found["crps"] < found["bicubic_crps"] and 0.5 < found["spread_skill"] < 2
    assert found["coarse_consistency"] < 0.02
    seen = Observations.make("2019-03-01T01:00", [51.0], [-7.0], "t2m", [283.0])
    write_csv(tmp_path / "o.csv", seen)
    assert atmosphere.evaluate(made, fine_dataset(), observations=str(tmp_path / "o.csv")).record["observations"] == 1


def test_the_command_line_writes_files_reports_and_sidecars(ornstein, weather_model, tmp_path):
    fine_dataset().to_netcdf(tmp_path / "fine.nc")
    code, _, _ = ornstein("atmosphere", "simulate", tmp_path / "fine.nc", "-o", tmp_path / "in.nc", "--factor", 4)
    assert code == 0
    options = ["--factor", 4, "--members", 2, "--steps", 2, "--model", weather_model]
    code, out, err = ornstein(
        "atmosphere",
        "superresolve",
        tmp_path / "in.nc",
        "-o",
        tmp_path / "out.nc",
        *options,
        "--report",
        tmp_path / "out.html",
    )
    assert code == 0 and out == "", err
    side = json.loads((tmp_path / "out.nc.json").read_text())
    assert side["model"]["name"] == "tiny" and side["measures"]["t2m_coarse_consistency"] < 0.02
    assert (tmp_path / "out.html").read_text().count("data:image/png") == 2
    (tmp_path / "bad.nc").write_bytes(b"no netCDF")
    code, _, err = ornstein("atmosphere", "superresolve", tmp_path / "bad.nc", "-o", tmp_path / "x.nc", *options)
    assert code == 3 and "bad.nc" in err
    code, out, _ = ornstein("evaluate", "atmosphere", tmp_path / "out.nc", tmp_path / "fine.nc", "--json")
    assert code == 0 and json.loads(out)["rmse"] > 0


def test_zarr_stores_are_inputs_of_a_batch(ornstein, coarse, weather_model, tmp_path):
    (tmp_path / "in").mkdir()
    coarse.to_zarr(tmp_path / "in" / "a.zarr")
    coarse.to_netcdf(tmp_path / "in" / "b.nc")
    options = ["--factor", 4, "--members", 2, "--method", "optimal", "--model", weather_model]
    code, _, err = ornstein("atmosphere", "superresolve", tmp_path / "in", "-o", tmp_path / "out", *options)
    assert code == 0, err
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.nc", "a.nc.json", "b.nc", "b.nc.json"]


def test_a_climatology_replaces_the_fit(coarse, weather_model, tmp_path):
    climatology = str(tmp_path / "clim.nc")
    fine_dataset().mean("time").to_netcdf(climatology)
    options = {"members": 2, "steps": 2, "method": "optimal"}
    with_it, without = (
        atmosphere.evaluate(run(coarse, weather_model, climatology=c, **options), fine_dataset()).record["rmse"]
        for c in (climatology, None)
    )
    assert with_it < without  # three times, and their own mean is known


def test_noise_of_a_time_does_not_depend_on_its_neighbours_but_resembles_theirs():
    from ornstein.domains.atmosphere.sampling import SlowNoise

    draw = lambda hours: replace(SlowNoise(0, 0.0, 3.0), hours=hours)(range(200), (16,))  # noqa: E731
    now, later = draw(100.0), draw(101.0)
    torch.testing.assert_close(now, draw(100.0))
    assert float((now * later).mean()) == pytest.approx(np.exp(-1 / 18), abs=0.03) and float(
        now.var()
    ) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("order", ["import ornstein, xarray", "import xarray, ornstein"])
def test_datasets_have_the_accessor_whichever_is_imported_first(order):
    code = f"{order}\nassert hasattr(xarray.Dataset, 'ornstein')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    quick = "import sys, ornstein\nassert 'xarray' not in sys.modules and 'numpy' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", quick], check=False).returncode == 0


def test_the_accessor_gives_a_dataset(coarse, weather_model):
    import ornstein  # noqa: F401

    made = coarse.ornstein.superresolve(factor=4, members=2, method="optimal", model=weather_model)
    xr.testing.assert_allclose(made, run(coarse, weather_model, members=2, method="optimal"))


def test_celsius_that_calls_itself_kelvin_is_refused_and_celsius_by_its_name_is_not(coarse, weather_model):
    cold = coarse.copy(deep=True)
    cold["t2m"] = (coarse["t2m"] - 273.15).assign_attrs(units="K")
    with pytest.raises(InputError, match=r"t2m from .* K is implausible"):
        run(cold, weather_model, members=1)
    cold["t2m"].attrs["units"] = "degC"
    made = run(cold, weather_model, members=1)["t2m"] + 273.15
    straight = run(coarse, weather_model, members=1)["t2m"]
    np.testing.assert_allclose(made, straight, atol=2e-3)  # rounding of float32 near 280


def test_measures_beside_an_input_that_is_not_coarse_are_refused():
    fine = fine_dataset()
    with pytest.raises(InputError, match="--input is as fine"):
        atmosphere.evaluate(fine, fine, input=fine)
