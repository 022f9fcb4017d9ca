"""How far two sets of graphs are apart: squared maximum mean discrepancies of what is counted in them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from ornstein.datasets.graphs import Graph
from ornstein.domains.graphs.orbits import orbit_counts

CLUSTERING_BINS, SPECTRUM_BINS = 100, 200
KERNELS = ("tv", "emd")


@dataclass(frozen=True)
class Statistic:
    """Something counted in a graph, and the width at which it is compared.

    Args:
        bandwidth: sigma of the Gaussian kernel, in units of the kernel's distance.
        bin: width of a bin for the earth mover's distance; None for a vector that is not a distribution.
        of: what is counted in a graph (bins,).
    """

    bandwidth: float
    bin: float | None
    of: Callable[[Graph], np.ndarray]


def degree_distribution(graph: Graph) -> np.ndarray:
    """The share of nodes of each degree, from 0 up."""
    return _share(np.bincount(_degrees(graph)))


def clustering_distribution(graph: Graph) -> np.ndarray:
    """The share of nodes whose clustering coefficient (triangles over pairs of neighbours) is in each of 100 bins."""
    a, degree = graph.adjacency, _degrees(graph)
    closed = ((a @ a) * a).sum(1)
    possible = degree * (degree - 1)
    coefficient = np.divide(closed, possible, out=np.zeros(len(a)), where=possible > 0)
    return _share(np.histogram(coefficient, CLUSTERING_BINS, (0.0, 1.0))[0])


def mean_orbits(graph: Graph) -> np.ndarray:
    """The mean over nodes of the counts in the 15 orbits of up to four nodes."""
    return orbit_counts(graph.adjacency).mean(0)


def spectrum(graph: Graph) -> np.ndarray:
    """The share of eigenvalues of the normalised Laplacian in each of 200 bins from 0 to 2.

    Eigenvalues that rounding moved beyond 0 or 2 count in the outer bins (every connected bipartite graph has a 2).
    """
    a, degree = graph.adjacency, _degrees(graph)
    scale = np.divide(1.0, np.sqrt(degree), out=np.zeros(len(a)), where=degree > 0)
    laplacian = np.diag((degree > 0).astype(float)) - scale[:, None] * a * scale
    values = np.linalg.eigvalsh(laplacian).clip(0, 2)
    return _share(np.histogram(values, SPECTRUM_BINS, (-1e-5, 2))[0])


STATISTICS = {
    "degree": Statistic(1.0, 1.0, degree_distribution),
    "clustering": Statistic(0.1, 1 / CLUSTERING_BINS, clustering_distribution),
    "orbit": Statistic(30.0, None, mean_orbits),
    "spectrum": Statistic(1.0, 1.0, spectrum),
}
"""Bins and bandwidths are those of the literature's code (GraphRNN, GRAN, SPECTRE, DiGress, GDSS), so that values can be
compared: the earth mover's distance counts degrees and bins of the spectrum as 1, and of the clustering as 1/100."""


def features(graphs: Sequence[Graph]) -> dict[str, np.ndarray]:
    """Every statistic of every graph as (graphs, bins), zeros where a graph has fewer bins; empty graphs are left out."""
    assert graphs, "no graphs"
    present = [graph for graph in graphs if graph.nodes > 0]
    return {name: _rows([statistic.of(g) for g in present]) for name, statistic in STATISTICS.items()}


def mmd(name: str, a: np.ndarray, b: np.ndarray, kernel: str = "tv") -> float:
    """The squared maximum mean discrepancy of two sets, with all pairs (a graph and itself too), as the field does.

        mean k(a, a') + mean k(b, b') - 2 mean k(a, b),   k = exp(-d^2 / (2 sigma^2))

    Args:
        name: of the statistic: `degree`, `clustering`, `orbit` or `spectrum`.
        a, b: its features (graphs, bins); fewer bins are filled with zeros.
        kernel: `tv`, d is the total variation (half the summed difference), as SPECTRE and DiGress; `emd`, d is the
            earth mover's distance, and Euclidean for the orbits, as GraphRNN and GDSS.

    Source: Gretton et al. (2012), A kernel two-sample test; You et al. (2018), GraphRNN, arXiv:1802.08773; Martinkus et
    al. (2022), SPECTRE, arXiv:2204.01613.
    """
    width = max(a.shape[1], b.shape[1])
    a, b = (np.pad(x, ((0, 0), (0, width - x.shape[1]))) for x in (a, b))
    sigma = STATISTICS[name].bandwidth
    means = [
        np.exp(-np.square(_distance(name, x, y, kernel)) / (2 * sigma**2)).mean() for x, y in ((a, a), (b, b), (a, b))
    ]
    return float(means[0] + means[1] - 2 * means[2])


def compare(
    made: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray], train: Mapping[str, np.ndarray] | None = None
) -> dict[str, float]:
    """Every discrepancy, with both kernels; with a train set also its own (the floor) and the ratios to it.

    Args:
        made, reference, train: features of the sets.

    Returns:
        `mmd_KERNEL_STATISTIC`, and with `train` also `floor_KERNEL_STATISTIC`, `ratio_KERNEL_STATISTIC` and
        `ratio_KERNEL_mean` over those statistics that have a floor; NaN where there is none.
    """
    found = {}
    for kernel in KERNELS:
        ratios = []
        for name in STATISTICS:
            value = found[f"mmd_{kernel}_{name}"] = mmd(name, made[name], reference[name], kernel)
            if train is not None:
                floor = found[f"floor_{kernel}_{name}"] = mmd(name, train[name], reference[name], kernel)
                # Where train and test agree to rounding (no tree has a triangle) there is nothing to divide by. The kernel of
                # total variations is not positive definite, so that a floor can even be below 0.
                found[f"ratio_{kernel}_{name}"] = value / floor if floor > 1e-12 else math.nan
                ratios.append(found[f"ratio_{kernel}_{name}"])
        if ratios:
            counted = [ratio for ratio in ratios if not math.isnan(ratio)]
            found[f"ratio_{kernel}_mean"] = float(np.mean(counted)) if counted else math.nan
    return found


def _distance(name: str, a: np.ndarray, b: np.ndarray, kernel: str) -> np.ndarray:
    assert kernel in KERNELS, f"kernel {kernel!r}, known: {KERNELS}"
    if kernel == "tv":
        return cdist(a, b, "cityblock") / 2
    width = STATISTICS[name].bin
    if width is None:
        return cdist(a, b, "euclidean")
    # In one dimension the earth mover's distance is the area between the cumulative distributions.
    return cdist(np.cumsum(a, 1), np.cumsum(b, 1), "cityblock") * width


def _degrees(graph: Graph) -> np.ndarray:
    return np.bincount(graph.edges.ravel(), minlength=graph.nodes)


def _share(counts: np.ndarray) -> np.ndarray:
    return counts / counts.sum()


def _rows(rows: list[np.ndarray]) -> np.ndarray:
    made = np.zeros((len(rows), max(map(len, rows), default=0)))
    for row, values in zip(made, rows):
        row[: len(values)] = values
    return made
