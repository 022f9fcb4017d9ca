"""ISMRMRD files with a trajectory: it is read where it is there, and refused where it cannot be."""

import numpy as np
import pytest
from ismrmrd_scanner import COILS, Scanner, oversampled, values

from ornstein.core.errors import InputError
from ornstein.datasets.kspace import read_kspace

pytestmark = pytest.mark.usefixtures("trusted")


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
