"""Molecules and graphs: what goes in comes back, and what a graph cannot hold is refused."""

import numpy as np
import pytest
import torch
from rdkit import Chem

from ornstein.datasets.molecules import (
    NotAGraph,
    Vocabulary,
    assemble,
    assemble_batch,
    batch,
    canonical,
    parse,
    to_graph,
    why_invalid,
)

SMILES = [
    "C", "CCO", "c1ccccc1", "c1cc[nH]c1", "c1ccc2[nH]ccc2c1", "C[N+](=O)[O-]", "[NH3+]CC([O-])=O", "N#Cc1ccncc1",
    "CS(=O)(=O)c1ccc(cc1)C1=C(C(=O)OC1)c1ccccc1", "FC(F)(F)Cl", "O=c1cc[nH]c(=O)[nH]1", "CP(=O)(O)O", "C1CC12CC2",
]  # fmt: skip


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary.of(map(parse, SMILES))


@pytest.mark.parametrize("smiles", SMILES)
def test_molecule_comes_back_from_its_graph(smiles, vocabulary):
    molecule = parse(smiles)
    graph = to_graph(molecule, vocabulary)
    back = assemble(graph.nodes, graph.edges, vocabulary)
    assert why_invalid(back) == ""
    assert canonical(back) == canonical(molecule)


def test_edges_are_symmetric_kekulised_and_off_the_diagonal(vocabulary):
    graph = to_graph(parse("c1ccccc1"), vocabulary)
    np.testing.assert_array_equal(graph.edges, graph.edges.T)
    assert not graph.edges.diagonal().any()
    assert sorted(graph.edges[np.triu_indices(6, 1)])[-6:] == [1, 1, 1, 2, 2, 2]


def test_batch_round_trip_leaves_padding_out(vocabulary):
    molecules = [parse(smiles) for smiles in SMILES]
    nodes, edges, mask = batch([to_graph(m, vocabulary) for m in molecules])
    assert nodes.dtype == edges.dtype == torch.int64 and mask.dtype == torch.bool
    assert torch.equal(edges, edges.transpose(1, 2))
    nodes[~mask] = 1  # whatever a sampler leaves there
    made = assemble_batch(nodes, edges, mask, vocabulary)
    assert not any(map(why_invalid, made))
    assert list(map(canonical, made)) == list(map(canonical, molecules))


def test_order_of_the_atoms_does_not_matter(vocabulary):
    graph = to_graph(parse("CS(=O)(=O)c1ccccc1"), vocabulary)
    order = np.random.default_rng(0).permutation(len(graph.nodes))
    moved = assemble(graph.nodes[order], graph.edges[np.ix_(order, order)], vocabulary)
    assert why_invalid(moved) == "" and canonical(moved) == canonical(parse("CS(=O)(=O)c1ccccc1"))


def test_stereochemistry_is_left_out_of_the_name():
    assert canonical(parse("C[C@H](N)C(=O)O")) == canonical(parse("C[C@@H](N)C(=O)O"))


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [("[13CH4]", "isotopes"), ("C[CH2]", "radicals"), ("CBr", "Br"), ("C[NH3+]", None), ("C[Zn]C", "Zn")],
)
def test_what_a_graph_cannot_hold_is_refused_by_name(smiles, reason, vocabulary):
    if reason is None:
        to_graph(parse(smiles), vocabulary)
        return
    with pytest.raises(NotAGraph, match=reason):
        to_graph(parse(smiles), vocabulary)


@pytest.mark.parametrize("smiles", ["C(C", "C1CC", "c1cccc1", "CC(C)(C)(C)C", "", "hello"])
def test_bad_smiles_are_refused_with_a_reason(smiles):
    with pytest.raises(ValueError) as caught:
        parse(smiles)
    assert 5 < len(str(caught.value)) < 120 and "\n" not in str(caught.value)


def test_raw_graph_is_not_corrected(vocabulary):
    carbon = vocabulary.number("C", 0)
    star = np.zeros((6, 6), np.int64)
    star[0, 1:] = star[1:, 0] = 1
    assert "valence" in why_invalid(assemble(np.full(6, carbon), star, vocabulary))


def test_vocabulary_survives_json_and_refuses_nonsense(vocabulary):
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary
    for value in ({}, {"atoms": [["Xx", 0]], "bonds": vocabulary.bonds}, {"atoms": [["C", 0]], "bonds": ["none"]}):
        with pytest.raises(ValueError, match="vocabulary"):
            Vocabulary.from_json(value)


def test_hydrogens_written_out_are_implied(vocabulary):
    written = Chem.MolToSmiles(Chem.AddHs(Chem.MolFromSmiles("CCO")))
    assert len(to_graph(parse(written), vocabulary).nodes) == 3
