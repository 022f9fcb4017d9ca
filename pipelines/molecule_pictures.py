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
    from ornstein.datasets.molecules import canonical, parse
    from ornstein.pipelines.molecule_results import grid

    for path, whose in ((result, "result"), (reference, "reference")):
        if path is None:
            continue
        # Drawn from their names: an SDF's coordinates are in space, and its stereocentres arbitrary.
        names = [canonical(molecule) for molecule in first_molecules(path, SHOWN)]
        if names:
            report.picture(
                grid([parse(name) for name in names], names), f"The first different molecules of the {whose}."
            )
        else:
            report.text(f"No molecule in the {whose}.")
