"""Many results on one page and in one table: what a workflow ends with."""

import csv
import importlib
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from ornstein.core.errors import InputError, UsageError
from ornstein.pipelines import outputs
from ornstein.pipelines.answers import Answer
from ornstein.pipelines.report import Report
from ornstein.pipelines.signature import Option

SHOWN = {
    "mri": ("ornstein.pipelines.mri_pictures:show", "psnr_head"),
    "speech": ("ornstein.pipelines.speech_pictures:show", "estoi"),
    "atmosphere": ("ornstein.pipelines.atmosphere_pictures:show", "-crps"),
    "molecule": ("ornstein.pipelines.molecule_pictures:show", "valid_unique"),
    "graph": ("ornstein.pipelines.graph_pictures:show", "valid"),
}
"""For each domain the function of (report, result, reference or None) that shows one result, and the measure by which the
worst are shown first: the more, the better, or, behind a minus, the less, the better."""


@dataclass(frozen=True)
class Entry:
    """One result.

    Args:
        name: the file's name without suffix, or its path where two files have one name.
        path: the file.
        record: its sidecar.
        measures: of its evaluation; empty where there was none.
        reference: what it was compared with, or None.
    """

    name: str
    path: Path
    record: dict[str, Any]
    measures: dict[str, Any] = field(default_factory=dict)
    reference: Path | None = None

    @property
    def numbers(self) -> dict[str, Any]:
        """The measures of the evaluation and of the run, numbers only; where both have one, the evaluation's."""
        every = self.measures | {k: v for k, v in self.record.get("measures", {}).items() if k not in self.measures}
        return {name: value for name, value in every.items() if isinstance(value, (int, float))}

    def merit(self, key: str) -> float:
        """The measure that `SHOWN` names as `key`, the more the better; infinite where it is not known.

        Where fields have measures of their own (`t2m_crps`), the first field's.
        """
        name = key.removeprefix("-")
        fields = (value for known, value in self.numbers.items() if known.endswith(f"_{name}"))
        value = self.numbers.get(name, next(fields, None))
        if value is None:
            return float("inf")
        return float(-value if key.startswith("-") else value)

    @property
    def row(self) -> dict[str, Any]:
        """Its line of the table."""
        parameters, model = self.record.get("parameters", {}), self.record.get("model") or {}
        return {
            "name": self.name,
            "method": parameters.get("method"),
            "model": model.get("name"),
            **self.numbers,
            "seconds": self.record.get("seconds"),
            "warnings": len(self.record.get("warnings", [])),
            "result": str(self.path),
            "reference": None if self.reference is None else str(self.reference),
        }


def summarise(
    domain: str,
    *files: str,
    output: str = "report.html",
    table: str | None = None,
    pictures: Annotated[int, Option(low=0)] = 12,
    overwrite: bool = False,
) -> Answer:
    """Puts many results on one page and into one table.

    Args:
        domain: the science, such as mri
        files: results, each with its sidecar beside it, and what `ornstein evaluate --json` said of them (.json)
        output: the page to write
        table: a table to write as well, tab-separated, one line a result
        pictures: show pictures of this many results, the worst first where references are known
        overwrite: replace files that exist

    Raises:
        UsageError: for an unknown domain, or a file that may not be written.
        InputError: for a result without a sidecar, an evaluation of another file.
    """
    if domain not in SHOWN:
        raise UsageError(f"domain {domain!r} has no such report", f"known: {', '.join(SHOWN)}")
    place, key = SHOWN[domain]
    page_path = outputs.check_target(output, (".html", ".htm"), overwrite)
    table_path = outputs.check_target(table, (".tsv",), overwrite) if table else None
    entries = _entries([Path(file) for file in files])
    page = _page(domain, entries, pictures, key, _function(place))
    if table_path is not None:
        outputs.write_text(table_path, tab_separated([entry.row for entry in entries]), overwrite)
    page.save(page_path, overwrite=overwrite)
    record = {"report": str(page_path), "table": table, "results": [entry.row for entry in entries]}
    return Answer(record, f"{page_path}: {len(entries)} results" + (f"; table in {table_path}" if table_path else ""))


def tab_separated(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as a tab-separated table; a column stands where any row has it, empty where a row has it not."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(rows), restval="", delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _page(
    domain: str, entries: list[Entry], pictures: int, key: str, show: Callable[[Report, Path, Path | None], None]
) -> Report:
    medical = any("use" in entry.record for entry in entries)
    page = Report(
        f"{domain.upper() if len(domain) <= 3 else domain}: {len(entries)} result{'s' * (len(entries) != 1)}",
        medical=medical,
    )
    numbers = [{"name": entry.name, **entry.numbers} for entry in entries]
    columns = _columns(numbers)
    page.section("Measures").table([[row.get(column) for column in columns] for row in numbers], columns)
    page.warnings([f"{entry.name}: {text}" for entry in entries for text in entry.record.get("warnings", [])])
    worst = sorted(entries, key=lambda entry: entry.merit(key))
    if pictures < len(entries):
        by = f"by {key.removeprefix('-')}, where it was measured"
        page.text(f"Pictures of {pictures} of them follow, the worst first ({by}).")
    for entry in worst[:pictures]:
        page.part(entry.name)
        show(page, entry.path, entry.reference)
        page.provenance(entry.record | {"measures": entry.numbers})
    return page


def _entries(files: list[Path]) -> list[Entry]:
    """The results among the files, each with its evaluation."""
    # Graphs are JSON, too: a result is known by its sidecar.
    said_of = [file for file in files if file.suffix == ".json" and not outputs.sidecar(file).is_file()]
    evaluations = {file: _json(file) for file in said_of}
    results = [file for file in files if file not in evaluations]
    if not results:
        raise UsageError("no results among the files", "name the files that `ornstein ... -o FILE` wrote")
    of = {}
    for file, said in evaluations.items():
        if "result" not in said or "reference" not in said:
            raise InputError(f"{file}: not an evaluation", "give what `ornstein evaluate DOMAIN ... --json` printed")
        of[Path(said["result"]).resolve()] = said
    strange = set(of) - {file.resolve() for file in results}
    if strange:
        raise InputError(f"{min(strange)} was evaluated, but is not among the results", "name it too")
    stems = [outputs.split_suffix(file)[0] for file in results]
    return [
        _entry(file, stem if stems.count(stem) == 1 else str(file), of.get(file.resolve(), {}))
        for file, stem in zip(results, stems, strict=True)
    ]


def _entry(file: Path, name: str, said: dict[str, Any]) -> Entry:
    if not file.exists():  # a zarr folder is a file, too
        raise InputError(f"{file}: no such file", "is the name right?")
    apart = ("result", "reference", "warnings", "fit_scale")
    measures = {name: value for name, value in said.items() if name not in apart}
    reference = Path(said["reference"]) if said else None
    return Entry(name, file, _json(outputs.sidecar(file)), measures, reference)


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as JSON: {error}", "is it beside the result?") from None
    if not isinstance(found, dict):
        raise InputError(f"{file}: not a JSON object", "give what the command line wrote")
    return found


def _columns(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Every key of any row, in the order of appearance."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _function(place: str) -> Callable[..., Any]:
    module, _, name = place.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function
