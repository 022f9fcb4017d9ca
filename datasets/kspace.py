"""k-space with its geometry: the container that every reader fills, and the files that it comes from.

`read_kspace` reads a file, or some of its slices, into a `KSpace`. `open_kspace` gives a `Scan`: what the file says of
itself, with the slices on demand, so that a whole head never has to be in memory.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from ornstein.core.errors import InputError
from ornstein.datasets.volumes import UNKNOWN_GEOMETRY, moved

SUFFIXES = (".h5", ".hdf5", ".mrd", ".cfl", ".npy")


@dataclass(frozen=True, eq=False)
class KSpace:
    """k-space y = mask FFT(sensitivities x) + n of some slices, by a centred orthonormal FFT, and where they lie.

    Args:
        data: complex64 (slices, coils, readout, phase), zero where nothing was sampled; with a trajectory
            (slices, coils, spokes, samples). 3D scans are transformed along their readout and stored
            (position, coils, phase1, phase2): `readout` then stands for phase1.
        mask: bool (phase,) or (readout, phase), what was sampled; None with a trajectory.
        affine: float64 (4, 4), voxel index to RAS+ in mm, of the image volume in its own axis order.
        axes: the volume axes that (slices, readout, phase) are.
        shape: image matrix (readout, phase); taken from the data where it is Cartesian.
        sensitivities: a user's own maps, complex64 (slices, [sets,] coils, readout, phase), or None.
        true_sensitivities: the simulator's maps (slices, coils, readout, phase), which no method reads, or None.
        calibration: complex64 (slices, coils, readout, lines), a contiguous fully sampled block around the centre of
            k-space that was measured for calibration, or None; of a 3D scan (position, coils, lines1, lines2).
        trajectory: float32 (spokes, samples, 2) in 1/FOV along (readout, phase), or None.
        noise_std: standard deviation of the real and of the imaginary part of the noise, from a noise scan, or None.
        header: NIfTI's qform_code, sform_code, xyzt_units and descrip, to be restored in the image.
        path: the file it came from.
        warnings: what a user should know of the reading.
    """

    data: np.ndarray
    mask: np.ndarray | None = None
    affine: np.ndarray = field(default_factory=lambda: np.eye(4))
    axes: tuple[int, int, int] = (2, 0, 1)
    shape: tuple[int, int] = (0, 0)
    sensitivities: np.ndarray | None = None
    true_sensitivities: np.ndarray | None = None
    calibration: np.ndarray | None = None
    trajectory: np.ndarray | None = None
    noise_std: float | None = None
    header: dict[str, Any] = field(default_factory=lambda: dict(UNKNOWN_GEOMETRY))
    path: Path | None = None
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.shape == (0, 0) and self.trajectory is None:
            object.__setattr__(self, "shape", tuple(int(n) for n in self.data.shape[-2:]))

    @property
    def slices(self) -> int:
        return len(self.data)

    @property
    def coils(self) -> int:
        return self.data.shape[1]

    def to_volume(self, images: np.ndarray) -> np.ndarray:
        """Images (slices, readout, phase) as the volume, in the axis order of `affine`."""
        return to_volume(images, self.axes)

    def from_volume(self, volume: np.ndarray) -> np.ndarray:
        """A volume in the axis order of `affine` as (slices, readout, phase)."""
        return volume.transpose(self.axes)

    def validate(self) -> "KSpace":
        """Itself, where shapes agree, everything is finite and something was measured.

        Raises:
            InputError: naming the field otherwise.
        """
        _check_shapes(self.as_scan(), self.sensitivities)
        for name in ("data", "sensitivities", "calibration", "trajectory"):
            array = getattr(self, name)
            if array is not None and not finite(array):
                raise InputError(
                    f"{_name(self.path)}: {name} holds NaN or infinite values", "repair or leave out these samples"
                )
        if not self.data.any():
            raise InputError(
                f"{_name(self.path)}: k-space is zero everywhere", "nothing was measured, or the wrong array was stored"
            )
        return self

    def as_scan(self) -> "Scan":
        """The same, as an open file that gives its slices on demand."""

        def load(start: int, stop: int, truth: bool = False) -> Slices:
            part = slice(start, stop)
            return Slices(
                self.data[part],
                None if self.sensitivities is None else self.sensitivities[part],
                None if self.calibration is None else self.calibration[part],
                None if self.true_sensitivities is None or not truth else self.true_sensitivities[part],
            )

        return Scan(
            load=load, slices=self.slices, coils=self.data.shape[1] if self.data.ndim > 1 else 0,
            samples=self.data.shape[2:], shape=self.shape, mask=self.mask, affine=self.affine, axes=self.axes, trajectory=self.trajectory,
            noise_std=self.noise_std, header=self.header, path=self.path, warnings=self.warnings,
        )  # fmt: skip


class Slices(NamedTuple):
    """The arrays of some slices of a scan, shaped as in `KSpace`."""

    data: np.ndarray
    sensitivities: np.ndarray | None = None
    calibration: np.ndarray | None = None
    true_sensitivities: np.ndarray | None = None


class Load(Protocol):
    """Reads slices start..stop-1, and the true maps of a simulation where `truth` asks for them."""

    def __call__(self, start: int, stop: int, truth: bool = False) -> Slices: ...


@dataclass(frozen=True, eq=False)
class Scan:
    """A k-space file that is open: its geometry and masks, and its slices on demand; fields as in `KSpace`.

    Args:
        load: reads some slices.
        slices, coils: how many.
        samples: the last two axes of the data, (readout, phase) or (spokes, samples).
    """

    load: Load
    slices: int
    coils: int
    samples: tuple[int, ...]
    shape: tuple[int, int]
    mask: np.ndarray | None = None
    affine: np.ndarray = field(default_factory=lambda: np.eye(4))
    axes: tuple[int, int, int] = (2, 0, 1)
    trajectory: np.ndarray | None = None
    noise_std: float | None = None
    header: dict[str, Any] = field(default_factory=lambda: dict(UNKNOWN_GEOMETRY))
    path: Path | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def volume_shape(self) -> tuple[int, int, int]:
        """The shape of the image volume, in the axis order of `affine`."""
        return tuple(int(n) for n in np.array([self.slices, *self.shape])[list(np.argsort(self.axes))])  # type: ignore[return-value]

    def read(self, slices: slice | None = None, truth: bool = False) -> KSpace:
        """Some slices, with the affine moved to the first of them.

        Args:
            slices: a slice with step 1; all of them by default. Bounds as in Python.
            truth: also the true maps of a simulation.

        Raises:
            InputError: for no slices at all, and what `KSpace.validate` finds, except that single slices may be zero.
        """
        start, stop, step = (slices or slice(None)).indices(self.slices)
        assert step == 1, f"slices in steps of {step}"
        if stop <= start:
            raise InputError(
                f"{_name(self.path)}: no slices in {start}:{stop}; it has {self.slices}",
                "choose slices within 0 to the number of slices",
            )
        part = self.load(start, stop, truth)
        data = np.array(part.data, np.complex64)
        if self.mask is not None:
            data[..., ~self.mask] = 0
        offset = np.zeros(3)
        offset[self.axes[0]] = start
        header = dict(self.header)
        if "qform" in header:
            header["qform"] = moved(header["qform"], offset)
        return KSpace(
            data=data, mask=self.mask, affine=moved(self.affine, offset), axes=self.axes, shape=self.shape,
            sensitivities=part.sensitivities, true_sensitivities=part.true_sensitivities,
            calibration=part.calibration, trajectory=self.trajectory, noise_std=self.noise_std, header=header, path=self.path, warnings=list(self.warnings),
        )  # fmt: skip


def read_kspace(path: str | os.PathLike, slices: slice | None = None, truth: bool = False) -> KSpace:
    """k-space of a file, or of some of its slices only.

    Args:
        path: `.h5`, `.hdf5` (fastMRI's layout or ISMRMRD), `.mrd` (ISMRMRD), `.cfl` (BART), or `.npy`, which holds
            (coils, readout, phase) or (slices, coils, readout, phase).
        slices: which to read; all by default.
        truth: also the true maps of a simulation, which no method may use.

    Raises:
        InputError: for a file that cannot be read or does not hold k-space.
    """
    with open_kspace(path, truth) as scan:
        return scan.read(slices, truth)


@contextmanager
def open_kspace(path: str | os.PathLike, truth: bool = False) -> Iterator[Scan]:
    """A k-space file, open: `with open_kspace(path) as scan: scan.read(slice(0, 8))`.

    Every sample is looked at once, a slice at a time, so that a fault in the last slice is known before work starts.

    Args:
        path: as `read_kspace`.
        truth: whether the true maps of a simulation will be asked for; they are large, and looked at only then.

    Raises:
        InputError: as `read_kspace`.
    """
    file = Path(path)
    suffix = file.suffix.lower()
    if not file.exists():
        raise InputError(f"{file}: no such file", "check the path")
    if file.is_dir():
        raise InputError(
            f"{file}: is a folder; one k-space file is wanted", f"name a file that ends in {', '.join(SUFFIXES)}"
        )
    if suffix in (".h5", ".hdf5", ".mrd"):
        import h5py

        from ornstein.datasets import fastmri, ismrmrd
        from ornstein.datasets.hdf5_check import check

        check(file, () if truth else fastmri.UNREAD)
        with h5py.File(file, "r") as opened:
            if "kspace" in opened:
                yield survey(fastmri.scan(opened, file, truth))
            elif (group := ismrmrd.find(opened)) is not None:
                yield survey(ismrmrd.scan(group, file))
            else:
                found = ", ".join(sorted(map(str, opened))) or "nothing"
                raise InputError(
                    f"{file}: holds no k-space; found {found}",
                    "wanted: `kspace` (fastMRI), or an ISMRMRD group with `xml` and `data`",
                )
    elif suffix in (".cfl", ".hdr"):
        from ornstein.datasets import cfl

        yield survey(cfl.scan(file))
    elif suffix == ".npy":
        from ornstein.datasets import arrays

        yield survey(arrays.scan(file))
    else:
        raise InputError(
            f"{file}: {suffix or 'a name without an ending'} is no k-space format", f"wanted: {', '.join(SUFFIXES)}"
        )


def read_sensitivities(path: str | os.PathLike, scan: Scan | KSpace) -> np.ndarray:
    """A user's coil sensitivities for a scan: complex64 (slices, [sets,] coils, readout, phase).

    Args:
        path: `.npy` or `.h5` (dataset `sensitivities`) of that shape, or without the slices; or `.cfl` in BART's order
            (readout, phase1, phase2, coils, sets).
        scan: the k-space that they belong to.

    Raises:
        InputError: for a file of another shape.
    """
    file = Path(path)
    match file.suffix.lower():
        case ".npy":
            from ornstein.datasets import arrays

            maps = arrays.load(file)
        case ".cfl" | ".hdr":
            from ornstein.datasets import cfl

            maps = cfl.sensitivities(file)
        case ".h5" | ".hdf5":
            import h5py

            from ornstein.datasets.fastmri import complex_slices
            from ornstein.datasets.hdf5_check import check

            check(file)
            with h5py.File(file, "r") as opened:
                if "sensitivities" not in opened:
                    raise InputError(
                        f"{file}: holds no `sensitivities`; found {', '.join(sorted(map(str, opened)))}",
                        "store the maps under that name",
                    )
                maps = complex_slices(opened["sensitivities"], file)
        case suffix:
            raise InputError(f"{file}: {suffix} is no format for sensitivities", "wanted: .npy, .h5 or .cfl")
    if maps.ndim == 3 or (maps.ndim == 4 and scan.slices == 1 and len(maps) != 1):
        maps = maps[None]
    _check_maps(maps, scan.slices, scan.coils, scan.shape, file)
    if not finite(maps):
        raise InputError(f"{file}: sensitivities hold NaN or infinite values", "repair or leave out these pixels")
    return np.ascontiguousarray(maps, np.complex64)


def to_volume(images: np.ndarray, axes: tuple[int, int, int]) -> np.ndarray:
    """Images (slices, readout, phase) as a volume whose axes `axes` they are."""
    return images.transpose(np.argsort(axes))


def survey(scan: Scan) -> Scan:
    """The scan, looked through once: shapes, finite values, something measured; its mask where the file has none.

    A line is sampled where any coil of any slice is not exactly zero. Where all sampled lines are whole along the
    readout the mask is (phase,), otherwise (readout, phase).

    Raises:
        InputError: naming the file and the field.
    """
    _check_shapes(scan, None)
    if scan.slices == 0 or scan.coils == 0 or 0 in scan.samples:
        raise InputError(
            f"{_name(scan.path)}: k-space is empty, shape {(scan.slices, scan.coils, *scan.samples)}",
            "nothing was measured",
        )
    known = scan.mask is not None or scan.trajectory is not None
    sampled, measured = np.zeros(scan.samples, bool), False
    for i in range(scan.slices):
        part = scan.load(i, i + 1)
        for name, array in zip(part._fields, part, strict=True):
            if array is not None and not finite(array):
                name = "kspace" if name == "data" else name
                raise InputError(
                    f"{_name(scan.path)}: {name} holds NaN or infinite values in slice {i}",
                    "repair or leave out these samples",
                )
        if part.sensitivities is not None and i == 0:
            _check_maps(part.sensitivities, 1, scan.coils, scan.shape, scan.path)
        measured = measured or bool((part.data if scan.mask is None else part.data[..., scan.mask]).any())
        if not known:
            sampled |= (part.data != 0).any((0, 1))
    if not measured:
        raise InputError(
            f"{_name(scan.path)}: k-space is zero everywhere", "nothing was measured, or the wrong array was stored"
        )
    if known:
        return scan
    lines = sampled.any(0)
    return replace(scan, mask=lines if sampled[:, lines].mean() > 0.98 else sampled)


def finite(array: np.ndarray) -> bool:
    """Whether no value is NaN or infinite."""
    flat = np.ascontiguousarray(array).view(array.real.dtype).ravel()
    # NaN and infinity survive a sum of squares, which is much faster than a look at each; a sum may also overflow.
    return bool(np.isfinite(np.dot(flat, flat))) or bool(np.isfinite(flat).all())


def _name(path: Path | None) -> str:
    return "k-space" if path is None else str(path)


def _check_shapes(scan: Scan, sensitivities: np.ndarray | None) -> None:
    """Mask, trajectory and maps against the data."""
    name = _name(scan.path)
    if len(scan.samples) != 2:
        raise InputError(f"{name}: k-space has {2 + len(scan.samples)} axes", "wanted: (slices, coils, readout, phase)")
    if scan.trajectory is not None:
        if scan.trajectory.shape != (*scan.samples, 2):
            raise InputError(
                f"{name}: trajectory has shape {scan.trajectory.shape}; k-space wants {(*scan.samples, 2)}",
                "one (readout, phase) position for each sample",
            )
    elif scan.mask is not None and scan.mask.shape not in (scan.samples, scan.samples[1:]):
        raise InputError(
            f"{name}: mask has shape {scan.mask.shape}; k-space wants {scan.samples[1:]} or {scan.samples}",
            "the mask is (phase,) or (readout, phase)",
        )
    if sensitivities is not None:
        _check_maps(sensitivities, scan.slices, scan.coils, scan.shape, scan.path)


def _check_maps(maps: np.ndarray, slices: int, coils: int, shape: tuple[int, int], path: Path | None) -> None:
    wanted = (slices, coils, *shape)
    if maps.ndim not in (4, 5) or (maps.shape[0], *maps.shape[-3:]) != wanted:
        raise InputError(
            f"{_name(path)}: sensitivities have shape {maps.shape}; {wanted} is wanted",
            "(slices, [sets,] coils, readout, phase)",
        )
