"""The readout lines of an ISMRMRD file: what each is for, their samples, and the noise scan's whitening."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from ornstein.core.errors import InputError
from ornstein.datasets.ismrmrd_header import Header

BATCH = 256
"""Lines read at a time."""


class Line(NamedTuple):
    """A readout line, turned where it was measured backwards.

    Args:
        number: of the line in the file.
        samples: complex64 (coils, samples).
        center: the sample that is k = 0.
        places: float32 (samples, dimensions), the trajectory.
    """

    number: int
    samples: np.ndarray
    center: int
    places: np.ndarray


def sort(heads: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Which lines are of the image, of the noise scan, and of the calibration; the rest is left out."""
    noise = _flag(heads, "NOISE_MEASUREMENT")
    other = _flag(
        heads, "NAVIGATION_DATA", "PHASECORR_DATA", "HPFEEDBACK_DATA", "DUMMYSCAN_DATA", "RTFEEDBACK_DATA",
        "SURFACECOILCORRECTIONSCAN_DATA", "PHASE_STABILIZATION_REFERENCE", "PHASE_STABILIZATION",
    )  # fmt: skip
    here = (heads["encoding_space_ref"] == 0) & ~noise & ~other
    both = _flag(heads, "PARALLEL_CALIBRATION_AND_IMAGING")
    calibration = here & (_flag(heads, "PARALLEL_CALIBRATION") | both)
    use = here & (~calibration | both)
    if not use.any():
        raise InputError(
            f"{path}: no lines of an image; {len(heads)} lines in all", "it holds noise, calibration or navigators only"
        )
    warnings = []
    for name in ("contrast", "phase", "repetition", "set"):
        values = heads["idx"][name]
        first = values[use].min()
        if (values[use] != first).any():
            warnings.append(f"{len(np.unique(values[use]))} values of idx.{name}: only the first was read")
            use &= values == first
            calibration &= values == first
    return use, noise, calibration, warnings


def lines(group: h5py.Group, heads: np.ndarray, wanted: np.ndarray, path: Path) -> Iterator[Line]:
    """The wanted lines in the order of the file."""
    reverse = _flag(heads, "REVERSE")
    for begin in range(0, len(heads), BATCH):
        if not wanted[begin : begin + BATCH].any():
            continue
        batch = group["data"][begin : begin + BATCH]
        for row in np.flatnonzero(wanted[begin : begin + BATCH]):
            i, head = begin + int(row), batch["head"][row]
            coils, samples, dimensions = (
                int(head[n]) for n in ("active_channels", "number_of_samples", "trajectory_dimensions")
            )
            values, places = batch["data"][row], batch["traj"][row]
            if values.size != 2 * coils * samples or places.size != dimensions * samples:
                raise InputError(
                    f"{path}: line {i} has {values.size} values; {coils} coils of {samples} samples want {2 * coils * samples}",
                    "the file is damaged",
                )
            line = np.array(values, np.float32).view(np.complex64).reshape(coils, samples)
            line[:, : int(head["discard_pre"])] = 0
            line[:, max(0, samples - int(head["discard_post"])) :] = 0
            center, places = int(head["center_sample"]), np.asarray(places, np.float32).reshape(samples, dimensions)
            yield (
                Line(i, line[:, ::-1], samples - 1 - center, places[::-1])
                if reverse[i]
                else Line(i, line, center, places)
            )


def whitening(
    group: h5py.Group, noise: np.ndarray, heads: np.ndarray, first: np.void, coils: int, header: Header, path: Path
) -> tuple[np.ndarray | None, float | None]:
    """The matrix W with W C W^H = 2 I for the noise covariance C, which makes noise of unit real and imaginary part.

    Noise in a line grows with the receiver's bandwidth, hence the ratio of the sample times.

    Source: Pruessmann et al. (2001), 10.1002/mrm.1241, appendix; Kellman and McVeigh (2005), 10.1002/mrm.20713.
    """
    if not noise.any():
        return None, None
    covariance, count = np.zeros((coils, coils), np.complex128), 0
    for line in lines(group, heads, noise, path):
        covariance += line.samples @ line.samples.conj().T
        count += line.samples.shape[1]
    scanned = heads[np.flatnonzero(noise)[0]]
    times = (float(first["sample_time_us"]), float(scanned["sample_time_us"]))
    ratio = times[0] / times[1] * header.noise_bandwidth if min(times) > 0 else 1.0
    try:
        factor = np.linalg.cholesky(covariance / count)
    except np.linalg.LinAlgError as error:
        raise InputError(
            f"{path}: the noise scan has no regular covariance ({count} samples of {coils} coils)",
            "leave the noise scan out, or the broken coil",
        ) from error
    return (math.sqrt(2 * ratio) * np.linalg.inv(factor)).astype(np.complex64), 1.0


def _flag(heads: np.ndarray, *names: str) -> np.ndarray:
    """Which lines carry any of these flags of ISMRMRD."""
    from ismrmrd import constants

    bits = 0
    for name in names:
        bits |= 1 << (getattr(constants, f"ACQ_IS_{name}") - 1)
    return (heads["flags"] & np.uint64(bits)) != 0
