"""Simple undirected graphs: node-link JSON and npz files, networkx, PyTorch Geometric and dense batches in and out."""

import json
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ornstein.core.errors import InputError

if TYPE_CHECKING:
    import networkx as nx
    from torch import Tensor

READ = (".json", ".npz")


@dataclass(frozen=True, eq=False)
class Graph:
    """A simple undirected graph.

    Args:
        nodes: number of nodes, named 0 to nodes - 1.
        edges: int64 (edges, 2), each edge once with its smaller node first, in order; `Graph.of` makes it so.
    """

    nodes: int
    edges: np.ndarray

    @classmethod
    def of(cls, nodes: int, edges: Any) -> "Graph":
        """A graph of edges in any order and direction. Raises: ValueError for loops and for nodes that are not there."""
        pairs = np.asarray(edges, np.int64).reshape(-1, 2)
        if len(pairs) and (pairs.min() < 0 or pairs.max() >= nodes):
            raise ValueError(f"an edge leads to node {pairs.max() if pairs.max() >= nodes else pairs.min()} of {nodes}")
        if (pairs[:, 0] == pairs[:, 1]).any():
            raise ValueError("an edge leads from a node to itself")
        return cls(int(nodes), np.unique(np.sort(pairs, axis=1), axis=0))

    @classmethod
    def from_adjacency(cls, adjacency: Any) -> "Graph":
        """The graph of a square array (nodes, nodes), whose entries above the diagonal count where they are not 0."""
        matrix = np.asarray(adjacency)
        assert matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1], f"adjacency of shape {matrix.shape}"
        return cls(len(matrix), np.argwhere(np.triu(matrix, 1)).astype(np.int64))

    @property
    def adjacency(self) -> np.ndarray:
        """float64 (nodes, nodes), 1 where there is an edge."""
        matrix = np.zeros((self.nodes, self.nodes))
        matrix[self.edges[:, 0], self.edges[:, 1]] = 1
        return matrix + matrix.T

    def to_networkx(self) -> "nx.Graph":
        """The graph in networkx."""
        import networkx as nx

        made = nx.Graph()
        made.add_nodes_from(range(self.nodes))
        made.add_edges_from(self.edges.tolist())
        return made

    def to_pyg(self) -> Any:
        """The graph as PyTorch Geometric's `Data`, each edge in both directions."""
        import torch
        from torch_geometric.data import Data

        both = np.concatenate([self.edges, self.edges[:, ::-1]])
        return Data(edge_index=torch.from_numpy(both.T.copy()), num_nodes=self.nodes)


def as_graphs(source: Any, name: str = "graphs") -> list[Graph]:
    """Graphs of whatever a user has.

    Args:
        source: a file (see `read_graphs`), or a sequence of `Graph`, networkx graphs, PyTorch Geometric `Data` or
            adjacency matrices (arrays or tensors).
        name: what an error calls it.

    Raises:
        InputError: for what is none of these, or not a simple undirected graph.
    """
    if isinstance(source, (str, Path)):
        return read_graphs(source)
    return [_as_graph(one, f"{name}: graph {i}") for i, one in enumerate(source)]


def read_graphs(path: str | Path) -> list[Graph]:
    """The graphs of a file.

    `.json`: a list of objects in networkx' node-link form, with `nodes` (each with an `id`) and `edges` (or `links`,
    each with `source` and `target`); features are left out. `.npz`: `n_nodes` and `n_edges` (graphs,) and `edges`
    (sum of n_edges, 2).

    Raises:
        InputError: naming the file, the graph and the reason.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file", "is the name right?")
    suffix = path.suffix.lower()
    if suffix not in READ:
        raise InputError(f"{path}: graphs are read from {' and '.join(READ)}", "convert it, or pass graphs from Python")
    graphs = _read_json(path) if suffix == ".json" else _read_npz(path)
    if not graphs:
        raise InputError(f"{path}: holds no graph", "give a file with at least one")
    return graphs


def write_graphs(path: str | Path, graphs: Iterable[Graph]) -> None:
    """Writes graphs as a JSON list in networkx' node-link form, one graph a line."""
    lines = [json.dumps(node_link(graph), separators=(",", ":")) for graph in graphs]
    Path(path).write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def node_link(graph: Graph) -> dict[str, Any]:
    """A graph as networkx' `node_link_graph(..., edges="edges")` reads it."""
    return {
        "directed": False,
        "multigraph": False,
        "graph": {},
        "nodes": [{"id": i} for i in range(graph.nodes)],
        "edges": [{"source": i, "target": j} for i, j in graph.edges.tolist()],
    }


def to_batch(graphs: Sequence[Graph], size: int | None = None) -> "tuple[Tensor, Tensor, Tensor]":
    """Graphs as one dense batch: node types int64 (batch, n) all 0, edge types int64 (batch, n, n) 0 or 1, mask bool
    (batch, n); n is `size`, by default the nodes of the largest graph."""
    import torch

    size = max(graph.nodes for graph in graphs) if size is None else size
    edges = torch.zeros(len(graphs), size, size, dtype=torch.int64)
    mask = torch.zeros(len(graphs), size, dtype=torch.bool)
    for k, graph in enumerate(graphs):
        assert graph.nodes <= size, f"a graph of {graph.nodes} nodes in a batch of {size}"
        i, j = torch.from_numpy(graph.edges).unbind(1)
        edges[k, i, j] = edges[k, j, i] = 1
        mask[k, : graph.nodes] = True
    return torch.zeros(len(graphs), size, dtype=torch.int64), edges, mask


def from_batch(edges: "Tensor", mask: "Tensor") -> list[Graph]:
    """The graphs of a dense batch: edge types (batch, n, n) and mask (batch, n); masked nodes are left out."""
    types, present = edges.cpu().numpy(), mask.cpu().numpy().astype(bool)
    return [Graph.from_adjacency(t[np.ix_(m, m)]) for t, m in zip(types, present)]


def _as_graph(one: Any, name: str) -> Graph:
    try:
        if isinstance(one, Graph):
            return one
        if hasattr(one, "edge_index"):
            count = one.num_nodes
            return Graph.of(int(count), one.edge_index.detach().cpu().numpy().T)
        if hasattr(one, "nodes") and hasattr(one, "is_directed"):
            if one.is_directed() or one.is_multigraph():
                raise ValueError("it is directed or has parallel edges")
            number = {node: i for i, node in enumerate(one.nodes)}
            return Graph.of(len(number), [(number[i], number[j]) for i, j in one.edges])
        matrix = np.asarray(one.detach().cpu() if hasattr(one, "detach") else one)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.dtype == object:
            raise ValueError(f"{type(one).__name__} is no graph: wanted networkx, PyTorch Geometric or a square array")
        if not np.array_equal(matrix, matrix.T) or np.diagonal(matrix).any():
            raise ValueError("its adjacency is not symmetric with a zero diagonal")
        return Graph.from_adjacency(matrix)
    except ValueError as error:
        raise InputError(f"{name}: {error}", "give simple undirected graphs") from None


def _read_json(path: Path) -> list[Graph]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not valid JSON: {error}", "write a list of graphs in node-link form") from None
    if not isinstance(found, list):
        raise InputError(f"{path}: holds no list of graphs", "put [ ] around one graph")
    return [_from_node_link(one, f"{path}: graph {i}") for i, one in enumerate(found)]


def _from_node_link(one: Any, name: str) -> Graph:
    hint = 'each graph is {"nodes": [{"id": 0}, ...], "edges": [{"source": 0, "target": 1}, ...]}'
    try:
        if one.get("directed") or one.get("multigraph"):
            raise InputError(f"{name}: it is directed or has parallel edges", "give simple undirected graphs")
        number = {node["id"]: i for i, node in enumerate(one["nodes"])}
        links = one["edges"] if "edges" in one else one["links"]
        if len(number) < len(one["nodes"]):
            raise ValueError("two nodes have one id")
        ends = [(edge["source"], edge["target"]) for edge in links]
        if strange := [end for pair in ends for end in pair if end not in number]:
            raise ValueError(f"an edge leads to node {strange[0]!r}, which is not there")
        return Graph.of(len(number), [(number[source], number[target]) for source, target in ends])
    except (AttributeError, TypeError):
        raise InputError(f"{name}: not in node-link form", hint) from None
    except KeyError as error:
        raise InputError(f"{name}: {error} is missing", hint) from None
    except ValueError as error:
        raise InputError(f"{name}: {error}", hint) from None


def _read_npz(path: Path) -> list[Graph]:
    try:
        with np.load(path, allow_pickle=False) as file:
            nodes, counts, edges = (np.asarray(file[name]) for name in ("n_nodes", "n_edges", "edges"))
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(f"{path}: cannot be read: {error}", "write it by numpy.savez without objects") from None
    except KeyError as error:
        raise InputError(f"{path}: {error.args[0]}", "it needs n_nodes, n_edges and edges") from None
    if nodes.shape != counts.shape or edges.shape != (int(counts.sum()), 2):
        raise InputError(
            f"{path}: n_nodes {nodes.shape}, n_edges {counts.shape} and edges {edges.shape} do not fit together",
            "edges has one row an edge, graph by graph",
        )
    parts = np.split(edges, np.cumsum(counts)[:-1])
    graphs = []
    for i, (n, part) in enumerate(zip(nodes, parts)):
        try:
            graphs.append(Graph.of(int(n), part))
        except ValueError as error:
            raise InputError(f"{path}: graph {i}: {error}", "nodes count from 0") from None
    return graphs
