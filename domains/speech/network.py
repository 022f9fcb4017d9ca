"""The network of the speech models: a U-Net over frequency whose bottleneck listens over time."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ornstein.core.networks.embedding import NoiseEmbedding

GAIN = 1 / 0.15
"""Brings compressed spectra of speech to about unit scale."""

FEATURES = 6


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (batch, channels, frames, bands), each place alone.

    Unlike a group norm it knows nothing of the rest of a chunk, so that what a place becomes does not depend on how a
    recording was cut; and where channels come last in memory it is one pass.
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvolutionBlock(nn.Module):
    """Norm, SiLU, 3x3 convolution, twice, with the condition scaling and shifting the second norm, and a skip."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = ChannelNorm(channels), ChannelNorm(channels)
        self.convolution1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.convolution2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.modulation = nn.Linear(embedding, 2 * channels)
        for layer in (self.modulation, self.convolution2):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # it has a bias

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.convolution1(F.silu(self.norm1(x)))
        scale, shift = self.modulation(embedding).to(h.dtype)[:, :, None, None].chunk(2, dim=1)
        return x + self.convolution2(F.silu(torch.addcmul(shift, self.norm2(h), 1 + scale)))


class AcrossBands(nn.Module):
    """Every band hears every other at its own time: a dense map over the bands in a few narrow channels, with a skip.

    Source: Quan and Li (2024), SpatialNet, arXiv:2307.16516 (its full-band linear module).
    """

    def __init__(self, channels: int, bands: int, narrow: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.squeeze, self.expand = nn.Conv2d(channels, narrow, 1), nn.Conv2d(narrow, channels, 1)
        self.mix = nn.Parameter(torch.randn(narrow, bands, bands) * bands**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        h = F.silu(self.squeeze(self.norm(x)))
        frames = h.shape[2]
        h = torch.bmm(h.permute(1, 0, 2, 3).flatten(1, 2), self.mix.to(h.dtype))  # (narrow, batch * frames, bands)
        return x + self.expand(F.silu(h.unflatten(1, (-1, frames)).permute(1, 0, 2, 3)))


class AcrossTime(nn.Module):
    """Each band listens forward and backward in time: a bidirectional LSTM shared by the bands, with a skip.

    Source: Luo et al. (2020), Dual-path RNN, arXiv:1910.06379; Le et al. (2021), DPCRN, arXiv:2107.05429.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.memory = nn.LSTM(channels, hidden, bidirectional=True, batch_first=True)
        self.out = nn.Linear(2 * hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, _, bands = x.shape
        h = self.norm(x).permute(0, 3, 2, 1).flatten(0, 1)  # (batch * bands, frames, channels)
        h = self.out(self.memory(h)[0])
        return x + h.unflatten(0, (batch, bands)).permute(0, 3, 2, 1)


class SpeechNetwork(nn.Module):
    """x0_hat(x_t, t, y, task): a complex mask on y and a residual, (batch, 2, bins, frames) of any number of frames.

    Frequency is folded and halved from level to level, time never: onsets stay where they are. An untrained network
    gives back y.

    Args:
        bins: frequency bins, a multiple of `patch` times 2 to the number of levels less one.
        patch: bins that become one band of the first level.
        channels: width of each level.
        blocks: pairs of `AcrossBands` and `AcrossTime`, each after a convolution block, at the coarsest level.
        hidden: width of a direction of the LSTMs.
        narrow: channels of `AcrossBands`, and of the last layer, which works on single bins again.
        embedding: width of the condition.

    Calling it: x_t and y (batch, 2, bins, frames), t (batch,), task (batch,): 0 keeps the room, 1 removes it.
    """

    def __init__(
        self,
        bins: int = 256,
        patch: int = 4,
        channels: Sequence[int] = (64, 96),
        blocks: int = 3,
        hidden: int = 96,
        narrow: int = 16,
        embedding: int = 64,
    ) -> None:
        super().__init__()
        bands = bins // patch // 2 ** (len(channels) - 1)
        assert bins == bands * patch * 2 ** (len(channels) - 1), f"{bins} bins do not divide into patches and levels"
        self.settings: dict[str, Any] = {
            "bins": bins,
            "patch": patch,
            "channels": list(channels),
            "blocks": blocks,
            "hidden": hidden,
            "narrow": narrow,
            "embedding": embedding,
        }
        self.patch = patch
        self.time = NoiseEmbedding(embedding)
        self.task = nn.Linear(1, embedding)
        self.place = nn.Parameter(torch.zeros(channels[0], 1, bins // patch))
        self.first = nn.Conv2d(FEATURES, channels[0], (3, 2 * patch), stride=(1, patch), padding=(1, patch // 2))
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, (3, 4), stride=(1, 2), padding=1) for a, b in pairwise(channels))
        self.down = nn.ModuleList(ConvolutionBlock(c, embedding) for c in channels[:-1])
        self.middle = nn.ModuleList()
        for _ in range(blocks):
            self.middle.append(ConvolutionBlock(channels[-1], embedding))
            self.middle.append(AcrossBands(channels[-1], bands, narrow))
            self.middle.append(AcrossTime(channels[-1], hidden))
        # Upwards two neighbouring bands are unfolded from the channels of one.
        self.grow = nn.ModuleList(nn.Conv2d(b, 2 * a, 1) for a, b in reversed(list(pairwise(channels))))
        self.join = nn.ModuleList(nn.Conv2d(2 * c, c, 1) for c in reversed(channels[:-1]))
        self.up = nn.ModuleList(ConvolutionBlock(c, embedding) for c in reversed(channels[:-1]))
        self.last_norm = ChannelNorm(channels[0])
        self.fine = nn.Conv2d(channels[0], patch * narrow, 1)
        self.last = nn.Conv2d(narrow + FEATURES, 4, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor, task: Tensor) -> Tensor:
        features = torch.cat([x_t, y, _magnitude(x_t), _magnitude(y)], dim=1) * GAIN
        features = features.transpose(2, 3).contiguous(memory_format=torch.channels_last)  # (batch, 6, frames, bins)
        embedding = self.time(t) + F.silu(self.task(task.float()[:, None]))
        h = self.first(features)
        h = h + self.place.to(h.dtype)
        skips = []
        for shrink, down in zip(self.shrink, self.down, strict=True):
            skips.append(down(h, embedding))
            h = shrink(skips[-1])
        for part in self.middle:
            h = part(h, embedding) if isinstance(part, ConvolutionBlock) else part(h)
        for grow, join, up in zip(self.grow, self.join, self.up, strict=True):
            h = up(join(torch.cat([_unfold(grow(h), 2), skips.pop()], dim=1)), embedding)
        h = _unfold(self.fine(F.silu(self.last_norm(h))), self.patch)
        h = self.last(torch.cat([F.silu(h), features.to(h.dtype)], dim=1)).float().transpose(2, 3)
        mask, residual = h.split(2, dim=1)
        real, imaginary = mask.unbind(1)
        y_real, y_imaginary = y.unbind(1)
        masked = torch.stack(
            [y_real * (1 + real) - y_imaginary * imaginary, y_imaginary * (1 + real) + y_real * imaginary], dim=1
        )
        return masked + residual / GAIN


def _magnitude(c: Tensor) -> Tensor:
    return c.square().sum(1, keepdim=True).clamp_min(1e-12).sqrt()


def _unfold(h: Tensor, factor: int) -> Tensor:
    """(batch, factor * channels, frames, bands) to (batch, channels, frames, factor * bands), channels last in memory."""
    batch, channels, frames, bands = h.shape
    h = h.permute(0, 2, 3, 1).reshape(batch, frames, factor * bands, channels // factor)
    return h.permute(0, 3, 1, 2)
