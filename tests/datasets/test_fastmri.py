"""fastMRI's layout, against files written with h5py alone."""

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ornstein.core.errors import InputError
from ornstein.datasets import hdf5_check
from ornstein.datasets.fastmri import write_kspace
from ornstein.datasets.fourier import to_image, to_kspace
from ornstein.datasets.kspace import KSpace, open_kspace, read_kspace, read_sensitivities

# As fastMRI's own files have it: a matrix with twofold readout oversampling, and a smaller one to be shown.
HEADER = """<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding>
<encodedSpace><matrixSize><x>16</x><y>10</y><z>1</z></matrixSize>
<fieldOfView_mm><x>320</x><y>180</y><z>7.5</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>{x}</x><y>8</y><z>1</z></matrixSize>
<fieldOfView_mm><x>160</x><y>160</y><z>5</z></fieldOfView_mm></reconSpace>
<trajectory>cartesian</trajectory></encoding></ismrmrdHeader>"""


@pytest.fixture(scope="module", autouse=True)
def trusted():
    """The files here are sound: no child process looks at each (test_hdf5_check.py tests that)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hdf5_check, "check", lambda *_: None)
        yield


def values(*shape):
    generator = np.random.default_rng(0)
    return (generator.normal(size=shape) + 1j * generator.normal(size=shape)).astype(np.complex64)


def stored(path, attributes=None, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
        file.attrs.update(attributes or {})
    return path


def test_multicoil_file_is_read_and_its_reference_is_not(tmp_path):
    data = values(3, 2, 6, 8)
    data[..., [1, 5]] = 0
    attributes = {"max": np.nan, "norm": "never read", "acquisition": "AXT1", "patient_id": "0"}
    kspace = read_kspace(
        stored(tmp_path / "k.h5", attributes, kspace=data, reconstruction_rss=np.full((3, 6, 6), np.nan))
    )
    assert np.array_equal(kspace.data, data)
    assert np.flatnonzero(~kspace.mask).tolist() == [1, 5]
    assert kspace.sensitivities is None and kspace.noise_std is None
    assert any("orientation unknown" in w for w in kspace.warnings)


def test_single_coil_file_gets_a_coil_axis(tmp_path):
    data = values(3, 6, 8)
    assert np.array_equal(read_kspace(stored(tmp_path / "k.h5", kspace=data)).data, data[:, None])


@pytest.mark.parametrize("kind", [np.uint8, bool, np.float32, np.int64])
@pytest.mark.parametrize("shape", [(8,), (1, 1, 8, 1), (6, 8)])
def test_masks_of_every_kind_and_shape_hide_what_they_leave_out(tmp_path, kind, shape):
    lines = np.array([1, 0, 0, 1, 1, 0, 0, 1])
    mask = np.broadcast_to(lines, (6, 8)) if shape == (6, 8) else lines.reshape(shape)
    kspace = read_kspace(stored(tmp_path / "k.h5", kspace=values(2, 2, 6, 8), mask=mask.astype(kind)))
    assert np.array_equal(kspace.mask, lines.astype(bool))
    assert not kspace.data[..., 1].any() and kspace.data[..., 0].all()


def test_a_mask_along_both_axes_stays_one(tmp_path):
    mask = np.random.default_rng(0).random((6, 8)) < 0.5
    assert np.array_equal(read_kspace(stored(tmp_path / "k.h5", kspace=values(2, 2, 6, 8), mask=mask)).mask, mask)


@pytest.mark.parametrize("shown", [8, 20], ids=["same resolution", "interpolated by the scanner"])
def test_readout_oversampling_is_cropped_in_image_space(tmp_path, shown):
    image = values(2, 3, 16, 10)
    maps = values(2, 3, 16, 10)
    path = stored(tmp_path / "k.h5", kspace=to_kspace(image), sensitivities=maps, ismrmrd_header=HEADER.format(x=shown))
    kspace = read_kspace(path)
    assert kspace.shape == (8, 10)  # 160 of 320 mm: 8 of 16 voxels, whatever the scanner interpolates to
    assert np.allclose(to_image(kspace.data), image[:, :, 4:12], atol=1e-5)  # float32 rounding
    assert np.array_equal(kspace.sensitivities, maps[:, :, 4:12])
    assert np.allclose(np.diag(kspace.affine), [20, 18, 5, 1])  # 160 mm / 8, 180 mm / 10, the thickness
    assert np.allclose(kspace.affine @ [4, 5, 1, 1], [0, 0, 0, 1])


def test_a_readout_that_was_cropped_before_is_left(tmp_path):
    kspace = read_kspace(stored(tmp_path / "k.h5", kspace=values(2, 3, 8, 10), ismrmrd_header=HEADER.format(x=8)))
    assert kspace.shape == (8, 10)
    assert np.allclose(np.diag(kspace.affine), [20, 18, 5, 1])


def test_header_may_be_bytes_in_an_array_without_name_space(tmp_path):
    text = HEADER.format(x=8).replace(' xmlns="http://www.ismrm.org/ISMRMRD"', "")
    path = stored(
        tmp_path / "k.h5", kspace=values(1, 1, 16, 10), ismrmrd_header=np.array(text.encode(), object).astype("S")
    )
    assert read_kspace(path).shape == (8, 10)


@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(2, 6), st.integers(2, 6), st.booleans(), st.permutations([0, 1, 2])
)  # fmt: skip
def test_kspace_survives_the_file(tmp_path_factory, slices, coils, readout, phase, lines, axes):
    generator = np.random.default_rng(0)
    mask = generator.random(phase if lines else (readout, phase)) < 0.6
    mask.flat[0], mask.flat[-1] = True, False
    if not lines and (mask == mask[0]).all():
        mask[0] ^= True
    data = values(slices, coils, readout, phase) * mask
    affine = np.diag([1.0, 2, 3, 1])
    header = {"qform_code": 1, "sform_code": 3, "xyzt_units": 10, "descrip": "head", "qform": np.eye(4)}
    kspace = KSpace(
        data, mask, affine, tuple(axes), sensitivities=values(slices, 2, coils, readout, phase),
        true_sensitivities=values(slices, coils, readout, phase), calibration=values(slices, coils, readout, 2),
        noise_std=0.5, header=header,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("h5") / "k.h5"
    write_kspace(kspace, path)
    again = read_kspace(path, truth=True)
    for name in ("data", "mask", "affine", "sensitivities", "calibration"):
        assert np.array_equal(getattr(again, name), getattr(kspace, name)), name
    # 12 bits of mantissa are kept of the maps, rounded: half of 2^-12.
    assert np.allclose(again.true_sensitivities, kspace.true_sensitivities, rtol=2**-12, atol=0)
    assert (again.axes, again.shape, again.noise_std) == (kspace.axes, kspace.shape, 0.5)
    assert np.array_equal(again.header.pop("qform"), np.eye(4))
    assert again.header == {k: v for k, v in header.items() if k != "qform"}
    assert read_kspace(path).true_sensitivities is None
    assert np.array_equal(read_sensitivities(path, again), kspace.sensitivities)


def test_others_find_the_documented_layout_in_our_files(tmp_path):
    mask = np.array([1, 0, 1, 1], bool)
    data = values(2, 3, 5, 4) * mask
    write_kspace(KSpace(data, mask, true_sensitivities=data), tmp_path / "k.h5")
    with h5py.File(tmp_path / "k.h5") as file:
        assert file["kspace"].dtype == np.complex64 and np.array_equal(file["kspace"][()], data)
        assert np.array_equal(file["mask"][()], mask)
        assert file["true_sensitivities"].dtype == np.complex64 and file["true_sensitivities"].shape == data.shape
        assert file.attrs["affine"].shape == (4, 4)


def test_lines_that_were_not_sampled_take_no_room(tmp_path):
    mask = np.arange(64) % 8 == 0
    write_kspace(KSpace(values(4, 4, 64, 64) * mask, mask), tmp_path / "k.h5")
    full = 4 * 4 * 64 * 64 * 8
    assert (tmp_path / "k.h5").stat().st_size < full / 8 + 60_000  # an eighth, and HDF5's own tables


def test_a_trajectory_survives_the_file(tmp_path):
    trajectory = np.random.default_rng(0).uniform(-4, 4, (5, 8, 2)).astype(np.float32)
    write_kspace(KSpace(values(2, 3, 5, 8), trajectory=trajectory, shape=(9, 10)), tmp_path / "k.h5")
    kspace = read_kspace(tmp_path / "k.h5")
    assert np.array_equal(kspace.trajectory, trajectory)
    assert kspace.shape == (9, 10) and kspace.mask is None
    with h5py.File(tmp_path / "k.h5", "r+") as file:
        del file.attrs["matrix"]
    assert read_kspace(tmp_path / "k.h5").shape == tuple(2 * np.ceil(abs(trajectory).max((0, 1))))


def test_only_the_slices_that_are_asked_for_are_read(tmp_path, monkeypatch):
    data = values(6, 2, 4, 4)
    path = stored(tmp_path / "k.h5", kspace=data)
    with open_kspace(path) as scan:
        rows = []
        original = h5py.Dataset.__getitem__
        monkeypatch.setattr(h5py.Dataset, "__getitem__", lambda self, key: rows.append(key) or original(self, key))
        part = scan.read(slice(2, 4))
        assert rows == [slice(2, 4)]
    assert np.array_equal(part.data, data[2:4])
    assert part.affine[2, 3] - scan.affine[2, 3] == 2


@pytest.mark.parametrize(
    ("arrays", "attributes", "words"),
    [
        ({"kspace": np.ones((1, 2, 4, 4), np.float32)}, {}, "`kspace` is float32"),
        ({"kspace": values(4, 4)}, {}, r"shape \(4, 4\)"),
        ({"kspace": values(0, 2, 4, 4)}, {}, "empty"),
        ({"kspace": values(1, 2, 4, 4) * np.nan}, {}, "kspace holds NaN or infinite values in slice 0"),
        ({"kspace": values(1, 2, 4, 4) * 0}, {}, "zero everywhere"),
        ({"kspace": values(1, 2, 4, 4), "mask": np.ones(5)}, {}, r"`mask` has shape \(5,\)"),
        ({"kspace": values(1, 2, 4, 4), "mask": np.zeros(4)}, {}, "`mask` is 0 everywhere"),
        ({"kspace": values(1, 2, 4, 4), "mask": np.arange(4)}, {}, "other values than 0 and 1"),
        ({"kspace": values(1, 2, 4, 4), "sensitivities": values(1, 3, 4, 4)}, {}, "sensitivities have shape"),
        ({"kspace": values(1, 2, 4, 4), "sensitivities": values(2, 2, 4, 4)}, {}, "for 1 slices"),
        ({"kspace": values(1, 2, 4, 4), "trajectory": np.zeros((4, 3, 2))}, {"matrix": [4, 4]}, "trajectory has shape"),
        ({"kspace": values(1, 2, 4, 4)}, {"affine": np.eye(3)}, "`affine`"),
        ({"kspace": values(1, 2, 4, 4)}, {"affine": np.full((4, 4), np.nan)}, "`affine` holds NaN"),
        ({"kspace": values(1, 2, 4, 4), "ismrmrd_header": "<not xml"}, {}, "ismrmrd_header is not XML"),
        ({"kspace": values(1, 2, 4, 4), "ismrmrd_header": "<a/>"}, {}, "ismrmrd_header is incomplete"),
        ({"kspace": values(1, 2, 4, 4), "ismrmrd_header": "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"}, {}, "entities"),
        ({"image": values(1, 2, 4, 4)}, {}, "holds no k-space; found image"),
    ],
)  # fmt: skip
def test_faults_are_named_with_file_and_field(tmp_path, arrays, attributes, words):
    with pytest.raises(InputError, match=rf"k\.h5.*{words}"):
        read_kspace(stored(tmp_path / "k.h5", attributes, **arrays))


def test_attributes_of_other_writers_do_no_harm(tmp_path):
    attributes = {"axes": "slices, coils, axis2, axis3", "qform_code": "one", "noise_std": "none", "xyzt_units": 2}
    kspace = read_kspace(stored(tmp_path / "k.h5", attributes, kspace=values(1, 2, 4, 4)))
    assert kspace.axes == (2, 0, 1) and kspace.header["qform_code"] == 0 and kspace.header["xyzt_units"] == 2


def test_real_fully_sampled_brain_is_read(shared_data):
    path = shared_data / "medical/kspace/lustig_brain_8coil_full_320x168.h5"
    kspace = read_kspace(path)
    assert kspace.data.shape == (1, 8, 320, 168) and kspace.mask.all() and kspace.mask.shape == (168,)
    with h5py.File(path) as file:
        rss = np.sqrt((abs(to_image(kspace.data)) ** 2).sum(1))
        # The source's own picture, by the same transform: float32 rounding of values up to 900.
        assert np.allclose(rss, file["reconstruction_rss"][()], rtol=1e-4, atol=1e-2)
