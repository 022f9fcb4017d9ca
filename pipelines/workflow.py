"""Workflows for many files: a copy of one, to be set up and run where the data are."""

import importlib.resources
import shlex
import shutil
from pathlib import Path

from ornstein.core.errors import UsageError
from ornstein.pipelines import outputs
from ornstein.pipelines.answers import Answer


def workflows() -> dict[str, Path]:
    """The shipped workflows: every folder of `workflows/` that holds a Snakefile (itself or in `workflow/`)."""
    root = Path(str(importlib.resources.files("ornstein"))) / "workflows"
    folders = sorted(root.iterdir()) if root.is_dir() else []
    return {
        folder.name: folder
        for folder in folders
        if any((folder / name).is_file() for name in ("Snakefile", "workflow/Snakefile"))
    }


def init(name: str, folder: str) -> Answer:
    """Copies a workflow into a new folder.

    Args:
        name: the workflow, such as mri
        folder: the folder to make
    """
    known = workflows()
    if name not in known:
        raise UsageError(f"workflow {name!r} is unknown", f"known: {', '.join(known) or 'none'}")
    target = outputs.check_target(folder)
    ignored = shutil.ignore_patterns("__pycache__", ".snakemake", "results", "*.pyc")
    with outputs.staged(target) as staging:
        shutil.copytree(known[name], staging, ignore=ignored)
    files = sorted(str(file.relative_to(target)) for file in target.rglob("*") if file.is_file())
    text = f"{target}: {len(files)} files\nSet up {target}/config, then: cd {shlex.quote(str(target))} && snakemake --workflow-profile profiles/local"
    return Answer({"workflow": name, "folder": str(target), "files": files}, text)
