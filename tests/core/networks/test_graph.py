"""The graph transformer commutes with permutations, never reads padding, and its features are those of their names."""

import networkx as nx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ornstein.core.networks.graph import GraphTransformer, walk_features
from ornstein.core.pairs import node_mask, pack, pair_count, pair_nodes, unpack


def network(**changes) -> GraphTransformer:
    """Small, with weights that are not zero anywhere."""
    torch.manual_seed(0)
    settings = {"width": 16, "edge_width": 8, "depth": 2, "heads": 2, "product": 3, "embedding": 8, **changes}
    made = GraphTransformer(3, 4, 5, 6, conditions=2, **settings)
    for p in made.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return made.double().eval()


def inputs(n: int, batch: int = 2, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Nodes, edges, label, conditions."""
    g = torch.Generator().manual_seed(seed)
    sizes = [(batch, n, 3), (batch, pair_count(n), 4), (batch,), (batch, 2)]
    nodes, edges, label, conditions = (torch.randn(*s, generator=g, dtype=torch.float64) for s in sizes)
    return nodes, edges, label, conditions


@given(st.integers(2, 8), st.integers(0, 2**31))
def test_permuting_the_nodes_permutes_the_output(n: int, seed: int):
    net = network()
    nodes, edges, label, conditions = inputs(n, seed=seed)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    mask = torch.ones(2, n, dtype=torch.bool)
    with torch.no_grad():
        h, e = net(nodes, edges, label, mask, conditions)
        turned = pack(unpack(edges, n)[:, order][:, :, order])
        h2, e2 = net(nodes[:, order], turned, label, mask, conditions)
    close = {"rtol": 1e-5, "atol": 1e-5}  # attention is in float32, whatever the network
    torch.testing.assert_close(h2, h[:, order], **close)
    torch.testing.assert_close(e2, pack(unpack(e, n)[:, order][:, :, order]), **close)
    assert float(h.std()) > 0.01 and float(e.std()) > 0.01


def test_padding_is_never_read_and_comes_out_zero():
    net = network()
    nodes, edges, label, conditions = inputs(7)
    mask = node_mask(torch.tensor([7, 4]), 7)
    nodes[1, 4:] = torch.nan
    edges[1, pair_count(4) :] = torch.nan
    with torch.no_grad():
        h, e = net(nodes, edges, label, mask, conditions)
        small_h, small_e = net(nodes[1:, :4], edges[1:, : pair_count(4)], label[1:], mask[1:, :4], conditions[1:])
    assert not bool(h[1, 4:].any()) and not bool(e[1, pair_count(4) :].any())
    torch.testing.assert_close(h[1:, :4], small_h)
    torch.testing.assert_close(e[1:, : pair_count(4)], small_e)


def test_a_graph_of_one_node_and_one_of_none_are_served():
    net = network()
    for n in (1, 2):
        nodes, edges, label, conditions = inputs(n)
        mask = node_mask(torch.tensor([n, 0]), n)
        with torch.no_grad():
            h, e = net(nodes, edges, label, mask, conditions)
        assert bool(h.isfinite().all()) and bool(e.isfinite().all()) and h.shape == (2, n, 5)


def test_an_untrained_network_says_nothing_and_every_weight_learns():
    torch.manual_seed(0)
    net = GraphTransformer(3, 4, 5, 6, conditions=2, width=16, edge_width=8, depth=1, heads=2, embedding=8)
    nodes, edges, label, conditions = (x.float() for x in inputs(5))
    h, e = net(nodes, edges, label, torch.ones(2, 5, dtype=torch.bool), conditions)
    assert not bool(h.any()) and not bool(e.any())
    net = network().float()
    h, e = net(nodes, edges, label, torch.ones(2, 5, dtype=torch.bool), conditions)
    (h.square().sum() + e.square().sum()).backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in net.parameters())


def test_a_network_without_node_outputs_serves_edges_alone():
    net = GraphTransformer(3, 4, 0, 2, width=16, edge_width=8, depth=1, heads=2, embedding=8)
    nodes, edges, label, _ = (x.float() for x in inputs(5))
    h, e = net(nodes, edges, label, torch.ones(2, 5, dtype=torch.bool))
    assert h is None and e.shape == (2, 10, 2)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3)
    net(nodes, edges, label, torch.ones(2, 5, dtype=torch.bool))[1].square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in net.parameters())  # several processes ask for all


def test_bfloat16_autocast_stays_near():
    net = network().float()
    nodes, edges, label, conditions = (x.float() for x in inputs(9))
    mask = node_mask(torch.tensor([9, 5]), 9)
    with torch.no_grad():
        exact = net(nodes, edges, label, mask, conditions)[1]
        with torch.autocast("cpu", torch.bfloat16):
            low = net(nodes, edges, label, mask, conditions)[1].float()
    assert float((low - exact).norm() / exact.norm()) < 0.05  # bfloat16 has 8 bits


def cycles_by_search(graph: nx.Graph, length: int) -> list[int]:
    found = [c for c in nx.simple_cycles(graph, length_bound=length) if len(c) == length]
    return [sum(node in c for c in found) for node in graph.nodes]


@pytest.mark.parametrize("seed", range(4))
def test_features_are_cycle_counts_degrees_and_walks(seed: int):
    graph = nx.gnp_random_graph(9, 0.4, seed=seed)
    a = torch.tensor(nx.to_numpy_array(graph), dtype=torch.float32)[None]
    nodes, pairs = walk_features(a, 6)
    assert nodes.shape == (1, 9, 9) and pairs.shape == (1, 36, 6)
    for k in (3, 4, 5):
        counted = torch.tensor(cycles_by_search(graph, k)).float()
        torch.testing.assert_close(nodes[0, :, k + 3].expm1(), counted, atol=1e-3, rtol=1e-4)
    degree = a[0].sum(1)
    torch.testing.assert_close(nodes[0, :, 5] * 10, degree)
    walk = a[0] / degree.clamp_min(1)[:, None]
    first, second = pair_nodes(9)
    for k in range(1, 7):
        power = torch.linalg.matrix_power(walk, k)
        if k > 1:
            torch.testing.assert_close(nodes[0, :, k - 2], power.diagonal(), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(pairs[0, :, k - 1] ** 2, (power * power.T)[first, second], atol=1e-5, rtol=1e-4)
