"""Pictures of graphs that lie in files."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ornstein.pipelines.report import Report

SHOWN = 8
"""Graphs in a picture."""


def show(report: "Report", result: Path, reference: Path | None = None) -> None:
    """Adds a picture of the first graphs of a file, and of its reference where there is one.

    Args:
        report: the page.
        result: the graphs that `graph generate` wrote.
        reference: graphs that no one trained on, or None.

    Raises:
        InputError: for files that hold no graphs.
    """
    from ornstein.datasets.graphs import read_graphs
    from ornstein.pipelines.graph_results import drawing

    for path, whose in ((result, "result"), (reference, "reference")):
        if path is not None:
            report.picture(drawing(read_graphs(path)[:SHOWN]), f"The first graphs of the {whose}, laid out by springs.")
