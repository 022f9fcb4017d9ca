"""Generated graphs beside a reference: discrepancies, and how many are valid, unique and novel."""

from collections.abc import Callable, Sequence
from typing import Any

import networkx as nx
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ornstein.core.proportions import wilson_interval
from ornstein.datasets.graphs import Graph
from ornstein.domains.graphs.mmd import compare, features
from ornstein.domains.graphs.orbits import orbit_counts


def is_connected(graph: Graph) -> bool:
    """Whether it has nodes, and every node can be reached from every other."""
    if graph.nodes == 0:
        return False
    ones = np.ones(len(graph.edges))
    matrix = coo_matrix((ones, (graph.edges[:, 0], graph.edges[:, 1])), (graph.nodes, graph.nodes))
    return int(connected_components(matrix, directed=False, return_labels=False)) == 1


def is_planar(graph: Graph) -> bool:
    """Whether it is connected and can be drawn without crossings (a test by left and right, in networkx)."""
    few = graph.nodes < 3 or len(graph.edges) <= 3 * graph.nodes - 6
    return few and is_connected(graph) and bool(nx.check_planarity(graph.to_networkx())[0])


def is_tree(graph: Graph) -> bool:
    """Whether it is connected and has no cycle."""
    return len(graph.edges) == graph.nodes - 1 and is_connected(graph)


VALIDITY: dict[str, Callable[[Graph], bool]] = {"tree": is_tree, "planar": is_planar, "connected": is_connected}
"""What a graph may have to be, the narrowest first."""


def validity_of(reference: Sequence[Graph]) -> str:
    """The narrowest of `VALIDITY` that all of these graphs are, or `none`."""
    return next((name for name, holds in VALIDITY.items() if all(map(holds, reference))), "none")


def classes(graphs: Sequence[Graph], known: Sequence[Graph] = ()) -> tuple[list[int], list[bool]]:
    """Which graphs are the same but for the order of their nodes, by an exact test.

    Args:
        graphs: to be compared with each other.
        known: to be compared with.

    Returns:
        for each graph the number of the first of `graphs` that it is isomorphic with (its own where there is none
        before), and whether it is isomorphic with one of `known`.
    """
    seen: dict[Any, list[tuple[int, nx.Graph]]] = {}
    for graph in known:
        key, labelled = _labelled(graph)
        seen.setdefault(key, []).append((-1, labelled))
    first, old = [], []
    for i, graph in enumerate(graphs):
        key, labelled = _labelled(graph)
        same = [j for j, other in seen.get(key, []) if nx.vf2pp_is_isomorphic(labelled, other, node_label="orbits")]
        old.append(-1 in same)
        before = [j for j in same if j >= 0]
        first.append(before[0] if before else i)
        if not before:
            seen.setdefault(key, []).append((i, labelled))
    return first, old


def measure(
    made: Sequence[Graph], reference: Sequence[Graph], train: Sequence[Graph] | None = None, valid: str = "auto"
) -> dict[str, Any]:
    """Everything that is said of generated graphs.

    Args:
        made: the generated graphs, all of them.
        reference: graphs that no one trained on.
        train: what the model was trained on, for the floor of the discrepancies and for novelty.
        valid: what a graph must be, a name of `VALIDITY` or `none`; `auto` is what all of the reference are.

    Returns:
        `count`, `valid`, `connected`, `unique`, with `train` `novel` and `valid_unique_novel` with its interval
        `_low` and `_high`, means of nodes and edges, and what `compare` tells. Shares are of all graphs made.

    Source: validity, uniqueness and novelty as Martinkus et al. (2022), SPECTRE, arXiv:2204.01613.
    """
    assert made and reference, f"{len(made)} graphs made, {len(reference)} references"
    kind = validity_of(reference) if valid == "auto" else valid
    good = [VALIDITY[kind](graph) for graph in made] if kind != "none" else [True] * len(made)
    first, old = classes(made, train or ())
    found: dict[str, Any] = {
        "count": len(made),
        "validity": kind,
        "valid": float(np.mean(good)),
        "connected": float(np.mean([is_connected(graph) for graph in made])),
        "unique": len(set(first)) / len(made),
    }
    if train is not None:
        found["novel"] = 1 - float(np.mean(old))
        hits = sum(g and not o and f == i for i, (g, o, f) in enumerate(zip(good, old, first)))
        low, high = wilson_interval(hits, len(made))
        found |= {
            "valid_unique_novel": hits / len(made),
            "valid_unique_novel_low": low,
            "valid_unique_novel_high": high,
        }
    for name, sets in (("made", made), ("reference", reference)):
        found[f"mean_nodes_{name}"] = float(np.mean([graph.nodes for graph in sets]))
        found[f"mean_edges_{name}"] = float(np.mean([len(graph.edges) for graph in sets]))
    if not any(graph.nodes for graph in made):
        return found
    return found | compare(features(made), features(reference), features(train) if train else None)


def _labelled(graph: Graph) -> tuple[Any, nx.Graph]:
    """What isomorphic graphs share, and the graph with the orbit counts as labels of its nodes: they leave the exact
    test little to try."""
    rows = [tuple(row) for row in orbit_counts(graph.adjacency).tolist()]
    labelled = graph.to_networkx()
    nx.set_node_attributes(labelled, dict(enumerate(rows)), "orbits")
    return (graph.nodes, len(graph.edges), tuple(sorted(rows))), labelled
