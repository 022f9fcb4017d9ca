"""A report: one HTML page that carries its pictures in itself and needs neither network nor script."""

import base64
import html
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ornstein.pipelines import outputs
from ornstein.pipelines.console import duration
from ornstein.pipelines.provenance import RESEARCH_USE, plain

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

STYLE = """
:root { color-scheme: light dark; --back: #fbfaf8; --card: #ffffff; --ink: #22262b; --soft: #666f7a; --line: #e2dfda;
        --accent: #1f5f8b; --note: #fff4d6; --note-ink: #6b4a00; }
@media (prefers-color-scheme: dark) {
  :root { --back: #14171b; --card: #1c2026; --ink: #e4e7ea; --soft: #98a2ae; --line: #30363e;
          --accent: #7fb8e0; --note: #3a2f12; --note-ink: #f3d48a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.3rem; margin: 3rem 0 1rem; padding-top: 1rem; border-top: 2px solid var(--line); overflow-wrap: anywhere; }
h3 { font-size: 1.05rem; margin: 2rem 0 .75rem; color: var(--accent); }
p { max-width: 46rem; margin: .5rem 0 1rem; }
.soft { color: var(--soft); }
.note { background: var(--note); color: var(--note-ink); border-radius: 6px; padding: .6rem .9rem; margin: 1rem 0; }
.note ul { margin: 0; padding-left: 1.1rem; }
figure { margin: 1rem 0 1.5rem; background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: .75rem; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .5rem; }
.wide { overflow-x: auto; margin: 1rem 0 1.5rem; }
table { border-collapse: collapse; font-size: .93rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
td:first-child { white-space: nowrap; }
td.number { text-align: right; white-space: nowrap; }
th.number { text-align: right; }
code { font: .88em ui-monospace, "Cascadia Mono", "Liberation Mono", monospace; overflow-wrap: anywhere; white-space: pre-wrap; }
"""


INK = "#7c8590"


class Report:
    """A page that is put together from the top down.

        Report("Head 7").section("Pictures").picture(image, "the middle slice").table(rows).save("head.html")

    Args:
        title: the headline.
        medical: whether the research-use line stands on top.
    """

    def __init__(self, title: str, medical: bool = False) -> None:
        self.title = title
        self._body: list[str] = []
        if medical:
            self._body.append(f'<p class="note">{html.escape(RESEARCH_USE[0].upper() + RESEARCH_USE[1:])}.</p>')

    def part(self, heading: str) -> Self:
        """Starts a part, such as one file of several."""
        return self._add(f"<h2>{html.escape(heading)}</h2>")

    def section(self, heading: str) -> Self:
        """Starts a section."""
        return self._add(f"<h3>{html.escape(heading)}</h3>")

    def text(self, paragraph: str) -> Self:
        """A paragraph of plain text."""
        return self._add(f"<p>{html.escape(paragraph)}</p>")

    def picture(self, picture: "np.ndarray | Figure | bytes", caption: str = "") -> Self:
        """A picture with its caption.

        Args:
            picture: a matplotlib figure, the bytes of a PNG, or an array: (height, width) grey in the range of its
                values, (height, width, 3 or 4) colour in [0, 1] or 0 to 255.
            caption: one or two sentences; they are the picture's text for those who cannot see it, too.
        """
        data = base64.b64encode(png(picture)).decode()
        below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
        return self._add(
            f'<figure><img alt="{html.escape(caption, quote=True)}" src="data:image/png;base64,{data}">{below}</figure>'
        )

    def sound(self, flac: bytes, caption: str) -> Self:
        """A player for the bytes of a FLAC file, with its caption."""
        return self._add(
            f'<figure><audio controls src="data:audio/flac;base64,{base64.b64encode(flac).decode()}"></audio>'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        )

    def table(self, rows: Mapping[str, Any] | Sequence[Sequence[Any]], head: Sequence[str] = ()) -> Self:
        """A table: rows of cells, or a mapping of names to values; numbers stand to the right in four figures."""
        rows = [(name, value) for name, value in rows.items()] if isinstance(rows, Mapping) else rows
        if not rows:
            return self
        numeric = [
            all(row[i] is None or _is_number(row[i]) for row in rows) and any(row[i] is not None for row in rows)
            for i in range(len(rows[0]))
        ]
        tag = [' class="number"' if n else "" for n in numeric]
        top = "".join(f"<th{t}>{html.escape(str(name))}</th>" for t, name in zip(tag, head))
        body = "".join(
            "<tr>" + "".join(f"<td{t}>{_shown(value)}</td>" for t, value in zip(tag, row)) + "</tr>" for row in rows
        )
        return self._add(
            f'<div class="wide"><table>{f"<thead><tr>{top}</tr></thead>" if head else ""}<tbody>{body}</tbody></table></div>'
        )

    def warnings(self, warnings: Sequence[str]) -> Self:
        """What the reader should know, set apart; nothing where there is nothing."""
        if not warnings:
            return self
        return self._add(
            f'<div class="note"><ul>{"".join(f"<li>{html.escape(text)}</li>" for text in warnings)}</ul></div>'
        )

    def provenance(self, record: Mapping[str, Any]) -> Self:
        """A sidecar's content: warnings, measures, settings, and where the result comes from."""
        self.warnings(record.get("warnings") or [])
        if measures := record.get("measures"):
            self.section("Measures").table(measures)
        if settings := record.get("parameters"):
            self.section("Settings").table(settings)
        model, inputs = record.get("model") or {}, list(enumerate(record.get("inputs", []), 1))
        self.section("Provenance").table(
            {
                "command": _Code(record.get("command", "")),
                **{f"input{f' {n}' if n > 1 else ''}": _Code(f"{i['path']}\nsha256 {i['sha256']}") for n, i in inputs},
                **({"model": _Code(f"{model.get('name')}\nsha256 {model.get('sha256')}")} if model else {}),
                "seed": record.get("seed"),
                "device": record.get("device"),
                "time": duration(record.get("seconds", 0.0)),
                "peak memory": f"{record.get('peak_memory_bytes', 0) / 1e9:.2f} GB",
                "version": f"ornstein {record.get('ornstein_version')}, "
                + ", ".join(f"{name} {version}" for name, version in record.get("versions", {}).items()),
            }
        )
        return self

    def html(self) -> str:
        """The page."""
        title = html.escape(self.title)
        return (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n'
            f"<body><main><h1>{title}</h1>\n" + "\n".join(self._body) + "\n</main></body></html>\n"
        )

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes the page, whole or not at all. Raises: UsageError where it may not be written."""
        outputs.write_text(Path(path), self.html(), overwrite)

    def _add(self, piece: str) -> Self:
        self._body.append(piece)
        return self


class _Code(str):
    """Text to be set as code."""


def png(picture: Any) -> bytes:
    """A picture as the bytes of a PNG (see `Report.picture`); the same picture gives the same bytes."""
    if isinstance(picture, bytes):
        return picture
    buffer = io.BytesIO()
    if hasattr(picture, "savefig"):
        _for_light_and_dark(picture)
        picture.savefig(buffer, format="png", dpi=110, bbox_inches="tight", transparent=True)
        return buffer.getvalue()
    import numpy as np
    from matplotlib.image import imsave

    array = np.asarray(picture)
    assert array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (3, 4)), (
        f"a picture of shape {array.shape}, wanted (height, width[, 3 or 4])"
    )
    if array.ndim == 2:
        low, high = float(np.nanmin(array)), float(np.nanmax(array))
        array = (np.nan_to_num(array) - low) / ((high - low) or 1.0)
        array = np.repeat(array[..., None], 3, axis=-1)
    if array.dtype != np.uint8:
        array = (np.clip(array, 0, 1) * 255).round().astype(np.uint8)
    imsave(buffer, array, format="png")
    return buffer.getvalue()


def figure(width: float, height: float) -> "Figure":
    """A matplotlib figure without a window system, width and height in inches; it needs no closing."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(made)
    return made


def _for_light_and_dark(figure: "Figure") -> None:
    """Text, ticks and frames in a grey that can be read on the page's light and on its dark ground."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_color(INK)
    for panel in figure.axes:
        panel.tick_params(color=INK)
        for spine in panel.spines.values():
            spine.set_edgecolor(INK)


def _is_number(value: Any) -> bool:
    return isinstance(plain(value), (int, float)) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    value = value if isinstance(value, _Code) else plain(value)
    if isinstance(value, _Code):
        return f"<code>{html.escape(value)}</code>"
    if value is None:
        return '<span class="soft">–</span>'
    if isinstance(value, bool):
        return "yes" if value else "no"
    return html.escape(f"{value:.4g}" if isinstance(value, float) else str(value))
