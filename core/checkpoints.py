"""Checkpoints: tensors as safetensors, everything else as JSON. Nothing is ever unpickled."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ornstein.core.errors import ModelError

WEIGHTS, CARD = "model.safetensors", "card.json"


def sha256(path: Path | str) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Calls write(temporary path) and renames the result: `path` is whole or absent."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_tensors(path: Path | str, tensors: Mapping[str, Tensor]) -> None:
    """Writes named tensors as one safetensors file."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_whole(Path(path), lambda temporary: save_file(contiguous, temporary))


def load_tensors(path: Path | str) -> dict[str, Tensor]:
    """Reads a safetensors file.

    Raises:
        ModelError: where the file is absent or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"{path}: not a readable safetensors file ({error})", "Restore the file or train again."
        ) from error


def write_json(path: Path | str, value: Any) -> None:
    """Writes a value as indented JSON, whole or not at all."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    write_whole(Path(path), lambda temporary: temporary.write_text(text, encoding="utf-8"))


def save_model(
    folder: Path | str, tensors: Mapping[str, Tensor], card: Mapping[str, Any], dtype: torch.dtype | None = None
) -> None:
    """Writes a model folder: `model.safetensors` and `card.json` with its SHA-256.

    Args:
        folder: made where it is absent.
        tensors: the weights by name.
        card: what is known of the model, as JSON values: name, architecture, data, licence, scores, limits.
        dtype: storage type of floating tensors of two or more axes; bfloat16 halves the file. Vectors (gains,
            offsets, frequencies) keep their own: they are a hundredth of the file.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    cast = {n: t.to(dtype) if dtype and t.is_floating_point() and t.ndim > 1 else t for n, t in tensors.items()}
    save_tensors(folder / WEIGHTS, cast)
    write_json(folder / CARD, {**card, "sha256": sha256(folder / WEIGHTS)})


def read_card(folder: Path | str) -> dict[str, Any]:
    """The card of a model folder.

    Raises:
        ModelError: where there is none, or it is not JSON.
    """
    path = Path(folder) / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(
            f"{folder}: no model there ({CARD} is missing)", "Name a shipped model or a checkpoint folder."
        ) from error
    except ValueError as error:
        raise ModelError(
            f"{path}: not valid JSON ({error})", "Restore the file from where the model came from."
        ) from error
    if not isinstance(card, dict):
        raise ModelError(f"{path}: not a JSON object", "Restore the file from where the model came from.")
    return card


def load_model(folder: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors (floating ones as float32) and the card of a model folder, its checksum verified.

    Raises:
        ModelError: where a file is missing, damaged, or is not the one that the card describes.
    """
    card = read_card(folder)
    weights = Path(folder) / WEIGHTS
    if not weights.is_file():
        raise ModelError(f"{weights}: missing", "Restore the file from where the model came from.")
    if card.get("sha256") != sha256(weights):
        raise ModelError(
            f"{weights}: its SHA-256 is not the one in {CARD}", "Restore the file from where the model came from."
        )
    return {n: t.float() if t.is_floating_point() else t for n, t in load_tensors(weights).items()}, card
