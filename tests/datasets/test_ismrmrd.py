"""ISMRMRD files written by the `ismrmrd` library, line by line, as a scanner's converter does."""

import h5py
import ismrmrd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ismrmrd_scanner import CLOSE, COILS, PHASE, READOUT, Scanner, oversampled, values

from ornstein.core.errors import InputError
from ornstein.datasets.fourier import to_image, to_kspace
from ornstein.datasets.kspace import open_kspace, read_kspace

pytestmark = pytest.mark.usefixtures("trusted")


def test_lines_become_slices_without_their_oversampling(tmp_path):
    kspace, image = oversampled(3)
    with Scanner(tmp_path / "a.h5") as scanner:
        scanner.image(kspace)
    read = read_kspace(tmp_path / "a.h5")
    assert read.data.shape == (3, COILS, READOUT, PHASE) and read.mask.all()
    assert np.allclose(to_image(read.data), image, **CLOSE)
    assert read.calibration is None and read.noise_std is None and read.warnings == []


def test_lines_in_any_order_and_some_slices_of_them(tmp_path):
    kspace, image = oversampled(3)
    lines = [(s, p) for s in range(3) for p in range(PHASE)]
    with Scanner(tmp_path / "a.mrd") as scanner:
        for i in np.random.default_rng(0).permutation(len(lines)):
            number, step = lines[i]
            scanner.line(kspace[number, :, :, step], step=step, slice=number, position=(0, 0, 5 * number))
    with open_kspace(tmp_path / "a.mrd") as scan:
        part = scan.read(slice(1, 2))
    assert np.allclose(to_image(part.data), image[1:2], **CLOSE)
    assert np.allclose((part.affine - scan.affine)[:3, 3], [0, 0, 5])


@pytest.mark.parametrize("steps", [[1, 4, 5, 6, 9], [4, 5, 6]], ids=["all over", "centre only"])
def test_undersampled_lines_leave_a_mask(tmp_path, steps):
    kspace, _ = oversampled()
    with Scanner(tmp_path / "a.h5") as scanner:
        scanner.image(kspace, steps=steps)
    read = read_kspace(tmp_path / "a.h5")
    assert read.shape == (READOUT, PHASE) and np.flatnonzero(read.mask).tolist() == steps
    assert not read.data[..., ~read.mask].any()


def test_averages_are_averaged_and_their_noise_is_lower(tmp_path):
    kspace, image = oversampled()
    generator = np.random.default_rng(1)
    with Scanner(tmp_path / "a.h5") as scanner:
        noise = generator.normal(size=(COILS, 4096, 2)).view(complex)[..., 0]
        scanner.line(noise, ["IS_NOISE_MEASUREMENT"])
        for average, factor in enumerate((0.5, 1.0, 1.0, 1.5)):
            scanner.image(factor * kspace, average=average)
    read = read_kspace(tmp_path / "a.h5")
    assert read.noise_std == pytest.approx(0.5)  # four averages
    assert np.allclose(to_image(read.data), image, rtol=0.1, atol=0.1)  # the noise scan is white to some percent


def test_noise_scan_whitens(tmp_path):
    """Correlated noise in the data becomes white, with unit real and imaginary part."""
    generator = np.random.default_rng(1)
    mix = np.array([[3, 0.5, 0], [1j, 2, 0.3], [0, 0.4, 0.7 + 0.2j]])

    def noise(*shape):
        return mix @ generator.normal(size=(COILS, *shape, 2)).view(complex)[..., 0].reshape(COILS, -1)

    with Scanner(
        tmp_path / "a.h5",
        encoded=(64, 64, 1),
        recon=(64, 64, 1),
        fov=(64, 64, 5),
        recon_fov=(64, 64, 5),
        center=(32, 0),
    ) as scanner:
        for _ in range(4):
            scanner.line(noise(4096), ["IS_NOISE_MEASUREMENT"])
        for step in range(64):
            scanner.line(noise(64), step=step)
    read = read_kspace(tmp_path / "a.h5")
    samples = read.data[0].reshape(COILS, -1)
    covariance = samples @ samples.conj().T / samples.shape[1]
    assert np.allclose(covariance, 2 * np.eye(COILS), atol=0.15)  # 4096 samples: a deviation of 0.03 an entry
    assert read.noise_std == 1


@pytest.mark.parametrize(
    ("times", "bandwidth", "ratio"),
    [((5.0, 10.0), None, 2.0), ((10.0, 5.0), None, 0.5), ((5.0, 5.0), 0.8, 1.25), ((0.0, 5.0), 0.8, 1.0)],
)
def test_noise_is_scaled_to_the_bandwidth_of_the_image(tmp_path, times, bandwidth, ratio):
    """Noise power grows with the bandwidth: half the sample time, twice the power; `ratio` is image over noise scan."""
    kspace, _ = oversampled()
    generator = np.random.default_rng(1)
    read = []
    for name, sample_times, band in (("a", times, bandwidth), ("b", (0.0, 0.0), None)):
        with Scanner(tmp_path / f"{name}.h5", bandwidth=band) as scanner:
            generator = np.random.default_rng(1)
            noise = generator.normal(size=(COILS, 512, 2)).view(complex)[..., 0]
            scanner.line(noise, ["IS_NOISE_MEASUREMENT"], sample_time_us=sample_times[1])
            scanner.image(kspace, sample_time_us=sample_times[0])
        read.append(read_kspace(tmp_path / f"{name}.h5"))
    assert np.allclose(read[0].data * np.sqrt(ratio), read[1].data, rtol=1e-4, atol=1e-5)


def test_calibration_lines_are_kept_apart(tmp_path):
    kspace, image = oversampled(2)
    with Scanner(tmp_path / "a.h5") as scanner:
        for number in range(2):
            for step in range(PHASE):
                flags = {
                    3: ["IS_PARALLEL_CALIBRATION"],
                    4: ["IS_PARALLEL_CALIBRATION_AND_IMAGING"],
                    5: ["IS_PARALLEL_CALIBRATION"],
                }.get(step, [])
                if step % 2 == 0 or flags:
                    scanner.line(
                        kspace[number, :, :, step], flags, step=step, slice=number, position=(0, 0, 5 * number)
                    )
    read = read_kspace(tmp_path / "a.h5")
    assert np.flatnonzero(read.mask).tolist() == [0, 2, 4, 6, 8], "lines for calibration alone are not of the image"
    assert read.calibration.shape == (2, COILS, READOUT, 3)
    assert np.allclose(read.calibration, to_kspace(image)[..., 3:6], **CLOSE)
    assert np.allclose(read.data[..., 4], to_kspace(image)[..., 4], **CLOSE)


def test_reversed_lines_are_turned(tmp_path):
    kspace, image = oversampled()
    with Scanner(tmp_path / "a.h5") as scanner:
        for step in range(PHASE):
            line = kspace[0, :, :, step]
            scanner.line(line[:, ::-1] if step % 2 else line, ["IS_REVERSE"] if step % 2 else [], step=step)
    assert np.allclose(to_image(read_kspace(tmp_path / "a.h5").data), image, **CLOSE)


@pytest.mark.parametrize("reverse", [False, True])
def test_short_lines_lie_at_their_centre(tmp_path, reverse):
    """Asymmetric echo: the first 7 samples are missing, so that k = 0 is the 5th of those measured."""
    kspace, _ = oversampled()
    n, missing = 2 * READOUT, 7
    expected = kspace.copy()
    expected[:, :, :missing] = 0
    with Scanner(tmp_path / "a.h5", recon=(n, PHASE, 1), recon_fov=(480.0, 200.0, 5.0)) as scanner:
        for step in range(PHASE):
            line = kspace[0, :, missing:, step]
            center = n // 2 - missing
            if reverse:
                scanner.line(line[:, ::-1], ["IS_REVERSE"], step=step, center_sample=n - missing - 1 - center)
            else:
                scanner.line(line, step=step, center_sample=center)
    read = read_kspace(tmp_path / "a.h5")
    assert np.allclose(read.data, expected, **CLOSE)


@given(st.integers(6, 9), st.integers(0, 3))
def test_partial_fourier_lines_lie_around_the_stated_centre(tmp_path_factory, lines, shift):
    """Steps count from the first measured line; the header's center says which of them is k = 0."""
    path = tmp_path_factory.mktemp("mrd") / "a.h5"
    kspace, _ = oversampled()
    first = PHASE - lines - min(shift, PHASE - lines)
    with Scanner(path, center=(PHASE // 2 - first, 0)) as scanner:
        for step in range(lines):
            scanner.line(kspace[0, :, :, first + step], step=step)
    read = read_kspace(path)
    assert np.flatnonzero(read.mask).tolist() == list(range(first, first + lines))


def test_discarded_samples_are_zero(tmp_path):
    kspace, _ = oversampled()
    n = 2 * READOUT
    with Scanner(tmp_path / "a.h5", recon=(n, PHASE, 1), recon_fov=(480.0, 200.0, 5.0)) as scanner:
        scanner.image(kspace, discard_pre=2, discard_post=3)
    data = read_kspace(tmp_path / "a.h5").data
    assert not data[:, :, :2].any() and not data[:, :, n - 3 :].any() and data[:, :, 2 : n - 3].all()


def test_navigators_and_further_encodings_are_left_out(tmp_path):
    kspace, image = oversampled()
    with Scanner(tmp_path / "a.h5") as scanner:
        for flag in ("IS_NAVIGATION_DATA", "IS_PHASECORR_DATA", "IS_DUMMYSCAN_DATA"):
            scanner.line(99 * kspace[0, :, :, 0], [flag], step=0)
        scanner.line(99 * kspace[0, :, :, 0], step=0, encoding_space_ref=1)
        scanner.image(kspace)
    assert np.allclose(to_image(read_kspace(tmp_path / "a.h5").data), image, **CLOSE)


def test_of_several_repetitions_the_first_is_read_and_the_user_is_told(tmp_path):
    kspace, image = oversampled()
    with Scanner(tmp_path / "a.h5") as scanner:
        scanner.image(kspace)
        scanner.image(9 * kspace, repetition=1)
    read = read_kspace(tmp_path / "a.h5")
    assert np.allclose(to_image(read.data), image, **CLOSE)
    assert any("2 values of idx.repetition" in w for w in read.warnings)


def refused(path, words):
    with pytest.raises(InputError, match=rf"{path.name}.*{words}"):
        read_kspace(path)


def header_of(path):
    with h5py.File(path) as file:
        return file["dataset/xml"][()]


def test_faults_are_named(tmp_path):
    kspace, _ = oversampled()
    with Scanner(tmp_path / "steps.h5") as scanner:
        scanner.line(kspace[0, :, :, 0], step=PHASE + 3)
    refused(tmp_path / "steps.h5", "kspace_encode_step_1")
    with Scanner(tmp_path / "long.h5") as scanner:
        scanner.line(values(COILS, 3 * READOUT))
    refused(tmp_path / "long.h5", "outside a matrix")
    with Scanner(tmp_path / "noise.h5") as scanner:
        scanner.line(values(COILS, 8), ["IS_NOISE_MEASUREMENT"])
    refused(tmp_path / "noise.h5", "no lines of an image")
    with Scanner(tmp_path / "coils.h5") as scanner:
        scanner.line(values(COILS, 2 * READOUT), step=0)
        scanner.line(values(COILS + 1, 2 * READOUT), step=1)
    refused(tmp_path / "coils.h5", "active_channels")
    with Scanner(tmp_path / "broken.h5") as scanner:
        scanner.line(np.zeros((COILS, 64)), ["IS_NOISE_MEASUREMENT"])
        scanner.image(kspace)
    refused(tmp_path / "broken.h5", "noise scan")
    bad = kspace.copy()
    bad[0, 1, 3, 4] = np.nan
    with Scanner(tmp_path / "nan.h5") as scanner:
        scanner.image(bad)
    refused(tmp_path / "nan.h5", "NaN")
    with ismrmrd.Dataset(str(tmp_path / "xml.h5"), "dataset") as file:
        file.write_xml_header(b"<ismrmrdHeader/>")
        file.append_acquisition(ismrmrd.Acquisition.from_array(values(COILS, 4)))
    refused(tmp_path / "xml.h5", "incomplete")
    lines = np.zeros(3, [("head", [("flags", "u8")]), ("traj", "f4"), ("data", "f4")])
    with h5py.File(tmp_path / "heads.h5", "w") as file:
        file["dataset/data"], file["dataset/xml"] = lines, header_of(tmp_path / "nan.h5")
    refused(tmp_path / "heads.h5", "headers")
