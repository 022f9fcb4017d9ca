"""What each coil sees: ESPIRiT maps from the calibration region of k-space."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ornstein.core.errors import InputError
from ornstein.core.operators import conjugate_gradient, eigen
from ornstein.domains.mri.coils import virtual_coils
from ornstein.domains.mri.operator import NonCartesian, fft

READOUT_LINES = 24  # of a calibration region
FEWEST_LINES = 4  # of a calibration region: fewer hold no kernel


def calibration_region(mask: Tensor, size: int = READOUT_LINES) -> tuple[slice, slice]:
    """The largest fully sampled rectangle around the centre of k-space, at most `size` on a side.

    Args:
        mask: bool (readout, phase), or (phase,) where whole lines are sampled.
        size: largest extent.

    Returns:
        The readout and the phase positions; a side is 0 long where the centre is not sampled.
    """
    mask = mask if mask.ndim == 2 else mask[None]
    centre = mask.shape[-1] // 2
    if len(mask) == 1:
        return slice(0, 0), _run(mask[0], centre, size)
    middle, best = mask.shape[0] // 2, (slice(0, 0), slice(0, 0))
    for height in range(1, min(size, len(mask)) + 1):
        rows = slice(middle - height // 2, middle - height // 2 + height)
        columns = _run(mask[rows].all(0), centre, size)
        if height * (columns.stop - columns.start) > _area(best):
            best = rows, columns
    return best


def _area(region: tuple[slice, slice]) -> int:
    return (region[0].stop - region[0].start) * (region[1].stop - region[1].start)


def _run(sampled: Tensor, centre: int, size: int) -> slice:
    """The run of sampled positions around `centre`, cut to `size` positions about it."""
    flags = sampled.tolist()
    low = high = centre
    while high < len(flags) and flags[high] and high < centre + (size + 1) // 2:
        high += 1
    while high > centre and low > 0 and flags[low - 1] and low > centre - size // 2:
        low -= 1
    return slice(low, high)


def _calibration(kspace: Tensor, mask: Tensor) -> Tensor:
    """The calibration block (slices, coils, readout, phase) within undersampled k-space."""
    rows, columns = calibration_region(mask)
    if mask.ndim == 1 or mask.shape[-2] == 1:
        count = min(READOUT_LINES, kspace.shape[-2])
        rows = slice(kspace.shape[-2] // 2 - count // 2, kspace.shape[-2] // 2 - count // 2 + count)
    return kspace[..., rows, columns]


@dataclass(frozen=True)
class Espirit:
    """The settings of ESPIRiT: maps are the eigenvectors, of eigenvalue 1, of what calibration says about the coils.

    Patches of the calibration region span a subspace of all patches; P projects onto it. The average over all patches
    that hold a sample is a convolution, which at each pixel x is the Hermitian matrix of the coils

        G(x)_cd = 1 / |kernel| sum_(a, b) P_(a c, b d) exp(-2 pi i (b - a) . x / size)

    with G s = s for the true maps s. It depends on the lags b - a only, so that few numbers give it at every pixel.

    Args:
        kernel: extent of a patch, at least 2; at most two fifths of the calibration region's are taken.
        threshold: singular values of the calibration matrix below this part of the largest are noise.
        crop: pixels where the eigenvalue lies below are outside the object, and the map is zero there. On validation
            heads at 4x a wider support (0) and a tighter one (.95) both lose: signal outside folds into the head, while
            pixels of air are unknowns without use.

    Source: Uecker et al. (2014), ESPIRiT: an eigenvalue approach to autocalibrating parallel MRI, 10.1002/mrm.24751.
    """

    kernel: int = 6
    threshold: float = 0.02
    crop: float = 0.8

    def __post_init__(self) -> None:
        assert self.kernel >= 2 and 0 <= self.threshold < 1 and 0 <= self.crop < 1, self

    def maps(self, calibration: Tensor, shape: tuple[int, int], sets: int) -> Tensor:
        """(slices, sets, coils, readout, phase) from a calibration block (slices, coils, rows, lines)."""
        lags = self.lags(calibration)
        reference = virtual_coils(calibration)[..., 0]
        return torch.stack(
            [_leading(lag, ref, shape, sets, self.crop) for lag, ref in zip(lags, reference, strict=True)]
        )

    def lags(self, calibration: Tensor) -> Tensor:
        """G as a polynomial: (slices, lags, lags, coils, coils), one matrix for each difference b - a."""
        slices, coils, rows, lines = calibration.shape
        # As many unknowns as few lines can tell: with 10 lines a kernel of 6 would take tissue for noise.
        height, width = (max(2, min(self.kernel, round(0.4 * count))) for count in (rows, lines))
        calibration = calibration / calibration.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-30)
        patches = calibration.unfold(2, height, 1).unfold(3, width, 1)  # (slices, coils, y, x, height, width)
        patches = patches.permute(0, 2, 3, 4, 5, 1).reshape(slices, -1, height * width * coils)
        values, vectors = eigen((patches.mH @ patches).conj())
        keep = values > self.threshold**2 * values[:, -1:]
        vectors = vectors * keep.unsqueeze(1)
        project = (vectors @ vectors.mH).reshape(slices, height, width, coils, height, width, coils)
        lags = project.new_zeros(slices, 2 * height - 1, 2 * width - 1, coils, coils)
        for y in range(height):
            for x in range(width):
                part = project[:, y, x].permute(0, 2, 3, 1, 4)  # (slices, height, width, coils, coils)
                lags[:, height - 1 - y : 2 * height - 1 - y, width - 1 - x : 2 * width - 1 - x] += part
        return lags / (height * width)


def _waves(count: int, positions: Tensor, size: int) -> Tensor:
    """exp(-2 pi i lag x / size) for the lags -(count // 2) ... count // 2, (positions, count)."""
    lag = torch.arange(count, dtype=torch.float64, device=positions.device) - count // 2
    angle = -2 * torch.pi * (positions.double() - size // 2)[:, None] * lag / size
    return torch.polar(torch.ones_like(angle), angle)


def _leading(lags: Tensor, reference: Tensor, shape: tuple[int, int], sets: int, crop: float) -> Tensor:
    """The leading eigenvectors of G at every pixel of one slice, (sets, coils, readout, phase).

    G varies slowly: the eigenvectors of a coarse grid, interpolated, need a few orthogonal iterations only.
    """
    coils, device = lags.shape[-1], lags.device
    step = [max(1, size // (4 * count)) for size, count in zip(shape, lags.shape[:2], strict=True)]
    coarse = [
        torch.arange(0, size - 1 + s, s, device=device).clamp(max=size - 1) for size, s in zip(shape, step, strict=True)
    ]
    waves = [
        _waves(count, torch.arange(size, device=device), size).to(lags)
        for count, size in zip(lags.shape[:2], shape, strict=True)
    ]
    matrices = _evaluate(lags, waves[0][coarse[0]], waves[1][coarse[1]])
    _, vectors = eigen(matrices)
    # Two vectors even for one set: where two eigenvalues are near 1 (folded tissue), one alone would converge slowly.
    vectors = _aligned(vectors.flip(-1)[..., :2], reference)
    maps = torch.empty(sets, coils, *shape, dtype=lags.dtype, device=device)
    block = max(1, (1 << (19 if device.type == "cpu" else 25)) // (shape[1] * coils**2))  # rows that fit in the cache
    for top in range(0, shape[0], block):
        rows = torch.arange(top, min(top + block, shape[0]), device=device)
        matrices = _evaluate(lags, waves[0][rows], waves[1])
        v = _interpolate(_interpolate(vectors, rows, step[0], 0), torch.arange(shape[1], device=device), step[1], 1)
        v, values = _iterate(matrices, v, iterations=4)
        v = _aligned(v, reference) * (values > crop).unsqueeze(-2)
        maps[:, :, rows] = v[..., :sets].permute(3, 2, 0, 1)
    return maps


def _evaluate(lags: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """G on a grid, (rows, columns, coils, coils)."""
    lines = torch.tensordot(rows, lags, 1)  # (rows, lags, coils, coils)
    return (columns @ lines.flatten(2)).unflatten(-1, lags.shape[-2:])


def _interpolate(values: Tensor, positions: Tensor, step: int, axis: int) -> Tensor:
    """Linear interpolation along `axis` between samples that lie `step` apart (the last perhaps nearer)."""
    low = (positions // step).clamp(max=values.shape[axis] - 2).clamp(min=0)
    weight = ((positions - low * step) / step).clamp(max=1).to(values.real.dtype)
    weight = weight.reshape(*[1] * axis, -1, *[1] * (values.ndim - axis - 1))
    high = (low + 1).clamp(max=values.shape[axis] - 1)
    return torch.lerp(values.index_select(axis, low), values.index_select(axis, high), weight.to(values.dtype))


def _aligned(vectors: Tensor, reference: Tensor) -> Tensor:
    """Eigenvectors (..., coils, sets) turned to phase zero in the virtual coil `reference` (coils,)."""
    seen = torch.einsum("c,...cs->...s", reference.conj(), vectors).unsqueeze(-2)
    return vectors * torch.polar(torch.ones_like(seen.real), -seen.angle())


def _iterate(matrices: Tensor, vectors: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Orthogonal iterations from `vectors` (..., coils, sets), and the eigenvalues (..., sets), descending."""
    for _ in range(iterations // 2):
        vectors = _orthonormal(matrices @ (matrices @ vectors))
    small = vectors.mH @ matrices @ vectors
    if vectors.shape[-1] == 1:
        return vectors, small[..., 0].real
    # The 2 x 2 problem that is left in the plane of the two vectors, in closed form.
    a, d, c = small[..., 0, 0].real, small[..., 1, 1].real, small[..., 0, 1]
    half, mean = (a - d) / 2, (a + d) / 2
    root = torch.sqrt(half**2 + c.abs() ** 2)
    angle = torch.atan2(c.abs(), half) / 2
    turn = torch.polar(torch.sin(angle), -c.angle())
    cosine = torch.cos(angle).to(turn.dtype)
    rotation = torch.stack([torch.stack([cosine, -turn.conj()], -1), torch.stack([turn, cosine], -1)], -2)
    return vectors @ rotation, torch.stack([mean + root, mean - root], -1)


def _orthonormal(vectors: Tensor) -> Tensor:
    """Gram-Schmidt on the one or two columns of (..., coils, sets)."""
    first = vectors[..., :1]
    first = first * torch.rsqrt((first.mH @ first).real.clamp(min=1e-30))
    if vectors.shape[-1] == 1:
        return first
    second = vectors[..., 1:]
    second = second - first * (first.mH @ second)
    second = second * torch.rsqrt((second.mH @ second).real.clamp(min=1e-30))
    return torch.cat([first, second], -1)


def grid_calibration(kspace: Tensor, trajectory: Tensor, size: int = READOUT_LINES) -> Tensor:
    """A Cartesian calibration block (slices, coils, size, size) from the samples near the centre of a trajectory.

    The small image that explains them best in the least-squares sense, a third larger than asked for, so that what
    lies between its grid and the samples falls on the rim that is cut.

    Args:
        kspace: (slices, coils, spokes, samples), complex.
        trajectory: (spokes, samples, 2) in 1 / field of view.
        size: of the block.
    """
    wide = size * 4 // 3
    near = trajectory.abs().amax(-1) < wide / 2
    ones = torch.ones(1, 1, wide, wide, dtype=kspace.dtype, device=kspace.device)
    operator = NonCartesian(ones, trajectory[near][None])
    data = kspace[:, :, near].flatten(0, 1)[:, None, None]  # (slices * coils, one coil, one spoke, samples)
    images = conjugate_gradient(operator.normal, operator.adjoint(data), iterations=30)
    rim = (wide - size) // 2
    return fft(images[:, 0])[:, rim : rim + size, rim : rim + size].unflatten(0, kspace.shape[:2])


def estimate_sensitivities(
    kspace: Tensor,
    mask: Tensor | None = None,
    *,
    sets: int = 1,
    calibration: Tensor | None = None,
    trajectory: Tensor | None = None,
    shape: tuple[int, int] | None = None,
    settings: Espirit | None = None,
) -> Tensor:
    """ESPIRiT maps of every slice: unit vectors over the coils inside the object, zero outside.

    The phase of a map is that of the first principal component of the coils, so that it varies smoothly.

    Args:
        kspace: (slices, coils, readout, phase), complex; unsampled positions are not read. With a trajectory (slices,
            coils, spokes, samples).
        mask: bool (phase,) or (readout, phase); all sampled where it is None.
        sets: 1, or 2 where the object reaches over the field of view and folds onto itself.
        calibration: (slices, coils, rows, lines) of fully sampled k-space around the centre, where it was measured
            separately; the fully sampled centre of `kspace` otherwise.
        trajectory: (spokes, samples, 2) in 1 / field of view, instead of a mask.
        shape: of the maps, (readout, phase); needed with a trajectory only.
        settings: of ESPIRiT.

    Returns:
        (slices, sets, coils, readout, phase).

    Raises:
        InputError: where the centre of k-space is not sampled fully.

    Source: Uecker et al. (2014), 10.1002/mrm.24751.
    """
    assert sets in (1, 2), f"{sets} sets of maps"
    assert kspace.ndim == 4, f"kspace {tuple(kspace.shape)} is not (slices, coils, readout, phase)"
    settings = settings or Espirit()
    shape = (kspace.shape[-2], kspace.shape[-1]) if shape is None else shape
    if calibration is not None:
        block = calibration
    elif trajectory is not None:
        block = grid_calibration(kspace, trajectory)
    else:
        mask = torch.ones(kspace.shape[-1], dtype=torch.bool) if mask is None else mask
        block = _calibration(kspace, mask)
    if min(block.shape[-2:]) < FEWEST_LINES:
        raise InputError(
            f"k-space: {block.shape[-2]} x {block.shape[-1]} fully sampled positions around its centre, "
            f"{FEWEST_LINES} x {FEWEST_LINES} are needed to find the coils' sensitivities",
            "give the maps (sensitivities) or calibration lines",
        )
    return settings.maps(block, shape, min(sets, kspace.shape[1]))
