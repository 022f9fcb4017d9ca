"""The k-space container, `.npy` files, and what every reader refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ornstein.core.errors import InputError
from ornstein.datasets.arrays import spool
from ornstein.datasets.kspace import KSpace, open_kspace, read_kspace, read_sensitivities


def values(*shape):
    generator = np.random.default_rng(0)
    return (generator.normal(size=shape) + 1j * generator.normal(size=shape)).astype(np.complex64)


@given(st.permutations([0, 1, 2]))
def test_images_go_to_the_volume_and_back(axes):
    kspace = KSpace(values(2, 1, 3, 4), axes=tuple(axes))
    images = np.arange(24).reshape(2, 3, 4)
    volume = kspace.to_volume(images)
    assert [volume.shape[a] for a in axes] == [2, 3, 4]
    assert volume.shape == kspace.as_scan().volume_shape
    assert np.array_equal(kspace.from_volume(volume), images)


@given(st.permutations([0, 1, 2]), st.integers(0, 3))
def test_some_slices_lie_where_they_lay_in_the_whole(axes, start):
    affine = np.array([[0, -2.0, 0, 5], [1, 0, 0, -7], [0, 0, 3, 1], [0, 0, 0, 1]])
    header = {"qform": 2 * affine}
    whole = KSpace(values(4, 1, 3, 5), axes=tuple(axes), affine=affine, header=header).as_scan()
    part = whole.read(slice(start, None))
    voxel = np.array([0, 0, 0, 1])
    voxel[axes[0]] = start
    assert np.allclose(part.affine[:, 3], affine @ voxel)
    assert np.allclose(part.header["qform"][:3, 3], (2 * affine @ voxel)[:3])
    assert np.array_equal(part.data, values(4, 1, 3, 5)[start:])


def test_slices_that_do_not_exist_are_refused():
    scan = KSpace(values(4, 1, 3, 5)).as_scan()
    assert scan.read(slice(-2, None)).slices == 2
    with pytest.raises(InputError, match=r"7:4.*has 4|4:4.*has 4"):
        scan.read(slice(7, 9))


@pytest.mark.parametrize("shape", [(3, 6, 8), (1, 3, 6, 8), (4, 3, 6, 8)])
def test_arrays_without_and_with_slices_are_read(tmp_path, shape):
    data = values(*shape)
    data[..., 2] = 0
    np.save(tmp_path / "k.npy", data)
    kspace = read_kspace(tmp_path / "k.npy")
    assert np.array_equal(kspace.data, data.reshape(-1, 3, 6, 8))
    assert kspace.mask.tolist() == [i != 2 for i in range(8)]


def test_a_mask_along_both_axes_is_found(tmp_path):
    data = values(2, 3, 16, 16)
    mask = np.random.default_rng(1).random((16, 16)) < 0.3
    np.save(tmp_path / "k.npy", data * mask)
    assert np.array_equal(read_kspace(tmp_path / "k.npy").mask, mask)


def test_real_undersampled_brain_is_read(shared_data):
    kspace = read_kspace(shared_data / "medical/kspace/sigpy_tutorial_brain_8coil_poisson.npy")
    assert kspace.data.shape == (1, 8, 230, 180)
    assert kspace.mask.mean() == pytest.approx(0.124, abs=0.001)  # as its source states


def test_samples_outside_the_mask_are_hidden():
    mask = np.array([True, False, True])
    kspace = KSpace(values(1, 2, 4, 3), mask=mask).as_scan().read()
    assert not kspace.data[..., 1].any() and kspace.data[..., 0].all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mask": np.ones(5, bool)}, "mask has shape"),
        ({"mask": np.ones((3, 4), bool)}, "mask has shape"),
        ({"data": np.zeros((1, 2, 4, 3), np.complex64)}, "zero everywhere"),
        ({"data": np.full((1, 2, 4, 3), np.nan, np.complex64)}, "data holds NaN"),
        ({"data": values(2, 4, 3)}, "3 axes"),
        ({"sensitivities": values(1, 3, 4, 3)}, "sensitivities have shape"),
        ({"sensitivities": np.full((1, 2, 4, 3), np.inf, np.complex64)}, "sensitivities holds NaN"),
        ({"trajectory": np.zeros((4, 2, 2), np.float32), "shape": (4, 4)}, "trajectory has shape"),
    ],
)
def test_faults_are_named(change, words):
    good = {"data": values(1, 2, 4, 3), "mask": np.ones(3, bool)}
    assert KSpace(**good).validate().coils == 2
    with pytest.raises(InputError, match=words):
        KSpace(**{**good, **change}).validate()


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.ones((2, 4, 3), np.float32), "float32"),
        (np.ones((4, 3), np.complex64), r"shape \(4, 3\)"),
        (np.zeros((2, 4, 3), np.complex64), "zero everywhere"),
        (np.zeros((0, 2, 4, 3), np.complex64), "empty"),
        (np.full((2, 4, 3), np.nan + 0j, np.complex64), "NaN"),
        (np.array([{"a": 1}]), "not a readable"),
    ],
)
def test_arrays_that_are_no_kspace_are_refused_by_name(tmp_path, array, words):
    np.save(tmp_path / "k.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=rf"k\.npy.*{words}"):
        read_kspace(tmp_path / "k.npy")


def test_paths_that_are_no_files_are_refused_by_name(tmp_path):
    (tmp_path / "k.dat").write_bytes(b"x")
    for path, words in (
        (tmp_path, "folder"),
        (tmp_path / "absent.h5", "absent.h5: no such file"),
        (tmp_path / "k.dat", "k.dat"),
    ):
        with pytest.raises(InputError, match=words), open_kspace(path):
            pass


def test_sensitivities_of_a_user_are_checked_against_the_scan(tmp_path):
    scan = KSpace(values(2, 3, 4, 5))
    np.save(tmp_path / "s.npy", values(2, 3, 4, 5))
    assert np.array_equal(read_sensitivities(tmp_path / "s.npy", scan), values(2, 3, 4, 5))
    np.save(tmp_path / "s.npy", values(2, 2, 3, 4, 5))
    assert read_sensitivities(tmp_path / "s.npy", scan).shape == (2, 2, 3, 4, 5)
    np.save(tmp_path / "s.npy", values(2, 4, 4, 5))
    with pytest.raises(InputError, match=r"s\.npy.*\(2, 3, 4, 5\) is wanted"):
        read_sensitivities(tmp_path / "s.npy", scan)


def test_large_room_is_zero_and_lies_in_a_file():
    room = spool((3, 4), memory=8)
    assert isinstance(room, np.memmap) and not room.any()
    room[1] = 2
    assert room.sum() == 8
    assert not isinstance(spool((3, 4)), np.memmap)
