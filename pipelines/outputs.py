"""Output files: their names, and how they come to be whole or not at all."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from ornstein.core.errors import OrnsteinError, UsageError

DOUBLE = (".nii.gz", ".tar.gz", ".ome.tif")
COMPANIONS = {".cfl": ".hdr"}
"""Formats that keep their header in a file beside: both files are the output (or the input)."""


def split_suffix(path: str | os.PathLike[str]) -> tuple[str, str]:
    """A file's name without its suffix, and the suffix, which may be double.

    Example:
        >>> split_suffix("scans/r.nii.gz"), split_suffix("a.v2.h5")
        (('r', '.nii.gz'), ('a.v2', '.h5'))
    """
    name = Path(path).name
    for suffix in DOUBLE:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)], name[-len(suffix) :]
    return Path(name).stem, Path(name).suffix


def sibling(path: str | os.PathLike[str], tag: str) -> Path:
    """The path of a further output of the same run: sibling("r.nii.gz", "std") is r-std.nii.gz."""
    stem, suffix = split_suffix(path)
    return Path(path).with_name(f"{stem}-{tag}{suffix}")


def sidecar(path: str | os.PathLike[str]) -> Path:
    """The path of an output's provenance: r.nii.gz.json."""
    return Path(path).with_name(Path(path).name + ".json")


def with_companions(path: Path) -> list[Path]:
    """The file and, where its format has one, its header file."""
    other = COMPANIONS.get(path.suffix.lower())
    return [path, path.with_suffix(other)] if other else [path]


def check_target(path: str | os.PathLike[str], suffixes: Sequence[str] = (), overwrite: bool = False) -> Path:
    """The path, if an output may be written there.

    Raises:
        UsageError: for a folder that is not there or cannot be written, a suffix that cannot be written, and a file
            that is there and may not be overwritten.
    """
    path = Path(path)
    if suffixes and not path.name.lower().endswith(tuple(suffixes)):
        raise UsageError(f"{path}: no output of this kind", f"end its name in {' or '.join(suffixes)}")
    folder = path.parent
    if not folder.is_dir():
        raise UsageError(f"{path}: the folder {folder} does not exist", f"make it first: mkdir -p {folder}")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"{path}: the folder {folder} cannot be written", "choose another output folder")
    for file in with_companions(path):
        if (file.exists() or file.is_symlink()) and not overwrite:
            raise UsageError(f"{file} exists already", "choose another name, or replace it with --overwrite")
    if path.is_dir() and suffixes and not path.name.lower().endswith(".zarr"):
        raise UsageError(f"{path} is a folder, not a file", "choose another name")
    return path


@contextlib.contextmanager
def staged(target: Path, overwrite: bool = False) -> Iterator[Path]:
    """A path of the target's name in a hidden folder beside it; what is written there moves to its place at the end.

    All files that stand in the folder when the block ends are put beside the target, the target itself last: where it
    stands, everything that belongs to it stands. If the block raises, nothing is left.

    Raises:
        UsageError: as `check_target`.
        OrnsteinError: where the disk is full or the folder goes away.
    """
    check_target(target, overwrite=overwrite)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    try:
        yield folder / target.name
        made = sorted(folder.iterdir(), key=lambda file: (file.name == target.name, file.name))
        assert made and made[-1].name == target.name, f"{target.name} was not written: {[file.name for file in made]}"
        for file in made:
            _flush(file)
        for file in made:
            place = target.with_name(file.name)
            if place.is_dir() and not place.is_symlink():  # a folder cannot be replaced by a rename
                os.replace(place, folder / f"{file.name}.old")
            os.replace(file, place)
    except OSError as error:
        if (error.filename is None and error.errno is None) or isinstance(error, BrokenPipeError):
            raise
        raise OrnsteinError(
            f"{target}: writing failed: {error.strerror or error}", "is the disk full or read-only?"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_text(target: Path, text: str, overwrite: bool = False) -> None:
    """A small text file, whole or not at all."""
    with staged(Path(target), overwrite) as path:
        path.write_text(text, encoding="utf-8")


def _flush(path: Path) -> None:
    """Puts a file's bytes on the disk, so that the rename never outlives them (a power cut leaves no empty target)."""
    if path.is_dir():
        return
    with open(path, "rb") as file, contextlib.suppress(OSError):
        os.fsync(file.fileno())
