"""The quickstart runs every domain and ends with one report."""

import json

import numpy as np
import pytest

from ornstein.pipelines import atmosphere_quickstart, mri_quickstart, quickstart, speech_quickstart
from ornstein.pipelines.mri_results import Reconstruction


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


@pytest.fixture
def reconstructed(monkeypatch):
    """A brain of few voxels, and in the place of the methods the truth with an error of each method's own."""
    from ornstein.datasets.volumes import Volume

    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in (40, 48, 5)], indexing="ij"))
    truth = (1000 * ((grid[:2] ** 2).sum(0) < 0.7) * (1 + 0.3 * np.sin(9 * grid[0]))).astype(np.float32)
    errors = {"zero-filled": 90.0, "sense": 60.0, "tv": 40.0, "diffusion": 20.0}

    class Made(Reconstruction):
        record = {"seconds": 1.5, "warnings": [], "command": "made by a test"}

    def reconstruct(kspace, *, method, **options):
        assert kspace.endswith("kspace.h5")
        noise = np.random.default_rng(0).standard_normal(truth.shape).astype(np.float32)
        made = Made(truth + errors[method] * noise, np.eye(4), {"qform_code": 4, "sform_code": 4, "xyzt_units": 2})
        made.std = np.full(truth.shape, 20.0, np.float32) if method == "diffusion" else None
        return made

    monkeypatch.setattr(quickstart, "DEMONSTRATIONS", {"mri": quickstart.DEMONSTRATIONS["mri"]})
    monkeypatch.setattr(mri_quickstart, "template", lambda: Volume(truth, np.eye(4)))
    monkeypatch.setattr(mri_quickstart.mri, "reconstruct", reconstruct)


def test_mri_is_shown_by_every_method_with_errors_and_deviation(reconstructed, ornstein, tmp_path):
    code, out, err = ornstein("quickstart", tmp_path / "q")
    assert code == 0, err
    # The errors were made 20 and 40: 20 log10(2) is 6.0 dB.
    assert "diffusion is 6.0 dB above tv" in out
    files = {file.name for file in (tmp_path / "q" / "mri").iterdir()}
    assert {"brain.nii.gz", "kspace.h5", *(f"{method}.nii.gz" for method in mri_quickstart.METHODS)} <= files
    page = (tmp_path / "q" / "report.html").read_text()
    assert page.count("data:image/png") == len(mri_quickstart.SHOWN) and "<h2>MRI</h2>" in page
    assert "average" in page and "research use only" in page.lower()
    assert all(f"<td>{method}</td>" in page for method in mri_quickstart.METHODS)


@pytest.mark.slow
def test_quickstart_of_mri_beats_the_classical_methods(ornstein, tmp_path):
    code, out, err = ornstein("quickstart", tmp_path / "q", "--json")
    assert code == 0, err
    methods = json.loads(out)["domains"]["mri"]["methods"]
    scores = {name: values["PSNR in the head (dB)"] for name, values in methods.items()}
    assert scores["diffusion"] > max(scores["tv"], scores["sense"], scores["zero-filled"])


def test_speech_is_shown_by_every_method_with_players(monkeypatch, ornstein, tmp_path):
    monkeypatch.setattr(quickstart, "DEMONSTRATIONS", {"speech": quickstart.DEMONSTRATIONS["speech"]})
    monkeypatch.setattr(speech_quickstart, "SECONDS", 4.0)
    code, out, err = ornstein("quickstart", tmp_path / "q", "--json")
    assert code == 0, err
    methods = json.loads(out)["domains"]["speech"]["methods"]
    scores = {name: values["SI-SDR (dB)"] for name, values in methods.items()}
    assert set(scores) == {"noisy", "noisereduce", "wiener", "diffusion"}
    assert scores["diffusion"] > max(scores["wiener"], scores["noisereduce"], scores["noisy"])
    page = (tmp_path / "q" / "report.html").read_text()
    assert page.count("<audio") == 5 and "synthetic voice" in page


def test_the_atmosphere_is_shown_by_every_method_and_gains_from_stations(monkeypatch, ornstein, tmp_path):
    monkeypatch.setattr(quickstart, "DEMONSTRATIONS", {"atmosphere": quickstart.DEMONSTRATIONS["atmosphere"]})
    monkeypatch.setattr(atmosphere_quickstart, "WINTERS", 2)
    code, out, err = ornstein("quickstart", tmp_path / "q", "--json")
    assert code == 0, err
    methods = json.loads(out)["domains"]["atmosphere"]["methods"]
    scores = {name: values["CRPS (m)"] for name, values in methods.items()}
    assert set(scores) == {"bicubic", "optimal", "diffusion", "diffusion, stations"}
    assert scores["diffusion, stations"] < scores["diffusion"] < scores["bicubic"]
    assert "data:image/png" in (tmp_path / "q" / "report.html").read_text()
