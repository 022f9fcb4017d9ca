"""Many graphs of typed nodes and edges in a few flat arrays: small in a file, fast to batch."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ornstein.core.checkpoints import load_tensors, save_tensors
from ornstein.core.errors import ModelError
from ornstein.core.pairs import node_mask, pair_count, pair_mask


@dataclass(frozen=True, eq=False)
class GraphTable:
    """Graphs one after the other.

    Args:
        nodes: node types, uint8 (all nodes,).
        node_ends: where each graph's nodes end, int64 (graphs,).
        ends: the two nodes of each edge, numbered in its graph, smaller first, uint8, or int16 for large graphs, (all edges, 2).
        edges: edge types above 0, uint8 (all edges,).
        edge_ends: where each graph's edges end, int64 (graphs,).
    """

    nodes: np.ndarray
    node_ends: np.ndarray
    ends: np.ndarray
    edges: np.ndarray
    edge_ends: np.ndarray

    def __len__(self) -> int:
        return len(self.node_ends)

    @classmethod
    def of(cls, graphs: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> "GraphTable":
        """From (node types (n,), ends (edges, 2), edge types (edges,)) of each graph; at least one."""
        parts = [
            (np.asarray(n, np.uint8), np.sort(np.asarray(e, np.int16).reshape(-1, 2), axis=1), np.asarray(k, np.uint8))
            for n, e, k in graphs
        ]
        assert parts, "no graph"
        nodes, ends, edges = (np.concatenate(column) for column in zip(*parts, strict=True))
        ends = ends.astype(np.uint8 if ends.size == 0 or ends.max() < 256 else np.int16)
        return cls(
            nodes,
            np.cumsum([len(n) for n, _, _ in parts]),
            ends,
            edges,
            np.cumsum([len(e) for _, e, _ in parts]),
        )

    @property
    def sizes(self) -> np.ndarray:
        """Nodes of each graph, int64 (graphs,)."""
        return np.diff(self.node_ends, prepend=0)

    def size_law(self) -> list[float]:
        """The share of graphs of each number of nodes, from 0 to the largest."""
        counts = np.bincount(self.sizes)
        return (counts / counts.sum()).tolist()

    def node_frequencies(self, classes: int) -> list[float]:
        """The share of nodes of each type; one that does not occur counts once."""
        counts = np.maximum(np.bincount(self.nodes, minlength=classes), 1)
        return (counts / counts.sum()).tolist()

    def edge_frequencies(self, classes: int) -> list[float]:
        """The share of pairs with each edge type, 0 is none; one that does not occur counts once."""
        counts = np.bincount(self.edges, minlength=classes)
        counts[0] = (self.sizes * (self.sizes - 1) // 2).sum() - len(self.edges)
        counts = np.maximum(counts, 1)
        return (counts / counts.sum()).tolist()

    def batch(self, chosen: np.ndarray) -> dict[str, Tensor]:
        """Graphs of these numbers, padded: `nodes` (batch, n) and `edges` (batch, pairs) int64, pairs as in `core/pairs.py`,
        and `mask`, bool (batch, n)."""
        sizes = self.sizes[chosen]
        n = int(sizes.max())
        mask = node_mask(torch.from_numpy(sizes), n)
        nodes = torch.zeros(len(chosen), n, dtype=torch.int64)
        starts = self.node_ends[chosen] - sizes
        nodes[mask] = torch.from_numpy(self.nodes[_ranges(starts, sizes)].astype(np.int64))
        counts = np.diff(self.edge_ends, prepend=0)[chosen]
        rows = _ranges(self.edge_ends[chosen] - counts, counts)
        ends = self.ends[rows].astype(np.int64)
        place = ends[:, 1] * (ends[:, 1] - 1) // 2 + ends[:, 0]
        edges = torch.zeros(len(chosen), pair_count(n), dtype=torch.int64)
        item = torch.from_numpy(np.repeat(np.arange(len(chosen)), counts))
        edges[item, torch.from_numpy(place)] = torch.from_numpy(self.edges[rows].astype(np.int64))
        return {"nodes": nodes, "edges": edges, "mask": mask}

    def save(self, path: Path | str) -> None:
        """Writes a safetensors file."""
        save_tensors(path, {field.name: torch.from_numpy(getattr(self, field.name)) for field in fields(self)})

    @classmethod
    def load(cls, path: Path | str) -> "GraphTable":
        """Reads what `save` wrote. Raises: ModelError for another file."""
        tensors = load_tensors(path)
        names = [field.name for field in fields(cls)]
        if sorted(tensors) != sorted(names):
            raise ModelError(f"{path}: not a table of graphs", "Remove it; it is made anew.")
        return cls(*[tensors[name].numpy() for name in names])


def state(batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The joint state of a batch, `nodes` and `edges`, and the masks of both."""
    masks = {"nodes": batch["mask"], "edges": pair_mask(batch["mask"])}
    return {"nodes": batch["nodes"], "edges": batch["edges"]}, masks


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """start, start + 1, ..., of each length, one after the other."""
    before = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) + np.repeat(starts - before, lengths)
