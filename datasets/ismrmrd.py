"""ISMRMRD's HDF5: one readout line after the other, sorted here into k-space with its geometry.

Noise scans pre-whiten, lines that were measured for calibration are kept apart for the sensitivities, averages are
averaged, reversed lines turned, short ones (partial Fourier, asymmetric echo) placed by their index, and readout
oversampling is cropped. 3D scans are transformed along the readout into slices (phase1, phase2).

Source: Inati et al. (2017), ISMRM Raw data format, 10.1002/mrm.26089.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from ornstein.core.errors import InputError
from ornstein.datasets.arrays import spool
from ornstein.datasets.fourier import crop, crop_readout, to_image
from ornstein.datasets.ismrmrd_geometry import geometry, slice_order
from ornstein.datasets.ismrmrd_header import Header, parse
from ornstein.datasets.ismrmrd_lines import lines, sort, whitening
from ornstein.datasets.kspace import Scan, Slices
from ornstein.datasets.volumes import UNKNOWN_GEOMETRY

HEAD = (
    "flags",
    "number_of_samples",
    "active_channels",
    "discard_pre",
    "discard_post",
    "center_sample",
    "encoding_space_ref",
    "trajectory_dimensions",
    "sample_time_us",
    "position",
    "read_dir",
    "phase_dir",
    "slice_dir",
    "idx",
)
COUNTERS = ("kspace_encode_step_1", "kspace_encode_step_2", "slice", "contrast", "phase", "repetition", "set")
"""What is read of a line's header, and of the counters in it."""


@dataclass(frozen=True, eq=False)
class Grid:
    """k-space as it is filled: sums of lines, and how many went into each.

    Args:
        lines: complex64 (groups, steps, coils, readout); a group is a slice, or a partition of a 3D scan.
        counts: int (groups, steps).
        first: the step that lines[:, 0] is.
    """

    lines: np.ndarray
    counts: np.ndarray
    first: int = 0

    def add(self, group: int, step: int, start: int, line: np.ndarray) -> None:
        place = (group, step - self.first)
        self.lines[place][:, start : start + line.shape[1]] += line
        self.counts[place] += 1

    def group(self, i: int) -> np.ndarray:
        """The averaged group (coils, readout, steps)."""
        return (self.lines[i] / np.maximum(self.counts[i], 1)[:, None, None]).transpose(1, 2, 0)


def find(file: h5py.File) -> h5py.Group | None:
    """The group of an ISMRMRD scan in a file, usually `dataset`."""
    groups = [g for g in file.values() if isinstance(g, h5py.Group)]
    return next((g for g in groups if "xml" in g and "data" in g and _is_lines(g["data"])), None)


def scan(group: h5py.Group, path: Path) -> Scan:
    """An open ISMRMRD group as a scan; its lines are sorted here, in a temporary file where they are many.

    Raises:
        InputError: for EPI, for radial or spiral without a trajectory, several slabs, and lines outside the matrix.
    """
    header = parse(_xml(group, path), path, "the XML header")
    heads = group["data"].fields("head")[:]
    if not set(HEAD) <= set(heads.dtype.names or ()) or not set(COUNTERS) <= set(heads["idx"].dtype.names or ()):
        raise InputError(
            f"{path}: the lines' headers are not those of ISMRMRD", "write the file by a library of ISMRMRD, version 1"
        )
    use, noise, calibration, warnings = sort(heads, path)
    first = heads[np.flatnonzero(use)[0]]
    has_trajectory = first["trajectory_dimensions"] > 0
    if header.trajectory == "epi":
        raise InputError(
            f"{path}: an EPI trajectory is not supported",
            "correct its ghosts and regrid it first, then store it as cartesian",
        )
    if header.trajectory not in ("cartesian", "radial", "goldenangle", "spiral", "other"):
        raise InputError(
            f"{path}: the trajectory {header.trajectory!r} is not known",
            "wanted: cartesian, radial, goldenangle or spiral",
        )
    if header.trajectory != "cartesian" and not has_trajectory:
        raise InputError(
            f"{path}: a {header.trajectory} scan without trajectory data", "store the trajectory with each line"
        )
    coils = int(first["active_channels"])
    if (heads["active_channels"][use | calibration | noise] != coils).any():
        raise InputError(
            f"{path}: lines differ in their number of coils (active_channels)", "store one coil configuration"
        )
    whiten, noise_std = whitening(group, noise, heads, first, coils, header, path)
    if header.trajectory != "cartesian":
        return _spokes(group, heads, use, header, whiten, noise_std, path, warnings)

    steps, partitions = header.encoded.matrix[1], header.encoded.matrix[2]
    slices = heads["idx"]["slice"]
    volumetric = partitions > 1 and bool(heads["idx"]["kspace_encode_step_2"][use].max())
    if volumetric and slices[use].any():
        raise InputError(
            f"{path}: several 3D slabs ({slices[use].max() + 1} values of idx.slice)", "store one slab to a file"
        )
    step = _place(heads, "kspace_encode_step_1", steps, header.centers[0], use | calibration, path)
    if volumetric:
        groups = _place(heads, "kspace_encode_step_2", partitions, header.centers[1], use | calibration, path)
        order = np.arange(partitions)
    else:
        order = slice_order(heads, use)
        groups = np.full(len(heads), -1)
        for i, number in enumerate(order):
            groups[slices == number] = i
        calibration &= groups >= 0  # of a slice that was never imaged

    image = _fill(group, heads, use, groups, step, (len(order), steps), header, whiten, path, True)
    counts = image.counts > 0
    mask = counts if volumetric else counts.any(0)
    if not volumetric and (counts != mask).any():
        warnings.append("slices were sampled on different lines: what a slice lacks is taken as measured zero")
    per_line = image.counts[counts]
    if noise_std is not None:
        noise_std /= math.sqrt(per_line.mean())
    block = None
    if calibration.any():
        block = _fill(group, heads, calibration, groups, step, (len(order), steps), header, whiten, path, False)
    readout = header.readout(header.encoded.matrix[0])
    data = _images(image, readout, volumetric)
    center = _calibration(block, readout, volumetric)
    affine, axes = geometry(heads, use, order, header, volumetric, (readout, steps, len(order)), warnings)
    samples = (int(data.shape[-2]), int(data.shape[-1]))
    return Scan(
        load=lambda start, stop, truth=False: Slices(
            np.asarray(data[start:stop]), calibration=None if center is None else np.asarray(center[start:stop])
        ),
        slices=len(data),
        coils=coils,
        samples=samples,
        shape=samples,
        mask=mask.T if volumetric else mask,
        affine=affine,
        axes=axes,
        noise_std=noise_std,
        header=_SCANNER,
        path=path,
        warnings=warnings,
    )


_SCANNER = {**UNKNOWN_GEOMETRY, "qform_code": 1, "sform_code": 1, "xyzt_units": 2}
"""Scanner coordinates in mm."""


def _place(
    heads: np.ndarray, counter: str, size: int, center: int | None, wanted: np.ndarray, path: Path
) -> np.ndarray:
    """Where each line lies in a matrix of `size`, its k = 0 at size // 2."""
    place = heads["idx"][counter].astype(int) + (0 if center is None else size // 2 - center)
    if place[wanted].min() < 0 or place[wanted].max() >= size:
        raise InputError(
            f"{path}: idx.{counter} runs from {heads['idx'][counter][wanted].min()} to {heads['idx'][counter][wanted].max()}, outside a matrix of {size}",
            "encodedSpace and encodingLimits in the header do not fit the lines",
        )
    return place


def _fill(
    group: h5py.Group,
    heads: np.ndarray,
    wanted: np.ndarray,
    groups: np.ndarray,
    step: np.ndarray,
    shape: tuple[int, int],
    header: Header,
    whiten: np.ndarray | None,
    path: Path,
    whole: bool,
) -> Grid:
    """The wanted lines on a grid (groups, steps): the `whole` of it, or the steps from the first to the last of them."""
    readout, coils = header.encoded.matrix[0], int(heads["active_channels"][wanted][0])
    low, high = (0, shape[1]) if whole else (int(step[wanted].min()), int(step[wanted].max()) + 1)
    grid = Grid(spool((shape[0], high - low, coils, readout)), np.zeros((shape[0], high - low), int), low)
    for line in lines(group, heads, wanted, path):
        samples = line.samples.shape[1]
        # A line that fills the matrix can only start at 0, whatever its center says.
        start = 0 if samples == readout else readout // 2 - line.center
        if start < 0 or start + samples > readout:
            raise InputError(
                f"{path}: line {line.number} has {samples} samples with its center at {line.center}, outside a matrix of {readout}",
                "encodedSpace in the header does not fit the lines",
            )
        values = line.samples if whiten is None else whiten @ line.samples
        grid.add(int(groups[line.number]), int(step[line.number]), start, values)
    return grid


def _images(grid: Grid, readout: int, volumetric: bool) -> np.ndarray:
    """The grid as (slices, coils, readout, phase), or, of a 3D scan, (position, coils, phase1, phase2)."""
    groups, steps, coils, samples = grid.lines.shape
    if not volumetric:
        data = spool((groups, coils, readout, steps))
        for i in range(groups):
            data[i] = grid.group(i) if readout == samples else crop_readout(grid.group(i), readout)
        return data
    data = spool((readout, coils, steps, groups))
    for i in range(groups):
        data[..., i] = crop(to_image(grid.group(i), (1,)), readout, 1).transpose(1, 0, 2)
    return data


def _calibration(grid: Grid | None, readout: int, volumetric: bool) -> np.ndarray | None:
    """The longest run of calibration lines, of a 3D scan the rectangle of them, as `_images` gives it."""
    if grid is None:
        return None
    counts = grid.counts > 0
    steps = _run(counts.any(0) if volumetric else counts.all(0))
    groups = _run(counts[:, steps].all(1)) if volumetric else slice(None)
    if steps.stop == steps.start or counts[groups, steps].size == 0:
        return None
    return _images(Grid(grid.lines[groups, steps], grid.counts[groups, steps]), readout, volumetric)


def _run(sampled: np.ndarray) -> slice:
    """The longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], sampled.astype(int), [0]])))
    if not len(edges):
        return slice(0, 0)
    starts, stops = edges[::2], edges[1::2]
    longest = int((stops - starts).argmax())
    return slice(int(starts[longest]), int(stops[longest]))


def _spokes(
    group: h5py.Group,
    heads: np.ndarray,
    use: np.ndarray,
    header: Header,
    whiten: np.ndarray | None,
    noise_std: float | None,
    path: Path,
    warnings: list[str],
) -> Scan:
    """Radial and spiral 2D scans: (slices, coils, spokes, samples), each slice with the same trajectory.

    Trajectories within +-0.5 (a tolerance of 5 %) are taken as cycles a voxel, others as 1/FOV of the encoded space.
    """
    if heads["idx"]["kspace_encode_step_2"][use].any():
        raise InputError(
            f"{path}: a 3D {header.trajectory} scan is not supported",
            "store 2D slices, transformed along the partitions",
        )
    samples = np.unique(heads["number_of_samples"][use])
    order = slice_order(heads, use)
    counts = np.array([(use & (heads["idx"]["slice"] == n)).sum() for n in order])
    if len(samples) > 1 or len(set(counts)) > 1:
        raise InputError(
            f"{path}: spokes of {samples.tolist()} samples, {sorted(set(counts.tolist()))} to a slice",
            "wanted: equally many samples and spokes",
        )
    spokes, coils = int(counts[0]), int(heads[np.flatnonzero(use)[0]]["active_channels"])
    data = spool((len(order), coils, spokes, int(samples[0])))
    places = np.zeros((spokes, int(samples[0]), 2), np.float32)
    done = np.zeros(len(order), int)
    number = {int(n): i for i, n in enumerate(order)}
    for line in lines(group, heads, use, path):
        which = number[int(heads["idx"]["slice"][line.number])]
        spoke = done[which]
        done[which] += 1
        data[which, :, spoke] = line.samples if whiten is None else whiten @ line.samples
        place = line.places[:, :2]
        if place.shape[1] < 2:
            raise InputError(
                f"{path}: line {line.number} has a trajectory of {place.shape[1]} dimensions",
                "wanted: (readout, phase)",
            )
        if which == 0:
            places[spoke] = place
        elif not np.allclose(places[spoke], place, atol=1e-5 * max(1.0, float(np.abs(places).max()))):
            raise InputError(f"{path}: slices have different trajectories", "store such slices to a file each")
    matrix = header.recon.matrix[:2]
    if np.abs(places).max() <= 0.525:
        places *= np.array(header.encoded.matrix[:2], np.float32)
    # The trajectory counts in 1/FOV of the encoded space; the image shows the field of view of the recon space.
    places *= np.array(
        [r / e for r, e in zip(header.recon.field_of_view[:2], header.encoded.field_of_view[:2], strict=True)],
        np.float32,
    )
    shown = Header(header.trajectory, header.recon, header.recon)
    affine, axes = geometry(heads, use, order, shown, False, (*matrix, len(order)), warnings)
    return Scan(
        load=lambda start, stop, truth=False: Slices(np.asarray(data[start:stop])),
        slices=len(order),
        coils=coils,
        samples=(spokes, int(samples[0])),
        shape=matrix,
        affine=affine,
        axes=axes,
        trajectory=places,
        noise_std=noise_std,
        header=_SCANNER,
        path=path,
        warnings=warnings,
    )


def _xml(group: h5py.Group, path: Path) -> bytes | str:
    try:
        value = group["xml"][()]
        value = value.ravel()[0] if isinstance(value, np.ndarray) else value
    except (IndexError, TypeError) as error:
        raise InputError(f"{path}: the XML header is empty", "an ISMRMRD file has one") from error
    return value if isinstance(value, bytes | str) else bytes(value)


def _is_lines(data: object) -> bool:
    """Whether a dataset is a table of ISMRMRD acquisitions."""
    if not isinstance(data, h5py.Dataset) or data.dtype.names is None:
        return False
    return {"head", "traj", "data"} <= set(data.dtype.names) and data.ndim == 1 and data.size > 0
