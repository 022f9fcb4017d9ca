"""Measures of a result against a reference, as a command answers them: a table, or JSON."""

from collections.abc import Mapping
from typing import Any

from ornstein.pipelines.answers import Answer, table


def answer(result: str, reference: str, measures: Mapping[str, Any], notes: Mapping[str, Any] | None = None) -> Answer:
    """The measures by name, with what they were taken from; `notes` go to the JSON only."""
    record = {"result": str(result), "reference": str(reference), **measures, **(notes or {})}
    rows = [[name, value] for name, value in measures.items() if isinstance(value, (int, float))]
    return Answer(record, table(rows, ["measure", "value"]))
