"""MRI: k-space simulated from a volume, volumes reconstructed from k-space, and how close they come."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from ornstein.core.errors import RefusedError, TooLargeError, UsageError
from ornstein.pipelines import models, runtime
from ornstein.pipelines.answers import Answer
from ornstein.pipelines.evaluate import answer
from ornstein.pipelines.mri_inputs import as_volume, open_scan, take_slices
from ornstein.pipelines.mri_results import Reconstruction, Simulation
from ornstein.pipelines.options import (
    Device,
    Force,
    InputFile,
    KeepSamples,
    MaxMemory,
    Model,
    Precision,
    Progress,
    Samples,
    Seed,
    Steps,
    slice_range,
)
from ornstein.pipelines.signature import Option
from ornstein.pipelines.verbs import verb

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ornstein.datasets.kspace import KSpace, Scan
    from ornstein.datasets.volumes import Volume
    from ornstein.domains.mri.reconstruction import SliceImages, Survey

    Work = Callable[[KSpace, np.ndarray, Any], SliceImages]

VOLUMES = (".nii", ".nii.gz")
KSPACES = (".h5", ".hdf5", ".mrd", ".cfl", ".npy")
IMAGES = (".nii.gz", ".nii", ".cfl", ".npy")

SURVEYED = 8
"""Slices from which scale, noise and coil compression of a whole scan are found."""

Axis = Annotated[int | None, Option(low=0, high=2, none="auto", metavar="A")]


@verb(inputs=(*VOLUMES, ".cfl", ".npy"), outputs=(".h5", ".hdf5"), medical=True)
def simulate(
    volume: "str | Path | Volume | Any",
    *,
    coils: Annotated[int, Option(low=1, high=128)] = 8,
    acceleration: Annotated[float, Option(low=1, high=64)] = 4.0,
    pattern: Literal["random", "equispaced", "poisson", "radial"] = "random",
    center_fraction: Annotated[float | None, Option(above=0, high=1, none="auto")] = None,
    noise: Annotated[float, Option(low=0, high=10)] = 0.005,
    slice_axis: Axis = None,
    phase_axis: Axis = None,
    seed: Seed = 0,
    progress: Progress = None,
) -> Simulation:
    """Simulates undersampled multi-coil k-space of a magnitude volume.

    Args:
        volume: a NIfTI file, a nibabel image, a `Volume`, or an array (x, y, z)
        coils: receive coils around the head
        acceleration: full over measured samples; the fully sampled centre counts
        pattern: lines along the phase axis (random, equispaced), a Poisson disc over both axes, or golden-angle spokes
        center_fraction: fully sampled share of the lines at the centre; auto is .08 up to 4x and .04 from 8x
        noise: deviation of the real and of the imaginary part in each coil, over the image's 99.9th percentile
        slice_axis: the volume's axis of the slices; auto is the one nearest superior-inferior
        phase_axis: the volume's axis of the phase encoding; auto is the one nearest left-right

    Raises:
        InputError: for a volume that cannot be read, is not 3D, or holds NaN.
        UsageError: for options that contradict each other.
    """
    options = {
        "coils": coils, "acceleration": acceleration, "pattern": pattern, "center_fraction": center_fraction,
        "noise": noise, "slice_axis": slice_axis, "phase_axis": phase_axis, "seed": seed,
    }  # fmt: skip
    return Simulation(as_volume(volume), options, progress)


STACK = 8
"""The most slices that are worked on together."""


@verb(inputs=KSPACES, outputs=IMAGES, medical=True)
def reconstruct(
    kspace: "str | Path | KSpace | Any",
    *,
    method: Literal["diffusion", "sense", "tv", "zero-filled"] = "diffusion",
    sensitivities: InputFile = None,
    part: Literal["magnitude", "phase", "complex"] = "magnitude",
    slices: Annotated[
        tuple[int | None, int | None] | None, Option(parse=slice_range, metavar="A:B", none="all")
    ] = None,
    coil_compression: Annotated[int, Option(low=1, high=1024)] = 12,
    coupling: Literal["auto", "tv", "none"] = "auto",
    samples: Samples = 4,
    keep_samples: KeepSamples = False,
    steps: Steps = 40,
    solver: Literal["ancestral"] = "ancestral",
    model: Model = None,
    device: Device = "auto",
    precision: Precision = "bf16",
    max_memory: MaxMemory = None,
    seed: Seed = 0,
    force: Force = False,
    reference: InputFile = None,
    progress: Progress = None,
) -> Reconstruction:
    """Reconstructs a volume from k-space, with its uncertainty.

    Args:
        kspace: a file (fastMRI or ISMRMRD HDF5, BART .cfl, .npy), a `KSpace`, or a complex array (slices, coils, readout, phase)
        method: diffusion samples the posterior; sense, tv and zero-filled are the classical methods
        sensitivities: coil maps to use instead of estimated ones (.h5, .cfl, .npy)
        part: what to write of the complex image
        slices: only the slices from A to before B, counted from 0
        coil_compression: at most this many virtual coils
        coupling: between neighbouring slices: tv by their total variation; none reconstructs each alone; auto is tv with diffusion
        solver: ancestral noises each estimate afresh
        reference: a fully sampled image to compare with in measures and report; it never enters the reconstruction

    Raises:
        InputError: for a file that cannot be read or holds no usable k-space.
        RefusedError: for k-space that is far from what the model was made for, unless `force`.
        ModelError: for an unknown or damaged model.
    """
    import numpy as np

    from ornstein.datasets.kspace import read_sensitivities

    if model is not None and method != "diffusion":
        raise UsageError(f"--model and --method {method} contradict each other", "only --method diffusion uses a model")
    if coupling == "tv" and method != "diffusion":
        raise UsageError(
            f"--coupling {coupling} and --method {method} contradict each other", "only --method diffusion couples"
        )
    coupled = coupling != "none" and method == "diffusion"
    place = runtime.choose_device(device)
    runtime.check_precision(precision, place)
    drawn = samples if method == "diffusion" else 1
    settings: dict[str, Any] = {
        "method": method,
        "samples": drawn,
        "steps": steps,
        "seed": seed,
        "device": place,
        "precision": precision,
        "coupling": "tv" if coupled else "none",
    }
    chosen = models.find_model(model, "mri") if method == "diffusion" else None
    target = None if reference is None else as_volume(reference)
    with open_scan(kspace) as scan:
        first, last = _bounds(slices, scan.slices)
        settings["spacing"] = float(np.linalg.norm(scan.affine[:3, scan.axes[0]]))
        maps = None if sensitivities is None else read_sensitivities(sensitivities, scan)
        at_once = _slices_at_once(scan, drawn, max_memory, place, coupled)
        made = Reconstruction.empty(scan, first, last, part, drawn, keep_samples, reference=target)
        made.model = None if chosen is None else chosen.identity
        holding = _objects(scan)
        numbers = holding[(holding >= first) & (holding < last)]
        if not len(numbers):
            noise = "no slice holds more than noise"
            made.warnings.append(_refuse(scan, noise, "check that it is k-space, centred", force))
            numbers = np.arange(first, last)
        # The whole scan is surveyed, also for some of its slices: they come out as they do among the others.
        every = holding if len(holding) else numbers
        work, doubt = _science(scan, every, chosen, maps, coil_compression, settings)
        if doubt:
            made.warnings.append(_refuse(scan, doubt, "--method sense or tv needs no model", force))
        done = 0
        for some in _parts(numbers, at_once, coupled):
            kspaces = take_slices(scan, some, maps)
            made.fill(some, work(kspaces, some, _share(progress, done, len(some), len(numbers))))
            done += len(some)
            if progress is not None:
                progress(done, len(numbers))
    assert np.isfinite(made.image).all(), "a reconstruction is not finite"
    return made.finish()


def evaluate(
    result: "str | Path | Volume | Any",
    reference: "str | Path | Volume | Any",
    *,
    mask: InputFile = None,
    fit_scale: bool = False,
) -> Answer:
    """Compares a volume with its reference: PSNR, SSIM, NMSE, over the volume and inside the head.

    Args:
        result: the volume to judge
        reference: the volume that it should be
        mask: voxels that count as head, above 0; by default from the reference
        fit_scale: scale the result to the reference by least squares first
    """
    from ornstein.pipelines.mri_results import compare

    image, truth = as_volume(result), as_volume(reference)
    where = None if mask is None else as_volume(mask)
    measures, notes = compare(image, truth, where, fit_scale)
    return answer(
        str(image.path or "array"), str(truth.path or "array"), measures, {"warnings": notes, "fit_scale": fit_scale}
    )


def train_model(settings: dict[str, Any], device: "torch.device", log: Callable[[str], None]) -> Path:
    """Trains a prior from the settings of a configuration file; the folder of the model."""
    from ornstein.domains.mri.prior import PriorConfiguration, train_prior

    return train_prior(PriorConfiguration.parse(settings), device=device, log=log)


VERBS = (simulate, reconstruct)


def _objects(scan: "Scan") -> "np.ndarray":
    """The numbers of the slices that hold more than noise."""
    import numpy as np

    from ornstein.domains.mri.content import contains_object

    holds = [contains_object(scan.load(n, n + 1).data, scan.mask, scan.trajectory)[0] for n in range(scan.slices)]
    return np.flatnonzero(holds)


def _science(
    scan: "Scan",
    numbers: "np.ndarray",
    model: "models.Model | None",
    maps: Any,
    coil_compression: int,
    settings: dict[str, Any],
) -> tuple[Callable[..., Any], str | None]:
    """The one place where the science is called: what all slices share is found, and the function of some made.

    Args:
        scan: the scan.
        numbers: the slices that hold an object.
        model: the prior, for the diffusion method.
        maps: the user's own sensitivities of all slices, or None.
        coil_compression: the most virtual coils.
        settings: the options of `reconstruct` that concern the method.

    Returns:
        A function of (k-space of some slices, their numbers, progress or None) that gives `SliceImages`; and why the
        model should not be used for such a scan, None where nothing speaks against it.
    """
    from ornstein.domains.mri.reconstruction import reconstruct_slices
    from ornstein.domains.mri.typicality import judge

    folder = None if model is None else model.folder
    seen = quick_survey(scan, numbers, maps, folder, coil_compression, settings["device"])

    def work(kspace: "KSpace", numbers: "np.ndarray", progress: Any) -> "SliceImages":
        return reconstruct_slices(kspace, seen, model=folder, items=numbers.tolist(), progress=progress, **settings)

    verdict = None if model is None else judge(model.folder, model.card, seen.images)
    return work, None if verdict is None or verdict.typical else str(verdict)


def quick_survey(
    scan: "Scan",
    numbers: "np.ndarray",
    maps: Any,
    model: "Path | None",
    coil_compression: int,
    device: "torch.device | str",
) -> "Survey":
    """What all slices share, found from some that are spread over those with these numbers."""
    import numpy as np

    from ornstein.domains.mri.reconstruction import survey

    spread = numbers[np.unique(np.linspace(0, len(numbers) - 1, SURVEYED).round().astype(int))]
    return survey(take_slices(scan, spread, maps), model=model, coil_compression=coil_compression, device=device)


def _refuse(scan: "Scan", why: str, hint: str, force: bool) -> str:
    """The warning that marks a result made by force. Raises: RefusedError without force."""
    if not force:
        raise RefusedError(f"{scan.path or 'k-space'}: {why}", f"{hint}; --force goes on regardless")
    return f"{why}; reconstructed all the same, by --force"


def _bounds(chosen: "tuple[int | None, int | None] | None", count: int) -> tuple[int, int]:
    """The first slice and the one after the last. Raises: UsageError where there is none."""
    first, last, _ = slice(*(chosen or (None, None))).indices(count)
    if first >= last:
        raise UsageError(
            f"--slices {chosen}: no slice; the scan has {count}, from 0 to {count - 1}", "choose A:B within them"
        )
    return first, last


def _slices_at_once(scan: "Scan", samples: int, max_memory: float | None, device: "torch.device", coupled: bool) -> int:
    """How many slices are worked on together: one on a CPU, whose caches it fills, unless they are coupled; more on a GPU,
    as memory allows.

    Raises:
        TooLargeError: where not even one fits.
    """
    pixels = scan.shape[0] * scan.shape[1]
    # Per pixel: k-space, maps, Gram matrices and work space of each coil; the network's activations of each sample.
    data, network = pixels * scan.coils * 8 * 12, pixels * samples * 2200
    budget = runtime.memory_budget(max_memory, device)
    if data + network > budget:
        raise TooLargeError(
            f"{scan.path or 'k-space'}: one slice needs about {(data + network) / runtime.GB:.2f} GB, and {budget / runtime.GB:.2f} GB are left",
            "allow more with --max-memory, or take fewer --samples",
        )
    if device.type != "cpu":
        return int(min(budget // (data + network), STACK))
    # Of a stack the network sees a slice at a time; what stays of each is its data, and some states of each sample.
    return int(min((budget - network) // (data + pixels * samples * 128), STACK)) or 1 if coupled else 1


def _parts(numbers: "np.ndarray", at_once: int, coupled: bool) -> "list[np.ndarray]":
    """The slices' numbers, at most so many at once. Where they are coupled each part is a stack between fixed borders, so that
    some slices of a scan come out as they do among all."""
    import numpy as np

    if not coupled:
        return [numbers[start : start + at_once] for start in range(0, len(numbers), at_once)]
    borders = np.flatnonzero((np.diff(numbers) != 1) | (numbers[1:] % STACK == 0)) + 1
    return [part for stack in np.split(numbers, borders) for part in np.array_split(stack, -(-len(stack) // at_once))]


def _share(progress: Any, before: int, count: int, total: int) -> Any:
    """Progress of a part as progress of the whole."""
    if progress is None:
        return None
    return lambda done, of: progress(before + count * done / of, total)
