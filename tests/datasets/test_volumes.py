"""Image volumes in files, against nibabel and BART's own description of its format."""

import gzip

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ornstein.core.errors import InputError, UsageError
from ornstein.datasets.volumes import moved, read_volume, suffix_of, write_volume

AFFINE = np.array([[-0.9, 0.1, 0, 80], [0.05, 0, 1.2, -60], [0, -1.1, 0.02, 90], [0, 0, 0, 1]])


def saved(path, data, affine=AFFINE, **codes):
    image = nibabel.Nifti1Image(data, affine)
    image.set_sform(affine, codes.get("sform", 1))
    image.set_qform(affine, codes.get("qform", 0), strip_shears=True)
    image.header.set_xyzt_units(*codes.get("units", ("mm", "sec")))
    image.header["descrip"] = codes.get("descrip", "as acquired")
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [np.float32, np.complex64])
def test_nifti_written_and_read_by_nibabel_keeps_values_affine_codes_and_units(tmp_path, ending, kind):
    data = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(kind)
    source = read_volume(saved(tmp_path / f"a{ending}", data, sform=3, qform=0))
    write_volume(tmp_path / f"b{ending}", source.data, source.affine, source.header)
    result = nibabel.load(tmp_path / f"b{ending}")
    assert result.get_data_dtype() == kind
    assert np.array_equal(np.asanyarray(result.dataobj), data)
    assert np.allclose(result.affine, AFFINE, atol=1e-5)  # NIfTI stores float32
    assert (int(result.header["sform_code"]), int(result.header["qform_code"])) == (3, 0)
    assert result.header.get_xyzt_units() == ("mm", "sec")
    assert bytes(result.header["descrip"].tobytes()).startswith(b"as acquired")


@given(st.integers(0, 4), st.integers(0, 4), st.integers(0, 1000))
def test_every_pair_of_codes_survives_with_the_affine(tmp_path_factory, qform, sform, seed):
    generator = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * generator.uniform(0.5, 3, 3)
    affine[:3, 3] = generator.uniform(-100, 100, 3)
    path = tmp_path_factory.mktemp("codes") / "a.nii"
    header = {"qform_code": qform, "sform_code": sform, "xyzt_units": 10, "descrip": ""}
    write_volume(path, np.zeros((2, 3, 4)), affine, header)
    volume = read_volume(path)
    assert np.allclose(volume.affine, affine, atol=1e-3)  # a qform is a float32 quaternion
    if qform or sform:
        assert (volume.header["qform_code"], volume.header["sform_code"]) == (qform, sform)


def test_a_qform_that_differs_from_the_sform_survives(tmp_path):
    image = nibabel.Nifti1Image(np.ones((3, 3, 3), np.float32), AFFINE)
    other = np.diag([2.0, 2, 2, 1])
    image.set_sform(np.diag([1.0, 1, 1, 1]), 4)
    image.set_qform(other, 1)
    nibabel.save(image, tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    write_volume(tmp_path / "b.nii.gz", volume.data, volume.affine, volume.header)
    result = nibabel.load(tmp_path / "b.nii.gz")
    assert np.allclose(result.get_qform(), other, atol=1e-6)
    assert np.allclose(result.get_sform(), np.eye(4), atol=1e-6)


def test_integers_with_a_slope_are_read_in_their_units(tmp_path):
    image = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    image.header.set_slope_inter(0.5, -3)
    nibabel.save(image, tmp_path / "a.nii")
    raw = nibabel.load(tmp_path / "a.nii")
    assert raw.header.get_data_dtype() == np.int16
    volume = read_volume(tmp_path / "a.nii")
    assert volume.data.dtype == np.float32
    assert np.allclose(volume.data, raw.get_fdata())


def test_a_last_axis_of_one_volume_is_dropped(tmp_path):
    assert read_volume(saved(tmp_path / "a.nii", np.ones((4, 5, 6, 1), np.uint8))).data.shape == (4, 5, 6)


@pytest.mark.parametrize(
    ("shape", "words"),
    [((4, 5), "2D"), ((4, 5, 6, 2), "4D"), ((4, 5, 6, 1, 3), "5D")],
    ids=["plane", "series", "vectors"],
)
def test_other_than_three_axes_are_refused_by_their_number(tmp_path, shape, words):
    with pytest.raises(InputError, match=f"a.nii.*{words}"):
        read_volume(saved(tmp_path / "a.nii", np.ones(shape, np.float32)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(tmp_path, value):
    data = np.ones((3, 3, 3), np.float32)
    data[1, 1, 1] = value
    with pytest.raises(InputError, match=r"a\.nii.*NaN"):
        read_volume(saved(tmp_path / "a.nii", data))


def test_damaged_files_are_input_errors_that_name_the_file(tmp_path):
    whole = saved(tmp_path / "whole.nii.gz", np.random.default_rng(0).normal(size=(16, 16, 16))).read_bytes()
    colours = np.zeros((2, 2, 2), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    nibabel.save(nibabel.Nifti1Image(colours, np.eye(4)), tmp_path / "colours.nii")
    for name, content in {
        "cut.nii.gz": whole[: len(whole) // 2],
        "text.nii": b"this is not what it says\n" * 40,
        "zip.nii.gz": gzip.compress(b"text"),
        "empty.nii": b"",
        "text.npy": b"text",
        "odd.png": b"",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            read_volume(tmp_path / name)
    for name in ("colours.nii", "absent.nii"):
        with pytest.raises(InputError, match=name):
            read_volume(tmp_path / name)
    with pytest.raises(InputError, match="folder"):
        read_volume(tmp_path)


def test_the_same_volume_gives_the_same_bytes_under_any_name(tmp_path):
    data = np.random.default_rng(0).normal(size=(8, 8, 8))
    for name in ("a.nii.gz", "temporary.nii.gz"):
        write_volume(tmp_path / name, data, AFFINE)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "temporary.nii.gz").read_bytes()


@pytest.mark.parametrize("ending", [".cfl", ".npy"])
def test_arrays_come_back_as_they_were_written(tmp_path, ending):
    data = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.complex64)
    write_volume(tmp_path / f"a{ending}", data, AFFINE)
    assert np.array_equal(read_volume(tmp_path / f"a{ending}").data, data)


def test_another_ending_is_wrong_usage(tmp_path):
    with pytest.raises(UsageError, match=r"a\.png"):
        write_volume(tmp_path / "a.png", np.zeros((2, 2, 2)), np.eye(4))
    assert list(tmp_path.iterdir()) == []


def test_endings_are_read_without_regard_to_case():
    assert suffix_of("x.NII.GZ") == ".nii.gz"
    assert suffix_of("a.b.CFL") == ".cfl"


def test_a_moved_affine_sends_the_first_voxel_of_the_part_to_its_place_in_the_whole():
    part = moved(AFFINE, np.array([2, 0, 5]))
    assert np.allclose(part @ [0, 0, 0, 1], AFFINE @ [2, 0, 5, 1])
