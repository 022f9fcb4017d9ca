"""Where a result comes from: inputs with their checksums, the model, every parameter, versions, time and memory."""

import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ornstein.core.errors import InputError
from ornstein.pipelines.outputs import with_companions

RESEARCH_USE = "research use only, not for clinical decisions"
LIBRARIES = ("torch", "numpy", "scipy", "h5py", "nibabel", "monai", "finufft", "xarray", "soundfile", "rdkit")


@dataclass
class Provenance:
    """What a run was: the sidecar's fields that do not depend on the result.

    Args:
        command: the command line, or the Python call, that made the result.
        inputs: one {path, sha256} a file that was read.
        parameters: every option and its value.
        seed: the seed, None where nothing is random.
        device: the torch device's name with the product's.
        seconds: wall time of the work, in s.
        peak_memory_bytes: most main memory held during the work.
        medical: whether the research-use line belongs to the result.
    """

    command: str
    inputs: list[dict[str, str]]
    parameters: dict[str, Any]
    seed: int | None = None
    device: str = "cpu"
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    medical: bool = False
    versions: dict[str, str] = field(default_factory=lambda: library_versions())

    def record(
        self, model: Mapping[str, str] | None, measures: Mapping[str, Any], warnings: list[str]
    ) -> dict[str, Any]:
        """The sidecar as one JSON object, in the order that a reader wants."""
        fields: dict[str, Any] = {
            "ornstein_version": importlib.metadata.version("ornstein"),
            "command": self.command,
            "inputs": self.inputs,
            "model": dict(model) if model else None,
            "parameters": self.parameters,
            "seed": self.seed,
            "device": self.device,
            "seconds": round(self.seconds, 3),
            "peak_memory_bytes": self.peak_memory_bytes,
            "measures": dict(measures),
            "warnings": list(warnings),
        }
        if self.medical:
            fields["use"] = RESEARCH_USE
        return plain(fields | {"versions": self.versions})


def library_versions() -> dict[str, str]:
    """Python's and the main libraries' versions, read from their metadata: nothing is imported."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def hash_input(value: Any, name: str = "input") -> list[dict[str, str]]:
    """{path, sha256} of a file (and of its header file), or of an array's bytes under the name `<array>`.

    Raises:
        InputError: for a file that is not there or cannot be read.
    """
    if isinstance(value, (str, os.PathLike)):
        path = Path(value)
        return [
            {"path": str(file), "sha256": sha256(file)}
            for file in with_companions(path)
            if file == path or file.exists()
        ]
    import numpy as np

    data = value.detach().cpu().numpy() if hasattr(value, "detach") else getattr(value, "dataobj", value)
    try:
        array = np.ascontiguousarray(np.asanyarray(data))
        if array.dtype == object:
            return []
        digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.view(np.uint8).data if array.size else b"")
    except (TypeError, ValueError):
        return []
    return [{"path": f"<{name}: {type(value).__name__} {list(array.shape)}>", "sha256": digest.hexdigest()}]


def sha256(path: Path) -> str:
    """SHA-256 of a file; of a zarr folder, of its files' names and checksums. Raises: InputError where it cannot be read."""
    if path.is_dir() and path.name.lower().endswith(".zarr"):
        digest = hashlib.sha256()
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(f"{file.relative_to(path).as_posix()} {sha256(file)}\n".encode())
        return digest.hexdigest()
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", "is the name right?") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a folder where a file was wanted") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def plain(value: Any) -> Any:
    """The value as JSON knows it: tensors' and arrays' scalars as numbers, paths as text, not-a-number as null."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, bool) or value is None or isinstance(value, (int, str)):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    return str(value)


def to_json(record: Any) -> str:
    """One JSON text, the same for the same content."""
    return json.dumps(plain(record), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
