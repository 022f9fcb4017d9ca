"""BART's `.cfl` and `.hdr`: complex64 in column-major order, and a text file with its dimensions.

The dimensions are numbered: 0 readout, 1 and 2 phase encodes, 3 coils, 4 sets of maps, 13 slices; all others must be 1.
"""

import math
from pathlib import Path

import numpy as np

from ornstein.core.errors import InputError
from ornstein.datasets.arrays import spool
from ornstein.datasets.fourier import to_image
from ornstein.datasets.kspace import Scan, Slices
from ornstein.datasets.volumes import three_axes

DIMENSIONS = 16
COILS, SETS, SLICES = 3, 4, 13


def read(path: Path) -> np.ndarray:
    """The array of a pair of files, mapped from the disk: complex64 with 16 dimensions, in column-major order.

    Args:
        path: of the `.cfl` or the `.hdr`.

    Raises:
        InputError: where one of them is missing, damaged, or of another size than the other says.
    """
    data, header = path.with_suffix(".cfl"), path.with_suffix(".hdr")
    for file in (data, header):
        if not file.is_file():
            raise InputError(f"{file}: no such file", f"a BART array is two files, {data.name} and {header.name}")
    try:
        lines = header.read_text("utf-8").splitlines()
        at = next(i for i, line in enumerate(lines) if line.strip() == "# Dimensions")
        shape = [int(n) for n in lines[at + 1].split()]
    except (UnicodeDecodeError, StopIteration, IndexError, ValueError) as error:
        raise InputError(
            f"{header}: not a BART header", "wanted: a line `# Dimensions` and one with the numbers"
        ) from error
    shape = shape + [1] * (DIMENSIONS - len(shape))
    if len(shape) > DIMENSIONS or min(shape) < 1:
        raise InputError(f"{header}: dimensions {shape}", f"at most {DIMENSIONS}, each at least 1")
    if data.stat().st_size != 8 * math.prod(shape):
        raise InputError(
            f"{data}: has {data.stat().st_size} bytes; {header.name} says {8 * math.prod(shape)}",
            "the file is cut, or the two do not belong together",
        )
    return np.memmap(data, np.dtype("<c8"), "r", shape=tuple(shape), order="F")


def write(path: Path, array: np.ndarray) -> None:
    """Writes an array, its axes as the first dimensions, to exactly this `.cfl` and the `.hdr` beside it."""
    assert array.ndim <= DIMENSIONS, f"{array.ndim} axes"
    with path.open("wb") as out:
        for plane in np.moveaxis(array, -1, 0):  # a plane at a time: no second copy of the whole
            out.write(plane.astype("<c8").tobytes(order="F"))
    dimensions = [*array.shape, *[1] * (DIMENSIONS - array.ndim)]
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, dimensions)) + "\n", "utf-8")


def image(path: Path) -> np.ndarray:
    """An image volume: complex64 (x, y, z), slices from dimension 13 where the third is 1."""
    array = read(path)
    if array.shape[2] == 1:
        array = array.swapaxes(2, SLICES)
    return np.array(array.reshape(three_axes(array.shape, path), order="F"), order="C")


def scan(path: Path) -> Scan:
    """k-space: 2D slices (readout, phase, 1, coils, ..., slices), or 3D (readout, phase1, phase2, coils).

    3D data are transformed along the readout into slices (phase1, phase2); a readout of 1 is one such slice.

    Raises:
        InputError: for further dimensions, sets of maps say, and for several 3D slabs.
    """
    array = read(path)
    _only(array, {0, 1, 2, COILS, SLICES}, path)
    readout, phase, partitions = array.shape[:3]
    coils, slices = array.shape[COILS], array.shape[SLICES]
    no_geometry = ["a .cfl file has no geometry: voxels of 1, orientation unknown"]
    if partitions == 1 and readout > 1:
        plane = array.reshape((readout, phase, coils, slices), order="F").transpose(3, 2, 0, 1)
        return Scan(
            load=lambda start, stop, truth=False: Slices(np.ascontiguousarray(plane[start:stop])),
            slices=slices,
            coils=coils,
            samples=(readout, phase),
            shape=(readout, phase),
            path=path,
            warnings=no_geometry,
        )
    if slices > 1:
        raise InputError(f"{path}: {slices} slabs of 3D k-space", "write one slab to a file")
    positions = spool((readout, coils, phase, partitions))
    volume = array.reshape((readout, phase, partitions, coils), order="F")
    mask = np.zeros((phase, partitions), bool)
    for coil in range(coils):
        lines = np.array(volume[..., coil])
        mask |= (lines != 0).any(0)
        positions[:, coil] = to_image(lines, (0,))
    return Scan(
        load=lambda start, stop, truth=False: Slices(np.asarray(positions[start:stop])),
        slices=readout,
        coils=coils,
        samples=(phase, partitions),
        shape=(phase, partitions),
        mask=mask,
        axes=(0, 1, 2),
        path=path,
        warnings=no_geometry,
    )


def sensitivities(path: Path) -> np.ndarray:
    """Coil maps (readout, phase1, phase2, coils, sets): complex64 (slices, sets, coils, readout, phase)."""
    array = read(path)
    _only(array, {0, 1, 2, COILS, SETS, SLICES}, path)
    slices, sets, coils = array.shape[SLICES], array.shape[SETS], array.shape[COILS]
    readout, phase, partitions = array.shape[:3]
    if partitions == 1 and readout > 1:
        moved = array.reshape((readout, phase, coils, sets, slices), order="F").transpose(4, 3, 2, 0, 1)
    else:
        moved = array.reshape((readout, phase, partitions, coils, sets), order="F").transpose(0, 4, 3, 1, 2)
    return np.ascontiguousarray(moved[:, 0] if sets == 1 else moved)


def _only(array: np.ndarray, known: set[int], path: Path) -> None:
    """Refuses dimensions whose meaning is not known here."""
    more = {i: n for i, n in enumerate(array.shape) if n > 1 and i not in known}
    if more:
        raise InputError(
            f"{path}: dimensions {more} of {array.shape} are more than one image", "choose one of them by `bart slice`"
        )
