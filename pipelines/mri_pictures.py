"""Pictures of MRI results that lie in files."""

from pathlib import Path

from ornstein.pipelines import outputs
from ornstein.pipelines.mri_results import Reconstruction
from ornstein.pipelines.report import Report


def show(report: Report, result: Path, reference: Path | None = None) -> None:
    """Adds the pictures of a reconstruction in a file, with its deviation beside it and its error, where there are such.

    Args:
        report: the page.
        result: the image that `mri reconstruct` wrote; its deviation is found by its name.
        reference: a fully sampled image, or None.

    Raises:
        InputError: for files that are no images, or not on one grid.
    """
    import numpy as np

    from ornstein.datasets.volumes import read_volume

    image, deviation = read_volume(result), outputs.sibling(result, "std")
    made = Reconstruction(image.data, image.affine, image.header)
    made.residual = np.zeros(0)
    made.std = np.abs(read_volume(deviation).data) if deviation.is_file() else None
    made.reference = None if reference is None else read_volume(reference)
    made.describe(report)
