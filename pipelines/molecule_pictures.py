"""Pictures of molecules that lie in files."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ornstein.pipelines.report import Report

SHOWN = 12
"""Molecules in a picture."""


def show(report: "Report", result: Path, reference: Path | None = None) -> None:
    """Adds a picture of the first different molecules of a file, and of its reference where there is one.

    Args:
        report: the page.
        result: the molecules that `molecule generate` wrote.
        reference: molecules that no one trained on, or None.

    Raises:
        InputError: for files that cannot be read.
    """
    from ornstein.datasets.molecule_files import first_molecules
    from ornstein.datasets.molecules import canonical
    from ornstein.pipelines.molecule_results import grid

    for path, whose in ((result, "result"), (reference, "reference")):
        if path is None:
            continue
        first = first_molecules(path, SHOWN)
        if not first:
            report.text(f"No molecule in the {whose}.")
            continue
        for molecule in first:
            molecule.RemoveAllConformers()  # an SDF's are in space; drawn is the plane
        report.picture(grid(first, [canonical(m) for m in first]), f"The first different molecules of the {whose}.")
