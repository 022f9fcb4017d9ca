"""Plain arrays: `.npy` files of complex values, and room for data that may be larger than memory."""

import tempfile
from pathlib import Path

import numpy as np

from ornstein.core.errors import InputError
from ornstein.datasets.kspace import Scan, Slices


def spool(shape: tuple[int, ...], dtype: type = np.complex64, memory: int = 256 << 20) -> np.ndarray:
    """Zeros: in memory up to `memory` bytes, in a temporary file that vanishes with the array beyond."""
    if int(np.prod(shape)) * np.dtype(dtype).itemsize <= memory:
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype, "w+", shape=shape)


def load(path: Path) -> np.ndarray:
    """A complex `.npy` array, mapped from its file.

    Raises:
        InputError: for anything else.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # the header is parsed by numpy, which raises many kinds
        raise InputError(f"{path}: not a readable .npy array", "write it by numpy.save, of a complex array") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind != "c":
        raise InputError(
            f"{path}: {getattr(array, 'dtype', 'an archive')} values; complex64 is wanted",
            "k-space and sensitivities are complex",
        )
    return array


def scan(path: Path) -> Scan:
    """k-space of a `.npy` file: (coils, readout, phase) or (slices, coils, readout, phase)."""
    array = load(path)
    if array.ndim not in (3, 4):
        raise InputError(
            f"{path}: shape {array.shape}", "wanted: (coils, readout, phase) or (slices, coils, readout, phase)"
        )
    array = array[None] if array.ndim == 3 else array
    samples = (int(array.shape[2]), int(array.shape[3]))
    return Scan(
        load=lambda start, stop, truth=False: Slices(np.asarray(array[start:stop], np.complex64)),
        slices=len(array),
        coils=array.shape[1],
        samples=samples,
        shape=samples,
        path=path,
        warnings=["a .npy file has no geometry: voxels of 1, orientation unknown"],
    )
