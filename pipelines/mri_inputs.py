"""What MRI's pipelines take: k-space and volumes, from files or from memory."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ornstein.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from ornstein.datasets.kspace import KSpace, Scan
    from ornstein.datasets.volumes import Volume


@contextlib.contextmanager
def open_scan(kspace: Any) -> Iterator["Scan"]:
    """k-space as an open scan, from a file or from memory."""
    import os

    import numpy as np

    from ornstein.datasets.kspace import KSpace, open_kspace, survey

    if isinstance(kspace, (str, os.PathLike)):
        with open_kspace(kspace) as scan:
            yield scan
        return
    if not isinstance(kspace, KSpace):
        data = np.asarray(kspace.detach().cpu() if hasattr(kspace, "detach") else kspace)
        if data.dtype.kind != "c" or data.ndim not in (3, 4):
            raise InputError(
                f"k-space is {data.dtype} of shape {data.shape}",
                "wanted: complex (slices, coils, readout, phase) or (coils, readout, phase)",
            )
        kspace = KSpace(np.ascontiguousarray(data if data.ndim == 4 else data[None], np.complex64))
    yield survey(kspace.as_scan())


def as_volume(volume: Any) -> "Volume":
    """A volume from a file, a nibabel image or an array."""
    import os

    import numpy as np

    from ornstein.datasets.volumes import Volume, read_volume

    if isinstance(volume, (str, os.PathLike)):
        return read_volume(volume)
    if isinstance(volume, Volume):
        return volume
    if hasattr(volume, "dataobj"):
        header = {
            name: int(volume.header[name])
            for name in ("qform_code", "sform_code", "xyzt_units")
            if name in volume.header
        }
        return Volume(np.asarray(volume.dataobj, np.float32), np.asarray(volume.affine, np.float64), header)
    data = np.asarray(volume.detach().cpu() if hasattr(volume, "detach") else volume)
    if data.ndim != 3:
        raise InputError(f"the volume has shape {data.shape}", "wanted: (x, y, z)")
    return Volume(data.astype(np.complex64 if data.dtype.kind == "c" else np.float32), np.eye(4))


def take_slices(scan: "Scan", numbers: "np.ndarray", maps: Any) -> "KSpace":
    """Some slices of a scan, with the user's maps where there are such."""
    from dataclasses import replace

    import numpy as np

    parts = [scan.read(slice(int(n), int(n) + 1)) for n in numbers]
    own = None if maps is None else maps[numbers]

    def joined(name: str) -> Any:
        return None if getattr(parts[0], name) is None else np.concatenate([getattr(part, name) for part in parts])

    stored = joined("sensitivities") if own is None else own
    return replace(parts[0], data=joined("data"), calibration=joined("calibration"), sensitivities=stored)
