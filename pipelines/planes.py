"""Three planes through a volume as one picture: sagittal, coronal and axial, with anterior, superior and the patient's right up or right."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ornstein.pipelines.report import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

THINNEST = 8


def three_planes(
    volumes: Sequence[np.ndarray],
    affine: np.ndarray,
    titles: Sequence[str],
    colours: Sequence[str] = (),
    limits: Sequence[tuple[float, float] | None] = (),
) -> "Figure":
    """One row for each volume, one column for each plane through the middle of what there is to see.

    A volume of a few slices only is shown by these slices instead: a plane across them would be a line.

    Args:
        volumes: real (x, y, z), all of one shape.
        affine: (4, 4), voxel index to RAS+ in mm, of all of them.
        titles: one for each volume.
        colours: matplotlib's colour map for each; grey by default.
        limits: (black, white) for each; by default 0 to the 99.5th percentile.
    """
    from nibabel.orientations import (
        aff2axcodes,
        apply_orientation,
        axcodes2ornt,
        inv_ornt_aff,
        io_orientation,
        ornt_transform,
    )

    assert len({volume.shape for volume in volumes}) == 1, f"volumes of shapes {[volume.shape for volume in volumes]}"
    turn = ornt_transform(io_orientation(affine), axcodes2ornt("RAS"))
    upright = [apply_orientation(volume, turn) for volume in volumes]
    affine = affine @ inv_ornt_aff(turn, volumes[0].shape)
    assert aff2axcodes(affine) == ("R", "A", "S"), f"axes {aff2axcodes(affine)} after turning"
    size = np.linalg.norm(affine[:3, :3], axis=0)
    cuts = _cuts(upright[0])
    tall = max(_extent(upright[0], axis, size)[1] / _extent(upright[0], axis, size)[0] for axis, _ in cuts)
    made = figure(3.1 * len(cuts) + 0.6, (3.1 * min(tall, 1.6) + 0.25) * len(volumes))
    grid = made.subplots(len(volumes), len(cuts), squeeze=False)
    for row, volume in enumerate(upright):
        low, high = (limits[row] if row < len(limits) else None) or (
            0.0,
            float(np.percentile(np.abs(volume), 99.5)) or 1.0,
        )
        for column, (axis, at) in enumerate(cuts):
            panel = grid[row][column]
            plane = np.take(volume, at, axis).T  # height is the later axis, drawn upwards
            across, up = (size[i] for i in range(3) if i != axis)
            shown = panel.imshow(
                plane,
                origin="lower",
                cmap=colours[row] if row < len(colours) else "gray",
                vmin=low,
                vmax=high,
                aspect=up / across,
            )
            panel.set_xticks([])
            panel.set_yticks([])
            for spine in panel.spines.values():
                spine.set_visible(False)
            if column == 0:
                panel.set_ylabel(titles[row], fontsize=11)
            if row == 0:
                panel.set_title(f"{('sagittal', 'coronal', 'axial')[axis]} {at}", fontsize=9)
        bar = made.colorbar(shown, ax=list(grid[row]), shrink=0.8, pad=0.01, aspect=25)
        bar.ax.tick_params(labelsize=8)
        bar.outline.set_visible(False)
    return made


def _cuts(volume: np.ndarray) -> list[tuple[int, int]]:
    """(axis, index) of the planes to show."""
    thin = [axis for axis in range(3) if volume.shape[axis] < THINNEST]
    if len(thin) == 1:
        count = volume.shape[thin[0]]
        return [(thin[0], at) for at in sorted({0, count // 2, count - 1})]
    weight = np.abs(volume)
    cuts = []
    for axis in range(3):
        profile = weight.sum(tuple(i for i in range(3) if i != axis))
        middle = (
            float((profile * np.arange(profile.size)).sum() / (profile.sum() or 1.0))
            if profile.any()
            else profile.size / 2
        )
        cuts.append((axis, min(int(middle), profile.size - 1)))
    return cuts


def _extent(volume: np.ndarray, axis: int, size: np.ndarray) -> tuple[float, float]:
    """Width and height of a plane in mm."""
    across, up = (i for i in range(3) if i != axis)
    return volume.shape[across] * size[across], volume.shape[up] * size[up]
