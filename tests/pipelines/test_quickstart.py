"""The quickstart runs every domain and ends with one report."""

import json

import numpy as np
import pytest

from ornstein.pipelines import mri_quickstart, quickstart


@pytest.fixture
def small(monkeypatch, tiny):
    """One demonstration of a few lines in the place of the domains."""

    def demonstrate(folder, report, device, seed, console):
        (folder / "made.txt").write_text(str(seed))
        report.text("shown here")
        console.say("working")
        return quickstart.Demonstration(("method", "score"), [("old", 1.0), ("new", 2.0)], None, "new is better")

    tiny.demonstrate = demonstrate
    monkeypatch.setattr(quickstart, "DEMONSTRATIONS", {"tiny": "ornstein.pipelines.tiny:demonstrate"})


def test_quickstart_writes_one_report_and_says_the_outcome(small, ornstein, tmp_path):
    code, out, err = ornstein("quickstart", tmp_path / "q")
    assert code == 0 and "new is better" in out and "working" in err
    assert sorted(p.name for p in (tmp_path / "q").iterdir()) == ["README.txt", "report.html", "tiny"]
    assert "shown here" in (tmp_path / "q" / "report.html").read_text()


def test_quickstart_needs_no_argument_and_replaces_only_what_it_made(small, ornstein, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = ornstein("quickstart", "--json", "--quiet")
    assert (code, err) == (0, "")
    assert json.loads(out)["domains"]["tiny"]["methods"]["new"] == {"score": 2.0}
    report = tmp_path / "ornstein-quickstart" / "report.html"
    assert report.exists()
    report.unlink()  # as where the first one was interrupted
    assert ornstein("quickstart")[0] == 0 and report.exists()


def test_a_folder_with_other_files_is_left_alone(small, ornstein, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    code, _, err = ornstein("quickstart", tmp_path)
    assert code == 2 and "--overwrite" in err
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
    assert ornstein("quickstart", tmp_path, "--overwrite")[0] == 0
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_the_template_comes_with_a_library_and_lies_in_space():
    brain = mri_quickstart.template()
    assert brain.data.shape == (197, 233, 5) and float(brain.data.max()) == 1000
    np.testing.assert_allclose(np.linalg.norm(brain.affine[:3, :3], axis=0), (1, 1, 20))


@pytest.mark.slow
def test_quickstart_of_mri_beats_the_classical_methods(ornstein, tmp_path):
    code, out, err = ornstein("quickstart", tmp_path / "q", "--json")
    assert code == 0, err
    methods = json.loads(out)["domains"]["mri"]["methods"]
    scores = {name: values["PSNR in the head (dB)"] for name, values in methods.items()}
    assert scores["diffusion"] > max(scores["tv"], scores["sense"], scores["zero-filled"])
