"""Goals and parts: what is asked for is read exactly, and what cannot be is refused by name."""

import math

import pytest
import torch
from rdkit import Chem
from rdkit.Chem import QED

from ornstein.core.errors import InputError, UsageError
from ornstein.core.pairs import unpack
from ornstein.datasets.molecules import Vocabulary, assemble, canonical, why_invalid
from ornstein.domains.molecules.objectives import (
    Goal,
    Objective,
    area_under_top,
    descriptor,
    read_goals,
    spreads,
    user_function,
)
from ornstein.domains.molecules.parts import hold, read_part

VOCABULARY = Vocabulary((("C", 0), ("N", 0), ("O", 0), ("N", 1), ("O", -1)))
BENZENE, ETHANOL = Chem.MolFromSmiles("c1ccccc1"), Chem.MolFromSmiles("CCO")


def test_descriptors_are_rdkits_in_any_case():
    assert descriptor("QED")[0] == "qed" and descriptor("mollogp")[0] == "MolLogP"
    assert descriptor("qed")[1](BENZENE) == QED.qed(BENZENE)
    with pytest.raises(UsageError, match="MolLgP") as caught:
        descriptor("MolLgP")
    assert "MolLogP" in caught.value.hint


def test_functions_of_a_file_are_run(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "def atoms(molecule):\n    return molecule.GetNumAtoms()\n\ndef broken(molecule):\n    return 1 / 0\n"
    )
    assert user_function(f"{file}:atoms")(ETHANOL) == 3
    (goal,) = read_goals(f"{file}:broken", [])
    with pytest.raises(InputError, match=r"broken failed for CCO.*ZeroDivision"):
        Objective([goal])(ETHANOL)
    with pytest.raises(InputError, match="no function 'bonds'") as caught:
        user_function(f"{file}:bonds")
    assert "atoms" in caught.value.hint
    with pytest.raises(InputError, match="no such file"):
        user_function(f"{tmp_path}/absent.py:atoms")
    file.write_text("this is no program")
    with pytest.raises(InputError, match="SyntaxError"):
        user_function(f"{file}:atoms")


def test_goals_are_read_and_asked_for_once():
    goals = read_goals("QED", [("MolLogP", 2.5)])
    assert [str(goal) for goal in goals] == ["maximise qed", "MolLogP = 2.5"]
    with pytest.raises(UsageError, match="twice"):
        read_goals("qed", [("QED", 0.5)])


def test_objective_weighs_goals_and_counts_each_molecule_once():
    atoms = Goal("atoms", lambda m: m.GetNumAtoms())
    rings = Goal("rings", lambda m: m.GetRingInfo().NumRings(), target=0.0)
    objective = Objective([atoms, rings], [2.0, 0.5])
    assert objective(BENZENE) == 6 / 2 - 1 / 0.5 and objective(ETHANOL) == 1.5
    objective(Chem.MolFromSmiles("OCC"))
    assert objective.calls == 2 and objective.history == [("c1ccccc1", 1.0), ("CCO", 1.5)]
    assert math.isnan(Objective([Goal("none", lambda m: float("inf"))])(ETHANOL))
    assert spreads([atoms, Goal("one", lambda m: 1.0)], [BENZENE, ETHANOL]) == [1.5, 1.0]


def test_a_goal_is_asked_about_each_molecule_once():
    asked = []
    goal = Goal("counted", lambda m: asked.append(m) or 1.0)
    for smiles in ("CCO", "OCC", "CC", "CCO"):
        assert goal.value(Chem.MolFromSmiles(smiles)) == 1
    assert len(asked) == len(goal.known) == 2


def test_area_under_the_top_counts_how_soon():
    assert area_under_top([1.0] * 10, calls=10, top=1) == 1
    assert area_under_top([0.0, 1.0], calls=4, top=1) == 0.75
    assert area_under_top([1.0, 0.5, math.nan], calls=3, top=2) == pytest.approx((0.5 + 0.75 + 0.75) / 3)


def test_part_is_held_as_it_is():
    part = read_part("c1ccncc1", VOCABULARY, "--scaffold")
    nodes, pairs = hold([part], 8)
    edges = unpack(pairs[None], 8)[0]
    assert canonical(Chem.MolFromSmiles("c1ccncc1")) == canonical(whole(nodes[:6], edges[:6, :6]))
    assert (nodes[6:] == -1).all() and (edges[6:, :6] == -1).all() and edges[6, 7] == -1
    assert part.within(Chem.MolFromSmiles("CCc1ccncc1")) and not part.within(BENZENE)


def whole(nodes, edges):
    molecule = assemble(nodes, edges, VOCABULARY)
    assert why_invalid(molecule) == ""
    return molecule


def test_part_with_stars_grows_only_there_and_must():
    part = read_part("*c1ccncc1", VOCABULARY, "--fragment")
    assert (part.atoms, part.grows.sum(), part.openings) == (6, 1, 1)
    _, pairs = hold([part], 7)
    outward = unpack(pairs[None], 7)[0][6, :6]
    assert ((outward == -1).numpy() == part.grows).all() and (outward[outward != -1] == 0).all()
    assert part.within(Chem.MolFromSmiles("Cc1ccncc1"))
    assert not part.within(Chem.MolFromSmiles("c1ccncc1"))  # nothing grew
    assert part.within(Chem.MolFromSmiles("Cc1ccnc(C)c1"))  # the pattern is contained; holding it keeps this away


def test_pieces_may_bond_with_each_other_only_where_they_grow():
    part = read_part("*CO.*CN", VOCABULARY, "--fragment")
    _, pairs = hold([part], 4)
    edges = unpack(pairs[None], 4)[0]
    assert edges[0, 1] == 1 and edges[2, 3] == 1
    assert torch.equal(edges[:2, 2:], torch.tensor([[-1, 0], [0, 0]]))


def test_pyrroles_nitrogen_may_be_where_it_grows():
    part = read_part("*n1cccc1", VOCABULARY, "--fragment")
    assert part.grows.tolist() == [True, False, False, False, False]
    assert part.within(Chem.MolFromSmiles("Cn1cccc1"))


@pytest.mark.parametrize(
    ("smiles", "error", "reason"),
    [
        ("c1ccccc", UsageError, "parsed"), ("*", UsageError, r"\*"), ("C*C", UsageError, r"\*"), ("", UsageError, "atoms"),
        ("CBr", InputError, "Br is none of the model's atoms"), ("[13CH4]", InputError, "isotopes"),
    ],
)  # fmt: skip
def test_parts_that_cannot_be_held_are_refused_by_name(smiles, error, reason):
    with pytest.raises(error, match=reason) as caught:
        read_part(smiles, VOCABULARY, "--scaffold")
    assert "--scaffold" in str(caught.value)
