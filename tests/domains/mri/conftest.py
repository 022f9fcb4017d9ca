"""A small head in a scanner: an ellipse phantom, smooth coils, masks."""

import math

import pytest
import torch
from torch import Tensor


def ellipses(readout: int, phase: int) -> Tensor:
    """A head-like picture in [0, 1], (readout, phase)."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, readout), torch.linspace(-1, 1, phase), indexing="ij")
    image = torch.zeros(readout, phase)
    for value, cy, cx, ry, rx in (
        (1.0, 0, 0, 0.8, 0.65),
        (-0.6, 0, 0, 0.72, 0.57),
        (0.3, -0.1, 0.2, 0.3, 0.15),
        (-0.2, -0.1, -0.2, 0.35, 0.12),
        (0.4, 0.35, 0, 0.12, 0.2),
        (0.5, -0.5, 0.05, 0.04, 0.06),
    ):
        image = image + value * (((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1)
    return image


def smooth_coils(coils: int, readout: int, phase: int) -> Tensor:
    """Complex maps around the head with unit root sum of squares, (coils, readout, phase)."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, readout), torch.linspace(-1, 1, phase), indexing="ij")
    maps = []
    for coil in range(coils):
        angle = 2 * math.pi * coil / coils
        size = torch.exp(-((y - 1.2 * math.sin(angle)) ** 2 + (x - 1.2 * math.cos(angle)) ** 2) / 1.3)
        maps.append(torch.polar(size, angle + 0.8 * x * math.sin(angle) - 0.7 * y * math.cos(2 * angle)))
    stack = torch.stack(maps)
    return stack / stack.abs().square().sum(0).sqrt()


def line_mask(phase: int, acceleration: int, centre: int, seed: int = 0) -> Tensor:
    """Random lines around a sampled centre, bool (phase,)."""
    mask = torch.zeros(phase, dtype=torch.bool)
    low = phase // 2 - centre // 2
    mask[low : low + centre] = True
    rest = (~mask).nonzero()[:, 0]
    order = torch.randperm(len(rest), generator=torch.Generator().manual_seed(seed))
    mask[rest[order[: max(0, phase // acceleration - centre)]]] = True
    return mask


@pytest.fixture(scope="session")
def head() -> Tensor:
    """A complex slice with a smooth phase, (96, 80)."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 96), torch.linspace(-1, 1, 80), indexing="ij")
    return torch.polar(ellipses(96, 80), 0.5 + 0.8 * x - 0.5 * y + 0.4 * x * y)


@pytest.fixture(scope="session")
def coils() -> Tensor:
    """Six coils, (6, 96, 80)."""
    return smooth_coils(6, 96, 80)


@pytest.fixture(scope="session")
def lines():
    """`lines(phase, acceleration, centre, seed=0)`: a mask over the phase axis."""
    return line_mask
