"""Whether a scan looks like what a prior was made for: a small network that judges coarse pictures of its slices.

A prior's own measures do not tell: it removes noise from a knee or a photograph nearly as well as from a head. So each
prior has a judge, trained on the same slices against pictures of other things (`judge_training`). It sees 64 x 64 pixels, on which noise,
undersampling and voxel size matter little, in any orientation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ornstein.core.checkpoints import load_tensors, save_tensors, sha256
from ornstein.core.errors import ModelError
from ornstein.domains.mri.crops import unit_scale

FILE = "typicality.safetensors"
WIDTH = 64

LIMIT = -1.0
"""A scan is refused where the mean log-odds are below: it is nearly three times as likely another thing. Doubt goes on."""

CLAMP = 6.0
"""One slice counts no more than this in the mean, so that no single one decides."""

OBJECT = 0.15
"""Of the bright tissue, over the darkest tenth: what 5 x 5 pixels average to at least where the object is."""


@dataclass(frozen=True)
class Verdict:
    """What the judge says of a scan.

    Args:
        log_odds: that its slices are what the prior was trained on, the mean of the better half; within +-6.
        unlike: slices that more likely are something else.
        slices: that were judged.
    """

    log_odds: float
    unlike: int
    slices: int

    @property
    def typical(self) -> bool:
        return self.log_odds >= LIMIT

    def __str__(self) -> str:
        return (
            f"{self.unlike} of {self.slices} slices look unlike the images that the model was trained on "
            f"(log-odds {self.log_odds:.1f}, at least {LIMIT:.0f} wanted)"
        )


class Judge(nn.Module):
    """Log-odds (batch,) that pictures (batch, 1, 64, 64) are of the trained kind: halved at each layer, then pooled."""

    def __init__(self, channels: Sequence[int] = (8, 16, 24, 32, 48)) -> None:
        super().__init__()
        widths = zip([1, *channels], channels, strict=False)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in widths)
        self.norms = nn.ModuleList(nn.GroupNorm(4, b) for b in channels)
        self.last = nn.Linear(2 * channels[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = F.max_pool2d(F.silu(norm(layer(x))), 2)
        return self.last(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))[:, 0]


def coarse(image: np.ndarray, size: int = WIDTH) -> np.ndarray:
    """A magnitude picture of any size and units as float32 (size, size) in [0, 1.5]: the object fills the square.

    Its 99th percentile becomes 1. What counts as object is bright over more than a few pixels: noise and aliasing in
    the air do not, so the square is the same whatever air is around.
    """
    image = np.maximum(np.asarray(image, np.float32), 0)
    if not image.any():
        return np.zeros((size, size), np.float32)
    pixels = torch.from_numpy(unit_scale(image))
    even = F.avg_pool2d(pixels[None, None], 5, 1, 2, count_include_pad=False)[0, 0]
    bright = even > OBJECT + np.percentile(even.numpy(), 10)
    box = []
    for axis in (0, 1):
        inside = (bright.float().mean(1 - axis) > 0.02).nonzero()[:, 0]
        box.append((int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, pixels.shape[axis]))
    side = round(max(high - low for low, high in box) * 1.1)
    (top, bottom), (left, right) = (
        ((low + high - side) // 2, n - (low + high - side) // 2 - side)
        for (low, high), n in zip(box, pixels.shape, strict=True)
    )
    square = F.pad(pixels, (-left, -right, -top, -bottom))[None, None]  # negative: cut
    if side >= size:
        return F.adaptive_avg_pool2d(square, size)[0, 0].clamp(0, 1.5).numpy()
    return F.interpolate(square, (size, size), mode="bilinear", align_corners=False)[0, 0].clamp(0, 1.5).numpy()


def normalised(pictures: Tensor) -> Tensor:
    """Pictures (batch, 1, n, n) whose bright parts (the 97th percentile at half the resolution) are 1."""
    bright = F.avg_pool2d(pictures, 2).flatten(1).quantile(0.97, dim=1).clamp_min(1e-3)
    return (pictures / bright[:, None, None, None]).clamp(0, 1.5)


@torch.no_grad()
def assess(model: Judge, images: np.ndarray) -> Verdict:
    """A judge's verdict on magnitude images (slices, readout, phase), each in eight orientations.

    The better half of the slices counts: a whole head also has slices of its neck and its ends, that could be anything.
    """
    pictures = normalised(torch.from_numpy(np.stack([coarse(image) for image in images]))[:, None])
    views = [pictures.flip(dims) for dims in ((), (2,), (3,), (2, 3))]
    odds = torch.stack([model(v) for v in (*views, *(v.transpose(2, 3) for v in views))]).mean(0).clamp(-CLAMP, CLAMP)
    better = odds.sort(descending=True).values[: (len(odds) + 1) // 2]
    return Verdict(float(better.mean()), int((odds < 0).sum()), len(odds))


def judge(folder: Path | str, card: dict[str, Any], images: np.ndarray) -> Verdict | None:
    """What the judge of a model folder says of magnitude images (slices, readout, phase); None where it has no judge.

    Raises:
        ModelError: where the judge's file is missing or damaged.
    """
    if "typicality" not in card:
        return None
    file = Path(folder) / FILE
    if not file.is_file() or sha256(file) != card["typicality"]["sha256"]:
        raise ModelError(f"{file}: missing, or not the file of the card", "Restore it from where the model came from.")
    model = Judge()
    model.load_state_dict({name: tensor.float() for name, tensor in load_tensors(file).items()})
    return assess(model, images)


def save_judge(folder: Path | str, model: Judge) -> dict[str, Any]:
    """Writes a judge beside the weights of its prior, in bfloat16; what the card says of it."""
    file = Path(folder) / FILE
    save_tensors(file, {name: tensor.bfloat16() for name, tensor in model.state_dict().items()})
    return {"file": FILE, "sha256": sha256(file), "limit": LIMIT}
