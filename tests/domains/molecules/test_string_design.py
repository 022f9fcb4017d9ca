"""Molecules of a model of strings with what is asked of them, on a stand-in that writes chains of C, N and O."""

from dataclasses import replace

import pytest
import torch
from rdkit import Chem

from ornstein.core.discrete.denoisers import CategoricalDenoiser
from ornstein.core.discrete.paths import Masked
from ornstein.core.discrete.samplers import Ancestral, FirstHitting
from ornstein.core.errors import InputError, UsageError
from ornstein.domains.molecules.design import check, draw, how, largest, vocabulary_of
from ornstein.domains.molecules.fragments import STAR, joined
from ornstein.domains.molecules.objectives import Goal, Objective
from ornstein.domains.molecules.parts import read_part
from ornstein.domains.molecules.pieces import Pieces
from ornstein.domains.molecules.string_design import template
from ornstein.domains.molecules.strings import StringModel
from ornstein.domains.molecules.wishes import Wish

ENDS, LINKS = ("*F", "*Cl", "*Br"), ("*S*", "*[Se]*", "*N*")
WORDS = (
    *ENDS,
    *LINKS,
    "*C*",
    "*O",
    "*N",
    "*C(*)*",
    "*C(*)=O",
    "c1ccncc1",
    "c1ccccc1",
    "C1CCNCC1",
    *(f"@{n}" for n in range(6)),
)
PIECES = Pieces(WORDS, ((11, 15),))
SHARES = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)


class Chains(CategoricalDenoiser):
    """Chains of `LINKS` that end in `ENDS`, wherever nothing is held: the two are in no part."""

    def __init__(self):
        super().__init__({"tokens": Masked(len(PIECES))})

    def forward(self, x, t, masks, **conditions):
        tokens, mask = x["tokens"], masks["tokens"]
        place = torch.arange(tokens.shape[1])
        held = (tokens >= 6) & (tokens < len(PIECES)) & mask
        last = place == mask.sum(1, keepdim=True) - 1
        before_held = torch.cat([held[:, 1:], torch.zeros_like(last[:, :1])], 1)
        begins = ~held.cumsum(1).bool()  # a chain at the beginning has its end there, and a part hangs on it
        ends = (place == 0) | last | (before_held & ~begins)
        law = torch.full((*tokens.shape, len(PIECES)), 1e-30, dtype=torch.float64)
        law[..., :3] = torch.where(ends[..., None], SHARES, law[..., :3])
        law[..., 3:6] = torch.where(ends[..., None], law[..., 3:6], SHARES)
        return {"tokens": law.log() + self.paths["tokens"].evidence(tokens, t)}


@pytest.fixture(scope="module")
def model():
    sizes = torch.zeros(31, 32, dtype=torch.float64)
    for n in range(8, 31):
        sizes[n, n] = sizes[n, n - 1] = 1 / 46
    return StringModel(Chains(), PIECES, sizes, {})


def asked(model, *parts, **more):
    return Wish(parts=[read_part(smiles, vocabulary_of(model), "--scaffold") for smiles in parts], **more)


def test_atoms_of_the_fragments_are_known(model):
    assert {symbol for symbol, _ in vocabulary_of(model).atoms} == {"C", "N", "O", "F", "Cl", "Br", "S", "Se"}
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
    made = {template(wish, seed) for seed in range(20)}
    assert len(made) > 5 and template(wish, 3) == template(wish, 3)
    assert all(1 <= one.openings <= 2 and "C1CCNCC1" in one.words and one.atoms == 6 for one in made)


def test_pieces_are_joined_by_carbons_that_are_open(model):
    wish = asked(model, "*CO.*c1ccccc1")
    for seed in range(5):
        made = template(wish, seed)
        assert made.openings == 1 and "*C(*)*" in made.words and made.atoms == 10
        whole = Chem.MolFromSmiles(joined([word if word != STAR else "*Br" for word in made.words]))
        assert Chem.MolToSmiles(whole) in ("OCCC(Br)c1ccccc1", "OCC(Br)Cc1ccccc1")


def test_a_part_grows_at_its_stars_alone_and_need_not_be_a_word_of_the_model(model):
    for part, ring in (("*c1ccncc1", "c1ccncc1"), ("*c1ccoc1", "c1ccoc1")):
        attempts = draw(model, range(20), asked(model, part), seed=2)
        good = [attempt.molecule for attempt in attempts if attempt.valid]
        assert len(good) >= 18
        for molecule in good:
            (match,) = molecule.GetSubstructMatches(Chem.MolFromSmiles(ring))
            assert sum(len(molecule.GetAtomWithIdx(i).GetNeighbors()) > 2 for i in match) == 1


def test_goal_moves_what_is_written(model):
    goal = Goal("selenium", lambda m: sum(a.GetSymbol() == "Se" for a in m.GetAtoms()) / m.GetNumAtoms())
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
    with pytest.raises(InputError, match="I is none"):
        asked(model, "CI")
    for wish in (asked(model, "C" * 40), asked(model, "CC", atoms=(1, 2)), Wish(atoms=(90, 99))):
        with pytest.raises(UsageError):
            check(model, wish)
    with pytest.raises(UsageError, match="hydrogen"):
        check(model, asked(model, "O=C=O"))
