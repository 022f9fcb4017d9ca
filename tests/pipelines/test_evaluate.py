"""`evaluate mri` compares what lies on one grid, in the field's own measures."""

import json

import nibabel
import numpy as np
import pytest

AFFINE = np.array([[-1.0, 0, 0, 20], [0, 1.2, 0, -20], [0, 0, 2.0, -9], [0, 0, 0, 1]])


@pytest.fixture
def pair(tmp_path):
    """A reference and a result that differs by noise of standard deviation 1: (result, reference, their arrays)."""
    generator = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in (32, 30, 12)], indexing="ij"))
    truth = (100 * (np.square(grid).sum(0) < 0.6)).astype(np.float32)
    image = truth + generator.standard_normal(truth.shape).astype(np.float32)
    for name, data in (("truth", truth), ("image", image)):
        nibabel.save(nibabel.Nifti1Image(data, AFFINE), tmp_path / f"{name}.nii.gz")
    return tmp_path / "image.nii.gz", tmp_path / "truth.nii.gz", image, truth


def test_psnr_is_that_of_the_noise_and_json_holds_all_measures(ornstein, pair):
    code, out, err = ornstein("evaluate", "mri", pair[0], pair[1], "--json")
    found = json.loads(out)
    assert (code, err) == (0, "") and {"psnr", "psnr_head", "ssim", "ssim_head", "nmse", "nrmse"} <= found.keys()
    assert found["psnr"] == pytest.approx(40, abs=0.3)  # 20 log10(100 / 1); the magnitude folds some noise over
    assert found["result"].endswith("image.nii.gz") and found["reference"].endswith("truth.nii.gz")


def test_table_names_every_measure(ornstein, pair):
    code, out, err = ornstein("evaluate", "mri", pair[0], pair[1])
    assert (code, err) == (0, "") and out.splitlines()[0].split() == ["measure", "value"]
    assert [line.split()[0] for line in out.splitlines()[1:]] == [
        "psnr",
        "psnr_head",
        "ssim",
        "ssim_head",
        "nmse",
        "nrmse",
    ]


def test_scale_counts_unless_it_is_fitted(ornstein, pair, tmp_path):
    nibabel.save(nibabel.Nifti1Image(2 * pair[3], AFFINE), tmp_path / "double.nii.gz")
    plain = json.loads(ornstein("evaluate", "mri", tmp_path / "double.nii.gz", pair[1], "--json")[1])
    fitted = json.loads(ornstein("evaluate", "mri", tmp_path / "double.nii.gz", pair[1], "--json", "--fit-scale")[1])
    assert plain["nmse"] == pytest.approx(1) and fitted["nmse"] < 1e-12


def test_a_mask_decides_what_counts_as_head(ornstein, pair, tmp_path):
    image = pair[3].copy()
    image[:16] += 10
    nibabel.save(nibabel.Nifti1Image(image, AFFINE), tmp_path / "half.nii.gz")
    for part, perfect in ((np.s_[16:], True), (np.s_[:16], False)):
        mask = np.zeros(image.shape, np.float32)
        mask[part] = 1
        nibabel.save(nibabel.Nifti1Image(mask, AFFINE), tmp_path / "mask.nii.gz")
        found = json.loads(
            ornstein(
                "evaluate", "mri", tmp_path / "half.nii.gz", pair[1], "--mask", tmp_path / "mask.nii.gz", "--json"
            )[1]
        )
        assert (found["psnr_head"] is None) == perfect  # infinite, which JSON does not know


def test_some_slices_are_compared_with_their_own(ornstein, pair, tmp_path):
    moved = AFFINE.copy()
    moved[:3, 3] += AFFINE[:3, 2] * 4
    nibabel.save(nibabel.Nifti1Image(pair[3][..., 4:8], moved), tmp_path / "part.nii.gz")
    found = json.loads(ornstein("evaluate", "mri", tmp_path / "part.nii.gz", pair[1], "--json")[1])
    assert found["nmse"] == 0 and "(32, 30, 4)" in found["warnings"][0]


@pytest.mark.parametrize("change", ["shape", "voxels", "shifted by half"])
def test_other_grids_are_refused(ornstein, pair, tmp_path, change):
    data, affine = pair[3], AFFINE.copy()
    if change == "shape":
        data = np.pad(data, ((0, 3), (0, 0), (0, 0)))
    elif change == "voxels":
        affine[0, 0] = -2
    else:
        affine[0, 3] += 0.5
    nibabel.save(nibabel.Nifti1Image(data, affine), tmp_path / "other.nii.gz")
    code, out, err = ornstein("evaluate", "mri", tmp_path / "other.nii.gz", pair[1])
    assert code == 3 and out == "" and "grid" in err


def test_missing_and_wrong_files_are_bad_input(ornstein, pair, tmp_path):
    (tmp_path / "text.nii.gz").write_text("no image")
    for file in ("absent.nii.gz", "text.nii.gz"):
        code, _, err = ornstein("evaluate", "mri", pair[0], tmp_path / file)
        assert code == 3 and file in err and len(err.strip().splitlines()) <= 2
    assert ornstein("evaluate", "mri", pair[0])[0] == 2
