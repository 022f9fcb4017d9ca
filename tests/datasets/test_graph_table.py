"""A table of graphs gives back the graphs that it was made of, alone and in batches, and after a file."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ornstein.core.errors import ModelError
from ornstein.core.pairs import unpack
from ornstein.datasets.graph_table import GraphTable, state


def random_graphs(seed: int, count: int = 5) -> list[tuple[np.ndarray, np.ndarray]]:
    """(node types, symmetric edge types) of graphs of 1 to 8 nodes."""
    random = np.random.default_rng(seed)
    made = []
    for n in random.integers(1, 9, count):
        edges = np.triu(random.integers(0, 4, (n, n)) * (random.random((n, n)) < 0.5), 1)
        made.append((random.integers(0, 6, n), edges + edges.T))
    return made


def table_of(graphs: list[tuple[np.ndarray, np.ndarray]]) -> GraphTable:
    rows = []
    for nodes, edges in graphs:
        ends = np.argwhere(np.triu(edges, 1))
        turned = ends[:, ::-1]  # in either direction
        rows.append((nodes, turned, edges[ends[:, 0], ends[:, 1]]))
    return GraphTable.of(rows)


@given(st.integers(0, 2**31))
def test_batches_hold_the_graphs(seed: int):
    graphs = random_graphs(seed)
    table = table_of(graphs)
    chosen = np.array([3, 0, 3])
    batch = table.batch(chosen)
    n = batch["mask"].shape[1]
    dense = unpack(batch["edges"], n)
    for row, number in enumerate(chosen):
        nodes, edges = graphs[number]
        size = len(nodes)
        assert batch["mask"][row].tolist() == [i < size for i in range(n)]
        assert batch["nodes"][row, :size].tolist() == nodes.tolist() and not bool(batch["nodes"][row, size:].any())
        assert dense[row, :size, :size].tolist() == edges.tolist() and int(dense[row].sum()) == edges.sum()
    x, masks = state(batch)
    assert masks["edges"].sum(1).tolist() == [len(graphs[i][0]) * (len(graphs[i][0]) - 1) // 2 for i in chosen]
    assert set(x) == {"nodes", "edges"}


def test_frequencies_are_shares_of_nodes_of_pairs_and_of_sizes():
    path = (np.array([0, 1, 0]), np.array([[0, 2, 0], [2, 0, 1], [0, 1, 0]]))
    table = table_of([path, path, (np.array([1]), np.zeros((1, 1), int))])
    assert table.node_frequencies(2) == pytest.approx([4 / 7, 3 / 7])
    assert table.edge_frequencies(3) == pytest.approx([2 / 6, 2 / 6, 2 / 6])
    assert table.edge_frequencies(4)[3] > 0  # what does not occur is not impossible
    assert table.size_law() == pytest.approx([0, 1 / 3, 0, 2 / 3]) and len(table) == 3


def test_file_gives_the_table_back(tmp_path):
    table = table_of(random_graphs(1))
    table.save(tmp_path / "t.safetensors")
    again = GraphTable.load(tmp_path / "t.safetensors")
    chosen = np.arange(5)
    assert all(
        torch.equal(a, b) for a, b in zip(table.batch(chosen).values(), again.batch(chosen).values(), strict=True)
    )
    from ornstein.core.checkpoints import save_tensors

    save_tensors(tmp_path / "other.safetensors", {"x": torch.zeros(1)})
    with pytest.raises(ModelError, match="other"):
        GraphTable.load(tmp_path / "other.safetensors")
