"""What docs/inverse.md shows of the kept results of `posterior.py`: a picture and a table."""

import re
from pathlib import Path
from typing import Any

Row = dict[str, Any]
LIMIT = 40.0  # of the picture, times what exact samples score
BEGIN, END = "<!-- results -->", "<!-- end of results -->"
TITLES = {"gauss": "Gaussian prior", "gmm4": "four modes"}
COLOURS = {"ornstein": "#1f77b4", "azula": "#e08a1e", "deepinv": "#2a9d4e"}


def draw(rows: list[Row], path: str) -> None:
    """A panel for each prior, a line for each method: errors of the mean and of the covariance over those of exact samples."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "ornstein"  # the same bytes for the same numbers
    from matplotlib import pyplot as plt

    methods = list(dict.fromkeys((row["library"], row["method"]) for row in rows))
    figure, axes = plt.subplots(1, len(TITLES), figsize=(10, 1.2 + 0.24 * len(methods)), sharey=True)
    for (prior, title), axis in zip(TITLES.items(), axes, strict=True):
        for row in (row for row in rows if row["prior"] == prior):
            key = row["library"], row["method"]
            mean, covariance = (min(row[f"{k}_error"] / row[f"exact_{k}_error"], LIMIT) for k in ("mean", "covariance"))
            colour, place = "#b3261e" if row["method"] == "auto" else COLOURS[row["library"]], -methods.index(key)
            axis.plot([mean, covariance], [place, place], color=colour, lw=0.8, alpha=0.5)
            axis.plot([mean], [place], "o", color=colour, ms=5)
            axis.plot([covariance], [place], "s", color=colour, ms=5, mfc="white")
        axis.axvline(1, color="#7a7a7a", lw=0.8, zorder=0)
        axis.set(
            xscale="log",
            title=title,
            xlabel=f"error, exact samples = 1 (at most {LIMIT:.0f} drawn)",
            xlim=(0.7, 1.2 * LIMIT),
        )
        axis.grid(axis="x", alpha=0.3, lw=0.5)
    axes[0].set_yticks(
        [-n for n in range(len(methods))], [f"{library} {name}" for library, name in methods], fontsize=8
    )
    marks = [plt.Line2D([], [], marker=m, lw=0, color="#444444", mfc=f) for m, f in (("o", "#444444"), ("s", "white"))]
    figure.legend(marks, ["mean", "covariance"], loc="lower center", ncols=2, frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.savefig(path, metadata={"Date": None} if path.endswith(".svg") else None)


def summary(rows: list[Row]) -> str:
    """A Markdown table: a row for each method, mean / covariance / coverage in a column for each prior."""
    floor = {r["prior"]: (r["exact_mean_error"], r["exact_covariance_error"]) for r in rows}
    head = " | ".join(f"{title}: mean / covariance / coverage" for title in TITLES.values())
    lines = [f"| method, evaluations | VJPs | {head} | seconds |", "|---" * (len(TITLES) + 3) + "|"]
    exact = " | ".join("{:.3f} / {:.3f} / .90".format(*floor[prior]) for prior in TITLES)
    lines.append(f"| exact samples | | {exact} | |")
    for library, method in dict.fromkeys((r["library"], r["method"]) for r in rows):
        found = {r["prior"]: r for r in rows if (r["library"], r["method"]) == (library, method)}
        cells = []
        for prior in TITLES:
            r = found.get(prior)
            if r is None or r["covariance_error"] > 100:
                cells.append("–" if r is None else "diverges")
            else:
                cells.append(f"{r['mean_error']:.3f} / {r['covariance_error']:.3f} / {r['coverage90']:.2f}")
        vjps = " / ".join(str(found[prior]["vjps"]) for prior in TITLES if prior in found)
        calls = " / ".join(str(found[prior]["evaluations"]) for prior in TITLES if prior in found)
        seconds = " / ".join(f"{found[prior]['seconds']:.0f}" for prior in TITLES if prior in found)
        name = f"`{method}`, {calls}" if method.startswith("auto") else method
        name = name if library == "ornstein" else f"{library} {name}"
        lines.append(f"| {name} | {vjps} | {' | '.join(cells)} | {seconds} |")
    return "\n".join(lines)


def write_table(rows: list[Row], path: str) -> None:
    """Puts the table between the marks of a Markdown file."""
    file = Path(path)
    text, found = re.subn(
        f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n\n{summary(rows)}\n\n{END}", file.read_text(), flags=re.DOTALL
    )
    assert found == 1, f"{path}: {BEGIN} and {END} must stand in it, once"
    file.write_text(text)
