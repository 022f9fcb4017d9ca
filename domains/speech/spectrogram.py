"""The compressed complex spectrogram that the models see, and the way back to the wave."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

RATE = 16_000
"""Sample rate of the models in Hz."""


@dataclass(frozen=True)
class Spectrogram:
    """c = factor |X|^exponent exp(i angle(X)), with X the short-time Fourier transform of a wave under a Hann window.

    Speech has a few large coefficients and many small ones; the root brings them closer, as hearing does.

    Args:
        n_fft: length of window and transform in samples; n_fft / 2 + 1 bins.
        hop: samples between frames, at most n_fft / 2.
        exponent: of the magnitude, in (0, 1].
        factor: scale after compression, above 0.

    Source: Richter et al. (2023), Speech enhancement and dereverberation with diffusion-based generative models,
    arXiv:2208.05830, section IV-B, and Welker et al. (2022), arXiv:2203.17004.
    """

    n_fft: int = 510
    hop: int = 128
    exponent: float = 0.5
    factor: float = 0.15

    @property
    def bins(self) -> int:
        """Frequency bins of a frame."""
        return self.n_fft // 2 + 1

    def forward(self, wave: Tensor) -> Tensor:
        """(batch, samples), float32, to (batch, 2, bins, frames): real and imaginary part of c."""
        assert wave.ndim == 2, f"waves of shape {tuple(wave.shape)}, wanted (batch, samples)"
        # Zeros around the wave, not its reflection: also one of a single sample has a spectrogram.
        padded = F.pad(wave, (self.n_fft // 2, self.n_fft // 2))
        x = torch.stft(padded, self.n_fft, self.hop, window=self._window(wave), center=False, return_complex=True)
        magnitude = x.abs().clamp_min(1e-12)
        return torch.view_as_real(x * (self.factor * magnitude ** (self.exponent - 1))).movedim(-1, 1)

    def inverse(self, spectrogram: Tensor, samples: int) -> Tensor:
        """The wave (batch, samples) of a spectrogram (batch, 2, bins, frames), where it is one; else the nearest."""
        assert spectrogram.shape[1:3] == (2, self.bins), (
            f"a spectrogram of shape {tuple(spectrogram.shape)}, wanted (batch, 2, {self.bins}, frames)"
        )
        c = torch.view_as_complex(spectrogram.float().movedim(1, -1).contiguous())
        magnitude = (c.abs() / self.factor).clamp_min(1e-12)
        x = c / self.factor * magnitude ** (1 / self.exponent - 1)
        return torch.istft(x, self.n_fft, self.hop, window=self._window(spectrogram), center=True, length=samples)

    def _window(self, like: Tensor) -> Tensor:
        return torch.hann_window(self.n_fft, device=like.device)
