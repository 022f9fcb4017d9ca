"""What docs/inverse.md shows of the kept results of `posterior.py`: a picture and a table."""

import re
from pathlib import Path
from typing import Any

Row = dict[str, Any]
BEGIN, END = "<!-- results -->", "<!-- end of results -->"
TITLES = {"gauss": "Gaussian prior", "gmm4": "four modes"}
COLOURS = {"ornstein": "#1f77b4", "azula": "#e08a1e", "deepinv": "#2a9d4e"}


def draw(rows: list[Row], path: str) -> None:
    """A panel for each prior: error of the covariance against that of the mean, both over what exact samples score."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "ornstein"  # the same bytes for the same numbers
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(TITLES), figsize=(11, 4.6))
    for (prior, title), axis in zip(TITLES.items(), axes, strict=True):
        for row in (row for row in rows if row["prior"] == prior):
            x, y = row["mean_error"] / row["exact_mean_error"], row["covariance_error"] / row["exact_covariance_error"]
            ours = row["method"] == "auto"
            colour = "#b3261e" if ours else COLOURS[row["library"]]
            axis.scatter([x], [y], s=70 if ours else 22, color=colour, zorder=3 if ours else 2)
            text = "auto" if ours else f"{row['method']}"
            axis.annotate(text, (x, y), (4, 3), textcoords="offset points", fontsize=6.5, color=colour)
        axis.axvline(1, color="#7a7a7a", lw=0.7)
        axis.axhline(1, color="#7a7a7a", lw=0.7)
        axis.set(xscale="log", yscale="log", title=title, xlabel="error of the mean, exact samples = 1")
        axis.margins(0.15)
        axis.grid(alpha=0.3, lw=0.5)
    axes[0].set_ylabel("error of the covariance, exact samples = 1")
    names = [("auto", "#b3261e"), *((f"{k}'s methods" if k == "ornstein" else k, v) for k, v in COLOURS.items())]
    handles = [plt.Line2D([], [], marker="o", lw=0, color=colour, label=name) for name, colour in names]
    figure.legend(handles=handles, loc="lower center", ncols=len(names), frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
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
            cells.append(
                "–" if r is None else f"{r['mean_error']:.3f} / {r['covariance_error']:.3f} / {r['coverage90']:.2f}"
            )
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
