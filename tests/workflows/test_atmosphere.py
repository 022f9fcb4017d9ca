"""The atmosphere workflow: a sample sheet in, the right commands out, and nothing else."""

import json

import numpy as np
import pytest
import xarray as xr

SHEET = """sample\tcoarse\tobservations\treference
one\tfelder (März)/k 1.nc\tdata/1.csv\tdata/fine.nc
two\tdata/2.grib\t\t
"""


def test_a_dry_run_plans_the_commands_of_the_sheet(study):
    study.sheet(SHEET)
    study.touch("felder (März)/k 1.nc", "data/1.csv", "data/fine.nc", "data/2.grib", "grid.txt", "heights.nc")
    options = {"grid": "grid.txt", "static": "heights.nc", "method": "optimal", "coarse_error": 0.5, "keep": "mean,std"}
    study.configure(format="zarr", superresolve=options, report={"pictures": 3})
    commands = study.plan("--workflow-profile", "profiles/local")
    assert len(commands) == 4
    made = {words[3]: words for words in commands if words[1:3] == ["atmosphere", "superresolve"]}
    assert set(made) == {"felder (März)/k 1.nc", "data/2.grib"}
    for source, words in made.items():
        assert {"--grid=grid.txt", "--static=heights.nc", "--method=optimal", "--coarse-error=0.5"} <= set(words)
        assert {"--keep=mean,std", "--overwrite"} <= set(words)
        assert ("--observations=data/1.csv" in words) == (source != "data/2.grib")
    (evaluation,) = [words for words in commands if words[1] == "evaluate"]
    assert evaluation[3:7] == ["results/samples/one/one.zarr", "data/fine.nc", "--input", "felder (März)/k 1.nc"]
    (report,) = [words for words in commands if words[1:3] == ["workflow", "report"]]
    assert {"results/samples/two/two.zarr", "results/samples/one/measures.json", "--pictures=3"} <= set(report)


def test_no_path_of_the_configuration_can_speak_to_a_shell_or_be_an_option_or_a_pattern(problems, hostile):
    assert problems("config", {"superresolve": {"grid": hostile}})
    for name in ("climatology", "static"):
        assert problems("config", {"superresolve": {"factor": 4, name: hostile}})


def test_one_of_factor_and_grid_must_be_there(problems):
    assert not problems("config", {"superresolve": {"factor": 4}})
    assert not problems("config", {"superresolve": {"grid": "uk grid.txt"}})
    for wrong in ({}, {"superresolve": {}}, {"superresolve": {"factor": 4, "grid": "grid.txt"}}):
        assert problems("config", wrong)


def weather(times, seed):
    """A smooth temperature on 0.25 degrees, and some white noise."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:16, :24] / 8
    values = 280 + 5 * np.sin(rows + seed) * np.cos(columns) + 0.2 * random.standard_normal((times, 16, 24))
    stamps = np.datetime64("2019-03-01", "ns") + np.arange(times) * np.timedelta64(1, "h")
    return xr.Dataset(
        {"t2m": (("time", "latitude", "longitude"), values.astype("float32"), {"units": "K"})},
        {"time": stamps, "latitude": 50 + 0.25 * np.arange(16), "longitude": -10 + 0.25 * np.arange(24)},
    )


OPTIMAL = {"factor": 4, "method": "optimal", "members": 3, "force": True, "keep": "mean,std"}


@pytest.mark.slow
@pytest.mark.parametrize("format, options", [("nc", OPTIMAL), ("zarr", {"factor": 4, "method": "bicubic"})])
def test_two_coarse_files_become_fine_fields_measures_and_a_report(study, format, options):
    from ornstein.pipelines import atmosphere

    data = study.folder / "data"
    data.mkdir()
    for n in (1, 2):
        weather(2, n).to_netcdf(data / f"fine {n}.nc")
        seen = str(data / f"stations {n}.csv")
        made = atmosphere.simulate(data / f"fine {n}.nc", factor=4, stations=40, observations=seen, error=0.1)
        made.save(data / f"coarse {n}.nc")
    optimal = options is OPTIMAL
    cell = "data/stations 1.csv" if optimal else ""
    study.sheet(
        "sample\tcoarse\tobservations\treference\n"
        f"a\tdata/coarse 1.nc\t{cell}\tdata/fine 1.nc\nb\tdata/coarse 2.nc\t\t\n"
    )
    study.configure(format=format, superresolve=options)
    results = study.run()
    for name in "ab":
        with xr.open_dataset(results / "samples" / name / f"{name}.{format}") as made:
            assert made["t2m"].shape == (2, 16, 24) and ("t2m_std" in made) == optimal
    measures = json.loads((results / "samples" / "a" / "measures.json").read_text())
    # The waves vary by 2.5 K, the noise, which no coarse field shows, by .2 K; interpolation errs a little near the rim.
    if optimal:
        assert 0.2 < measures["rmse"] < 0.4  # its covariance is of the real atmosphere, which such waves are not like
        sidecar = json.loads((results / "samples" / "a" / f"a.{format}.json").read_text())
        assert sidecar["measures"]["observations_used"] == 80
    else:
        assert 0.2 < measures["rmse"] < 1 and measures["rmse"] == pytest.approx(measures["bicubic_rmse"], rel=1e-5)
    a, b = study.table()
    assert (a["name"], b["name"], a["method"]) == ("a", "b", options["method"])
    assert float(a["rmse"]) == pytest.approx(measures["rmse"]) and b["rmse"] == ""
    page = (results / "report.html").read_text()
    assert page.count("data:image/png") == 2
    assert ("mean, reference, deviation" if optimal else "result, reference") in page
    study.assert_done()
