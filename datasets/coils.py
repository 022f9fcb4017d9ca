"""Simulated receive coils: rectangular loops on an elliptic cylinder around the head, by Biot and Savart's law."""

import math

import numpy as np
from scipy.interpolate import make_interp_spline

RING = 12
"""Coils in one ring at most; more coils go to further rings along the body's axis."""


def spline_weights(length: int, knots: int) -> np.ndarray:
    """The matrix (length, knots) that interpolates `knots` values, spread evenly over `length` voxels, by a cubic spline."""
    knots = min(length, knots)
    if knots == 1:
        return np.ones((length, 1))
    places = np.linspace(0, length - 1, knots)
    return make_interp_spline(places, np.eye(knots), k=min(3, knots - 1))(np.arange(length))


def loops(
    coils: int, centre: np.ndarray, radii: np.ndarray, generator: np.random.Generator, sides: int = 6
) -> np.ndarray:
    """The wires of an array: (coils, segments, 2, 3) with start and end of each straight piece, in mm (RAS).

    Neighbours in a ring overlap by 15 % of their width, as arrays do to decouple, and each is a little out of place.

    Args:
        coils: how many, at least 1.
        centre: (3,) middle of the head.
        radii: (3,) its half extents along right, anterior, superior.
        generator: of the placement.
        sides: pieces that each of the four sides of a loop is cut into.
    """
    rings = math.ceil(coils / RING)
    counts = [len(part) for part in np.array_split(np.arange(coils), rings)]
    clearance = 1.25
    height = 2 * max(radii[2], 0.8 * radii[:2].mean()) * 1.15 / rings
    wires = []
    for ring, count in enumerate(counts):
        first = generator.uniform(0, 2 * math.pi)
        middle = (ring - (rings - 1) / 2) * height / 1.15
        width = 1.15 * 2 * math.pi / max(count, 3)
        for coil in range(count):
            angle = first + 2 * math.pi * (coil + generator.uniform(-0.1, 0.1)) / count
            radius = clearance * (1 + generator.uniform(-0.05, 0.05))
            corners = [
                (-width / 2, -height / 2),
                (width / 2, -height / 2),
                (width / 2, height / 2),
                (-width / 2, height / 2),
            ]
            path = np.concatenate([np.linspace(corners[i - 1], corners[i], sides, endpoint=False) for i in range(4)])
            theta = angle + path[:, 0]
            points = (
                np.stack(
                    [radius * radii[0] * np.cos(theta), radius * radii[1] * np.sin(theta), middle + path[:, 1]], -1
                )
                + centre
            )
            wires.append(np.stack([points, np.roll(points, -1, 0)], 1))
    return np.stack(wires)


def receive_field(wires: np.ndarray, points: np.ndarray, core: float) -> np.ndarray:
    """B_x - i B_y of a unit current in each loop, what it receives from spins that turn about the superior axis.

    B(r) = sum over pieces dl x (r - l) / (|r - l|^2 + core^2)^(3/2)

    Args:
        wires: (coils, segments, 2, 3) in mm.
        points: (points, 3) in mm.
        core: a wire's thickness in mm, which keeps the field finite beside it.

    Returns:
        complex128 (coils, points).

    Source: Roemer et al. (1990), The NMR phased array, 10.1002/mrm.1910160203 (reciprocity).
    """
    field = np.zeros((len(wires), len(points)), np.complex128)
    for coil, loop in enumerate(wires):
        for start, end in loop:
            step, away = end - start, points - (start + end) / 2
            cross = np.cross(step, away)
            field[coil] += (cross[:, 0] - 1j * cross[:, 1]) / ((away**2).sum(-1) + core**2) ** 1.5
    return field


def head_extent(volume: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre (3,) and half extents (3,) in mm (RAS) of what is brighter than a tenth of the 99.9th percentile.

    Thin slabs and odd objects still get a round cylinder: no half extent is below half of the largest in the plane.
    """
    bright = np.abs(volume) > 0.1 * np.percentile(np.abs(volume), 99.9)
    edges = []
    for axis in range(3):
        profile = bright.sum(tuple(i for i in range(3) if i != axis))
        inside = np.flatnonzero(profile > 0.02 * profile.max()) if profile.any() else np.arange(len(profile))
        edges.append((inside[0], inside[-1]))
    corners = np.array([[edges[0][i], edges[1][j], edges[2][k]] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    places = corners @ affine[:3, :3].T + affine[:3, 3]
    low, high = places.min(0), places.max(0)
    half = (high - low) / 2
    largest = max(half[:2].max(), half[2] / 2, 1e-3)
    half[:2] = np.maximum(half[:2], largest / 2)
    return (low + high) / 2, half
