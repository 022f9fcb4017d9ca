"""What a graph can be held to while it is sampled: that it has no cycle, or can be drawn without crossings."""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import networkx as nx
import numpy as np
import torch
from torch import Tensor

from ornstein.core.discrete.samplers import Project
from ornstein.core.pairs import pair_nodes

Constraint = Literal["none", "acyclic", "planar"]
Pairs = list[tuple[int, int]]


def projection(constraint: Constraint) -> Project | None:
    """Lets in of the new edges of a step those that keep the constraint, in an order of chance; None for `none`.

    A graph that keeps it keeps it also without some of its edges, and the empty graph does: on an `Absorbing` path every
    state does, and the sample.

    Source: Madeira et al. (2024), Generative modelling of structurally constrained graphs, arXiv:2406.17341, algorithm 2.
    """
    if constraint == "none":
        return None
    admitted = ADMITTED[constraint]

    def project(before: dict[str, Tensor], after: dict[str, Tensor], chance: dict[str, Tensor]) -> dict[str, Tensor]:
        old, new = before["edges"] > 0, after["edges"] > 0
        if not bool((new & ~old).any()):
            return after
        nodes = _nodes(old.shape[1])
        first, second = (ends.numpy() for ends in pair_nodes(nodes))
        kept = new.cpu().numpy().copy()
        stood = (old & new).cpu().numpy()
        order = chance["edges"].cpu().numpy()
        for row in np.flatnonzero((kept & ~stood).any(1)):
            came = np.flatnonzero(kept[row] & ~stood[row])
            came = came[np.argsort(order[row, came])]
            standing = list(zip(first[stood[row]].tolist(), second[stood[row]].tolist()))
            good = admitted(nodes, standing, list(zip(first[came].tolist(), second[came].tolist())))
            kept[row, came[~np.fromiter(good, bool)]] = False
        edges = torch.where(torch.from_numpy(kept).to(new.device), after["edges"], 0)
        return {**after, "edges": edges}

    return project


def acyclic(nodes: int, standing: Pairs, coming: Pairs) -> Iterable[bool]:
    """Which of the coming edges close no cycle, let in one after the other."""
    root = list(range(nodes))

    def top(node: int) -> int:
        while root[node] != node:
            root[node] = root[root[node]]
            node = root[node]
        return node

    for a, b in standing:
        root[top(a)] = top(b)
    for a, b in coming:
        a, b = top(a), top(b)
        root[a] = b
        yield a != b


def planar(nodes: int, standing: Pairs, coming: Pairs) -> Iterable[bool]:
    """Which of the coming edges leave the graph planar, let in one after the other."""
    graph = nx.Graph(standing)
    graph.add_edges_from(coming)
    if nx.check_planarity(graph)[0]:
        yield from (True for _ in coming)
        return
    graph.remove_edges_from(coming)
    for edge in coming:
        graph.add_edge(*edge)
        good = bool(nx.check_planarity(graph)[0])
        if not good:
            graph.remove_edge(*edge)
        yield good


ADMITTED: Mapping[str, Callable[[int, Pairs, Pairs], Iterable[bool]]] = {"acyclic": acyclic, "planar": planar}


def _nodes(pairs: int) -> int:
    """How many nodes have so many pairs."""
    return round((1 + (1 + 8 * pairs) ** 0.5) / 2)
