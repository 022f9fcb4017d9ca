"""Simulated k-space of a magnitude volume: coils, image phase, undersampling and noise.

    y = mask (FFT(s_c |x| exp(i phi)) + n),    n ~ N(0, sigma^2) in the real and in the imaginary part

All of it follows from the seed, slice by slice: part of a simulation is the same as that part of the whole.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ornstein.core.errors import InputError, UsageError
from ornstein.datasets.coils import head_extent, loops, receive_field, spline_weights
from ornstein.datasets.fastmri import write_scan
from ornstein.datasets.fourier import to_kspace
from ornstein.datasets.kspace import KSpace, Scan, Slices
from ornstein.datasets.sampling import PATTERNS, golden_spokes, line_mask, poisson_mask
from ornstein.datasets.volumes import UNKNOWN_GEOMETRY, Volume

Pattern = Literal["random", "equispaced", "poisson", "radial"]

MASK, COILS, PHASE, NOISE = range(4)
"""What a random stream is for: the second part of its key, after the seed."""

NOISE_PERCENTILE = 99.9


@dataclass(frozen=True, eq=False)
class SmoothMaps:
    """Complex maps over a volume that are known on a coarse grid, interpolated by cubic splines one slice at a time.

    Args:
        coarse: (maps, slices, readout, phase) on the coarse grid.
        weights: for each axis (voxels, coarse grid).
    """

    coarse: np.ndarray
    weights: tuple[np.ndarray, np.ndarray, np.ndarray]

    def slice(self, i: int) -> np.ndarray:
        """The maps in slice i: (maps, readout, phase)."""
        along, readout, phase = self.weights
        return readout @ np.tensordot(along[i], self.coarse, (0, 1)) @ phase.T


def simulate_scan(
    volume: np.ndarray,
    affine: np.ndarray,
    *,
    coils: int = 8,
    acceleration: float = 4,
    pattern: Pattern = "random",
    center_fraction: float | None = None,
    noise: float = 0.005,
    slice_axis: int | None = None,
    phase_axis: int | None = None,
    seed: int = 0,
    header: dict | None = None,
) -> Scan:
    """k-space of a volume, computed when its slices are read.

    Args:
        volume: real (x, y, z), any units; its magnitude is what a perfect reconstruction gives.
        affine: (4, 4), voxel index to RAS+ in mm.
        coils: receive coils, at least 1; their sensitivities have unit root-sum-of-squares everywhere.
        acceleration: full over measured samples, the fully sampled centre counted, at least 1.
        pattern: `random` or `equispaced` lines along the phase axis, a `poisson` disc over both axes, or `radial` spokes.
        center_fraction: share of the lines (poisson: of each axis) that is fully sampled at the centre; by default .08
            up to 4x and .04 from 8x.
        noise: standard deviation of the real and of the imaginary part in each coil, over the 99.9th percentile of the
            magnitude image.
        slice_axis: volume axis of the slices; by default the one nearest superior-inferior.
        phase_axis: volume axis of the phase encoding; by default the one nearest left-right, or, in sagittal slices,
            nearest anterior-posterior.
        seed: of coils, image phase, mask and noise.
        header: NIfTI codes and units, kept for the reconstruction.

    Returns:
        A scan whose `read(..., truth=True)` has the true maps too.

    Raises:
        UsageError: for options out of range.
        InputError: for a volume that is empty, not finite or zero.
    """
    volume, affine = np.asarray(volume), np.asarray(affine, np.float64)
    if volume.ndim != 3 or 0 in volume.shape:
        raise InputError(f"a volume of shape {volume.shape}", "wanted: (x, y, z)")
    if not np.isfinite(volume).all():
        raise InputError("the volume holds NaN or infinite values", "replace them, by 0 outside the body say")
    for name, value, sound in (
        ("coils", coils, coils >= 1),
        ("acceleration", acceleration, math.isfinite(acceleration) and acceleration >= 1),
        ("noise", noise, math.isfinite(noise) and noise >= 0),
        ("pattern", pattern, pattern in PATTERNS),
        ("seed", seed, seed >= 0),
    ):
        if not sound:
            raise UsageError(
                f"{name} is {value}",
                f"choose one of {', '.join(PATTERNS)}"
                if name == "pattern"
                else f"{name} is too small, or not a number",
            )
    axes = choose_axes(affine, slice_axis, phase_axis)
    shown = volume.transpose(axes)
    slices, *matrix = (int(n) for n in shown.shape)
    shape = (matrix[0], matrix[1])
    peak = float(np.percentile(np.abs(volume), NOISE_PERCENTILE))
    if not volume.any():
        raise InputError("the volume is zero everywhere", "there is nothing to measure")

    mask = trajectory = None
    draw = _generator(seed, MASK)
    if pattern == "radial":
        trajectory = golden_spokes(shape, acceleration, draw)
    elif pattern == "poisson":
        mask = poisson_mask(shape, acceleration, draw, center_fraction)
    else:
        mask = line_mask(shape[1], acceleration, pattern, draw, center_fraction)
    samples = shape if trajectory is None else trajectory.shape[:2]
    measured = slice(None) if mask is None else mask
    receive = coil_maps(volume, affine, axes, coils, _generator(seed, COILS))
    phase = image_phase((slices, *shape), _generator(seed, PHASE))

    def load(start: int, stop: int, truth: bool = False) -> Slices:
        data = np.zeros((stop - start, coils, *samples), np.complex64)
        maps = np.empty((stop - start, coils, *shape), np.complex64)
        for row, i in enumerate(range(start, stop)):
            maps[row] = unit_maps(receive.slice(i))
            image = shown[i] * np.exp(1j * phase.slice(i)[0].real)
            coil_images = (maps[row] * image).astype(np.complex64)
            full = to_kspace(coil_images) if trajectory is None else nonuniform(coil_images, trajectory)
            part = full[..., measured]
            if noise > 0:
                z = _generator(seed, NOISE, i).standard_normal((2, *part.shape), np.float32)
                part = part + np.float32(noise * peak) * (z[0] + 1j * z[1])
            data[row][..., measured] = part
        return Slices(data, true_sensitivities=maps if truth else None)

    return Scan(
        load=load,
        slices=slices,
        coils=coils,
        samples=(int(samples[0]), int(samples[1])),
        shape=shape,
        mask=mask,
        affine=affine,
        axes=axes,
        trajectory=trajectory,
        header={**UNKNOWN_GEOMETRY, **(header or {})},
    )


def simulate(volume: np.ndarray, affine: np.ndarray, **options) -> KSpace:
    """Simulated k-space in memory, with `true_sensitivities`; arguments as of `simulate_scan`."""
    return simulate_scan(volume, affine, **options).read(truth=True)


def simulate_to(
    path: str | Path, volume: Volume, *, progress: Callable[[int, int], None] | None = None, **options
) -> Scan:
    """Simulates into an HDF5 file, slice by slice, and keeps the volume's geometry and codes.

    The options are kept as JSON in the attribute `simulation`, for provenance: no reader uses it.

    Args:
        path: the file; one that exists is overwritten.
        volume: the image.
        progress: called with (slices done, of how many).
        options: as of `simulate_scan`.

    Returns:
        The scan that was written.
    """
    scan = simulate_scan(volume.data, volume.affine, header=volume.header, **options)
    write_scan(scan, path, {"simulation": json.dumps(options, sort_keys=True)}, progress)
    return scan


def choose_axes(
    affine: np.ndarray, slice_axis: int | None = None, phase_axis: int | None = None
) -> tuple[int, int, int]:
    """The volume axes (slices, readout, phase); a chosen one is kept, the others follow the body.

    Raises:
        UsageError: for an axis that does not exist, or one for both.
    """
    for name, axis in (("slice", slice_axis), ("phase", phase_axis)):
        if axis is not None and not 0 <= axis <= 2:
            raise UsageError(f"{name} axis {axis}", "a volume has the axes 0, 1 and 2")
    if slice_axis is not None and slice_axis == phase_axis:
        raise UsageError(f"axis {slice_axis} for both the slices and the phase encoding", "choose two")
    import nibabel

    # Row: voxel axis; which of right (0), anterior (1), superior (2) it is nearest to, each given once.
    nearest = [int(n) for n in nibabel.io_orientation(affine)[:, 0]]
    free = [i for i in range(3) if i not in (slice_axis, phase_axis)]
    if slice_axis is None:
        slice_axis = max(free, key=lambda i: nearest[i])
        free.remove(slice_axis)
    if phase_axis is None:
        phase_axis = min(free, key=lambda i: nearest[i])
        free.remove(phase_axis)
    return slice_axis, free[0], phase_axis


def coil_maps(
    volume: np.ndarray, affine: np.ndarray, axes: tuple[int, int, int], coils: int, generator: np.random.Generator
) -> SmoothMaps:
    """What `coils` loops around the head receive, not normalised, on a grid about 20 times finer than the head is wide."""
    centre, half = head_extent(volume, affine)
    wires = loops(coils, centre, half, generator)
    pitch = float(half[:2].mean()) / 10
    steps = np.linalg.norm(affine[:3, :3], axis=0)[list(axes)]
    shape = np.array(volume.shape)[list(axes)]
    knots = [min(int(n), max(4, math.ceil((n - 1) * step / pitch) + 1)) for n, step in zip(shape, steps, strict=True)]
    places = [np.linspace(0, n - 1, k) for n, k in zip(shape, knots, strict=True)]
    voxels = np.zeros((*knots, 3))
    for axis, grid in zip(axes, np.meshgrid(*places, indexing="ij"), strict=True):
        voxels[..., axis] = grid
    points = voxels.reshape(-1, 3) @ affine[:3, :3].T + affine[:3, 3]
    field = receive_field(wires, points, core=2 * pitch).reshape(coils, *knots)
    return SmoothMaps(field, _weights(shape, knots))


def image_phase(shape: tuple[int, int, int], generator: np.random.Generator, strength: float = 0.6) -> SmoothMaps:
    """A smooth phase (slices, readout, phase) in radians: a spline through 6 normal values along each axis."""
    knots = [min(n, 6) for n in shape]
    # Thin slabs get less freedom: neighbouring slices of a head look alike.
    knots[0] = min(shape[0], 6 if shape[0] >= 48 else 2)
    return SmoothMaps(strength * generator.standard_normal((1, *knots)), _weights(shape, knots))


def unit_maps(maps: np.ndarray) -> np.ndarray:
    """Maps (coils, ...) with unit root-sum-of-squares over the coils."""
    return maps / np.sqrt((np.abs(maps) ** 2).sum(0))


def nonuniform(images: np.ndarray, trajectory: np.ndarray) -> np.ndarray:
    """k(q) = 1 / sqrt(N M) sum x[n, m] exp(-2 pi i (q_1 (n - N//2) / N + q_2 (m - M//2) / M)).

    Args:
        images: complex64 (coils, readout, phase).
        trajectory: float32 (spokes, samples, 2), q in 1/FOV.

    Returns:
        complex64 (coils, spokes, samples): at integer q what `to_kspace` gives.

    Source: Barnett, Magland and af Klinteberg (2019), FINUFFT, arXiv:1808.06736 (type 2).
    """
    import finufft

    shape = images.shape[-2:]
    angles = [
        np.ascontiguousarray(trajectory[..., i].ravel() * np.float32(2 * math.pi / n)) for i, n in enumerate(shape)
    ]
    values = finufft.nufft2d2(*angles, np.ascontiguousarray(images, np.complex64), eps=1e-6, isign=-1)
    return values.reshape(-1, *trajectory.shape[:2]) / np.float32(math.sqrt(math.prod(shape)))


def _weights(shape, knots) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    one, two, three = (spline_weights(int(n), int(k)) for n, k in zip(shape, knots, strict=True))
    return one, two, three


def _generator(seed: int, *key: int) -> np.random.Generator:
    """Random numbers that depend on the seed, on what they are for and on the slice, and on nothing else."""
    return np.random.default_rng(np.random.SeedSequence([seed, *key]))
