"""Training crops: complex slices with augmented anatomy, contrast, shading and phase."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def unit_scale(volume: np.ndarray) -> np.ndarray:
    """The volume divided by the 99th percentile of its voxels that are not air (above 5 % of its largest value)."""
    volume = np.asarray(volume, np.float32)
    tissue = volume[volume > 0.05 * volume.max()]
    return volume / np.percentile(tissue, 99)


def informative_slices(volume: np.ndarray, axis: int, least: float = 0.03) -> list[np.ndarray]:
    """The slices along an axis of which at least the fraction `least` is tissue, as float16 [rows, columns]."""
    slices = np.moveaxis(volume, axis, 0)
    return [s.astype(np.float16) for s in slices if (s > 0.1).mean() > least]


def smooth_field(size: int, knots: int, generator: torch.Generator) -> Tensor:
    """A smooth random field of about unit deviation: (size, size)."""
    coarse = torch.randn(1, 1, knots, knots, generator=generator)
    return F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)[0, 0]


@dataclass(frozen=True)
class Crops:
    """Draws batches of complex crops from magnitude slices.

    Args:
        groups: lists of slices, magnitude near [0, 1]; a group is drawn by its weight, then a slice in it evenly.
        weights: one a group, summing to anything above 0.
        size: side of a crop in pixels.
        batch: crops a batch.

    Calling it: crops(step, generator) gives {"x0": (batch, 2, size, size)}, real and imaginary parts.
    """

    groups: Sequence[Sequence[np.ndarray]]
    weights: Sequence[float]
    size: int = 128
    batch: int = 16

    def __call__(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        # Every fourth batch has fewer, larger crops: the network also meets whole heads with air around them.
        large = step % 4 == 3
        size = self.size * 3 // 2 if large else self.size
        count = max(1, self.batch * 4 // 9) if large else self.batch
        draws = torch.multinomial(
            torch.tensor(self.weights, dtype=torch.float64), count, replacement=True, generator=generator
        )
        return {"x0": torch.stack([self._crop(self.groups[int(g)], size, generator) for g in draws])}

    def _crop(self, group: Sequence[np.ndarray], size: int, generator: torch.Generator) -> Tensor:
        def uniform(low: float, high: float) -> float:
            return low + (high - low) * float(torch.rand((), generator=generator))

        image = torch.from_numpy(group[int(uniform(0, len(group)))].astype(np.float32))
        image = self._place(image, size, uniform, generator)
        image = self._contrast(image.clamp_min(0), uniform, generator)
        image = image * torch.exp(uniform(0, 0.25) * smooth_field(size, 3, generator)) * uniform(0.7, 1.35)
        phase = 2 * np.pi * uniform(0, 1) + (uniform(0, 1.5) if uniform(0, 1) > 0.2 else 0.0) * smooth_field(
            size, 4, generator
        )
        return torch.stack([image * torch.cos(phase), image * torch.sin(phase)])

    @staticmethod
    def _place(image: Tensor, size: int, uniform, generator: torch.Generator) -> Tensor:
        """A crop at a random place: half of them exact (so that the noise keeps its grain), half turned and zoomed."""
        if uniform(0, 1) < 0.5:
            image = image.transpose(0, 1)
        dims = [d for d in (0, 1) if uniform(0, 1) < 0.5]
        image = image.flip(dims) if dims else image
        rows, columns = image.shape
        room = size // 4
        row = uniform(-room, max(rows - size, 0) + room)
        column = uniform(-room, max(columns - size, 0) + room)
        if uniform(0, 1) < 0.5:
            row, column = int(row), int(column)
            padded = F.pad(image, (size, size, size, size))
            return padded[row + size : row + 2 * size, column + size : column + 2 * size]
        angle, zoom, stretch = uniform(-0.4, 0.4), uniform(0.7, 1.3), uniform(0.9, 1.1)
        c, s = np.cos(angle), np.sin(angle)
        matrix = (
            torch.tensor([[c * zoom * stretch, -s * zoom], [s * zoom * stretch, c * zoom]], dtype=torch.float32) * size
        )
        centre = torch.tensor([column + size / 2, row + size / 2])
        extent = torch.tensor([columns, rows], dtype=torch.float32)
        theta = torch.cat([matrix / extent[:, None], (2 * centre / extent - 1)[:, None]], dim=1)
        grid = F.affine_grid(theta[None], [1, 1, size, size], align_corners=False)
        return F.grid_sample(image[None, None], grid, mode="bicubic", align_corners=False)[0, 0]

    @staticmethod
    def _contrast(image: Tensor, uniform, generator: torch.Generator) -> Tensor:
        """Mostly the contrast as it is, else a gamma, seldom any continuous curve (other weightings than T1)."""
        kind = uniform(0, 1)
        if kind < 0.5:
            return image
        if kind < 0.88:
            return image ** uniform(0.7, 1.45)
        knots = torch.cat([torch.zeros(1), torch.rand(5, generator=generator) * 1.1])
        place = (image.clamp(0, 1.2) / 1.2 * 5).clamp(max=4.999)
        low = place.floor().long()
        return torch.lerp(knots[low], knots[low + 1], place - low)
