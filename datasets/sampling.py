"""Sampling patterns of undersampled MRI: random and equispaced lines, Poisson discs, golden-angle spokes."""

import math

import numpy as np

from ornstein.core.errors import UsageError

PATTERNS = ("random", "equispaced", "poisson", "radial")
POISSON_CENTER = 24
"""Samples along each axis that the fully sampled centre of a Poisson-disc mask has at least, enough for ESPIRiT's kernels."""


def automatic_center(acceleration: float) -> float:
    """The share of lines in the fully sampled centre: .08 up to 4x, .04 from 8x, linear between, at most half of all sampled."""
    share = float(np.interp(acceleration, (4, 8), (0.08, 0.04)))
    return min(share, 0.5 / acceleration)


def line_mask(
    lines: int, acceleration: float, pattern: str, generator: np.random.Generator, center_fraction: float | None = None
) -> np.ndarray:
    """Which phase-encoding lines are measured: exactly round(lines / acceleration), the full centre among them.

    Outside the centre, `random` draws lines uniformly without replacement, and `equispaced` takes them at equal
    distances (counted without the centre) from a random start.

    Args:
        lines: how many phase-encoding lines a full scan has.
        acceleration: lines over measured lines, at least 1.
        pattern: random or equispaced.
        generator: of random numbers.
        center_fraction: share of all lines in the fully sampled centre; automatic by default.

    Returns:
        bool (lines,).

    Raises:
        UsageError: where the centre alone is more than the acceleration allows.

    Source: Zbontar et al. (2018), fastMRI, arXiv:1811.08839, section 4.1; there the random count varies.
    """
    total, center = _counts(lines, acceleration, center_fraction)
    mask = np.zeros(lines, bool)
    first = lines // 2 - center // 2
    mask[first : first + center] = True
    outside, wanted = np.flatnonzero(~mask), total - center
    if pattern == "random":
        mask[generator.choice(outside, wanted, replace=False)] = True
    elif wanted:
        start = generator.uniform()
        mask[outside[((np.arange(wanted) + start) * len(outside) / wanted).astype(int)]] = True
    return mask


def poisson_mask(
    shape: tuple[int, int], acceleration: float, generator: np.random.Generator, center_fraction: float | None = None
) -> np.ndarray:
    """A variable-density Poisson-disc mask: exactly round(all / acceleration) samples, dense at the centre.

    Samples lie at least r(k) = r0 (1/2 + |k|) apart, give or take 15 %, with |k| = 1 at the middle of an edge; r0
    follows from the count by bisection. Points are thrown in random order and kept where no point kept before is within
    the smaller of both radii; the throws that cannot touch each other are made at once, with the same outcome.

    Args:
        shape: (readout, phase).
        acceleration: samples of a full scan over measured samples, at least 1.
        generator: of random numbers.
        center_fraction: share of EACH axis in the fully sampled centre; by default automatic, and at least 24 samples.

    Returns:
        bool (readout, phase).

    Raises:
        UsageError: where the centre alone is more than the acceleration allows.

    Source: Bridson (2007), Fast Poisson disk sampling in arbitrary dimensions, 10.1145/1278780.1278807; variable density
    as in Lustig and Pauly (2010), SPIRiT, 10.1002/mrm.22428.
    """
    total = max(1, round(math.prod(shape) / acceleration))
    if center_fraction is None:
        share = automatic_center(acceleration)
        sides = [min(n, max(round(n * share), POISSON_CENTER)) for n in shape]
        # At most half of all samples go to the centre, also where 24 x 24 would be more (small matrices).
        while math.prod(sides) > max(1, total // 2) and total < math.prod(shape):
            sides[sides.index(max(sides))] -= 1
    else:
        sides = [_center(n, center_fraction) for n in shape]
    full = np.zeros(shape, bool)
    full[tuple(slice(n // 2 - side // 2, n // 2 - side // 2 + side) for n, side in zip(shape, sides, strict=True))] = (
        True
    )
    if full.sum() > total:
        raise _too_full(int(full.sum()), total, acceleration)
    if total == full.size:
        return np.ones(shape, bool)
    distance = np.hypot(*np.meshgrid(*((np.arange(n) - n // 2) / (n / 2) for n in shape), indexing="ij"))
    # A grid has few distances: radii that differ a little make no rings of equal density.
    radius = (0.5 + distance) * generator.uniform(0.85, 1.15, shape)
    order = generator.permutation(full.size).reshape(shape)
    low, high = 0.0, 2.0 * math.sqrt(acceleration)
    best = np.ones(shape, bool)
    for _ in range(12):
        middle = (low + high) / 2
        mask = _discs(middle * radius, order) | full
        if mask.sum() >= total:
            low, best = middle, mask
        else:
            high = middle
    surplus = np.flatnonzero(best & ~full)
    best.ravel()[generator.choice(surplus, best.sum() - total, replace=False)] = False
    return best


def golden_spokes(shape: tuple[int, int], acceleration: float, generator: np.random.Generator) -> np.ndarray:
    """Radial spokes through the centre, each turned by the golden angle of 111.25 degrees from the one before.

    A full scan is taken to have as many spokes as a Cartesian one has lines, so that equal acceleration is equal time;
    the readout is oversampled twice, as scanners do.

    Args:
        shape: image matrix (readout, phase).
        acceleration: the longer side of the matrix over the number of spokes, at least 1.
        generator: draws the first angle.

    Returns:
        float32 (spokes, samples, 2), positions along (readout, phase) in 1/FOV of that axis, within +- half the matrix.

    Source: Winkelmann et al. (2007), An optimal radial profile order based on the golden ratio, 10.1109/TMI.2006.885337.
    """
    spokes, samples = max(1, round(max(shape) / acceleration)), 2 * max(shape)
    angles = generator.uniform(0, math.pi) + np.arange(spokes) * math.pi * (math.sqrt(5) - 1) / 2
    along = (np.arange(samples) - samples // 2) / samples
    directions = np.stack([np.cos(angles) * shape[0], np.sin(angles) * shape[1]], -1)
    return (along[None, :, None] * directions[:, None, :]).astype(np.float32)


def _counts(lines: int, acceleration: float, center_fraction: float | None) -> tuple[int, int]:
    """How many lines in all, and how many of them in the centre."""
    total = max(1, round(lines / acceleration))
    center = _center(lines, automatic_center(acceleration) if center_fraction is None else center_fraction)
    if center > total:
        raise _too_full(center, total, acceleration)
    return total, center


def _center(lines: int, fraction: float) -> int:
    if not 0 < fraction <= 1:
        raise UsageError(f"a center fraction of {fraction}", "choose it above 0 and up to 1, or auto")
    return max(1, round(lines * fraction))


def _too_full(center: int, total: int, acceleration: float) -> UsageError:
    return UsageError(
        f"the fully sampled centre alone is {center}; an acceleration of {acceleration:g} allows {total}",
        "lower the center fraction or the acceleration",
    )


def _discs(radius: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The maximal set of grid points, thrown in `order`, that keep their distance from each other.

    In each round every undecided point that comes first among the undecided within its reach is kept, and the points in
    reach of it are dropped: what comes of throwing one after the other, in a few rounds.
    """
    squared = radius**2
    reach = math.ceil(radius.max())
    span = range(-reach, reach + 1)
    offsets = [(i, j) for i in span for j in span if 0 < i * i + j * j < squared.max()]
    pad = ((reach, reach), (reach, reach))
    last = order.size
    shape = order.shape
    squared_padded = np.pad(squared, pad)

    def near(padded: np.ndarray, i: int, j: int) -> np.ndarray:
        return padded[reach + i : reach + i + shape[0], reach + j : reach + j + shape[1]]

    touching = [(i, j, np.minimum(squared, near(squared_padded, i, j)) > i * i + j * j) for i, j in offsets]
    touching = [(i, j, touch) for i, j, touch in touching if touch.any()]
    kept, undecided = np.zeros(shape, bool), np.ones(shape, bool)
    while undecided.any():
        waiting = np.where(undecided, order, last)
        padded = np.pad(waiting, pad, constant_values=last)
        first = undecided.copy()
        for i, j, touch in touching:
            first &= ~touch | (waiting < near(padded, i, j))
        kept |= first
        padded_first = np.pad(first, pad)
        undecided &= ~first
        for i, j, touch in touching:
            undecided &= ~(touch & near(padded_first, i, j))
    return kept
