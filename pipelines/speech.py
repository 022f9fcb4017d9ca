"""Speech: noise and reverberation removed from recordings, and how good the result is."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def train_model(settings: dict[str, Any], device: "torch.device", log: Callable[[str], None]) -> Path:
    """Trains a speech model from the settings of a configuration file; the folder of the model."""
    from ornstein.domains.speech.training import EnhancerConfiguration, train_enhancer

    return train_enhancer(EnhancerConfiguration.parse(settings), device=device, log=log)
