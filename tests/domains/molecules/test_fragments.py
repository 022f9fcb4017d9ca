"""Molecules are strings of fragments: they give the molecule back, in one way only, and what does not fit is told."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from ornstein.datasets.molecules import canonical, parse
from ornstein.domains.molecules.fragments import STAR, all_fragments, fragments, joined, read_fragments

SMILES = [
    "CC(=O)Nc1ccc(Cl)cc1", "C", "CC", "c1ccc2[nH]ccc2c1", "Cc1cn(C)cn1", "Cc1c[nH]cn1", "FC(F)(F)c1cccc(-c2ccccc2)c1",
    "O=C1CC2(CCCCC2)C(=O)N1C", "C1CC2(C1)CC(N)(O)C2", "C[N+](C)(C)CC(=O)[O-]", "O=[N+]([O-])c1ccccc1", "N#CC=CC=O",
    "CN1CCN(c2ccc3c(c2)OCO3)CC1", "c1ccc(-n2cccn2)cc1", "CS(=O)(=O)N1CCC(c2nc3ccccc3[nH]2)CC1", "Cn1cc[n+](C)c1",
    "O=c1cc[nH]c(=O)[nH]1", "Cc1cc(C)[nH]n1", "CC1=CCC(C)C=C1", "BrCCl", "[nH]1cccc1-c1ccc[nH]1",
]  # fmt: skip


@pytest.mark.parametrize("smiles", SMILES)
def test_fragments_give_the_molecule_back(smiles):
    assert canonical(parse(joined(fragments(parse(smiles))))) == canonical(parse(smiles))


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(SMILES), st.integers(1, 10**6))
def test_they_do_not_depend_on_the_order_of_the_atoms_and_any_leaf_may_begin(smiles, seed):
    molecule = parse(smiles)
    order = np.random.default_rng(seed).permutation(molecule.GetNumAtoms()).tolist()
    turned = Chem.RenumberAtoms(molecule, order)
    assert sorted(fragments(turned)) == sorted(fragments(molecule))
    begun = fragments(molecule, np.random.default_rng(seed))
    assert canonical(parse(joined(begun))) == canonical(molecule)


def test_the_example_of_the_notation():
    assert fragments(parse("CC(=O)Nc1ccc(Cl)cc1")) == ["*C", "*C(*)=O", "*N*", "c1ccccc1", "@0", "@3", "*Cl"]
    assert canonical(parse(joined(["*C", "*C(*)*", "*O", "*N"]))) == "CC(N)O"


def test_stars_are_kept():
    words = fragments(Chem.MolFromSmiles("*c1ccncc1CO"), np.random.default_rng(0))
    assert words.count(STAR) == 1 and "c1ccncc1" in words


@pytest.mark.parametrize(
    "words, said",
    [
        ([], "leaf"),
        (["*C*", "*C"], "leaf"),
        (["*C", "*C*"], "openings are left"),
        (["*C", "*C", "*O"], "1 fragments are left over"),
        (["*C", "c1ccccc1", "@9"], "no openings"),
        (["*C", "c1ccccc1", "@0", "@4", "@2"], "no openings"),
        (["*C", "@0"], "no ring system"),
        (["@0", "*C"], "no ring system"),
        (["*C", "c1ccccc1"], "no opening"),
        (["*C"], "openings are left"),
    ],
)
def test_what_does_not_fit_is_told(words, said):
    with pytest.raises(ValueError, match=said):
        joined(words)


def test_what_cannot_be_written_is_told():
    found = list(all_fragments(["CCO", "CC.O", "C(", "C[C@H](F)O"]))
    assert found[0] == (["*C", "*C*", "*O"], 3) and found[1] == "several pieces" and "parsed" in found[2]
    assert isinstance(read_fragments("C[C@H](F)O"), tuple)


def test_many_rings_are_numbered_apart():
    smiles = "-".join(["c1ccccc1"] * 40)
    assert canonical(parse(joined(fragments(parse(smiles))))) == canonical(parse(smiles))
    with pytest.raises(ValueError, match="too many rings"):
        joined(fragments(parse("-".join(["c1ccccc1"] * 100))))
