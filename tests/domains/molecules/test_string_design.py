"""Molecules of a model of SMILES with what is asked of them, on a stand-in that writes chains of C, N and O."""

from dataclasses import replace

import pytest
import torch
from rdkit import Chem

from ornstein.core.discrete.denoisers import CategoricalDenoiser
from ornstein.core.discrete.paths import Masked
from ornstein.core.discrete.samplers import Ancestral, FirstHitting
from ornstein.core.errors import InputError, UsageError
from ornstein.domains.molecules.design import check, draw, how, largest, vocabulary_of
from ornstein.domains.molecules.objectives import Goal, Objective
from ornstein.domains.molecules.parts import read_part
from ornstein.domains.molecules.string_design import template
from ornstein.domains.molecules.strings import StringModel
from ornstein.domains.molecules.wishes import Wish

TOKENS = ("C", "N", "O", "c", "n", "1", "2", "(", ")", "=", "[nH]")


class Letters(CategoricalDenoiser):
    """C, N and O with .7, .2 and .1 wherever nothing is held."""

    def __init__(self):
        super().__init__({"tokens": Masked(len(TOKENS))})

    def forward(self, x, t, masks, **conditions):
        law = torch.full((len(TOKENS),), 1e-30, dtype=torch.float64)
        law[:3] = torch.tensor([0.7, 0.2, 0.1])
        path = self.paths["tokens"]
        return {"tokens": law.log() + path.evidence(x["tokens"], t)}


@pytest.fixture(scope="module")
def model():
    lengths = torch.zeros(31, dtype=torch.float64)
    lengths[8:31] = 1 / 23
    return StringModel(Letters(), TOKENS, lengths, {})


def asked(model, *parts, **more):
    return Wish(parts=[read_part(smiles, vocabulary_of(model), "--scaffold") for smiles in parts], **more)


def test_atoms_of_the_tokens_are_known(model):
    assert set(vocabulary_of(model).atoms) == {("C", 0), ("N", 0), ("O", 0)}
    assert largest(model) == 31


@pytest.mark.parametrize(
    "parts", [("c1ccncc1",), ("c1cc[nH]c1",), ("*c1ccncc1",), ("*CO.*c1ccccc1",), ("C1CCNCC1", "*C(=O)N")]
)
def test_parts_are_in_every_valid_molecule_and_most_are_valid(model, parts):
    attempts = draw(model, range(40), asked(model, *parts), seed=1)
    good = [attempt for attempt in attempts if attempt.valid]
    assert len({attempt.smiles for attempt in good}) >= 0.8 * len(attempts)
    patterns = [Chem.MolFromSmarts(piece) for part in parts for piece in part.split(".") if "[nH]" not in piece]
    assert all(attempt.molecule.HasSubstructMatch(pattern) for attempt in good for pattern in patterns)


def test_templates_differ_and_are_the_same_for_a_seed(model):
    wish = asked(model, "C1CCNCC1")
    made = {"".join(template(wish, seed)) for seed in range(20)}
    assert len(made) > 5 and template(wish, 3) == template(wish, 3)
    for text in made:
        assert 1 <= text.count("*") <= 2 and Chem.MolFromSmiles(text).HasSubstructMatch(Chem.MolFromSmiles("C1CCNCC1"))


def test_pieces_hang_on_one_opening(model):
    wish = asked(model, "*CO.*c1ccccc1")
    for seed in range(5):
        whole = Chem.MolFromSmiles("".join(template(wish, seed)))
        (star,) = (atom for atom in whole.GetAtoms() if atom.GetAtomicNum() == 0)
        assert star.GetDegree() == 2 and len(Chem.GetMolFrags(whole)) == 1


def test_goal_moves_what_is_written(model):
    goal = Goal("nitrogens", lambda m: sum(a.GetSymbol() == "N" for a in m.GetAtoms()) / m.GetNumAtoms())
    plain = [goal.value(a.molecule) for a in draw(model, range(12)) if a.valid]
    wish = asked(model, objective=Objective([goal]), candidates=4)
    aimed = [goal.value(a.molecule) for a in draw(model, range(12), wish) if a.valid]
    assert sum(aimed) / len(aimed) > sum(plain) / len(plain) + 0.1
    further = draw(model, range(12), replace(wish, rounds=3))
    values = [goal.value(a.molecule) for a in further if a.valid]
    assert len(values) == len(aimed) and all(b >= a for a, b in zip(aimed, values)) and sum(values) > sum(aimed) + 0.5


def test_atoms_are_within_the_range_or_the_attempt_is_not_valid(model):
    attempts = draw(model, range(40), Wish(atoms=(12, 20)))
    assert all(12 <= a.molecule.GetNumHeavyAtoms() <= 20 for a in attempts if a.valid)
    assert any(a.reason.endswith("heavy atoms") for a in attempts) and any(a.valid for a in attempts)


def test_attempts_do_not_depend_on_their_batch(model):
    wish = asked(model, "c1ccncc1")
    whole = draw(model, range(7), wish, sampler=Ancestral(), steps=4)
    part = draw(model, [5, 2], wish, sampler=Ancestral(), steps=4, batch=1)
    assert [a.smiles for a in part] == [whole[5].smiles, whole[2].smiles]


def test_steps_are_made_or_refused_but_never_ignored(model):
    assert how(FirstHitting(), 100, None, None) == (FirstHitting(), 100)
    assert how(FirstHitting(), 100, None, 7) == (Ancestral(), 7)
    assert how(Ancestral(), 50, None, 7) == (Ancestral(), 7)
    with pytest.raises(UsageError, match="first-hitting"):
        draw(model, range(2), sampler=FirstHitting(), steps=7)


def test_what_cannot_be_written_is_refused_before_any_work(model):
    with pytest.raises(InputError, match="F is none"):
        asked(model, "CF")
    with pytest.raises(InputError, match="# is none of the model's tokens"):
        check(model, asked(model, "C#N"))
    for wish in (asked(model, "C" * 40), asked(model, "CC", atoms=(1, 2)), Wish(atoms=(90, 99))):
        with pytest.raises(UsageError):
            check(model, wish)
    with pytest.raises(UsageError, match="hydrogen"):
        check(model, asked(model, "O=C=O"))
