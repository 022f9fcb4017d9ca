"""The shipped models: which there are, what is known of them, and whether they are what they were."""

import difflib
import importlib.resources
import os
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ornstein.core.errors import ModelError
from ornstein.pipelines.answers import Answer, table

SHOWN = 12
"""Numbers of a card's list that `models show` prints; the file has them all."""


@dataclass(frozen=True)
class Model:
    """A model on disk: a folder with `model.safetensors` and `card.json`.

    Args:
        name: how a user names it.
        domain: the science it is for, empty where its card does not say.
        folder: where it stands.
        card: what is known of it: data, licence, training, scores, limits, the SHA-256 of the weights.
    """

    name: str
    domain: str
    folder: Path
    card: dict[str, Any]

    @property
    def size(self) -> int:
        """Bytes of the weights, 0 where they are missing."""
        weights = self.folder / "model.safetensors"
        return weights.stat().st_size if weights.is_file() else 0

    @property
    def identity(self) -> dict[str, str]:
        """What a sidecar says of it."""
        return {"name": self.name, "sha256": str(self.card.get("sha256", ""))}

    def verify(self) -> "Model":
        """Itself. Raises: ModelError where the weights are missing or are not those that the card describes."""
        from ornstein.core.checkpoints import sha256

        weights = self.folder / "model.safetensors"
        if not weights.is_file():
            raise ModelError(f"model {self.name}: {weights} is missing", "restore the file, or install ornstein again")
        if sha256(weights) != self.card.get("sha256"):
            raise ModelError(
                f"model {self.name}: the SHA-256 of {weights} is not the one of its card",
                "restore the file, or install ornstein again",
            )
        return self


def weights_folders() -> list[Path]:
    """The folders of all shipped models, `domains/DOMAIN/weights/NAME/`."""
    domains = Path(str(importlib.resources.files("ornstein.domains")))
    return sorted(card.parent for card in domains.glob("*/weights/*/card.json"))


def shipped(domain: str | None = None) -> list[Model]:
    """The shipped models, those of one domain or all."""
    return [model for model in map(_read, weights_folders()) if domain is None or model.domain == domain]


def find_model(name_or_path: str | os.PathLike[str] | None, domain: str | None = None) -> Model:
    """The model of this name, in this folder, or, for None, the domain's default; its checksum verified.

    Args:
        name_or_path: a shipped model's name or a checkpoint folder.
        domain: the science it must be for.

    Raises:
        ModelError: for an unknown name, a model of another domain, and weights that are not those of the card.
    """
    models = shipped(domain)
    known = f"known: {', '.join(model.name for model in models) or 'none'}; or give a checkpoint folder"
    if name_or_path is None:
        if not models:
            raise ModelError(
                f"no model is shipped{f' for {domain}' if domain else ''}", "give a checkpoint folder with --model"
            )
        return next((model for model in models if model.card.get("default")), models[0]).verify()
    for model in models:
        if model.name == str(name_or_path):
            return model.verify()
    folder = Path(name_or_path)
    if not folder.is_dir():
        close = difflib.get_close_matches(str(name_or_path), [model.name for model in models], 1)
        raise ModelError(
            f"model {str(name_or_path)!r} is unknown", (f"did you mean {close[0]}? " if close else "") + known
        )
    found = _read(folder)
    if domain is not None and found.domain not in ("", domain):
        raise ModelError(f"model {folder} is for {found.domain}, not for {domain}", known)
    return found.verify()


def list_models() -> Answer:
    """Lists the shipped models."""
    models = shipped()
    rows = [
        [m.name, m.domain, f"{m.size / 2**20:.1f} MiB", textwrap.shorten(str(m.card.get("licence", "")), 40)]
        for m in models
    ]
    text = table(rows, ["name", "domain", "size", "licence"]) if rows else "no models are shipped"
    return Answer({"models": [{**m.identity, "domain": m.domain, "bytes": m.size} for m in models]}, text)


def show_model(name: str) -> Answer:
    """Shows what is known of a model: data, licence, training, scores, limits.

    Args:
        name: a shipped model or a checkpoint folder
    """
    model = find_model(name)
    card = {"name": model.name, "domain": model.domain, **model.card, "folder": str(model.folder)}
    return Answer(card, "\n".join(_lines(card)))


def _read(folder: Path) -> Model:
    from ornstein.core.checkpoints import read_card

    card = read_card(folder)
    inside = folder.parent.parent.name if folder.parent.name == "weights" else ""
    return Model(str(card.get("name") or folder.name), str(card.get("domain") or inside), folder, card)


def _lines(value: dict[str, Any], depth: int = 0) -> list[str]:
    """A card as indented lines."""
    lines = []
    for name, item in value.items():
        indent = "  " * depth
        if isinstance(item, dict):
            lines += [f"{indent}{name}:", *_lines(item, depth + 1)]
        elif isinstance(item, list) and any(isinstance(i, (dict, list)) for i in item):
            lines.append(f"{indent}{name}:")
            for i in item:
                lines += _lines(i, depth + 1) if isinstance(i, dict) else [f"{indent}  {_listed(i)}"]
        else:
            lines.append(f"{indent}{name}: {_listed(item)}")
    return lines


def _listed(item: Any) -> str:
    """A value, or the values of a list; of many numbers the first."""
    if not isinstance(item, list):
        return str(item)
    few = item[:SHOWN] if len(item) > SHOWN and all(isinstance(i, (int, float)) for i in item) else item
    return ", ".join(map(str, few)) + (f", ... ({len(item)} numbers)" if len(few) < len(item) else "")
