"""The simulator: what a perfect reconstruction of its k-space gives, its noise, its geometry."""

import json

import h5py
import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ornstein.core.errors import InputError, UsageError
from ornstein.datasets import hdf5_check
from ornstein.datasets.coils import loops, receive_field, spline_weights
from ornstein.datasets.fourier import to_image, to_kspace
from ornstein.datasets.kspace import open_kspace, read_kspace
from ornstein.datasets.kspace_simulation import choose_axes, nonuniform, simulate, simulate_scan, simulate_to
from ornstein.datasets.volumes import Volume, read_volume

SHAPE = (24, 30, 20)


def head(shape=SHAPE):
    """A ball of random brightness, in arbitrary units."""
    places = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    inside = sum(p**2 for p in places) < 0.8
    return (inside * np.random.default_rng(0).uniform(100, 900, shape)).astype(np.float32)


def combined(kspace):
    """The image of fully sampled k-space by the true maps: sum over coils of conj(s) x_c."""
    return (kspace.true_sensitivities.conj() * to_image(kspace.data)).sum(1)


@given(st.sampled_from(["random", "equispaced", "poisson"]), st.integers(1, 14), st.integers(0, 99))
def test_full_sampling_without_noise_gives_the_volume_back(pattern, coils, seed):
    volume = head((6, 10, 8))
    kspace = simulate(volume, np.eye(4), coils=coils, acceleration=1, pattern=pattern, noise=0, seed=seed)
    assert kspace.mask.all()
    image = kspace.to_volume(abs(combined(kspace)))
    assert np.allclose(image, volume, rtol=0, atol=1e-5 * volume.max())  # float32 rounding in two transforms


@given(
    st.tuples(*3 * [st.integers(1, 24)]), st.sampled_from(["random", "equispaced", "poisson", "radial"]),
    st.floats(1, 10), st.integers(0, 9),
)  # fmt: skip
def test_volumes_of_any_size_give_finite_kspace_of_the_stated_shape(shape, pattern, acceleration, seed):
    scan = simulate_scan(
        head(shape) + 1, np.diag([1.0, 2, 3, 1]), coils=3, pattern=pattern, acceleration=acceleration, seed=seed
    )
    kspace = scan.read().validate()
    assert scan.volume_shape == shape
    assert kspace.data.shape == (scan.slices, 3, *scan.samples) and kspace.data.dtype == np.complex64
    if pattern != "radial":
        assert kspace.mask.sum() == max(1, round(kspace.mask.size / acceleration))


def test_maps_have_unit_root_sum_of_squares_and_are_smooth_within_the_head():
    kspace = simulate(head((64, 64, 12)), np.diag([3.0, 3, 3, 1]), coils=8)
    maps = kspace.true_sensitivities
    assert np.allclose((abs(maps) ** 2).sum(1), 1, atol=1e-5)
    middle = maps[:, :, 16:48, 16:48]
    for axis in (0, 2, 3):
        # A third of a coil's width is about 20 mm: over one voxel of 3 mm a map changes by a small part of its range.
        assert abs(np.diff(middle, axis=axis)).max() < 0.2
    assert np.ptp(np.angle(middle[6, 0])) > 0.3, "the phase varies"
    brightest = [np.unravel_index(abs(maps[6, c]).argmax(), maps.shape[2:]) for c in range(8)]
    assert len(set(brightest)) == 8, "each coil sees best from another place"


def test_the_image_phase_is_smooth_and_not_constant():
    kspace = simulate(head((96, 96, 3)) + 1, np.eye(4), acceleration=1, noise=0)
    phase = combined(kspace)
    turn = np.angle(phase[1, 1:] * phase[1, :-1].conj())
    assert abs(turn).max() < 0.4 and np.ptp(np.unwrap(np.angle(phase[1, :, 48]))) > 0.2


@pytest.mark.parametrize("pattern", ["random", "poisson", "radial"])
def test_noise_has_the_stated_deviation_in_real_and_imaginary_part_of_each_coil(pattern):
    volume = head()
    options = {"coils": 4, "acceleration": 2, "pattern": pattern}
    noisy, clean = (simulate(volume, np.eye(4), noise=n, **options) for n in (0.02, 0))
    difference = (noisy.data - clean.data)[:, :, noisy.mask] if pattern == "poisson" else noisy.data - clean.data
    if pattern == "random":
        difference = difference[..., noisy.mask]
    wanted = 0.02 * np.percentile(abs(volume), 99.9)
    for coil in range(4):
        for part in (difference[:, coil].real, difference[:, coil].imag):
            assert part.std() == pytest.approx(wanted, rel=0.04)  # 6000 samples or more: 4 deviations are 3.7 %
            assert abs(part.mean()) < 4 * wanted / np.sqrt(part.size)
    assert noisy.noise_std is None, "a method has to estimate it"


def test_unsampled_lines_are_zero_and_sampled_ones_are_not():
    kspace = simulate(head(), np.eye(4), acceleration=4)
    assert kspace.mask.shape == (24,) and kspace.mask.sum() == 6
    assert not kspace.data[..., ~kspace.mask].any()
    assert (kspace.data[..., kspace.mask] != 0).all()


@pytest.mark.parametrize("shape", [(8, 8), (9, 6), (7, 11)])
def test_nonuniform_samples_at_whole_numbers_are_the_cartesian_ones(shape):
    generator = np.random.default_rng(0)
    images = (generator.normal(size=(3, *shape)) + 1j * generator.normal(size=(3, *shape))).astype(np.complex64)
    grid = np.stack(np.meshgrid(*(np.arange(n) - n // 2 for n in shape), indexing="ij"), -1).astype(np.float32)
    assert np.allclose(nonuniform(images, grid), to_kspace(images), atol=1e-4)  # eps 1e-6 of a norm of about 10


def test_nonuniform_samples_are_the_sums_that_define_them():
    generator = np.random.default_rng(0)
    image = (generator.normal(size=(6, 5)) + 1j * generator.normal(size=(6, 5))).astype(np.complex64)
    q = generator.uniform(-3, 3, (2, 4, 2)).astype(np.float32)
    n, m = np.arange(6) - 3, np.arange(5) - 2
    for spoke, sample in np.ndindex(2, 4):
        u, v = q[spoke, sample].astype(float)
        wave = np.exp(-2j * np.pi * (u * n[:, None] / 6 + v * m[None, :] / 5))
        expected = (image * wave).sum() / np.sqrt(30)
        assert nonuniform(image[None], q)[0, spoke, sample] == pytest.approx(expected, abs=1e-4)


def test_radial_kspace_is_that_of_the_coil_images(tmp_path):
    options = {"coils": 2, "pattern": "radial", "noise": 0.0}
    kspace = simulate(head(), np.eye(4), **options)
    full = simulate(head(), np.eye(4), **{**options, "pattern": "random", "acceleration": 1})
    assert kspace.mask is None and kspace.shape == (30, 24)
    assert kspace.data.shape == (20, 2, *kspace.trajectory.shape[:2])
    expected = nonuniform(to_image(full.data[7]), kspace.trajectory)
    assert np.allclose(kspace.data[7], expected, atol=1e-4 * abs(expected).max())


@given(st.permutations([0, 1, 2]), st.tuples(*3 * [st.sampled_from([-1, 1])]), st.floats(-0.3, 0.3))
def test_slices_lie_along_the_body_and_phase_runs_from_left_to_right(axes, signs, tilt):
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, list(axes)] * np.array(signs) * [1, 1.5, 2]
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    affine[:3, :3] = turn @ affine[:3, :3]
    slices, readout, phase = choose_axes(affine)
    names = nibabel.aff2axcodes(affine)
    assert names[slices] in "SI" and names[readout] in "AP" and names[phase] in "LR"


def test_a_chosen_axis_is_kept_and_impossible_ones_are_wrong_usage():
    assert choose_axes(np.eye(4), slice_axis=0) == (0, 2, 1)  # sagittal: phase from back to front
    assert choose_axes(np.eye(4), slice_axis=1) == (1, 2, 0)
    assert choose_axes(np.eye(4), phase_axis=2) == (1, 0, 2)
    assert choose_axes(np.eye(4), phase_axis=1) == (2, 0, 1)
    for options in ({"slice_axis": 3}, {"phase_axis": -1}, {"slice_axis": 1, "phase_axis": 1}):
        with pytest.raises(UsageError):
            choose_axes(np.eye(4), **options)


def test_part_of_a_simulation_is_that_part_of_the_whole():
    scan = simulate_scan(head(), np.eye(4), seed=3)
    whole, part = scan.read(truth=True), scan.read(slice(5, 7), truth=True)
    assert np.array_equal(part.data, whole.data[5:7])
    assert np.array_equal(part.true_sensitivities, whole.true_sensitivities[5:7])


def test_another_seed_is_another_scan_and_the_same_seed_the_same():
    one, same, other = (simulate(head(), np.eye(4), seed=s) for s in (0, 0, 1))
    assert np.array_equal(one.data, same.data)
    assert (one.mask != other.mask).any() and not np.allclose(one.true_sensitivities, other.true_sensitivities)


@pytest.mark.parametrize("pattern", ["random", "poisson", "radial"])
def test_a_simulated_file_is_the_simulation_with_the_geometry_of_the_volume(tmp_path, monkeypatch, pattern):
    monkeypatch.setattr(hdf5_check, "check", lambda *_: None)
    affine = np.array([[0, 0, 1.2, -20], [-1.1, 0, 0, 30], [0, 1, 0, -9], [0, 0, 0, 1]])
    header = {"qform_code": 1, "sform_code": 2, "xyzt_units": 2, "descrip": "head"}
    seen = []
    options = {"coils": 3, "acceleration": 2, "pattern": pattern, "seed": 5}
    scan = simulate_to(
        tmp_path / "k.h5", Volume(head(), affine, header), progress=lambda i, n: seen.append((i, n)), **options
    )
    expected = simulate(head(), affine, **options)
    again = read_kspace(tmp_path / "k.h5", truth=True)
    assert np.array_equal(again.data, expected.data)
    assert np.allclose(again.true_sensitivities, expected.true_sensitivities, atol=2**-12)
    assert np.allclose(again.affine, affine) and again.axes == expected.axes == (1, 0, 2)
    assert again.header == header
    with open_kspace(tmp_path / "k.h5") as opened:
        assert opened.volume_shape == SHAPE == scan.volume_shape
    with h5py.File(tmp_path / "k.h5") as file:
        assert json.loads(file.attrs["simulation"]) == options
    assert seen == [(i + 1, 30) for i in range(30)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"coils": 0}, "coils"),
        ({"acceleration": 0.5}, "acceleration"),
        ({"noise": -1}, "noise"),
        ({"pattern": "spiral"}, "pattern"),
        ({"seed": -1}, "seed"),
    ],
)
def test_options_out_of_range_are_wrong_usage(options, words):
    with pytest.raises(UsageError, match=words):
        simulate_scan(head(), np.eye(4), **options)


@pytest.mark.parametrize(
    ("volume", "words"),
    [(np.zeros((4, 4, 4)), "zero"), (np.ones((4, 4)), "shape"), (np.full((4, 4, 4), np.nan), "NaN")],
)
def test_volumes_without_a_head_are_input_errors(volume, words):
    with pytest.raises(InputError, match=words):
        simulate_scan(volume, np.eye(4))


def test_field_on_the_axis_of_a_loop_is_that_of_the_textbook():
    """B = mu_0 I R^2 / (2 (R^2 + z^2)^(3/2)); here mu_0 I / (4 pi) is 1, and the axis lies along right."""
    angles = np.linspace(0, 2 * np.pi, 401)
    ring = np.stack([np.zeros_like(angles), np.cos(angles), np.sin(angles)], -1) * 40.0
    wires = np.stack([ring[:-1], ring[1:]], 1)[None]
    for z in (0.0, 30.0, 100.0):
        field = receive_field(wires, np.array([[z, 0, 0]]), core=0)[0, 0]
        assert abs(field) == pytest.approx(4 * np.pi * 40**2 / (2 * (40**2 + z**2) ** 1.5), rel=1e-3)


def test_loops_close_and_surround_the_head():
    wires = loops(20, np.array([1.0, 2, 3]), np.array([70.0, 90, 80]), np.random.default_rng(0))
    assert wires.shape[0] == 20
    assert np.allclose(wires[:, :, 1], np.roll(wires[:, :, 0], -1, 1))
    assert np.hypot((wires[..., 0] - 1) / 70, (wires[..., 1] - 2) / 90).min() > 1


@given(st.integers(1, 60), st.integers(1, 12))
def test_spline_keeps_what_it_goes_through_and_constants(length, knots):
    weights = spline_weights(length, knots)
    assert np.allclose(weights.sum(1), 1, atol=1e-9)
    assert weights[0, 0] == pytest.approx(1) if length > 1 and knots > 1 else True
    assert len(weights) == length


def test_real_heads_are_cut_as_a_radiologist_would(shared_data):
    for name, axes in (
        ("aomic_sub-0001_desc-conform_T1w", (1, 2, 0)),
        ("fnndsc_eun_T1w", (2, 1, 0)),
        ("colin27_papaya_T1w", (2, 1, 0)),
    ):
        volume = read_volume(shared_data / f"medical/mri/{name}.nii.gz")
        assert choose_axes(volume.affine) == axes
