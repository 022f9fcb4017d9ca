"""One U-Net for images, waves and volumes: N-dimensional, conditioned on the noise level."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ornstein.core.networks.attention import attention
from ornstein.core.networks.embedding import NoiseEmbedding
from ornstein.core.networks.patches import crop, fold, pad, unfold

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class ResidualBlock(nn.Module):
    """Norm, SiLU, convolution, twice, with the noise level scaling and shifting the second norm, and a skip."""

    def __init__(self, dims: int, inputs: int, outputs: int, embedding: int, groups: int, dropout: float) -> None:
        super().__init__()
        convolution = CONVOLUTIONS[dims]
        self.norm1 = nn.GroupNorm(math.gcd(groups, inputs), inputs)
        self.convolution1 = convolution(inputs, outputs, 3, padding=1)
        self.modulation = nn.Linear(embedding, 2 * outputs)
        self.norm2 = nn.GroupNorm(math.gcd(groups, outputs), outputs)
        self.dropout = nn.Dropout(dropout)
        self.convolution2 = convolution(outputs, outputs, 3, padding=1)
        self.skip = convolution(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        nn.init.zeros_(self.convolution2.weight)
        nn.init.zeros_(self.convolution2.bias)  # type: ignore[arg-type]  # it has a bias

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.convolution1(F.silu(self.norm1(x)))
        scale, shift = self.modulation(embedding).to(h.dtype).reshape(len(h), -1, *[1] * (h.ndim - 2)).chunk(2, dim=1)
        h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        return self.skip(x) + self.convolution2(self.dropout(F.silu(h)))


class Attention(nn.Module):
    """Self-attention over all positions of a level, with a skip: (batch, channels, *space)."""

    def __init__(self, dims: int, channels: int, heads: int, groups: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(math.gcd(groups, channels), channels)
        self.qkv = CONVOLUTIONS[dims](channels, 3 * channels, 1)
        self.out = CONVOLUTIONS[dims](channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(self.norm(x)).flatten(2)
        q, k, v = qkv.reshape(len(x), 3, self.heads, -1, qkv.shape[-1]).transpose(-1, -2).unbind(1)
        h = attention(q, k, v).transpose(-1, -2).reshape(x.shape)
        return x + self.out(h)


class UNet(nn.Module):
    """Residual U-Net: F(x, noise_label) of the shape of x, for any number of space dimensions and any size.

    Sizes that the levels do not divide are padded by reflection and cut again.

    Args:
        dims: space dimensions, 1, 2 or 3.
        in_channels: channels of x (with the features' channels, where there are any).
        out_channels: channels of the output.
        channels: width of each level, from full resolution down by halves.
        blocks: residual blocks a level on the way down; one more on the way up.
        attention: levels (0 is full resolution) that have self-attention.
        heads: attention heads.
        embedding: width of the noise embedding.
        groups: groups of the group norms.
        patch: side of the blocks of pixels that are folded into channels first (1: none). 2 quarters the work in 2D.
        dropout: probability in [0, 1).

    Calling it: x (batch, in_channels, *space), noise_label (batch,), optional `features` (batch, extra, *space) that
    are joined to x along the channels.

    Source: Ronneberger et al. (2015), U-Net, arXiv:1505.04597; Dhariwal and Nichol (2021), arXiv:2105.05233.
    """

    def __init__(
        self,
        dims: int = 2,
        in_channels: int = 1,
        out_channels: int = 1,
        channels: Sequence[int] = (32, 64, 96, 128),
        blocks: int = 2,
        attention: Sequence[int] = (),
        heads: int = 4,
        embedding: int = 128,
        groups: int = 8,
        patch: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        convolution = CONVOLUTIONS[dims]
        self.settings: dict[str, Any] = {
            "dims": dims,
            "in_channels": in_channels,
            "out_channels": out_channels,
            "channels": list(channels),
            "blocks": blocks,
            "attention": list(attention),
            "heads": heads,
            "embedding": embedding,
            "groups": groups,
            "patch": patch,
            "dropout": dropout,
        }
        self.dims, self.patch, self.multiple = dims, patch, patch * 2 ** (len(channels) - 1)
        self.embedding = NoiseEmbedding(embedding)
        self.first = convolution(in_channels * patch**dims, channels[0], 3, padding=1)

        def block(inputs: int, outputs: int) -> ResidualBlock:
            return ResidualBlock(dims, inputs, outputs, embedding, groups, dropout)

        def attend(level: int) -> nn.Module:
            return Attention(dims, channels[level], heads, groups) if level in attention else nn.Identity()

        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        self.shrink, self.grow = nn.ModuleList(), nn.ModuleList()
        width, skips = channels[0], [channels[0]]
        for level, c in enumerate(channels):
            for _ in range(blocks):
                self.down.append(nn.ModuleList([block(width, c), attend(level)]))
                width = c
                skips.append(c)
            if level < len(channels) - 1:
                self.shrink.append(convolution(c, c, 2, stride=2))
                skips.append(c)
        for level in reversed(range(len(channels))):
            c = channels[level]
            for _ in range(blocks + 1):
                self.up.append(nn.ModuleList([block(width + skips.pop(), c), attend(level)]))
                width = c
            if level > 0:
                self.grow.append(convolution(c, c, 3, padding=1))
        self.last_norm = nn.GroupNorm(math.gcd(groups, width), width)
        self.last = convolution(width, out_channels * patch**dims, 3, padding=1)
        self.levels, self.blocks = len(channels), blocks
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, noise_label: Tensor, features: Tensor | None = None) -> Tensor:
        if features is not None:
            x = torch.cat([x, features.to(x.dtype)], dim=1)
        space = x.shape[2:]
        x = fold(pad(x, self.multiple), self.patch)
        if self.dims == 2:
            x = x.contiguous(memory_format=torch.channels_last)
        embedding = self.embedding(noise_label)
        h = self.first(x)
        skips, down, up = [h], iter(self.down), iter(self.up)
        for level in range(self.levels):
            for _ in range(self.blocks):
                h = _apply(next(down), h, embedding)
                skips.append(h)
            if level < self.levels - 1:
                h = self.shrink[level](h)
                skips.append(h)
        for level in range(self.levels):
            for _ in range(self.blocks + 1):
                h = _apply(next(up), torch.cat([h, skips.pop()], dim=1), embedding)
            if level < self.levels - 1:
                h = self.grow[level](F.interpolate(h, scale_factor=2.0, mode="nearest"))
        h = self.last(F.silu(self.last_norm(h)))
        return crop(unfold(h, self.patch), space)


def _apply(step: nn.Module, h: Tensor, embedding: Tensor) -> Tensor:
    """A residual block and the attention after it."""
    assert isinstance(step, nn.ModuleList), f"{type(step).__name__} is no pair of modules"
    residual, attention = step
    return attention(residual(h, embedding))
