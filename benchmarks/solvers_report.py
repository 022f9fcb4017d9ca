"""What docs/solvers.md shows of the kept results of `solvers.py`: a picture and a table."""

import re
from pathlib import Path
from typing import Any

Row = dict[str, Any]
OURS = {"auto": "auto", "auto-no-teleport": "auto, no teleport"}
PEERS = {
    ("azula", "zEAB3 K"): "azula zEAB3",
    ("diffusers", "DPM++ 3M L"): "diffusers DPM++ 3M",
    ("diffusers", "UniPC3 L"): "diffusers UniPC3",
    ("k-diffusion", "DPM++ 2M K"): "k-diffusion DPM++ 2M",
    ("diffusers", "DDIM U"): "diffusers DDIM",
}
COLOURS = ("#b3261e", "#e58a84", "#1f77b4", "#e08a1e", "#2a9d4e", "#7a7a7a", "#8e63b5")
TITLES = {
    "gmm2": "8 modes, 2 dimensions",
    "gmm64": "10 modes, 64 dimensions",
    "gauss64": "Gaussian, 64 dimensions",
    "mri-prior": "MRI prior, 128 x 128",
}
BEGIN, END = "<!-- results -->", "<!-- end of results -->"


def curve(rows: list[Row], library: str, sampler: str, target: str) -> dict[int, float]:
    """The root-mean-square errors of a sampler by evaluations."""
    key = (library, sampler, target)
    return {r["evaluations"]: r["rmse"] for r in rows if (r["library"], r["sampler"], r["target"]) == key}


def best_peers(rows: list[Row], target: str) -> dict[int, tuple[float, str]]:
    """The least error of a peer by evaluations, and whose it is."""
    best: dict[int, tuple[float, str]] = {}
    for row in rows:
        if row["target"] == target and row["library"] != "ornstein":
            found = (row["rmse"], f"{row['library']} {row['sampler']}")
            best[row["evaluations"]] = min(found, best.get(row["evaluations"], found))
    return best


def draw(rows: list[Row], path: str) -> None:
    """One panel a target, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "ornstein"  # the same bytes for the same numbers
    from matplotlib import pyplot as plt

    targets = [name for name in TITLES if any(row["target"] == name for row in rows)]
    figure, axes = plt.subplots(1, len(targets), figsize=(3.3 * len(targets), 3.6), squeeze=False)
    curves = [(("ornstein", name), label) for name, label in OURS.items()] + list(PEERS.items())
    for target, axis in zip(targets, axes[0], strict=True):
        for i, ((library, sampler), label) in enumerate(curves):
            found = curve(rows, library, sampler, target)
            if found:
                width, order = (2.2, 3) if i < len(OURS) else (1.2, 2)
                style = {"color": COLOURS[i], "lw": width, "zorder": order, "marker": "o", "ms": 3.5, "label": label}
                axis.plot(list(found), list(found.values()), **style)
        budgets = sorted({row["evaluations"] for row in rows if row["target"] == target})
        axis.set(xscale="log", yscale="log", title=TITLES[target], xlabel="evaluations")
        axis.set_xticks(budgets, [str(n) for n in budgets])
        axis.minorticks_off()
        axis.grid(alpha=0.3, lw=0.5)
    axes[0][0].set_ylabel("root-mean-square error")
    shown = {label: handle for axis in axes[0] for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(shown.values(), shown.keys(), loc="lower center", ncols=4, frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.13, 1, 1))
    figure.savefig(path, dpi=150, metadata={"Date": None} if path.endswith(".svg") else None)


def summary(kept: dict[str, Any]) -> str:
    """A Markdown table: ours, the peers of the picture and the best peer of each cell, in rows; targets in columns."""
    rows = kept["rows"]
    targets = [name for name in TITLES if any(row["target"] == name for row in rows)]
    budgets = {name: sorted({row["evaluations"] for row in rows if row["target"] == name}) for name in targets}
    head = [f"`{name}` at {', '.join(map(str, budgets[name]))}" for name in targets]
    lines = [f"| | {' | '.join(head)} | overhead, µs |", "|---" * (len(targets) + 2) + "|"]
    names = [("ornstein", name) for name in ("auto", "auto-no-teleport", "auto-exact-covariance")]
    for library, sampler in [*names, *PEERS]:
        cells = []
        for target in targets:
            found = curve(rows, library, sampler, target)
            cells.append(
                " / ".join(f"{found[n]:.2g}" if n in found else "–" for n in budgets[target]) if found else "–"
            )
        cost = [r["overhead_us"] for r in rows if (r["library"], r["sampler"]) == (library, sampler)]
        name = f"`{sampler}`" if library == "ornstein" else f"{library} {sampler}"
        lines.append(f"| {name} | {' | '.join(cells)} | {min(cost, default=0):.0f} |")
    bests = {name: best_peers(rows, name) for name in targets}
    cells = [" / ".join(f"{bests[t][n][0]:.2g}" if n in bests[t] else "–" for n in budgets[t]) for t in targets]
    lines.append(f"| best peer of each cell | {' | '.join(cells)} | |")
    return "\n".join(lines)


def write_table(kept: dict[str, Any], path: str) -> None:
    """Puts the table between the marks of a Markdown file."""
    file = Path(path)
    text, found = re.subn(
        f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n\n{summary(kept)}\n\n{END}", file.read_text(), flags=re.DOTALL
    )
    assert found == 1, f"{path}: {BEGIN} and {END} must stand in it, once"
    file.write_text(text)
