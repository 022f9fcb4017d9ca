"""The picture of docs/solvers.md: error against evaluations, from the kept results of `solvers.py`."""

from typing import Any

OURS = {"auto": "auto", "auto-no-teleport": "auto, no teleport"}
PEERS = {
    ("azula", "zEAB3 K"): "azula zEAB3",
    ("diffusers", "DPM++ 3M L"): "diffusers DPM++ 3M",
    ("diffusers", "UniPC3 L"): "diffusers UniPC3",
    ("k-diffusion", "DPM++ 2M K"): "k-diffusion DPM++ 2M",
    ("diffusers", "DDIM U"): "diffusers DDIM",
}
TITLES = {
    "gmm2": "8 modes, 2 dimensions", "gmm64": "10 modes, 64 dimensions", "gauss64": "Gaussian, 64 dimensions",
    "mri-prior": "MRI prior, 128 x 128",
}  # fmt: skip


def draw(rows: list[dict[str, Any]], path: str) -> None:
    """One panel a target, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "ornstein"  # the same bytes for the same numbers
    from matplotlib import pyplot as plt

    targets = [name for name in TITLES if any(row["target"] == name for row in rows)]
    figure, axes = plt.subplots(1, len(targets), figsize=(3.3 * len(targets), 3.6), squeeze=False)
    curves = [(("ornstein", name), label) for name, label in OURS.items()] + list(PEERS.items())
    for target, axis in zip(targets, axes[0], strict=True):
        budgets = sorted({row["evaluations"] for row in rows if row["target"] == target})
        for i, (key, label) in enumerate(curves):
            mine = {
                r["evaluations"]: r["rmse"]
                for r in rows
                if (r["library"], r["sampler"]) == key and r["target"] == target
            }
            if mine:
                ours = key[0] == "ornstein"
                style = {"color": ("#b3261e", "#e58a84")[i], "lw": 2.2, "zorder": 3} if ours else {"lw": 1.2}
                axis.plot(list(mine), list(mine.values()), marker="o", ms=3.5, label=label, **style)
        axis.set(xscale="log", yscale="log", title=TITLES[target], xlabel="evaluations")
        axis.set_xticks(budgets, [str(n) for n in budgets])
        axis.minorticks_off()
        axis.grid(alpha=0.3, lw=0.5)
    axes[0][0].set_ylabel("root-mean-square error")
    shown = {label: handle for axis in axes[0] for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(shown.values(), shown.keys(), loc="lower center", ncols=4, frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.13, 1, 1))
    figure.savefig(path, dpi=150, metadata={"Date": None} if path.endswith(".svg") else None)
