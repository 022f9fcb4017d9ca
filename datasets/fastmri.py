"""k-space in fastMRI's HDF5 layout: `kspace` (slices, coils, readout, phase), with geometry in attributes of ours.

Besides `kspace`: `mask` (phase,) or (readout, phase); `sensitivities`; `calibration`; `trajectory` (spokes, samples, 2) with
the attribute `matrix`; `true_sensitivities` of a simulation; `ismrmrd_header` as fastMRI writes it. Attributes: `affine`,
`axes`, `qform_code`, `sform_code`, `xyzt_units`, `descrip`. The attributes `max` and `norm` of fastMRI come from the
reference and are never read.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ornstein.core.errors import InputError
from ornstein.datasets.fourier import crop, crop_readout
from ornstein.datasets.ismrmrd_header import Header, parse
from ornstein.datasets.kspace import KSpace, Scan, Slices
from ornstein.datasets.volumes import UNKNOWN_GEOMETRY

CODES = {"qform_code": 5, "sform_code": 5, "xyzt_units": 63}
"""The codes of NIfTI that are kept, and the largest that each can have."""
UNREAD = ("true_sensitivities", "reconstruction_rss", "reconstruction_esc")
"""Large datasets that no method reads."""

MANTISSA = 12
"""Bits of mantissa that are kept of the simulator's true maps: a relative error of 1.2e-4."""


def scan(file: h5py.File, path: Path, truth: bool = False) -> Scan:
    """An open file as a scan; with `truth` the true maps of a simulation can be asked for.

    Raises:
        InputError: naming the dataset or attribute that is not what it should be.
    """
    data = file["kspace"]
    if not isinstance(data, h5py.Dataset) or data.ndim not in (3, 4) or not _is_complex(data.dtype):
        found = f"{data.dtype} of shape {data.shape}" if isinstance(data, h5py.Dataset) else "a group"
        raise InputError(
            f"{path}: `kspace` is {found}",
            "wanted: complex64 (slices, coils, readout, phase), or (slices, readout, phase) of a single coil",
        )
    if 0 in data.shape:
        raise InputError(f"{path}: `kspace` is empty, shape {data.shape}", "nothing was measured")
    slices, coils = data.shape[0], data.shape[1] if data.ndim == 4 else 1
    samples = (int(data.shape[-2]), int(data.shape[-1]))
    trajectory = _array(file, "trajectory", np.float32, path, (None, None, 2))
    mask = _mask(file, samples, path)
    header = parse(_text(file["ismrmrd_header"]), path, "ismrmrd_header") if "ismrmrd_header" in file else None
    warnings: list[str] = []
    if trajectory is not None:
        mask, shape = None, _matrix(file, trajectory, path)
        readout = shape[0]
    else:
        readout = samples[0] if header is None else header.readout(samples[0])
        if readout != samples[0] and mask is not None and mask.ndim == 2:
            warnings.append("readout oversampling was kept: the mask differs along the readout")
            readout = samples[0]
        shape = (readout, samples[1])
    affine = _affine(file, path)
    axes = _axes(file)
    codes = {name: int(file.attrs[name]) for name in CODES if _is_code(file.attrs.get(name), CODES[name])}
    if affine is None:
        affine, axes = _voxels(header, slices, samples, shape, axes), axes
        warnings.append(
            "the file has no affine: orientation unknown, voxel size " + ("1" if header is None else "from its header")
        )
        if header is not None:
            codes.setdefault("xyzt_units", 2)  # millimetres

    checked = truth

    def load(start: int, stop: int, truth: bool = False) -> Slices:
        assert checked or not truth, "true maps of a file that was opened without"
        part = complex_slices(data, path, start, stop)
        part = part if data.ndim == 4 else part[:, None]
        cut = trajectory is None and readout != samples[0]
        maps = {}
        for name in ("sensitivities", "calibration", *(["true_sensitivities"] if truth else [])):
            if name in file:
                maps[name] = complex_slices(file[name], path, start, stop)
                maps[name] = maps[name][:, None] if maps[name].ndim == 3 else maps[name]
                if cut and maps[name].shape[-2] == samples[0]:
                    maps[name] = (
                        crop_readout(maps[name], readout)
                        if name == "calibration"
                        else np.ascontiguousarray(crop(maps[name], readout, -2))
                    )
        return Slices(crop_readout(part, readout) if cut else part, **maps)

    for name in ("sensitivities", "true_sensitivities", "calibration"):
        if name in file and (
            not isinstance(file[name], h5py.Dataset) or file[name].ndim not in (3, 4, 5) or len(file[name]) != slices
        ):
            raise InputError(
                f"{path}: `{name}` has shape {getattr(file[name], 'shape', 'of a group')} for {slices} slices",
                "wanted: like `kspace`",
            )
    qform = _array(file.attrs, "qform", np.float64, path, (4, 4))
    return Scan(
        load=load,
        slices=slices,
        coils=coils,
        samples=shape if trajectory is None else samples,
        shape=shape,
        mask=mask,
        affine=affine,
        axes=axes,
        trajectory=trajectory,
        noise_std=_number(file.attrs.get("noise_std")),
        header={
            **UNKNOWN_GEOMETRY,
            **codes,
            "descrip": _text(file.attrs.get("descrip", "")),
            **({} if qform is None else {"qform": qform}),
        },
        path=path,
        warnings=warnings,
    )


def write_kspace(kspace: KSpace, path: str | Path) -> None:
    """Writes k-space as HDF5, to exactly this path."""
    write_scan(kspace.as_scan(), path)


def write_scan(
    scan: Scan,
    path: str | Path,
    attributes: dict[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes a scan slice by slice, so that no more than one is in memory.

    `kspace` is stored in chunks of one phase line, and lines that were not sampled in none at all: they read as zero and
    take no room. `true_sensitivities`, as large as a fully sampled scan, keep 12 bits of mantissa and are compressed.

    Args:
        scan: what to write.
        path: the file; one that exists is overwritten.
        attributes: further attributes of the file.
        progress: called with (slices done, of how many).
    """
    with h5py.File(path, "w") as file:
        file.attrs["affine"] = np.asarray(scan.affine, np.float64)
        file.attrs["axes"] = np.asarray(scan.axes, np.int64)
        for name in (*CODES, "descrip", "qform"):
            if name in scan.header:
                file.attrs[name] = scan.header[name]
        if scan.noise_std is not None:
            file.attrs["noise_std"] = float(scan.noise_std)
        for name, value in (attributes or {}).items():
            file.attrs[name] = value
        if scan.mask is not None:
            file["mask"] = scan.mask
        if scan.trajectory is not None:
            file["trajectory"] = np.asarray(scan.trajectory, np.float32)
            file.attrs["matrix"] = np.asarray(scan.shape, np.int64)
        lines = scan.mask is not None and scan.mask.ndim == 1
        block = (1, scan.coils, scan.samples[0], 1 if lines else scan.samples[1])
        data = file.create_dataset("kspace", (scan.slices, scan.coils, *scan.samples), np.complex64, chunks=block)
        sampled: list[int] = np.flatnonzero(scan.mask).tolist() if lines and scan.mask is not None else []
        for i in range(scan.slices):
            part = scan.load(i, i + 1, truth=True)
            for name, array in zip(part._fields[1:], part[1:], strict=True):
                if array is not None:
                    _store(file, name, i, array[0], scan.slices)
            if lines:
                for line in sampled:
                    data[i, :, :, line] = part.data[0, :, :, line]
            else:
                data[i] = part.data[0] if scan.mask is None else part.data[0] * scan.mask
            if progress is not None:
                progress(i + 1, scan.slices)


def complex_slices(dataset: h5py.Dataset, path: Path, start: int = 0, stop: int | None = None) -> np.ndarray:
    """Some entries of the first axis as complex64, also of pairs (real, imag) of floats.

    Raises:
        InputError: for real values.
    """
    name = dataset.name.lstrip("/")
    if not isinstance(dataset, h5py.Dataset):
        raise InputError(f"{path}: `{name}` is a group", "store complex values under that name")
    if not _is_complex(dataset.dtype) or not dataset.shape:
        raise InputError(f"{path}: `{name}` holds {dataset.dtype}; complex64 is wanted", "store complex values")
    part = dataset[start:stop]
    if part.dtype.names:
        part = part[part.dtype.names[0]] + 1j * part[part.dtype.names[1]]
    return part.astype(np.complex64, copy=False)


def _store(file: h5py.File, name: str, i: int, array: np.ndarray, slices: int) -> None:
    """One slice of a dataset, which is made with the first."""
    if name not in file:
        small = {"shuffle": True, "compression": "lzf"} if name == "true_sensitivities" else {}
        file.create_dataset(
            name, (slices, *array.shape), np.complex64, chunks=(1, *[1] * (array.ndim - 2), *array.shape[-2:]), **small
        )
    if name == "true_sensitivities":
        bits = np.ascontiguousarray(array, np.complex64).view(np.uint32)
        drop = 23 - MANTISSA
        array = ((bits + (1 << (drop - 1))) & np.uint32((0xFFFFFFFF << drop) & 0xFFFFFFFF)).view(np.complex64)
    file[name][i] = array


def _is_complex(dtype: np.dtype) -> bool:
    names = dtype.names
    return dtype.kind == "c" or (names is not None and len(names) == 2 and all(dtype[n].kind == "f" for n in names))


def _text(value: Any) -> str:
    value = value[()] if isinstance(value, h5py.Dataset) else value
    value = value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _is_code(value: Any, largest: int) -> bool:
    return isinstance(value, int | np.integer) and 0 <= int(value) <= largest


def _number(value: Any) -> float | None:
    return (
        float(value)
        if np.size(value) == 1 and isinstance(value, float | np.floating) and np.isfinite(value) and value > 0
        else None
    )


def _array(
    where: Any, name: str, dtype: type, path: Path, shape: tuple[int | None, ...] | None = None
) -> np.ndarray | None:
    """Real, finite numbers of a dataset or an attribute, of this shape (None: any length), or None where it is absent."""
    if name not in where:
        return None
    value = where[name][()] if isinstance(where[name], h5py.Dataset) else where[name]
    array = np.asarray(value) if isinstance(value, np.ndarray | np.generic | int | float) else np.asarray("text")
    wanted = (
        "numbers" if shape is None else f"numbers of shape ({', '.join('n' if n is None else str(n) for n in shape)})"
    )
    if array.dtype.kind not in "biuf" or array.size == 0:
        raise InputError(f"{path}: `{name}` holds no {wanted}", "leave it out, or repair it")
    if shape is not None and (
        array.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape, array.shape, strict=True))
    ):
        raise InputError(f"{path}: `{name}` has shape {array.shape}; {wanted} are wanted", "leave it out, or repair it")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused below
        array = array.astype(dtype)
    if not np.isfinite(array).all():
        raise InputError(f"{path}: `{name}` holds NaN or infinite values", "leave it out, or repair it")
    return array


def _mask(file: h5py.File, samples: tuple[int, int], path: Path) -> np.ndarray | None:
    values = _array(file, "mask", np.float64, path)
    if values is None or "trajectory" in file:
        return None
    wanted = (samples[1:], samples, (*samples[:1], 1))
    squeezed = values if values.shape in wanted else values.squeeze()
    if squeezed.shape not in wanted[:2]:
        raise InputError(
            f"{path}: `mask` has shape {values.shape}; {samples[1:]} or {samples} is wanted",
            "the mask is (phase,) or (readout, phase) of `kspace`",
        )
    if not np.isin(squeezed, (0, 1)).all():
        raise InputError(f"{path}: `mask` holds other values than 0 and 1", "1 is sampled, 0 is not")
    mask = squeezed.astype(bool)
    if mask.ndim == 2 and (mask == mask[:1]).all():
        mask = mask[0]  # whole lines
    if not mask.any():
        raise InputError(f"{path}: `mask` is 0 everywhere", "1 is sampled, 0 is not")
    return mask


def _affine(file: h5py.File, path: Path) -> np.ndarray | None:
    affine = _array(file.attrs, "affine", np.float64, path, (4, 4))
    if affine is not None and abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise InputError(
            f"{path}: the attribute `affine` is no position in space: {affine.tolist()}",
            "wanted: 4 x 4, voxel to RAS+ in mm",
        )
    return affine


def _axes(file: h5py.File) -> tuple[int, int, int]:
    """The attribute `axes` where it is ours: other writers put text there."""
    value = np.asarray(file.attrs.get("axes", ()))
    if value.dtype.kind in "iu" and sorted(value.ravel().tolist()) == [0, 1, 2]:
        return tuple(int(n) for n in value.ravel())  # type: ignore[return-value]
    return (2, 0, 1)


def _matrix(file: h5py.File, trajectory: np.ndarray, path: Path) -> tuple[int, int]:
    """The image matrix of a trajectory: as stored, or as far as it reaches."""
    reach = _array(file.attrs, "matrix", np.float64, path, (2,))
    if reach is None:
        reach = 2 * np.ceil(np.abs(trajectory.reshape(-1, 2)).max(0))
    if reach.min() < 1 or reach.max() > 1 << 16:
        raise InputError(
            f"{path}: an image matrix of {reach.tolist()}",
            "wanted: the attribute `matrix`, (readout, phase) of the image",
        )
    return int(reach[0]), int(reach[1])


def _voxels(
    header: Header | None, slices: int, samples: tuple[int, int], shape: tuple[int, int], axes: tuple[int, int, int]
) -> np.ndarray:
    """An affine with the header's voxel size, centred at 0, for a file that has no orientation."""
    size = np.ones(3)
    if header is not None:
        measured, shown = header.encoded.field_of_view, header.recon.field_of_view
        # A readout that is as long as the encoded matrix covers the encoded field of view, one that was cropped the shown.
        uncut = shape[0] == samples[0] == header.encoded.matrix[0]
        in_plane = ((measured if uncut else shown)[0] / shape[0], measured[1] / shape[1])
        size[axes[1]], size[axes[2]] = in_plane
        size[axes[0]] = shown[2] / (header.recon.matrix[2] if header.recon.matrix[2] > 1 else 1)
    length = np.array([slices, *shape])[np.argsort(axes)]
    affine = np.diag([*size, 1.0])
    affine[:3, 3] = -size * (length // 2)
    return affine
