"""Graphs in files and libraries: what goes in comes out, and what is wrong is named."""

import json

import networkx as nx
import numpy as np
import pytest

from ornstein.core.errors import InputError
from ornstein.datasets.graphs import Graph, as_graphs, from_batch, read_graphs, to_batch, write_graphs


@pytest.fixture(scope="module")
def graphs():
    made = [nx.gnp_random_graph(n, 0.4, seed=n) for n in (1, 5, 12)] + [nx.empty_graph(3)]
    return as_graphs(made)


def same(a, b):
    return a.nodes == b.nodes and np.array_equal(a.edges, b.edges)


def test_json_is_what_networkx_reads(tmp_path, graphs):
    write_graphs(tmp_path / "g.json", graphs)
    assert all(map(same, read_graphs(tmp_path / "g.json"), graphs))
    for record, graph in zip(json.loads((tmp_path / "g.json").read_text()), graphs):
        assert same(as_graphs([nx.node_link_graph(record, edges="edges")])[0], graph)


def test_what_networkx_writes_is_read_with_any_node_names(tmp_path):
    petersen = nx.relabel_nodes(nx.petersen_graph(), lambda i: f"node {i}")
    records = [nx.node_link_data(petersen, edges=name) for name in ("edges", "links")]
    (tmp_path / "g.json").write_text(json.dumps(records))
    for graph in read_graphs(tmp_path / "g.json"):
        assert same(graph, as_graphs([nx.petersen_graph()])[0])


def test_dense_batches_and_adjacencies_come_back(graphs):
    nodes, edges, mask = to_batch(graphs)
    assert nodes.shape == mask.shape == (4, 12) and (edges == edges.transpose(1, 2)).all()
    edges[~mask] = 1  # whatever a sampler leaves there
    assert all(map(same, from_batch(edges, mask), graphs))
    assert all(map(same, as_graphs([graph.adjacency for graph in graphs]), graphs))


def test_pytorch_geometric_in_and_out(graphs):
    pytest.importorskip("torch_geometric")
    assert all(map(same, as_graphs([graph.to_pyg() for graph in graphs]), graphs))


def test_npz_of_concatenated_edges(tmp_path, graphs):
    np.savez(
        tmp_path / "g.npz",
        n_nodes=[g.nodes for g in graphs],
        n_edges=[len(g.edges) for g in graphs],
        edges=np.concatenate([g.edges for g in graphs]).astype(np.int16),
    )
    assert all(map(same, read_graphs(tmp_path / "g.npz"), graphs))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "JSON"), ("{}", "list"), ("[]", "no graph"), ("[3]", "node-link"), ('[{"nodes": []}]', "links"),
        ('[{"nodes": [{"id": 0}], "edges": [{"source": 0, "target": 1}]}]', "graph 0: an edge leads to node 1, which"),
        ('[{"nodes": [{"id": 0}], "edges": [{"source": 0, "target": 0}]}]', "itself"),
        ('[{"nodes": [], "edges": [], "directed": true}]', "directed"),
        ('[{"nodes": [{"id": 0}, {"id": 0}], "edges": []}]', "two nodes"),
    ],
)  # fmt: skip
def test_wrong_json_is_refused_with_file_and_reason(tmp_path, text, reason):
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(InputError, match=reason) as caught:
        read_graphs(tmp_path / "bad.json")
    assert "bad.json" in str(caught.value)


def test_wrong_npz_and_strange_objects_are_refused(tmp_path):
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    np.savez(tmp_path / "other.npz", a=1)
    np.savez(tmp_path / "short.npz", n_nodes=[3], n_edges=[2], edges=[[0, 1]])
    for name in ("bad.npz", "other.npz", "short.npz", "absent.npz", "g.graphml"):
        with pytest.raises(InputError, match=name.partition(".")[0]):
            read_graphs(tmp_path / name)
    for strange in (nx.DiGraph([(0, 1)]), np.eye(2), np.triu(np.ones((3, 3)), 1), "abc"):
        with pytest.raises(InputError, match="graph 0"):
            as_graphs([strange])


def test_edges_are_kept_once_in_order():
    graph = Graph.of(4, [(3, 1), (1, 3), (0, 2)])
    assert graph.edges.tolist() == [[0, 2], [1, 3]]
    for edges in ([(0, 4)], [(-1, 0)], [(2, 2)]):
        with pytest.raises(ValueError):
            Graph.of(4, edges)
