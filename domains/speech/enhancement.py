"""The speech model: a bridge from the noisy spectrogram to the clean one, and its denoiser."""

from pathlib import Path as File
from typing import Any

import torch
from torch import Tensor

from ornstein.core.checkpoints import load_model
from ornstein.core.denoisers import Denoiser
from ornstein.core.errors import ModelError
from ornstein.core.paths import BrownianBridge, Path, time
from ornstein.domains.speech.network import SpeechNetwork


class SpeechDenoiser(Denoiser):
    """E[x0 | x_t, y] of compressed spectrograms (batch, 2, bins, frames), for a task (batch,): see `SpeechNetwork`."""

    def __init__(self, network: SpeechNetwork, path: Path) -> None:
        super().__init__(path)
        self.network = network

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
        assert y is not None, "a bridge starts from y"
        label = time(t).to(device=x_t.device, dtype=torch.float32).expand(len(x_t))
        return self.network(x_t, label, y, conditions["task"])


def build(architecture: dict[str, Any], sigma: float) -> SpeechDenoiser:
    """A denoiser with fresh weights, which gives back y."""
    return SpeechDenoiser(SpeechNetwork(**architecture), BrownianBridge(sigma))


def load_enhancer(folder: File | str, device: str | torch.device = "cpu") -> tuple[SpeechDenoiser, dict[str, Any]]:
    """The denoiser of a model folder, ready to use, and its card.

    Raises:
        ModelError: where the folder holds no speech model, or a damaged one.
    """
    tensors, card = load_model(folder)
    try:
        denoiser = build(card["architecture"], card["sigma"])
        denoiser.network.load_state_dict(tensors)
    except (LookupError, TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ModelError(
            f"{folder}: not a speech model", "Name a model of `ornstein models list` whose domain is speech."
        ) from error
    return denoiser.to(device).to(memory_format=torch.channels_last).eval(), card  # type: ignore[call-overload]
