"""Training from a configuration file: which domain, and then that domain's own settings."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from ornstein.core.errors import InputError, UsageError
from ornstein.pipelines.answers import Answer
from ornstein.pipelines.console import Console
from ornstein.pipelines.options import Device
from ornstein.pipelines.runtime import choose_device
from ornstein.pipelines.signature import Option

TRAINERS = {
    "atmosphere": "ornstein.pipelines.atmosphere:train_model",
    "graph": "ornstein.pipelines.graph:train_model",
    "molecule": "ornstein.pipelines.molecule:train_model",
    "mri": "ornstein.pipelines.mri:train_model",
    "speech": "ornstein.pipelines.speech:train_model",
}
"""For each domain the function that takes (settings, device, log) and gives the folder of the model."""


def train(
    config: str,
    *,
    device: Device = "auto",
    console: Annotated[Console | None, Option(hidden=True)] = None,
) -> Answer:
    """Trains a model from a configuration file, and goes on where an interrupted training stopped.

    Args:
        config: a YAML file with `domain` and the settings of that domain's models
    """
    settings = read_configuration(Path(config))
    domain = settings.pop("domain", None)
    if domain not in TRAINERS:
        raise UsageError(f"{config}: domain is {domain!r}", f"known: {', '.join(TRAINERS)}")
    module, _, name = TRAINERS[domain].partition(":")
    trainer: Callable[..., Path] = getattr(importlib.import_module(module), name)
    folder = trainer(settings, choose_device(device), (console or Console()).say)
    return Answer({"model": str(folder)}, f"{folder}: trained; use it with --model {folder}")


def read_configuration(path: Path) -> dict[str, Any]:
    """The mapping of a YAML file. Raises: InputError where there is none."""
    import yaml

    try:
        with open(path, encoding="utf-8") as file:
            settings = yaml.safe_load(file)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(settings, dict):
        raise InputError(f"{path}: not a mapping of settings", "see docs/training.md for an example")
    return settings
