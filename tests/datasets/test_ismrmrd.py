"""ISMRMRD files written by the `ismrmrd` library, line by line, as a scanner's converter does."""

from dataclasses import dataclass, field

import h5py
import ismrmrd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ornstein.core.errors import InputError
from ornstein.datasets import hdf5_check
from ornstein.datasets.fourier import to_image, to_kspace
from ornstein.datasets.kspace import open_kspace, read_kspace

COILS, READOUT, PHASE = 3, 12, 10


@pytest.fixture(scope="module", autouse=True)
def trusted():
    """The files here are sound: no child process looks at each (test_hdf5_check.py tests that)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hdf5_check, "check", lambda *_: None)
        yield


def values(*shape, seed=0):
    generator = np.random.default_rng(seed)
    return (generator.normal(size=shape) + 1j * generator.normal(size=shape)).astype(np.complex64)


@dataclass
class Scanner:
    """A scan that is written line by line; `kspace` is (partitions or slices, coils, readout, phase)."""

    path: object
    encoded: tuple = (2 * READOUT, PHASE, 1)
    recon: tuple = (READOUT, PHASE, 1)
    fov: tuple = (480.0, 200.0, 5.0)
    recon_fov: tuple = (240.0, 200.0, 5.0)
    trajectory: str = "cartesian"
    center: tuple = (PHASE // 2, 0)
    bandwidth: float | None = None
    defaults: dict = field(
        default_factory=lambda: {
            "read_dir": (1, 0, 0),
            "phase_dir": (0, 1, 0),
            "slice_dir": (0, 0, 1),
            "sample_time_us": 5.0,
        }
    )

    def __enter__(self):
        xsd = ismrmrd.xsd
        spaces = [
            xsd.encodingSpaceType(
                matrixSize=xsd.matrixSizeType(x=m[0], y=m[1], z=m[2]),
                fieldOfView_mm=xsd.fieldOfViewMm(x=f[0], y=f[1], z=f[2]),
            )
            for m, f in ((self.encoded, self.fov), (self.recon, self.recon_fov))
        ]
        limits = xsd.encodingLimitsType(
            kspace_encoding_step_1=xsd.limitType(minimum=0, maximum=self.encoded[1] - 1, center=self.center[0]),
            kspace_encoding_step_2=xsd.limitType(minimum=0, maximum=self.encoded[2] - 1, center=self.center[1]),
        )
        encoding = xsd.encodingType(
            encodedSpace=spaces[0],
            reconSpace=spaces[1],
            encodingLimits=limits,
            trajectory=xsd.trajectoryType(self.trajectory),
        )
        system = (
            xsd.acquisitionSystemInformationType(relativeReceiverNoiseBandwidth=self.bandwidth)
            if self.bandwidth
            else None
        )
        header = xsd.ismrmrdHeader(
            experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=123000000),
            encoding=[encoding],
            acquisitionSystemInformation=system,
        )
        self.file = ismrmrd.Dataset(str(self.path), "dataset")
        self.file.write_xml_header(
            header.toXML("utf-8").encode() if hasattr(header, "toXML") else ismrmrd.xsd.ToXML(header).encode()
        )
        return self

    def __exit__(self, *_):
        self.file.close()

    def line(self, data, flags=(), trajectory=None, step=0, partition=0, slice=0, average=0, **head):
        """One readout line (coils, samples)."""
        head = {**self.defaults, "center_sample": data.shape[1] // 2, **head}
        counters = {name: head.pop(name) for name in ("repetition", "contrast", "set", "phase") if name in head}
        acquisition = ismrmrd.Acquisition.from_array(np.ascontiguousarray(data, np.complex64), trajectory, **head)
        acquisition.idx.kspace_encode_step_1, acquisition.idx.kspace_encode_step_2 = step, partition
        acquisition.idx.slice, acquisition.idx.average = slice, average
        for name, value in counters.items():
            setattr(acquisition.idx, name, value)
        for flag in flags:
            acquisition.set_flag(getattr(ismrmrd, f"ACQ_{flag}"))
        self.file.append_acquisition(acquisition)

    def image(self, kspace, steps=range(PHASE), **head):
        """All lines of slices (slices, coils, readout, phase)."""
        for number, plane in enumerate(kspace):
            for step in steps:
                self.line(plane[:, :, step], step=step, slice=number, **{"position": (0, 0, 5 * number), **head})


def oversampled(slices=1, seed=0):
    """k-space with twofold readout oversampling, and the images of the middle half of it."""
    image = values(slices, COILS, 2 * READOUT, PHASE, seed=seed)
    return to_kspace(image), image[:, :, READOUT // 2 : READOUT // 2 + READOUT]


CLOSE = {"atol": 2e-5}  # float32 rounding in the transforms of values of about 1


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


def test_volumes_are_transformed_along_the_readout(tmp_path):
    partitions = 6
    image = values(COILS, 2 * READOUT, PHASE, partitions)
    kspace = to_kspace(image, (1, 2, 3))
    with Scanner(
        tmp_path / "a.h5",
        (2 * READOUT, PHASE, partitions),
        (READOUT, PHASE, partitions),
        (480.0, 200.0, 60.0),
        (240.0, 200.0, 60.0),
        center=(5, 3),
    ) as scanner:
        for step in range(PHASE):
            for partition in range(partitions):
                if (step + partition) % 3:
                    continue
                scanner.line(kspace[:, :, step, partition], step=step, partition=partition, position=(1, 2, 3))
        for step in range(3, 7):
            for partition in range(2, 5):
                scanner.line(kspace[:, :, step, partition], ["IS_PARALLEL_CALIBRATION"], step=step, partition=partition)
    read = read_kspace(tmp_path / "a.h5")
    expected = to_kspace(image[:, READOUT // 2 : READOUT // 2 + READOUT].transpose(1, 0, 2, 3))
    mask = (np.add.outer(np.arange(PHASE), np.arange(partitions)) % 3) == 0
    assert read.data.shape == (READOUT, COILS, PHASE, partitions)
    assert np.array_equal(read.mask, mask)
    assert np.allclose(read.data, expected * mask, **CLOSE)
    assert np.allclose(read.calibration, expected[:, :, 3:7, 2:5], **CLOSE)
    assert read.axes == (0, 1, 2)
    # 20 mm, 20 mm and 10 mm a voxel; the slab's middle voxel lies at the position, LPS to RAS.
    assert np.allclose(read.affine[:3, :3], np.diag([-20, -20, 10]))
    assert np.allclose(read.affine @ [READOUT // 2, PHASE // 2, partitions // 2, 1], [-1, -2, 3, 1])


@given(st.integers(0, 1000), st.integers(1, 4), st.booleans())
def test_affine_follows_position_and_direction_cosines(tmp_path_factory, seed, slices, backwards):
    """Any oblique slices: the voxel at N // 2 of each slice lies where ISMRMRD says, with LPS turned to RAS."""
    generator = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    turn *= np.linalg.det(turn)
    directions = {name: tuple(turn[:, i]) for i, name in enumerate(("read_dir", "phase_dir", "slice_dir"))}
    first = generator.uniform(-50, 50, 3)
    gap = -7.0 if backwards else 7.0
    positions = [first + gap * i * turn[:, 2] for i in range(slices)]
    kspace, _ = oversampled(slices)
    path = tmp_path_factory.mktemp("mrd") / "a.h5"
    with Scanner(path) as scanner:
        for i, place in enumerate(positions):
            for step in range(PHASE):
                scanner.line(kspace[i, :, :, step], step=step, slice=i, position=tuple(place), **directions)
    read = read_kspace(path)
    ras = np.array([-1, -1, 1])
    for i, place in enumerate(positions):
        voxel = [READOUT // 2, PHASE // 2, i, 1]
        assert np.allclose((read.affine @ voxel)[:3], ras * place, atol=1e-3)  # float32 in the file
    assert np.allclose(read.affine[:3, 0], 20 * ras * turn[:, 0], atol=1e-4)  # 240 mm / 12
    assert np.allclose(read.affine[:3, 1], 20 * ras * turn[:, 1], atol=1e-4)  # 200 mm / 10
    assert (read.header["qform_code"], read.header["sform_code"], read.header["xyzt_units"]) == (1, 1, 2)


def test_interleaved_slices_are_put_in_their_place(tmp_path):
    kspace, image = oversampled(4)
    heights = [0, 10, 5, 15]
    with Scanner(tmp_path / "a.h5") as scanner:
        for i, z in enumerate(heights):
            for step in range(PHASE):
                scanner.line(kspace[i, :, :, step], step=step, slice=i, position=(0, 0, z))
    read = read_kspace(tmp_path / "a.h5")
    assert np.allclose(to_image(read.data), image[np.argsort(heights)], **CLOSE)
    assert read.affine[2, 2] == pytest.approx(5)


def test_uneven_slices_are_told(tmp_path):
    kspace, _ = oversampled(3)
    with Scanner(tmp_path / "a.h5") as scanner:
        for i, z in enumerate((0, 5, 12)):
            for step in range(PHASE):
                scanner.line(kspace[i, :, :, step], step=step, slice=i, position=(0, 0, z))
    assert any("even spacing" in w for w in read_kspace(tmp_path / "a.h5").warnings)


@pytest.mark.parametrize("units", ["cycles a voxel", "1/FOV"])
def test_spokes_with_a_trajectory_are_read(tmp_path, units):
    n, spokes, samples = 16, 5, 32
    angles = np.arange(spokes) * 1.94
    along = (np.arange(samples) - samples // 2) / samples
    cycles = along[None, :, None] * np.stack([np.cos(angles), np.sin(angles)], -1)[:, None]
    stored = (cycles if units == "cycles a voxel" else cycles * n).astype(np.float32)
    data = values(2, COILS, spokes, samples)
    with Scanner(
        tmp_path / "a.h5", (n, n, 1), (n, n, 1), (240.0, 240.0, 5.0), trajectory="radial", recon_fov=(240.0, 240.0, 5.0)
    ) as scanner:
        for number in range(2):
            for spoke in range(spokes):
                scanner.line(
                    data[number, :, spoke],
                    trajectory=stored[spoke],
                    step=spoke,
                    slice=number,
                    position=(0, 0, 5 * number),
                )
    read = read_kspace(tmp_path / "a.h5")
    assert np.array_equal(read.data, data) and read.mask is None and read.shape == (n, n)
    assert np.allclose(read.trajectory, cycles * n, atol=1e-5)
    assert np.allclose(np.abs(np.diag(read.affine)), [15, 15, 5, 1])


@pytest.mark.parametrize("trajectory", ["epi", "radial", "spiral", "goldenangle"])
def test_trajectories_that_cannot_be_read_are_refused_by_name(tmp_path, trajectory):
    kspace, _ = oversampled()
    with Scanner(tmp_path / "a.h5", trajectory=trajectory) as scanner:
        scanner.image(kspace)
    with pytest.raises(InputError, match=rf"(?i)a\.h5.*{trajectory}"):
        read_kspace(tmp_path / "a.h5")


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
