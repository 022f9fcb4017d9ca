"""The atmosphere workflow: a sample sheet in, the right commands out, and nothing else."""

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml
from jsonschema import Draft202012Validator

WORKFLOW = Path(__file__).resolve().parents[2] / "workflows" / "atmosphere"
SHEET = """sample\tcoarse\tobservations\treference
one\tfelder (März)/k 1.nc\tdata/1.csv\tdata/fine.nc
two\tdata/2.grib\t\t
"""


def schema(name):
    return yaml.safe_load((WORKFLOW / "workflow" / "schemas" / f"{name}.schema.yaml").read_text())


def problems(name, value):
    return list(Draft202012Validator(schema(name)).iter_errors(value))


def planned(done):
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Shell command: ")]
    commands = [line.removeprefix("Shell command: ") for line in lines]
    return [shlex.split(command) for command in commands if command != "None"]


def test_a_dry_run_plans_the_commands_of_the_sheet(study):
    study.sheet(SHEET)
    study.touch("felder (März)/k 1.nc", "data/1.csv", "data/fine.nc", "data/2.grib", "grid.txt", "heights.nc")
    options = {"grid": "grid.txt", "static": "heights.nc", "method": "optimal", "coarse_error": 0.5, "keep": "mean,std"}
    study.configure(format="zarr", superresolve=options, report={"pictures": 3})
    done = study.snakemake("--dry-run", "--printshellcmds", "--workflow-profile", "profiles/local")
    assert done.returncode == 0, done.stderr
    commands = planned(done)
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


def test_training_is_planned_only_where_it_is_asked_for(study):
    study.sheet("sample\tcoarse\none\tdata/1.nc\n")
    study.touch("data/1.nc")
    done = study.snakemake("--dry-run", "--printshellcmds", "results/trained")
    assert done.returncode == 0, done.stderr
    (command,) = planned(done)
    assert command[:3] == ["ornstein", "train", "training/atmosphere.yaml"] and (study.folder / command[2]).is_file()


@pytest.mark.parametrize("name", ["../../x", "x; touch y #"])
def test_a_wrong_sheet_is_refused_before_anything_runs(study, name):
    study.sheet(f"sample\tcoarse\n{name}\ta.nc\n")
    study.touch("a.nc")
    done = study.snakemake("--cores", "1")
    assert done.returncode != 0 and "line 2" in done.stdout + done.stderr
    assert not (study.folder / "results").exists() and not (study.folder / "y").exists()


@pytest.mark.parametrize("path", ["k;y", "$(y)", "`y`", "a|b", "{sample}", "*.nc", "-o", "a\nb", "a'b"])
def test_no_path_can_speak_to_a_shell_or_be_an_option_or_a_pattern(path):
    for column in ("coarse", "observations", "reference"):
        assert problems("samples", {"sample": "a", "coarse": "a.nc", column: path})
    assert problems("config", {"superresolve": {"grid": path}})
    for name in ("climatology", "static"):
        assert problems("config", {"superresolve": {"factor": 4, name: path}})


def test_one_of_factor_and_grid_must_be_there():
    assert not problems("config", {"superresolve": {"factor": 4}})
    assert not problems("config", {"superresolve": {"grid": "uk grid.txt"}})
    for wrong in ({}, {"superresolve": {}}, {"superresolve": {"factor": 4, "grid": "grid.txt"}}):
        assert problems("config", wrong)


def test_every_placeholder_of_a_command_is_quoted():
    found = 0
    for file in (WORKFLOW / "workflow" / "rules").glob("*.smk"):
        for shell in re.findall(r"    shell:\n((?:        .*\n)+)", file.read_text()):
            placeholders = re.findall(r"\{([^}]*)\}", shell)
            assert placeholders and all(name.endswith(":q") for name in placeholders), (file.name, placeholders)
            found += 1
    assert found == 4


def test_the_configurations_options_are_those_of_the_command_line():
    from ornstein.pipelines import atmosphere
    from ornstein.pipelines.signature import parameters

    known = {p.name: p for p in parameters(atmosphere.superresolve.function)}
    for name, field in schema("config")["properties"]["superresolve"]["properties"].items():
        assert set(field.get("enum", ())) == set(known[name].choices)
        assert field.get("minimum") == known[name].option.low and field.get("maximum") == known[name].option.high
        assert field.get("exclusiveMinimum") == known[name].option.above
        assert (field.get("$ref") == "#/$defs/path") == known[name].option.file


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
    done = study.snakemake("--cores", "1", "--workflow-profile", "profiles/local", timeout=600)
    assert done.returncode == 0, done.stderr
    results = study.folder / "results"
    for name in "ab":
        with xr.open_dataset(results / "samples" / name / f"{name}.{format}") as made:
            assert made["t2m"].shape == (2, 16, 24) and ("t2m_std" in made) == optimal
    measures = json.loads((results / "samples" / "a" / "measures.json").read_text())
    if optimal:
        assert measures["rmse"] < measures["bicubic_rmse"]
        sidecar = json.loads((results / "samples" / "a" / f"a.{format}.json").read_text())
        assert sidecar["measures"]["observations_used"] == 80
    else:
        # The waves vary by 2.5 K, the noise, which no coarse field shows, by .2 K; interpolation errs a little near the rim.
        assert 0.2 < measures["rmse"] < 1 and measures["rmse"] == pytest.approx(measures["bicubic_rmse"], rel=1e-5)
    with open(results / "measures.tsv", newline="") as file:
        a, b = csv.DictReader(file, delimiter="\t")
    assert (a["name"], b["name"], a["method"]) == ("a", "b", options["method"])
    assert float(a["rmse"]) == pytest.approx(measures["rmse"]) and b["rmse"] == ""
    page = (results / "report.html").read_text()
    assert page.count("data:image/png") == 2
    assert ("mean, reference, deviation" if optimal else "result, reference") in page
    again = study.snakemake("--cores", "1", "--workflow-profile", "profiles/local")
    assert again.returncode == 0 and "Nothing to be done" in again.stdout + again.stderr
