"""Graphs that are held to a constraint keep it, whatever the denoiser says, and lose no edge that kept it."""

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ornstein.core.discrete.denoisers import CategoricalDenoiser
from ornstein.core.discrete.paths import Absorbing
from ornstein.core.discrete.samplers import Ancestral, sample
from ornstein.core.pairs import node_mask, pair_mask, pair_nodes, unpack
from ornstein.domains.graphs.constraints import ADMITTED, projection

HOLDS = {"acyclic": lambda graph: graph.number_of_nodes() == 0 or nx.is_forest(graph), "planar": nx.is_planar}


class Careless(CategoricalDenoiser):
    """Every edge with the same probability."""

    def __init__(self, share: float) -> None:
        super().__init__({"edges": Absorbing(2)})
        self.law = torch.tensor([1 - share, share], dtype=torch.float64).log()

    def forward(self, x, t, masks, **conditions):
        return {"edges": self.law + self.paths["edges"].evidence(x["edges"], t)}


def drawn(constraint: str, share: float, items=range(6), steps: int = 8, seed: int = 0) -> torch.Tensor:
    mask = node_mask(torch.tensor([9, 7, 9, 5, 8, 9])[list(items)], 9)
    masks = {"edges": pair_mask(mask)}
    x = sample(
        Careless(share), masks, Ancestral(), steps=steps, seed=seed, items=list(items), project=projection(constraint)
    )
    return unpack(x["edges"], 9)


@pytest.mark.parametrize("constraint", ["acyclic", "planar"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_samples_keep_the_constraint_and_could_take_in_no_more(constraint, share):
    for graph in drawn(constraint, share):
        assert HOLDS[constraint](nx.from_numpy_array(graph.numpy()))
    if share == 0.9:  # nearly all edges were wanted: hardly one that would have kept the constraint is missing
        full = nx.from_numpy_array(drawn(constraint, 0.999999)[0].numpy())
        assert full.number_of_edges() == {"acyclic": 8, "planar": 3 * 9 - 6}[constraint]


def test_without_a_constraint_nothing_is_held():
    assert projection("none") is None
    assert not all(nx.is_planar(nx.from_numpy_array(graph.numpy())) for graph in drawn("none", 0.9))


def test_a_graph_does_not_depend_on_its_batch():
    whole = drawn("planar", 0.5, seed=3)
    assert torch.equal(drawn("planar", 0.5, items=(4, 1), seed=3), whole[[4, 1]])


@settings(deadline=None, max_examples=40)
@given(st.integers(3, 8), st.integers(0, 10**6), st.sampled_from(["acyclic", "planar"]))
def test_edges_are_let_in_one_after_the_other(nodes, seed, constraint):
    chance = np.random.default_rng(seed)
    pairs = np.stack(pair_nodes(nodes), 1)[chance.permutation(nodes * (nodes - 1) // 2)]
    pairs = [tuple(map(int, pair)) for pair in pairs]
    standing: list[tuple[int, int]] = []
    for pair in pairs[: len(pairs) // 3]:
        if HOLDS[constraint](nx.Graph([*standing, pair])):
            standing.append(pair)
    coming = [pair for pair in pairs if pair not in standing]
    found = list(ADMITTED[constraint](nodes, standing, coming))
    graph = nx.Graph(standing)
    for pair, good in zip(coming, found, strict=True):
        with_it = nx.Graph(graph.edges)
        with_it.add_edge(*pair)
        assert good == HOLDS[constraint](with_it)
        graph = with_it if good else graph
