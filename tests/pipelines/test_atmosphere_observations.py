"""Observations beside fields: they pull the analysis where they are, and simulated ones are kept from harm."""

import csv

import numpy as np
import pytest
import xarray as xr
from toy_weather import TINY, fine_dataset, run

from ornstein.datasets.soundings import Observations, open_observations, write_csv
from ornstein.domains.atmosphere.covariances import Spectrum
from ornstein.domains.atmosphere.prior import Prior, save_prior
from ornstein.pipelines import atmosphere


def test_observations_pull_the_analysis_towards_them(coarse, weather_model):
    seen = Observations.make("2019-03-01T01:00", [51.0], [-7.0], "t2m", [283.0], error=[0.1])
    without, made = (
        run(coarse, weather_model, observations=o, method="optimal", members=8)["t2m"] for o in (None, seen)
    )
    there = {"latitude": 51.0, "longitude": -7.0}
    assert abs(float(made.sel(there).isel(time=1).mean("number")) - 283) < 0.15
    np.testing.assert_array_equal(made.isel(time=0), without.isel(time=0))  # an hour before


def test_a_false_observation_is_left_out(coarse, weather_model):
    seen = Observations.make(
        "2019-03-01T01:00", [51.0, 51.5], [-7.0, -7.5], "t2m", [340.0, float(coarse["t2m"].mean())], error=[0.5, 5.0]
    )
    result = atmosphere.superresolve(coarse, factor=4, members=2, steps=2, model=weather_model, observations=seen)
    result.dataset  # noqa: B018
    assert (result.measures["observations_used"], result.measures["observations_rejected"]) == (1, 1)
    assert result.measures["moved_by_coarse_field"] > result.measures["moved_by_observations"]


def test_stations_are_simulated_with_their_noise(tmp_path):
    fine = fine_dataset()
    result = atmosphere.simulate(fine, factor=4, stations=50, observations=str(tmp_path / "o.csv"), error=0.5)
    result.save(tmp_path / "c.nc")
    seen = open_observations(tmp_path / "o.csv")
    assert len(seen) == 150 and set(seen.error) == {0.5}
    truth = fine["t2m"].sel(
        time=xr.DataArray(seen.time.astype("datetime64[ns]"), dims="o"),
        latitude=xr.DataArray(seen.latitude, dims="o"), longitude=xr.DataArray(seen.longitude, dims="o"), method="nearest",
    )  # fmt: skip
    assert np.std(seen.value - truth.values) == pytest.approx(0.5, abs=0.1)  # 150 draws


def test_levels_take_their_own_soundings(weather_model):
    fine = fine_dataset().rename(t2m="t").expand_dims(level=[850.0, 500.0]).transpose("time", "level", ...)
    fine = fine.assign_coords(level=("level", [850.0, 500.0], {"units": "hPa", "axis": "Z"}))
    coarse = atmosphere.simulate(fine, factor=4).dataset
    truth = float(fine["t"].isel(time=0).sel(latitude=51.0, longitude=-7.0, level=500.0))
    seen = Observations.make("2019-03-01T00:00", [51.0], [-7.0], "t", [truth], pressure=[500.0], error=[0.01])
    options = {"factor": 4, "members": 2, "force": True, "model": weather_model}
    base, made = (
        atmosphere.superresolve(coarse, observations=o, **options).dataset["t"].isel(time=0) for o in (None, seen)
    )
    there = {"latitude": 51.0, "longitude": -7.0}
    assert float((made - base).sel(level=850.0, **there).max()) == 0.0
    assert (
        float(np.abs(made.sel(level=500.0, **there) - truth).max()) < 0.05 < float(base.sel(level=500.0, **there).std())
    )


def test_withheld_radiosondes_are_predicted_better_with_the_others_than_without(shared_data, tmp_path):
    """Real ascents of one time: T at 500 hPa of a third of the stations, from a zonal mean alone and with the other stations."""
    with open(shared_data / "geo" / "raob_mandatory_20201107T00_train_stations.csv", newline="") as file:
        rows = [r for r in csv.DictReader(file) if float(r["p_hPa"]) == 500 and r["t_degC"]]
    latitude, longitude, t = (np.array([float(r[c]) for r in rows]) for c in ("lat", "lon", "t_degC"))
    held = np.random.default_rng(0).random(len(t)) < 1 / 3
    basis = np.stack([np.ones_like(latitude), np.cos(np.deg2rad(latitude)) ** 2], 1)
    zonal, *_ = np.linalg.lstsq(basis[~held], t[~held] + 273.15, rcond=None)
    south = np.arange(-82.5, 90, 15.0)
    field = np.repeat((zonal[0] + zonal[1] * np.cos(np.deg2rad(south)) ** 2)[:, None], 24, 1)
    background = xr.Dataset(
        {"t": (("level", "latitude", "longitude"), field[None].astype("float32"), {"units": "K"})},
        {"level": ("level", [500.0], {"units": "hPa"}), "latitude": south, "longitude": np.arange(24) * 15.0},
    )
    save_prior(tmp_path / "m", Prior({"t": Spectrum((-3.5, -1.6, 0.7), (0.0, -1.0, -8.0))}), TINY, {"name": "sphere"})
    path = str(tmp_path / "held.csv")

    def sondes(which):
        return Observations.make("2020-11-07T00:00", latitude[which], longitude[which], "t", t[which] + 273.15, 500.0)

    write_csv(path, sondes(held))
    errors = []
    for others in (None, sondes(~held)):
        made = atmosphere.superresolve(
            background, factor=3, members=8, model=str(tmp_path / "m"), coarse_error=5.0, observations=others
        ).dataset
        errors.append(atmosphere.evaluate(made, made.isel(number=0, drop=True), observations=path).record)
    assert errors[0]["observations"] == held.sum() > 50
    assert errors[1]["observation_rmse"] < 0.9 * errors[0]["observation_rmse"]
    assert errors[1]["observation_crps"] < 0.9 * errors[0]["observation_crps"]


def test_observations_that_exist_or_are_the_output_itself_are_not_overwritten(tmp_path, ornstein):
    fine_dataset().to_netcdf(tmp_path / "fine.nc")
    kept = tmp_path / "kept.csv"
    kept.write_text("mine")
    words = ("atmosphere", "simulate", tmp_path / "fine.nc", "-o", tmp_path / "c.nc", "--factor", 4, "--stations", 3)
    code, _, err = ornstein(*words, "--observations", kept)
    assert code == 2 and "kept.csv" in err and kept.read_text() == "mine" and not (tmp_path / "c.nc").exists()
    code, _, err = ornstein(*words, "--observations", tmp_path / "c.nc")
    assert code == 2 and "twice" in err and not (tmp_path / "c.nc").exists()
    code, _, _ = ornstein(*words, "--observations", kept, "--overwrite")
    assert code == 0 and len(open_observations(kept)) == 9
