"""Many results on one page: each is there once, the worst first, and the table says what the files say."""

import csv
import json
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest

from ornstein.pipelines import summary

GRID = np.stack(np.meshgrid(*[np.linspace(-1, 1, 24)] * 3, indexing="ij"))
HEAD = (100 * ((GRID**2).sum(0) < 0.7)).astype(np.float32)


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Three reconstructions as the command line leaves them: two with evaluations, one with a deviation, one warned of."""
    monkeypatch.chdir(tmp_path)
    nibabel.save(nibabel.Nifti1Image(HEAD, np.eye(4)), "head.nii.gz")
    for name, score in (("good", 40.0), ("poor", 20.0), ("alone", None)):
        image = nibabel.Nifti1Image(HEAD * 0.9, np.eye(4))
        nibabel.save(image, f"{name}.nii.gz")
        record = {
            "command": "ornstein mri reconstruct",
            "inputs": [],
            "parameters": {"method": "sense"},
            "seconds": 2.5,
            "measures": {"residual": 0.1, "empty_slices": None},
            "warnings": ["it was dark"] if name == "alone" else [],
            "use": "research use only, not for clinical decisions",
        }
        (tmp_path / f"{name}.nii.gz.json").write_text(json.dumps(record))
        if score is not None:
            said = {"result": f"{name}.nii.gz", "reference": "head.nii.gz", "psnr_head": score, "warnings": []}
            (tmp_path / f"{name}.json").write_text(json.dumps(said))
    nibabel.save(nibabel.Nifti1Image(HEAD * 0.01, np.eye(4)), "poor-std.nii.gz")
    return ["good.nii.gz", "poor.nii.gz", "alone.nii.gz", "good.json", "poor.json"]


def test_every_result_stands_in_the_table_with_its_measures(ornstein, results, tmp_path):
    code, out, err = ornstein("workflow", "report", "mri", *results, "--output", "r.html", "--table", "m.tsv", "--json")
    assert (code, err) == (0, "") and len(json.loads(out)["results"]) == 3
    with open("m.tsv", newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file, delimiter="\t")}
    assert list(rows) == ["good", "poor", "alone"]
    assert [rows[name]["psnr_head"] for name in rows] == ["40.0", "20.0", ""]
    assert all(
        row["residual"] == "0.1" and row["method"] == "sense" and row["seconds"] == "2.5" for row in rows.values()
    )
    assert rows["alone"]["warnings"] == "1" and rows["good"]["reference"] == "head.nii.gz"


def test_the_worst_is_shown_first_and_what_has_no_reference_last(ornstein, results):
    assert ornstein("workflow", "report", "mri", *results, "--output", "r.html")[0] == 0
    page = Path("r.html").read_text()
    assert re.findall(r"<h2>(\w+)</h2>", page) == ["poor", "good", "alone"]
    assert page.count("data:image/png") == 3 and "alone: it was dark" in page
    assert "research use only" in page.lower()


@pytest.mark.parametrize(
    "key, measures, merit",
    [
        ("psnr_head", {"psnr_head": 30.0, "nmse": 0.1}, 30.0),
        ("-crps", {"rmse": 2.0, "crps": 1.5, "bicubic_crps": 9.0}, -1.5),
        ("-crps", {"t2m_crps": 1.5, "t2m_bicubic_crps": 9.0, "z_crps": 80.0}, -1.5),
        ("-crps", {"rmse": 2.0, "crps": None}, np.inf),
    ],
)
def test_results_are_ranked_by_one_measure_whichever_way_is_better(key, measures, merit):
    assert summary.Entry("a", Path("a.nc"), {}, measures).merit(key) == merit


def test_a_folder_may_be_a_result(results):
    Path("a.zarr").mkdir()
    Path("a.zarr.json").write_text("{}")
    (entry,) = summary._entries([Path("a.zarr")])
    assert (entry.name, entry.reference) == ("a", None)


def test_pictures_are_as_many_as_asked_for(ornstein, results):
    assert ornstein("workflow", "report", "mri", *results, "--output", "r.html", "--pictures", "1")[0] == 0
    page = Path("r.html").read_text()
    assert re.findall(r"<h2>(\w+)</h2>", page) == ["poor"] and page.count("data:image/png") == 1
    assert all(name in page for name in ("good", "alone"))  # in the table of measures


def test_an_existing_page_is_kept_unless_it_may_be_replaced(ornstein, results, tmp_path):
    (tmp_path / "r.html").write_text("mine")
    code, _, err = ornstein("workflow", "report", "mri", *results, "--output", "r.html", "--table", "m.tsv")
    assert code == 2 and "r.html" in err and (tmp_path / "r.html").read_text() == "mine"
    assert not (tmp_path / "m.tsv").exists()
    assert ornstein("workflow", "report", "mri", *results, "--output", "r.html", "--overwrite")[0] == 0


@pytest.mark.parametrize(
    "files, code, says",
    [
        (["absent.nii.gz"], 3, "absent.nii.gz"),
        (["good.nii.gz", "poor.json"], 3, "poor.nii.gz"),
        (["good.nii.gz", "good.nii.gz.json"], 3, "not an evaluation"),
        (["head.nii.gz"], 3, "head.nii.gz.json"),
        (["good.json"], 2, "no results"),
    ],
)
def test_files_that_do_not_belong_are_named(ornstein, results, files, code, says):
    found, _, err = ornstein("workflow", "report", "mri", *files, "--output", "r.html")
    assert found == code and says in err and not Path("r.html").exists()


def test_results_of_one_name_are_told_apart_by_their_paths(results, tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("good.nii.gz", "good.nii.gz.json"):
        (tmp_path / "b" / name).write_bytes((tmp_path / name).read_bytes())
    answer = summary.summarise("mri", "good.nii.gz", "b/good.nii.gz", output="r.html")
    assert [row["name"] for row in answer.record["results"]] == ["good.nii.gz", "b/good.nii.gz"]


def test_an_unknown_domain_is_wrong_usage(ornstein, results):
    code, _, err = ornstein("workflow", "report", "astrology", *results)
    assert code == 2 and "mri" in err
