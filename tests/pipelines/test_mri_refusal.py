"""A scan that the shipped prior was not made for ends with code 4, before any sampling; a head goes through."""

import json
from pathlib import Path

import nibabel
import nilearn.datasets
import numpy as np
import pytest

from ornstein.core.errors import RefusedError
from ornstein.datasets.kspace import read_kspace
from ornstein.domains.mri import reconstruction
from ornstein.pipelines import mri

QUICKLY = ("--samples", 1, "--steps", 1)


def disc(y, x, radius):
    rows, columns = np.mgrid[-1:1:128j, -1:1:128j]
    return np.hypot(rows - y, columns - x) < radius


def knee() -> np.ndarray:
    """Fat, muscle, two condyles with dark cortex, a kneecap and vessels, the same in four slices: (128, 128, 4)."""
    image = np.where(disc(0, 0, 0.8), 1.0, 0.0)
    image[disc(0.02, 0, 0.68)] = 0.35
    for x in (-0.24, 0.24):
        image[disc(-0.1, x, 0.3)] = 0.05
    for x in (-0.24, 0.24):
        image[disc(-0.1, x, 0.27)] = 0.85
    image[disc(-0.58, 0, 0.15)] = 0.8
    for x in (-0.4, 0.1, 0.5):
        image[disc(0.45, x, 0.06)] = 0.05
    grain = 1 + 0.05 * np.random.default_rng(0).standard_normal((128, 128, 4))
    return (image[..., None] * grain).astype(np.float32)


@pytest.fixture(scope="module")
def brain():
    """The MNI152 template as nilearn's package carries it, in 2 mm voxels: (voxels, affine)."""
    file = Path(nilearn.datasets.__file__).parent / "data" / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
    image = nibabel.load(file)
    return np.asarray(image.dataobj, np.float32)[::2, ::2, ::2], image.affine @ np.diag([2, 2, 2, 1])


@pytest.fixture
def scanned(ornstein, tmp_path):
    """`scanned(voxels, affine)`: k-space of a volume at 4x in 4 coils."""

    def make(voxels, affine, *words):
        nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / "v.nii.gz")
        code, _, err = ornstein(
            "mri", "simulate", tmp_path / "v.nii.gz", "-o", tmp_path / "k.h5", "--coils", 4, "--slice-axis", 2, *words
        )
        assert code == 0, err
        return tmp_path / "k.h5", err

    return make


def test_a_knee_is_refused_in_one_line_before_any_sampling(ornstein, scanned, monkeypatch, tmp_path):
    file, _ = scanned(knee(), np.eye(4))
    monkeypatch.setattr(reconstruction, "reconstruct_slices", None)
    code, _, err = ornstein("mri", "reconstruct", file, "-o", tmp_path / "r.nii.gz")
    assert code == 4 and not list(tmp_path.glob("r*"))
    assert "k.h5: 4 of 4 slices look unlike the images that the model was trained on" in err
    assert "--method sense" in err and "--force" in err and "Traceback" not in err


def test_force_goes_on_and_marks_the_result(ornstein, scanned, tmp_path):
    file, _ = scanned(knee()[..., :1], np.eye(4))
    page = tmp_path / "r.html"
    code, _, err = ornstein(
        "mri", "reconstruct", file, "-o", tmp_path / "r.nii.gz", "--force", "--report", page, *QUICKLY
    )
    assert code == 0, err
    mark = "look unlike the images that the model was trained on"
    assert any(
        mark in text and "--force" in text for text in json.loads((tmp_path / "r.nii.gz.json").read_text())["warnings"]
    )
    assert mark in page.read_text()


def test_methods_without_a_model_refuse_no_knee(ornstein, scanned, tmp_path):
    file, _ = scanned(knee()[..., :1], np.eye(4))
    assert ornstein("mri", "reconstruct", file, "-o", tmp_path / "r.nii.gz", "--method", "sense")[0] == 0


@pytest.mark.parametrize("pattern", ["random", "radial"])
def test_a_head_goes_through_without_a_mark(ornstein, scanned, brain, tmp_path, pattern):
    voxels, affine = brain
    file, _ = scanned(np.ascontiguousarray(voxels[:, :, 30:60:10]), affine, "--pattern", pattern)
    code, _, err = ornstein("mri", "reconstruct", file, "-o", tmp_path / "r.nii.gz", *QUICKLY)
    assert code == 0, err
    assert json.loads((tmp_path / "r.nii.gz.json").read_text())["warnings"] == []


def test_python_refuses_arrays_as_the_command_line_refuses_files(scanned):
    kspace = read_kspace(scanned(knee(), np.eye(4))[0])
    with pytest.raises(RefusedError, match="k-space: 4 of 4 slices") as caught:
        mri.reconstruct(kspace.data, samples=1, steps=1)
    assert caught.value.code == 4 and "--force" in caught.value.hint


def test_hounsfield_units_are_simulated_with_a_warning_and_refused(ornstein, scanned, tmp_path):
    body = np.where(disc(0, 0, 0.8), 40.0, -1000.0)
    for x in (-0.35, 0.35):
        body[disc(0, x, 0.28)] = -800
    body[disc(0.5, 0, 0.15)] = 600
    file, err = scanned(np.repeat(body[..., None], 3, 2).astype(np.float32), np.eye(4))
    assert "values down to -1000" in err
    assert ornstein("mri", "reconstruct", file, "-o", tmp_path / "r.nii.gz")[0] == 4
