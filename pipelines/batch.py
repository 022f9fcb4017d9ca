"""Many inputs, one command: what is to be made from what, decided before any work starts."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ornstein.core.errors import InputError, UsageError
from ornstein.pipelines import outputs


@dataclass(frozen=True)
class Job:
    """One input and its target.

    Args:
        source: the input file, None where the verb takes none.
        target: the output file.
        done: whether the target and its sidecar stand already, so that a resumed batch has nothing to do.
    """

    source: Path | None
    target: Path
    done: bool = False


@dataclass(frozen=True)
class Plan:
    """The jobs of one command.

    Args:
        jobs: in the order of the inputs.
        batch: whether the output is a folder: then a job that fails does not stop the others.
    """

    jobs: list[Job]
    batch: bool


def plan(
    sources: Sequence[str],
    output: str,
    read: Sequence[str],
    written: Sequence[str],
    overwrite: bool = False,
    resume: bool = False,
) -> Plan:
    """The jobs for these inputs; the folders that they need are made.

    Args:
        sources: files and folders; of a folder, every file with a suffix of `read`, also in folders below it.
        output: a file for one input; a folder for a folder or several inputs, in which relative paths are kept.
        read: suffixes of the inputs.
        written: suffixes of the outputs; the first is given to the outputs of a batch.
        overwrite: replace files that are there.
        resume: leave out what is there.

    Raises:
        UsageError: for an output that exists, a missing folder, two inputs with one target, an input as target.
        InputError: for a folder without any input.
    """
    if overwrite and resume:
        raise UsageError(
            "--overwrite and --resume contradict each other", "--resume keeps what is there, --overwrite replaces it"
        )
    paths = [Path(source) for source in sources]
    batch = len(paths) > 1 or any(_is_folder(path) for path in paths)
    into_folder = batch or (Path(output).is_dir() and bool(paths))
    if not into_folder:
        pairs = [(paths[0] if paths else None, Path(output))]
    else:
        pairs = _pairs(paths, Path(output), read, written[0])
    _check_collisions(pairs, paths)
    if batch:
        outputs.check_target(output, overwrite=True)  # the folder above must be there
    jobs = []
    for source, target in pairs:
        done = resume and target.exists() and _finished(target)
        if batch:
            if Path(output).exists() and not Path(output).is_dir():
                raise UsageError(f"{output} is a file, and {len(pairs)} results want a folder", "give a folder with -o")
            if target.exists() and not (overwrite or done):
                hint = (
                    "it has no sidecar, so that nothing tells whether it is whole" if resume else "go on with --resume"
                )
                raise UsageError(f"{target} exists already", f"{hint}; replace it with --overwrite")
        else:
            outputs.check_target(target, written, overwrite or done)
        jobs.append(Job(source, target, done))
    if batch:
        for job in jobs:
            try:
                job.target.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(f"{job.target.parent}: the folder cannot be made: {error.strerror}") from None
    return Plan(jobs, batch)


def _pairs(paths: list[Path], output: Path, read: Sequence[str], suffix: str) -> list[tuple[Path | None, Path]]:
    pairs: list[tuple[Path | None, Path]] = []
    for path in paths:
        if not _is_folder(path):
            pairs.append((path, output / (outputs.split_suffix(path)[0] + suffix)))
            continue
        found = sorted(file for file in path.rglob("*") if _is_input(file, path, output, read))
        if not found:
            raise InputError(f"{path}: no file that ends in {', '.join(read)}", "give the folder that holds the inputs")
        pairs += [
            (file, output / file.relative_to(path).parent / (outputs.split_suffix(file)[0] + suffix)) for file in found
        ]
    return pairs


def _is_input(file: Path, folder: Path, output: Path, read: Sequence[str]) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    inside_output = output.resolve() != folder.resolve() and output.resolve() in file.resolve().parents
    inside_store = any(_is_store(parent) for parent in file.relative_to(folder).parents)
    readable = file.name.lower().endswith(tuple(read)) and not _is_folder(file)
    return not hidden and not inside_output and not inside_store and readable


def _is_store(path: Path) -> bool:
    """Whether a path is a zarr store by its name: a folder that is one input."""
    return path.name.lower().endswith(".zarr")


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not _is_store(path)


def _check_collisions(pairs: list[tuple[Path | None, Path]], paths: list[Path]) -> None:
    first: dict[Path, Path | None] = {}
    inputs = {source.resolve() for source, _ in pairs if source is not None}
    for source, target in pairs:
        if target in first:
            raise UsageError(
                f"{first[target]} and {source} would both become {target}", "rename one, or run them apart"
            )
        if target.resolve() in inputs:
            raise UsageError(f"{target} is an input", "choose another output")
        first[target] = source


def _finished(target: Path) -> bool:
    """Whether a target's sidecar stands and can be read: it is put in place before the target."""
    try:
        return isinstance(json.loads(outputs.sidecar(target).read_text(encoding="utf-8")), dict)
    except (OSError, ValueError):
        return False
