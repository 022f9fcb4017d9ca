"""A result: what a pipeline gives back, able to write itself with its provenance and to tell about itself."""

import os
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ornstein.core.errors import UsageError
from ornstein.pipelines import outputs, runtime
from ornstein.pipelines.provenance import Provenance, to_json

if TYPE_CHECKING:
    from ornstein.pipelines.report import Report


class Result(ABC):
    """What a run made.

    Attributes:
        measures: quality and data consistency, name to number.
        warnings: what a reader of the result should know, one sentence each.
        model: `name` and `sha256` of the model that was used, None where there was none.
        provenance: how the result came about; filled in by the pipeline.
        further: other files that the user named for it, each with the suffixes that it may have; `write` writes them too.
    """

    suffixes: tuple[str, ...] = ()

    def __init__(
        self,
        measures: dict[str, Any] | None = None,
        warnings: list[str] | None = None,
        model: dict[str, str] | None = None,
    ) -> None:
        self.measures = {} if measures is None else measures
        self.warnings = [] if warnings is None else warnings
        self.model = model
        self.provenance: Provenance | None = None
        self.further: dict[Path, tuple[str, ...]] = {}

    @abstractmethod
    def write(self, path: Path) -> None:
        """Writes the result to exactly this path, and what belongs to it under `outputs.sibling` names beside it."""

    @abstractmethod
    def describe(self, report: "Report") -> None:
        """Adds its pictures and tables to a report."""

    @property
    def record(self) -> dict[str, Any]:
        """The sidecar's content."""
        provenance = self.provenance or Provenance("", [], {})
        return provenance.record(self.model, self.measures, self.warnings)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes the result and its sidecar `PATH.json`, each whole or not at all.

        Args:
            path: the file to write; its suffix chooses the format.
            overwrite: replace a file that is there.

        Raises:
            UsageError: for a path that cannot be written, or is there already.
        """
        target = outputs.check_target(path, self.suffixes, overwrite)
        for place, suffixes in self.further.items():
            outputs.check_target(place, suffixes, overwrite)
            if place.resolve() == target.resolve():
                raise UsageError(f"{place} is asked for twice, by two options", "give each output a name of its own")
        start = time.perf_counter()
        with outputs.staged(target, overwrite) as staging:
            self.write(staging)
            if self.provenance is not None:
                self.provenance.seconds += time.perf_counter() - start
                self.provenance.peak_memory_bytes = max(self.provenance.peak_memory_bytes, runtime.peak_memory())
            outputs.sidecar(staging).write_text(to_json(self.record), encoding="utf-8")

    def report(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes one self-contained HTML page about the result. Raises: UsageError as `save`."""
        from ornstein.pipelines.report import Report

        outputs.check_target(path, (".html", ".htm"), overwrite)
        page = Report(self.title, medical=self.provenance is not None and self.provenance.medical)
        self.describe(page)
        page.provenance(self.record)
        page.save(path, overwrite=overwrite)

    @property
    def title(self) -> str:
        """The report's headline."""
        return type(self).__name__
