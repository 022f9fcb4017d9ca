"""Image volumes in files: NIfTI with its affine, codes and units, BART's `.cfl`, and `.npy`."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ornstein.core.errors import InputError, UsageError

SUFFIXES = (".nii", ".nii.gz", ".cfl", ".npy")

UNKNOWN_GEOMETRY: dict[str, Any] = {"qform_code": 0, "sform_code": 2, "xyzt_units": 0, "descrip": ""}
"""What is written where a file said nothing: NIfTI's "aligned", so that the affine is kept, and no units."""


@dataclass(frozen=True, eq=False)
class Volume:
    """An image and where it lies.

    Args:
        data: float32 or complex64 (x, y, z).
        affine: float64 (4, 4), voxel index to RAS+ in mm.
        header: NIfTI's `qform_code`, `sform_code`, `xyzt_units`, `descrip`, and `qform` (4, 4) where it differs from
            the affine.
        path: the file it came from.
        warnings: what a user should know of the reading.
    """

    data: np.ndarray
    affine: np.ndarray
    header: dict[str, Any] = field(default_factory=lambda: dict(UNKNOWN_GEOMETRY))
    path: Path | None = None
    warnings: list[str] = field(default_factory=list)


def suffix_of(path: str | os.PathLike) -> str:
    """The ending that decides the format, `.nii.gz` as one, in lower case."""
    name = Path(path).name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def moved(affine: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """The affine of a volume that begins `offset` voxels further along each axis."""
    affine = np.array(affine, np.float64)
    affine[:3, 3] += affine[:3, :3] @ offset
    return affine


def read_volume(path: str | os.PathLike) -> Volume:
    """A 3D image, real as float32 or complex as complex64; a last axis of one volume is dropped.

    Args:
        path: `.nii`, `.nii.gz`, `.cfl` (always complex) or `.npy`.

    Raises:
        InputError: for a file that cannot be read, other than three axes, no voxels, NaN or infinite values.
    """
    file = Path(path)
    if not file.exists():
        raise InputError(f"{file}: no such file", "check the path")
    if file.is_dir():
        raise InputError(
            f"{file}: is a folder; one image file is wanted", f"name a file that ends in {', '.join(SUFFIXES)}"
        )
    match suffix_of(file):
        case ".nii" | ".nii.gz":
            volume = _read_nifti(file)
        case ".cfl" | ".hdr":
            from ornstein.datasets import cfl

            volume = Volume(
                cfl.image(file),
                np.eye(4),
                path=file,
                warnings=["a .cfl file has no geometry: voxels of 1, orientation unknown"],
            )
        case ".npy":
            volume = Volume(
                _load_numpy(file),
                np.eye(4),
                path=file,
                warnings=["a .npy file has no geometry: voxels of 1, orientation unknown"],
            )
        case suffix:
            raise InputError(
                f"{file}: {suffix or 'a name without an ending'} is no image format", f"wanted: {', '.join(SUFFIXES)}"
            )
    if not np.isfinite(volume.data).all():
        raise InputError(f"{file}: the image holds NaN or infinite values", "replace them, by 0 outside the body say")
    return volume


def write_volume(
    path: str | os.PathLike, data: np.ndarray, affine: np.ndarray, header: dict[str, Any] | None = None
) -> None:
    """Writes a volume to exactly this path, in the format of its ending; the same input gives the same bytes.

    `.cfl` writes the `.hdr` of the same name beside it.

    Args:
        path: ends in `.nii`, `.nii.gz`, `.cfl` or `.npy`.
        data: (x, y, z), real (stored as float32) or complex (complex64); of other formats any shape.
        affine: (4, 4), voxel index to RAS+ in mm.
        header: what `Volume.header` holds; by default an affine that is kept, and no units.

    Raises:
        UsageError: for another ending.
    """
    file = Path(path)
    data = np.asarray(data, np.complex64 if np.iscomplexobj(data) else np.float32)
    match suffix_of(file):
        case ".nii" | ".nii.gz":
            _write_nifti(file, data, np.asarray(affine, np.float64), header or {})
        case ".cfl":
            from ornstein.datasets import cfl

            cfl.write(file, data)
        case ".npy":
            with file.open("wb") as out:  # a name would get another .npy appended where it has none
                np.save(out, data, allow_pickle=False)
        case suffix:
            raise UsageError(
                f"{file}: {suffix or 'a name without an ending'} is no image format",
                f"end the name in one of {', '.join(SUFFIXES)}",
            )


def three_axes(shape: tuple[int, ...], path: Path) -> tuple[int, int, int]:
    """The shape without trailing axes of one, where three are left.

    Raises:
        InputError: naming how many axes there are otherwise.
    """
    kept = shape
    while len(kept) > 3 and kept[-1] == 1:
        kept = kept[:-1]
    if len(kept) != 3:
        kind = "a series of volumes" if len(kept) > 3 else "no volume"
        raise InputError(
            f"{path}: a {len(kept)}D image of shape {shape} is {kind}; a 3D image is wanted",
            "split a series; give a single slice a third axis of 1",
        )
    if 0 in kept:
        raise InputError(f"{path}: the image is empty, shape {shape}", "there is nothing to read")
    return kept


def _read_nifti(path: Path) -> Volume:
    import nibabel

    try:
        image = nibabel.load(path)
        if not isinstance(image, nibabel.Nifti1Image | nibabel.Nifti2Image):
            raise ValueError(f"{type(image).__name__}, not NIfTI")
        shape = three_axes(image.shape, path)
        kind = image.get_data_dtype().kind
        if kind not in "iufc":
            raise InputError(
                f"{path}: {image.get_data_dtype()} voxels; one number a voxel is wanted", "convert colours to grey"
            )
        data = np.asanyarray(image.dataobj).astype(np.complex64 if kind == "c" else np.float32).reshape(shape)
    except InputError:
        raise
    except Exception as error:  # damaged files raise many kinds, from nibabel, gzip and the system
        raise InputError(
            f"{path}: not a readable NIfTI image ({_first_line(error)})", "check that the file is whole and is NIfTI"
        ) from error
    affine = np.array(image.affine, np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise InputError(f"{path}: its affine is no position in space: {affine.tolist()}", "repair the NIfTI header")
    raw = image.header
    header: dict[str, Any] = {
        "qform_code": int(raw["qform_code"]),
        "sform_code": int(raw["sform_code"]),
        "xyzt_units": int(raw["xyzt_units"]),
        "descrip": bytes(raw["descrip"].tobytes()).split(b"\0")[0].decode("latin-1"),
    }
    if header["qform_code"] > 0 and header["sform_code"] > 0:
        qform = raw.get_qform()
        if not np.allclose(qform, affine, atol=1e-4):
            header["qform"] = qform
    return Volume(data, affine, header, path)


def _write_nifti(path: Path, data: np.ndarray, affine: np.ndarray, header: dict[str, Any]) -> None:
    import nibabel

    header = {**UNKNOWN_GEOMETRY, **header}
    image = nibabel.Nifti1Image(data, affine)
    qcode, scode = int(header["qform_code"]), int(header["sform_code"])
    image.set_sform(affine, scode)
    # Shears do not fit into a qform, whose rotation then is the nearest: the sform has precedence for every reader.
    image.set_qform(header.get("qform", affine), qcode, strip_shears=True)
    if not np.allclose(image.header.get_best_affine(), affine, atol=1e-3):
        image.set_sform(affine, scode or UNKNOWN_GEOMETRY["sform_code"])
    image.header["xyzt_units"] = int(header["xyzt_units"])
    image.header["descrip"] = str(header["descrip"]).encode("latin-1", "replace")[:79]
    nibabel.save(image, path)


def _load_numpy(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
        if array.dtype.kind not in "biufc":
            raise ValueError(f"{array.dtype} values")
    except Exception as error:
        raise InputError(
            f"{path}: not a readable .npy array ({_first_line(error)})", "write it by numpy.save, of numbers"
        ) from error
    return array.reshape(three_axes(array.shape, path)).astype(np.complex64 if array.dtype.kind == "c" else np.float32)


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0][:120] if text else type(error).__name__
