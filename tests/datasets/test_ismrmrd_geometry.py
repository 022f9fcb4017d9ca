"""Where the voxels of ISMRMRD files lie: slices, volumes, and their place in the scanner."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ismrmrd_scanner import CLOSE, COILS, PHASE, READOUT, Scanner, oversampled, values

from ornstein.datasets.fourier import to_image, to_kspace
from ornstein.datasets.kspace import read_kspace

pytestmark = pytest.mark.usefixtures("trusted")


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
