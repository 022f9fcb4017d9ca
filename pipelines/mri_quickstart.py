"""The quickstart of MRI: a brain that an installed library carries, measured with a quarter of the lines."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ornstein.pipelines import mri
from ornstein.pipelines.console import Console
from ornstein.pipelines.mri_results import Reconstruction, compare
from ornstein.pipelines.quickstart import Demonstration
from ornstein.pipelines.report import Report, figure

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from ornstein.datasets.volumes import Volume

METHODS: tuple[Literal["zero-filled", "sense", "tv", "diffusion"], ...] = ("zero-filled", "sense", "tv", "diffusion")
SLICES = slice(50, 131, 20)
"""Of the template's 189 axial slices: from the temporal lobes to above the ventricles."""
SHOWN = (1, 3)
"""Which of them the report shows: through the basal ganglia, and above the ventricles."""


def demonstrate(folder: Path, report: Report, device: str, seed: int, console: Console) -> Demonstration:
    """Simulates k-space of five slices with 8 coils and a quarter of the lines, and reconstructs it by every method."""
    from ornstein.datasets.volumes import write_volume

    brain = template()
    write_volume(folder / "brain.nii.gz", brain.data, brain.affine, brain.header)
    simulated = mri.simulate(
        str(folder / "brain.nii.gz"), coils=8, acceleration=4.0, slice_axis=2, phase_axis=0, seed=seed
    )
    simulated.save(folder / "kspace.h5", overwrite=True)
    results: dict[str, Reconstruction] = {}
    measures: dict[str, dict[str, Any]] = {}
    for method in METHODS:
        progress = console.progress(f"mri {method}")
        made = mri.reconstruct(str(folder / "kspace.h5"), method=method, device=device, seed=seed, progress=progress)
        progress.close()
        made.save(folder / f"{method}.nii.gz", overwrite=True)
        results[method], measures[method] = made, compare(made.as_volume(), brain)[0]
        console.say(f"mri {method}: {measures[method]['psnr_head']:.2f} dB")
    head = ("method", "PSNR in the head (dB)", "SSIM in the head", "NMSE", "seconds")
    rows = [
        (method, m["psnr_head"], m["ssim_head"], m["nmse"], results[method].record["seconds"])
        for method, m in measures.items()
    ]
    best = max(METHODS[:-1], key=lambda method: measures[method]["psnr_head"])
    gain = measures["diffusion"]["psnr_head"] - measures[best]["psnr_head"]
    said = f"diffusion is {abs(gain):.1f} dB {'above' if gain >= 0 else 'below'} {best}, the best classical method"
    report.text(
        f"{brain.data.shape[2]} axial slices of the MNI152 template, the average of 152 healthy brains that nilearn carries, "
        "so smoother than any single head. Their k-space is simulated with 8 coils, a quarter of the lines and noise; "
        "all methods see the same data and the same estimated coil sensitivities."
    )
    report.text(f"Outcome: {said}.").table(rows, head)
    for number in SHOWN:
        report.picture(
            gallery(brain.data, results, number),
            f"Slice {number + 1} of {brain.data.shape[2]}. Above, every method and the truth; below, what each gets wrong, from "
            "-10 % (blue) to 10 % (red) of the brightest tissue, and, at the right, the standard deviation of the posterior "
            "samples: where diffusion itself says that it is unsure (dark is 0, bright is 5 %).",
        )
    report.provenance(results["diffusion"].record)
    return Demonstration(head, rows, results["diffusion"].model, said)


def template() -> "Volume":
    """Five axial slices, 20 mm apart, of the MNI152 template, scaled to a peak of 1000."""
    import numpy as np
    from nilearn.datasets import load_mni152_template

    from ornstein.datasets.volumes import Volume

    image = load_mni152_template(resolution=1).slicer[:, :, SLICES]
    data = np.asarray(image.dataobj, np.float32)
    return Volume(
        1000 * data / data.max(),
        np.asarray(image.affine, np.float64),
        {"qform_code": 4, "sform_code": 4, "xyzt_units": 2},
    )


def gallery(truth: "np.ndarray", results: dict[str, Reconstruction], number: int) -> "Figure":
    """A slice by every method above its error, with the truth and the deviation at the end."""
    import numpy as np

    white = float(np.percentile(truth, 99.5))
    grey: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": white}
    bad: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -0.1 * white, "vmax": 0.1 * white}
    panels = [
        (method, result.image, grey, "error", result.image - truth, bad) for method, result in results.items()
    ]  # fmt: skip
    deviation = results["diffusion"].std
    panels.append(
        ("truth", truth, grey, "standard deviation", deviation, {"cmap": "magma", "vmin": 0, "vmax": 0.05 * white})
    )
    made = figure(2.4 * len(panels), 5.9)
    grid = made.subplots(2, len(panels))
    for column, (above, image, shades, below, error, colours) in zip(grid.T, panels, strict=True):
        for panel, title, volume, style in ((column[0], above, image, shades), (column[1], below, error, colours)):
            panel.set_axis_off()
            if volume is not None:
                panel.imshow(volume[..., number].T, origin="lower", **style)
                panel.set_title(title, fontsize=12)
    return made
