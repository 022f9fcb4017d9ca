"""What the MRI pipelines give back: simulated k-space, and reconstructed volumes with their uncertainty."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ornstein.core.errors import InputError
from ornstein.pipelines import outputs
from ornstein.pipelines.results import Result

if TYPE_CHECKING:
    import numpy as np

    from ornstein.datasets.kspace import KSpace, Scan
    from ornstein.datasets.volumes import Volume
    from ornstein.domains.mri.reconstruction import SliceImages
    from ornstein.pipelines.report import Report


class Simulation(Result):
    """Simulated k-space, computed slice by slice when it is read or written.

    Attributes:
        volume: what it is made of.
        options: the simulator's options.
    """

    title = "Simulated k-space"

    def __init__(self, volume: "Volume", options: dict[str, Any], progress: Any = None) -> None:
        from ornstein.datasets.kspace_simulation import simulate_scan

        self.volume, self.options, self._progress = volume, options, progress
        self.scan = simulate_scan(volume.data, volume.affine, header=volume.header, **options)
        super().__init__(warnings=[*volume.warnings, *_signs(volume.data)], measures=_sampling(self.scan))

    @property
    def kspace(self) -> "KSpace":
        """All of it, in memory, with the true maps."""
        return self.scan.read(truth=True)

    def write(self, path: Path) -> None:
        from ornstein.datasets.kspace_simulation import simulate_to

        simulate_to(path, self.volume, progress=self._progress, **self.options)

    def describe(self, report: "Report") -> None:
        import numpy as np

        from ornstein.pipelines.planes import three_planes
        from ornstein.pipelines.report import figure

        report.section("The volume").picture(
            three_planes([np.abs(self.volume.data)], self.volume.affine, ["magnitude"]),
            "The volume that k-space is made of.",
        )
        made = figure(6, 2.2)
        panel = made.subplots()
        if self.scan.trajectory is not None:
            for spoke in self.scan.trajectory:
                panel.plot(*spoke.T, linewidth=0.4, color="#1f5f8b")
            panel.set_aspect("equal")
        elif self.scan.mask is not None:
            panel.imshow(
                np.broadcast_to(self.scan.mask, self.scan.shape), cmap="gray", aspect="auto", interpolation="nearest"
            )
        panel.set_xlabel("phase encoding")
        panel.set_ylabel("readout")
        report.section("Sampling").picture(made, "What is measured of k-space (white: sampled).")


class Reconstruction(Result):
    """A reconstructed volume.

    Attributes:
        image: (x, y, z) in the axis order of the scan's volume: the posterior mean, or a classical reconstruction.
        std: like image, the standard deviation over the samples; None for one sample.
        residual: (slices,), ||A x - y|| / ||y|| over the measured samples, NaN in slices that were skipped.
        samples: (samples, x, y, z) where they were kept, else None.
        affine: (4, 4), voxel index to RAS+ in mm, of these slices.
        header: NIfTI codes and units.
    """

    title = "MRI reconstruction"

    def __init__(self, image: "np.ndarray", affine: "np.ndarray", header: dict[str, Any], **rest: Any) -> None:
        super().__init__(**rest)
        self.image, self.affine, self.header = image, affine, header
        self.std: np.ndarray | None = None
        self.samples: np.ndarray | None = None
        self.residual: Any = None
        self.reference: Volume | None = None
        self._first = 0
        self._axes = (2, 0, 1)
        self._part = "magnitude"
        self._evaluations, self._network_seconds = 0, 0.0

    @classmethod
    def empty(
        cls,
        scan: "Scan",
        first: int,
        last: int,
        part: str,
        samples: int,
        keep_samples: bool,
        reference: "Volume | None" = None,
    ) -> Self:
        """Zeros for slices first to last-1 of a scan, to be filled."""
        import numpy as np

        from ornstein.datasets.volumes import moved

        kind = np.complex64 if part == "complex" else np.float32
        shape = (last - first, *scan.shape)
        offset = np.zeros(3)
        offset[scan.axes[0]] = first
        header = dict(scan.header)
        if "qform" in header:
            header["qform"] = moved(header["qform"], offset)
        made = cls(np.zeros(shape, kind), moved(scan.affine, offset), header, warnings=list(scan.warnings))
        made.std = np.zeros(shape, np.float32) if samples > 1 else None
        made.samples = np.zeros((samples, *shape), kind) if keep_samples else None
        made.residual = np.full(last - first, np.nan)
        made._first, made._axes, made._part, made.reference = first, scan.axes, part, reference
        return made

    def fill(self, numbers: "np.ndarray", made: "SliceImages") -> None:
        """Takes reconstructed slices with these numbers in the scan."""
        import numpy as np

        drawn = made.images
        rows, mean = numbers - self._first, drawn.mean(0)
        self.image[rows] = _part(mean, self._part)
        self.residual[rows] = made.residual
        if self.std is not None:
            if self._part == "phase":  # angles are compared around their mean, so that none is far for a whole turn
                spread = np.angle(drawn * np.conj(mean))
            else:
                spread = _part(drawn, self._part) - _part(drawn, self._part).mean(0)
            self.std[rows] = np.sqrt(np.square(np.abs(spread)).sum(0) / (len(drawn) - 1))
        if self.samples is not None:
            self.samples[:, rows] = _part(drawn, self._part)
        self._evaluations += made.evaluations
        self._network_seconds += made.network_seconds
        self.warnings += [text for text in made.warnings if text not in self.warnings]

    def finish(self) -> Self:
        """Itself, in the volume's own axis order, with its measures."""
        import numpy as np

        order = np.argsort(self._axes)
        skipped = int(np.isnan(self.residual).sum())
        self.measures |= {
            "residual": float(np.nanmean(self.residual)) if skipped < len(self.residual) else None,
            "slices": len(self.residual),
            "empty_slices": skipped,
        }
        if self._evaluations:
            self.measures |= {"evaluations": self._evaluations, "network_seconds": self._network_seconds}
        self.image = self.image.transpose(order)
        self.std = None if self.std is None else self.std.transpose(order)
        self.samples = None if self.samples is None else self.samples.transpose(0, *(order + 1))
        if self.std is not None:
            self.measures["std_over_mean"] = float(self.std.sum() / max(np.abs(self.image).sum(), 1e-30))
        if self.reference is not None:
            found, notes = compare(self.as_volume(), self.reference)
            self.measures |= found
            self.warnings += notes
        return self

    def write(self, path: Path) -> None:
        from ornstein.datasets.volumes import write_volume

        write_volume(path, self.image, self.affine, self.header)
        if self.std is not None:
            write_volume(outputs.sibling(path, "std"), self.std, self.affine, self.header)
        for number, sample in enumerate(self.samples if self.samples is not None else (), 1):
            write_volume(outputs.sibling(path, f"sample-{number}"), sample, self.affine, self.header)

    def describe(self, report: "Report") -> None:
        """Pictures in three planes: the image, the reference and the error where there is one, the deviation."""
        import numpy as np

        from ornstein.pipelines.planes import three_planes

        image = np.abs(self.image) if np.iscomplexobj(self.image) else self.image
        volumes, titles, colours = [image], ["reconstruction"], ["twilight" if self._part == "phase" else "gray"]
        white = float(np.percentile(np.abs(image), 99.5)) or 1.0
        limits: list[tuple[float, float] | None] = [(-np.pi, np.pi) if self._part == "phase" else (0, white)]
        if self.reference is not None and self._part != "phase":
            truth = np.abs(aligned(self.as_volume(), self.reference)[0])
            volumes += [truth, image - truth]
            titles += ["reference", "error"]
            colours += ["gray", "RdBu_r"]
            limits += [(0, white), (-0.2 * white, 0.2 * white)]
        if self.std is not None:
            volumes.append(self.std)
            titles.append("deviation")
            colours.append("magma")
            limits.append((0, float(np.percentile(self.std, 99.8)) or 1.0))
        words = "Three planes through the middle, in the image's own units."
        if self.std is not None:
            words += " The deviation is that of the posterior samples, voxel by voxel."
        report.section("Reconstruction").picture(three_planes(volumes, self.affine, titles, colours, limits), words)
        if np.isfinite(self.residual).sum() > 1:
            report.picture(
                self._residual_curve(), "How far the reconstruction is from the measured samples, slice by slice."
            )

    def _residual_curve(self) -> Any:
        import numpy as np

        from ornstein.pipelines.report import figure

        made = figure(8, 2.2)
        panel = made.subplots()
        panel.plot(np.arange(len(self.residual)) + self._first, self.residual, marker=".", color="#1f5f8b", linewidth=1)
        panel.set_xlabel("slice")
        panel.set_ylabel("relative residual")
        panel.set_ylim(bottom=0)
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
        return made

    def as_volume(self) -> "Volume":
        """The image with where it lies."""
        from ornstein.datasets.volumes import Volume

        return Volume(self.image, self.affine, self.header)


def compare(
    image: "Volume", reference: "Volume", mask: "Volume | None" = None, fit_scale: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """The measures of an image against its reference, on the image's grid, and what to know of them.

    Raises:
        InputError: for volumes that do not lie on one grid.
    """
    import numpy as np

    from ornstein.datasets.kspace_simulation import choose_axes
    from ornstein.domains.mri.measures import WINDOW, measure

    truth, notes = aligned(image, reference)
    inside = None if mask is None else np.abs(aligned(image, mask)[0]) > 0
    thinnest = int(np.argmin(truth.shape))
    axis = thinnest if truth.shape[thinnest] < WINDOW else choose_axes(image.affine)[0]
    return measure(np.abs(image.data), np.abs(truth), mask=inside, fit_scale=fit_scale, slice_axis=axis), notes


def aligned(image: "Volume", other: "Volume") -> tuple["np.ndarray", list[str]]:
    """The part of another volume that an image shows: all of it, or the slices that the image has.

    Raises:
        InputError: where the image's voxels are not voxels of the other.
    """
    import numpy as np

    name, found = other.path or "the reference", image.data.shape
    bare = [volume.path is not None and volume.path.suffix in (".npy", ".cfl") for volume in (image, other)]
    if any(bare):
        if found != other.data.shape:
            raise InputError(
                f"{name}: shape {other.data.shape}, while the image has {found}", "give volumes of one shape"
            )
        return other.data, ["one of the files has no geometry: the volumes were compared as they lie"]
    between = np.linalg.solve(other.affine, image.affine)
    start = np.rint(between[:3, 3]).astype(int)
    stop = start + found
    same = np.allclose(between[:3, :3], np.eye(3), atol=1e-3) and np.allclose(between[:3, 3], start, atol=0.05)
    if not same or (start < 0).any() or (stop > other.data.shape).any():
        raise InputError(
            f"{name}: not on the image's grid (shape {other.data.shape} and {found}; the affines differ)",
            "resample one to the other first",
        )
    part = other.data[tuple(slice(a, b) for a, b in zip(start, stop))]
    return part, [] if part.shape == other.data.shape else [
        f"compared with {found} of the reference's {other.data.shape} voxels"
    ]


def _part(image: "np.ndarray", part: str) -> "np.ndarray":
    import numpy as np

    return image if part == "complex" else np.abs(image) if part == "magnitude" else np.angle(image)


def _signs(data: "np.ndarray") -> list[str]:
    """A warning where a volume has negative values beyond the ringing that resampling leaves."""
    import numpy as np

    if np.iscomplexobj(data) or data.min() >= -0.05 * np.abs(data).max():
        return []
    return [
        f"the volume has values down to {data.min():g} (Hounsfield units?): k-space is made of their magnitude, "
        "as of any volume"
    ]


def _sampling(scan: "Scan") -> dict[str, Any]:
    if scan.mask is not None:
        return {"sampled_fraction": float(scan.mask.mean())}
    return {"sampled_fraction": float(scan.samples[0] * scan.samples[1] / (scan.shape[0] * scan.shape[1]))}
