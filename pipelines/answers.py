"""What a command that writes no file says: an object for programs and a text for people."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ornstein.pipelines.provenance import plain


@dataclass(frozen=True)
class Answer:
    """An answer on standard output.

    Args:
        record: for `--json`.
        text: for people.
        code: the exit status.
    """

    record: Mapping[str, Any]
    text: str
    code: int = 0

    def json(self) -> str:
        """The record as one JSON object."""
        return json.dumps(plain(self.record), ensure_ascii=False, allow_nan=False)


def table(rows: Sequence[Sequence[Any]], head: Sequence[str] = ()) -> str:
    """Rows as aligned text: numbers to the right in four figures, words to the left.

    Example:
        >>> print(table([["psnr", 31.25], ["ssim", 0.9]], ["measure", "value"]))
        measure  value
        psnr     31.25
        ssim       0.9
    """
    cells = [[_cell(value) for value in row] for row in rows]
    everything = [list(map(str, head)), *cells] if head else cells
    if not everything:
        return ""
    widths = [max(len(row[i]) for row in everything) for i in range(len(everything[0]))]
    right = [bool(rows) and all(isinstance(row[i], (int, float)) for row in rows) for i in range(len(widths))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width) for cell, width, to_right in zip(row, widths, right)
        ).rstrip()
        for row in everything
    )


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
