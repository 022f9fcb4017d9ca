"""How a network is told the noise level."""

import math

import torch
from torch import Tensor, nn


class NoiseEmbedding(nn.Module):
    """Fourier features of the noise label and a two-layer perceptron: (batch,) to (batch, width).

    Source: Tancik et al. (2020), Fourier features, arXiv:2006.10739, as used by Karras et al. (2022), arXiv:2206.00364.
    """

    frequencies: Tensor

    def __init__(self, width: int, features: int = 64, scale: float = 2.0) -> None:
        super().__init__()
        # A fixed draw: the frequencies are part of the definition and are stored with the weights.
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("frequencies", 2 * math.pi * scale * torch.randn(features, generator=generator))
        self.layers = nn.Sequential(nn.Linear(2 * features, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, label: Tensor) -> Tensor:
        angle = label.float()[:, None] * self.frequencies.float()
        dtype = next(self.layers.parameters()).dtype
        return self.layers(torch.cat([angle.cos(), angle.sin()], dim=1).to(dtype))
