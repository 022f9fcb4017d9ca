"""The quickstart: every domain on a small input, beside its classical methods, in one report."""

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from ornstein.core.errors import UsageError
from ornstein.pipelines import outputs
from ornstein.pipelines.answers import Answer, table
from ornstein.pipelines.console import Console, duration
from ornstein.pipelines.options import Device, Seed
from ornstein.pipelines.report import Report
from ornstein.pipelines.signature import Option

DEMONSTRATIONS = {
    "mri": "ornstein.pipelines.mri_quickstart:demonstrate",
    "speech": "ornstein.pipelines.speech_quickstart:demonstrate",
    "atmosphere": "ornstein.pipelines.atmosphere_quickstart:demonstrate",
    "molecule": "ornstein.pipelines.molecule_quickstart:demonstrate",
    "graph": "ornstein.pipelines.graph_quickstart:demonstrate",
}
"""For each domain a function of (folder, report, device, seed, console) that gives a `Demonstration`."""

MARK, MARKED = "README.txt", "`ornstein quickstart` made this folder. Run again, it replaces what it made.\n"
"""The file by which a quickstart knows its own folder, and what stands in it."""


@dataclass(frozen=True)
class Demonstration:
    """What a domain showed.

    Args:
        head: names of the columns.
        rows: one a method, the method's name first.
        model: {name, sha256} of the model.
        said: one sentence on the outcome.
    """

    head: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    model: dict[str, str] | None
    said: str


def quickstart(
    folder: str = "ornstein-quickstart",
    *,
    device: Device = "auto",
    seed: Seed = 0,
    overwrite: bool = False,
    console: Annotated[Console | None, Option(hidden=True)] = None,
) -> Answer:
    """Runs every domain on a small input, compares with the classical methods and writes report.html.

    Args:
        folder: where the inputs, the results and report.html go; what an earlier quickstart left there is replaced
        overwrite: also write into a folder that holds other files

    Raises:
        UsageError: for a folder that cannot be made, or holds other files.
    """
    console = console or Console()
    root = _own_folder(Path(folder), overwrite)
    start = time.monotonic()
    page = Report("Ornstein quickstart", medical=True)
    page.text(
        "Each domain on a small input, with the model that ships with Ornstein and with the classical methods beside it. "
        f"The inputs and results are in {root.resolve()}."
    )
    shown: dict[str, Demonstration] = {}
    for domain, place in DEMONSTRATIONS.items():
        module, _, name = place.partition(":")
        demonstrate: Callable[..., Demonstration] = getattr(importlib.import_module(module), name)
        (root / domain).mkdir(exist_ok=True)
        page.part(domain.upper() if len(domain) <= 3 else domain.capitalize())
        shown[domain] = demonstrate(root / domain, page, device, seed, console)
    page.save(root / "report.html", overwrite=True)
    lines = []
    for domain, one in shown.items():
        lines += [f"{domain}: {one.said}", "", table(one.rows, one.head), ""]
    lines.append(f"{root / 'report.html'} written in {duration(time.monotonic() - start)}")
    record = {
        "report": str(root / "report.html"),
        "seconds": time.monotonic() - start,
        "domains": {
            domain: {
                "model": one.model,
                "methods": {row[0]: dict(zip(one.head[1:], row[1:], strict=True)) for row in one.rows},
                "said": one.said,
            }
            for domain, one in shown.items()
        },
    }
    return Answer(record, "\n".join(lines))


def _own_folder(root: Path, overwrite: bool) -> Path:
    """The folder, made and marked as the quickstart's own, so that the next one may replace what it holds."""
    outputs.check_target(root, overwrite=True)
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root} is a file", "give another folder")
    mark = root / MARK
    ours = mark.is_file() and mark.read_text(encoding="utf-8", errors="replace") == MARKED
    if root.is_dir() and any(root.iterdir()) and not ours and not overwrite:
        raise UsageError(f"{root} holds other files", "give another folder, or write into it with --overwrite")
    root.mkdir(exist_ok=True)
    outputs.write_text(mark, MARKED, overwrite=True)
    return root
