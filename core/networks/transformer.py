"""One diffusion transformer for images, waves, volumes, sequences and sets, conditioned on the noise level."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from ornstein.core.networks.attention import attention
from ornstein.core.networks.embedding import NoiseEmbedding
from ornstein.core.networks.patches import crop, fold, pad, unfold


def rotations(grid: tuple[int, ...], width: int, longest: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the rotary angles of every token of a grid: each (tokens, width / 2), float32.

    Channel pairs are shared out evenly among the axes; along axis d pair k turns by 2 pi i_d / wavelength_k, with
    wavelengths geometric from 2 pi to `longest` tokens. Pairs that are left over do not turn.

    Args:
        grid: tokens along each axis.
        width: channels of a head, even.
        longest: the longest wavelength in tokens, above 2 pi.

    Source: Su et al. (2021), RoFormer, arXiv:2104.09864, eq. 34; per axis as in Heo et al. (2024), arXiv:2403.13298.
    """
    pairs = width // 2 // len(grid)
    share = torch.linspace(0, 1, pairs, dtype=torch.float64) if pairs > 1 else torch.zeros(pairs, dtype=torch.float64)
    rates = (2 * math.pi / longest) ** share
    angles = torch.zeros(*grid, width // 2, dtype=torch.float64)
    for axis, n in enumerate(grid):
        index = torch.arange(n, dtype=torch.float64).reshape(-1, *[1] * (len(grid) - axis))
        angles[..., axis * pairs : (axis + 1) * pairs] = index * rates
    angles = angles.flatten(0, -2)
    return angles.cos().float(), angles.sin().float()


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turns the channel pairs (k, k + width / 2) of x (..., tokens, width): products of turned vectors depend on
    differences of positions alone."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cosine - b * sine, a * sine + b * cosine], dim=-1)


class TransformerBlock(nn.Module):
    """Attention and a perceptron, each with its input scaled and shifted and its output gated by the noise level.

        h <- h + g1 Attention((1 + c1) norm(h) + d1),    h <- h + g2 MLP((1 + c2) norm(h) + d2)

    with (c, d, g) linear in the noise embedding and zero at initialisation. Queries and keys have unit mean square
    before their gain, which keeps bfloat16 attention finite.

    Source: Peebles and Xie (2023), arXiv:2212.09748, section 3.2; Henry et al. (2020), Query-key normalization,
    arXiv:2010.04245.
    """

    def __init__(self, width: int, heads: int, embedding: int, expansion: float, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(embedding, 6 * width)
        self.qkv = nn.Linear(width, 3 * width)
        self.query_norm, self.key_norm = nn.RMSNorm(width // heads), nn.RMSNorm(width // heads)
        self.out = nn.Linear(width, width)
        hidden = round(expansion * width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Dropout(dropout), nn.Linear(hidden, width)
        )
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(
        self, h: Tensor, embedding: Tensor, turn: tuple[Tensor, Tensor] | None, allowed: Tensor | None
    ) -> Tensor:
        scale1, shift1, gate1, scale2, shift2, gate2 = self.modulation(embedding)[:, None].chunk(6, dim=-1)
        h = h + gate1 * self._attend(torch.addcmul(shift1, self.norm1(h), 1 + scale1), turn, allowed)
        return h + gate2 * self.perceptron(torch.addcmul(shift2, self.norm2(h), 1 + scale2))

    def _attend(self, h: Tensor, turn: tuple[Tensor, Tensor] | None, allowed: Tensor | None) -> Tensor:
        q, k, v = self.qkv(h).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = self.query_norm(q.float()), self.key_norm(k.float())  # bfloat16 angles would blur the positions
        if turn is not None:
            q, k = rotate(q, *turn), rotate(k, *turn)
        h = attention(q, k, v, allowed)
        return self.out(h.transpose(1, 2).flatten(2))


class Transformer(nn.Module):
    """Diffusion transformer: F(x, noise_label) of the shape of x, for patches of any grid and for plain tokens.

    Positions enter by rotary angles only, as differences, so that a network serves sizes that it was not trained on.
    Without positions the tokens are a set: permuting them permutes the output. Sizes that the patch does not divide
    are padded by reflection and cut again.

    Args:
        dims: space dimensions, 1, 2 or 3; 0 for tokens.
        in_channels: channels of x (with the features' channels, where there are any).
        out_channels: channels of the output.
        width: channels of a token; `heads` divides it into even parts.
        depth: blocks.
        heads: attention heads.
        embedding: width of the noise embedding.
        patch: side of the blocks of pixels that are one token; 1 for tokens.
        positions: whether tokens know where they are: always with `dims` above 0; True makes tokens a sequence.
        longest: longest wavelength of the positions in tokens; at least about the largest grid.
        expansion: hidden width of the perceptrons, in widths.
        dropout: probability in [0, 1), in the perceptrons.

    Calling it: x (batch, in_channels, *space), noise_label (batch,), optional `features` (batch, extra, *space) that
    are joined to x along the channels. With `dims` 0: x (batch, tokens, in_channels), features (batch, tokens, extra)
    and an optional `mask`, bool (batch, tokens), true where a token is; the others are never read and come out zero.

    Source: Peebles and Xie (2023), Scalable diffusion models with transformers, arXiv:2212.09748.
    """

    def __init__(
        self,
        dims: int = 2,
        in_channels: int = 1,
        out_channels: int = 1,
        width: int = 192,
        depth: int = 6,
        heads: int = 4,
        embedding: int = 128,
        patch: int = 1,
        positions: bool = True,
        longest: float = 256.0,
        expansion: float = 4.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        assert dims in (0, 1, 2, 3), f"dims {dims}, known 0 to 3"
        assert width % (2 * heads) == 0, f"width {width} is not divided by {heads} heads into even parts"
        assert patch == 1 or dims > 0, f"patch {patch} of plain tokens"
        assert positions or dims == 0, "patches without positions"
        assert not positions or width // heads >= 2 * max(dims, 1), f"heads of {width // heads} for {dims} axes"
        self.settings: dict[str, Any] = {
            "dims": dims,
            "in_channels": in_channels,
            "out_channels": out_channels,
            "width": width,
            "depth": depth,
            "heads": heads,
            "embedding": embedding,
            "patch": patch,
            "positions": positions,
            "longest": longest,
            "expansion": expansion,
            "dropout": dropout,
        }
        self.dims, self.patch, self.head_width = dims, patch, width // heads
        self.positions, self.longest = positions, longest
        self.embedding = NoiseEmbedding(embedding)
        self.first = nn.Linear(in_channels * patch**dims, width)
        self.blocks = nn.ModuleList(
            [TransformerBlock(width, heads, embedding, expansion, dropout) for _ in range(depth)]
        )
        self.last_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.last_modulation = nn.Linear(embedding, 2 * width)
        self.last = nn.Linear(width, out_channels * patch**dims)
        for layer in (self.last_modulation, self.last):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, x: Tensor, noise_label: Tensor, features: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        if features is not None:
            x = torch.cat([x, features.to(x.dtype)], dim=1 if self.dims else -1)
        if self.dims == 0:
            return self._tokens(x, noise_label, (x.shape[1],), mask)
        assert mask is None, "a mask is for plain tokens (dims = 0)"
        space = x.shape[2:]
        x = fold(pad(x, self.patch), self.patch)
        grid = tuple(x.shape[2:])
        h = self._tokens(x.flatten(2).transpose(1, 2), noise_label, grid, None)
        return crop(unfold(h.transpose(1, 2).unflatten(2, grid), self.patch), space)

    def _tokens(self, x: Tensor, noise_label: Tensor, grid: tuple[int, ...], mask: Tensor | None) -> Tensor:
        """The network on tokens: (batch, tokens, channels) to (batch, tokens, out channels)."""
        allowed = None
        if mask is not None:
            assert mask.shape == x.shape[:2], f"mask {tuple(mask.shape)}, tokens {tuple(x.shape[:2])}"
            x = x.masked_fill(~mask[..., None], 0)  # what stands in the padding may be NaN
            # An item without any token attends to its padding, as a softmax over nothing is not a number.
            allowed = (mask | ~mask.any(1, keepdim=True))[:, None, None]
        turn = None
        if self.positions:
            cosine, sine = rotations(grid, self.head_width, self.longest)
            turn = cosine.to(x.device), sine.to(x.device)
        embedding = self.embedding(noise_label)
        h = self.first(x)
        for block in self.blocks:
            h = block(h, embedding, turn, allowed)
        scale, shift = self.last_modulation(embedding)[:, None].chunk(2, dim=-1)
        h = self.last(torch.addcmul(shift, self.last_norm(h), 1 + scale))
        return h if mask is None else h.masked_fill(~mask[..., None], 0)
