"""The doctor: whether this installation can work, and with what."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ornstein.core.errors import OrnsteinError
from ornstein.pipelines import models, runtime
from ornstein.pipelines.answers import Answer

EXTRAS = {"workflows": "snakemake", "maps": "cartopy", "docs": "mkdocs", "pesq": "pesq"}


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Args:
        name: what.
        state: `ok`; `note`, where something is missing that one can do without; `fault`, where nothing will work.
        found: in a few words.
    """

    name: str
    state: Literal["ok", "note", "fault"]
    found: str


def doctor() -> Answer:
    """Checks this installation: Python, libraries, devices, memory, disk, the models' checksums."""
    looks: list[Callable[[], list[Finding]]] = [_python, _libraries, _devices, _room, _models, _extras]
    findings = [finding for look in looks for finding in look()]
    faults = [f for f in findings if f.state == "fault"]
    width = max(len(f.name) for f in findings)
    lines = [f"{f.state:5}  {f.name:{width}}  {f.found}" for f in findings]
    lines.append("usable" if not faults else f"not usable: {', '.join(f.name for f in faults)}")
    record = {
        "usable": not faults,
        "findings": [{"name": f.name, "state": f.state, "found": f.found} for f in findings],
    }
    return Answer(record, "\n".join(lines), code=1 if faults else 0)


def _python() -> list[Finding]:
    fine = sys.version_info >= (3, 11)
    return [
        Finding("ornstein", "ok", importlib.metadata.version("ornstein")),
        Finding("python", "ok" if fine else "fault", f"{platform.python_version()} on {platform.platform(terse=True)}"),
    ]


def _libraries() -> list[Finding]:
    """Every dependency that the package itself declares, found or not, by its metadata."""
    found = []
    for requirement in importlib.metadata.requires("ornstein") or ():
        if "extra ==" in requirement:
            continue
        name = requirement.split(";")[0].strip()
        for sign in "=<>!~ [":
            name = name.split(sign)[0]
        try:
            found.append(Finding(name, "ok", importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            found.append(Finding(name, "fault", f"missing; wanted {requirement}"))
    return found


def _devices() -> list[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    findings = [Finding("processor", "ok", f"{cores} cores")]
    try:
        import torch
    except Exception as error:  # a broken installation fails in many ways
        return [*findings, Finding("torch import", "fault", f"{type(error).__name__}: {error}")]
    if not torch.cuda.is_available():
        return [*findings, Finding("GPU", "note", "none that torch can use; everything runs on the processor")]
    for i in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(i).total_memory / runtime.GB
        findings.append(Finding(f"cuda:{i}", "ok", f"{torch.cuda.get_device_name(i)}, {memory:.0f} GB"))
    return findings


def _room() -> list[Finding]:
    memory, disk = runtime.available_memory() / runtime.GB, shutil.disk_usage(os.getcwd()).free / runtime.GB
    return [
        Finding("free memory", "ok" if memory > 4 else "note", f"{memory:.1f} GB"),
        Finding("free disk here", "ok" if disk > 2 else "note", f"{disk:.1f} GB"),
    ]


def _models() -> list[Finding]:
    findings = []
    for folder in models.weights_folders():
        try:
            findings.append(Finding(f"model {models.find_model(folder).name}", "ok", "checksum agrees"))
        except OrnsteinError as error:
            findings.append(Finding(f"model {folder.name}", "fault", str(error)))
    return findings or [Finding("models", "note", "none is shipped")]


def _extras() -> list[Finding]:
    return [
        Finding(
            f"extra {extra}",
            "ok" if importlib.util.find_spec(module) else "note",
            "installed" if importlib.util.find_spec(module) else "not installed",
        )
        for extra, module in EXTRAS.items()
    ]
