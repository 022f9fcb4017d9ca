"""Where an ISMRMRD scan lies: from positions and direction cosines (LPS) to an affine (RAS)."""

import numpy as np

from ornstein.datasets.ismrmrd_header import Header


def slice_order(heads: np.ndarray, use: np.ndarray) -> np.ndarray:
    """The numbers of the slices as they lie in space: as counted where that is in order, else along the slice direction."""
    numbers = np.unique(heads["idx"]["slice"][use])
    along = np.array(
        [_position(heads, use, n) @ heads[np.flatnonzero(use)[0]]["slice_dir"].astype(float) for n in numbers]
    )
    steps = np.diff(along)
    if (steps > 0).all() or (steps < 0).all() or len(np.unique(along.round(3))) < len(along):
        return numbers
    return numbers[np.argsort(along)]


def geometry(
    heads: np.ndarray,
    use: np.ndarray,
    order: np.ndarray,
    header: Header,
    volumetric: bool,
    shape: tuple[int, int, int],
    warnings: list[str],
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """The affine (RAS) of the volume (readout, phase, slices), and which of its axes the k-space has.

    The position is that of the voxel N // 2 along readout and phase, where a centred transform has the middle. ISMRMRD's
    LPS becomes RAS by turning the signs of the first two rows.
    """
    first = heads[np.flatnonzero(use)[0]]
    directions = np.stack([first[name].astype(float) for name in ("read_dir", "phase_dir", "slice_dir")], 1)
    if abs(abs(np.linalg.det(directions)) - 1) > 0.01:
        warnings.append("read_dir, phase_dir and slice_dir are not perpendicular unit vectors: orientation unknown")
        directions = np.diag([-1.0, -1.0, 1.0])
    encoded, recon = header.encoded, header.recon
    across = encoded.field_of_view[0] * shape[0] / encoded.matrix[0]
    size = np.array([across / shape[0], encoded.field_of_view[1] / shape[1], 1.0])
    middle = np.array([shape[0] // 2, shape[1] // 2, 0.0])
    affine = np.eye(4)
    if volumetric:
        size[2], middle[2] = encoded.field_of_view[2] / shape[2], shape[2] // 2
        affine[:3, :3] = directions * size
        origin = first["position"].astype(float)
    else:
        places = np.array([_position(heads, use, n) for n in order])
        thickness = recon.field_of_view[2] / max(1, recon.matrix[2] if recon.matrix[2] == len(order) else 1)
        through = directions[:, 2] * thickness
        if len(order) > 1 and np.linalg.norm(places[-1] - places[0]) > 1e-3:
            through = (places[-1] - places[0]) / (len(order) - 1)
            uneven = np.abs(places - (places[0] + np.arange(len(order))[:, None] * through)).max()
            if uneven > 0.01 * np.linalg.norm(through):
                warnings.append(f"slices lie up to {uneven:.2f} mm from even spacing, which the affine takes")
        elif len(order) > 1:
            warnings.append("all slices have the same position: the slice thickness is taken as their distance")
        affine[:3, :3] = np.column_stack([directions[:, :2] * size[:2], through])
        origin = places[0]
    affine[:3, 3] = origin - affine[:3, :3] @ middle
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, (0, 1, 2) if volumetric else (2, 0, 1)


def _position(heads: np.ndarray, use: np.ndarray, number: int) -> np.ndarray:
    """Where the middle of a slice lies, LPS in mm."""
    return heads["position"][np.flatnonzero(use & (heads["idx"]["slice"] == number))[0]].astype(float)
