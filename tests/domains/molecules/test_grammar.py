"""The grammar lets in what can still come out even, and nothing else: by trying all strings."""

import itertools

import pytest
import torch

from ornstein.core.discrete.denoisers import CategoricalDenoiser
from ornstein.core.discrete.paths import Masked
from ornstein.core.discrete.samplers import FirstHitting, sample
from ornstein.domains.molecules.grammar import Grammar, GrammaticalDenoiser
from ornstein.domains.molecules.pieces import Pieces

PIECES = Pieces(("*C", "*C*", "*C(*)*", "C1CCCCC1", "@0", "@1", "C"), ((3, 4), (1, 2)))
OPEN = len(PIECES)


def comes_out_even(words, orderly: bool = True) -> bool:
    """By counting, apart from the reader: each fragment has an opening to hang on, none is left, and atoms have hydrogens."""
    nodes: list[list] = []  # word, openings, places
    for word in words:
        if word.startswith("@"):
            if not nodes or "*" in nodes[-1][0]:
                return False
            nodes[-1][1] += 1
            nodes[-1][2].append(word)
        else:
            nodes.append([word, word.count("*"), []])
    hydrogens = {"C1CCCCC1": 2, "C": 4}
    for word, _, places in nodes if orderly else ():
        if places[1:] != sorted(places[1:]) or any(places.count(one) > hydrogens.get(word, 9) for one in places):
            return False
        if word == "C" and "@1" in places:
            return False
    if len(nodes) == 1:
        return nodes[0][1] == 0
    if nodes[0][1] != 1:
        return False
    waiting = 1
    for _, bonds, _ in nodes[1:]:
        if waiting == 0 or bonds == 0:
            return False
        waiting += bonds - 2
    return waiting == 0


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_a_piece_fits_where_some_string_with_it_comes_out_even(length):
    grammar = Grammar(PIECES)
    good = [row for row in itertools.product(range(OPEN), repeat=length) if comes_out_even(PIECES.read(row))]
    generator = torch.Generator().manual_seed(length)
    for _ in range(12):
        known = torch.where(
            torch.rand(length, generator=generator) < 0.5,
            OPEN,
            torch.tensor(good)[torch.randint(len(good), (), generator=generator)],
        )
        found = grammar.fitting(known[None], torch.ones(1, length, dtype=torch.bool))[0]
        one = int((known == OPEN).sum()) == 1
        left = [row for row in good if all(k in (OPEN, piece) for k, piece in zip(known.tolist(), row))]
        for place in range(length):
            if known[place] == OPEN:
                fits = set(torch.nonzero(found[place])[:, 0].tolist())
                exact = {row[place] for row in left}
                # Of several open places only openings beside what is known are looked at.
                assert fits == exact if one else fits >= exact


def test_padding_changes_nothing_and_what_cannot_come_out_even_is_free():
    grammar = Grammar(PIECES)
    tokens = torch.tensor([[0, OPEN, OPEN], [0, OPEN, 0]])
    whole = grammar.fitting(tokens, torch.tensor([[True, True, True], [True, True, False]]))
    torch.testing.assert_close(whole[1, :2], grammar.fitting(tokens[1:, :2], torch.ones(1, 2, dtype=torch.bool))[0])
    assert set(torch.nonzero(whole[1, 1])[:, 0].tolist()) == {0, 7}  # a leaf, or a ring with its bond
    hopeless = grammar.fitting(torch.tensor([[0, 0, OPEN]]), torch.ones(1, 3, dtype=torch.bool))
    assert bool(hopeless[0, 2].all())


class Careless(CategoricalDenoiser):
    def __init__(self):
        super().__init__({"tokens": Masked(len(PIECES))})

    def forward(self, x, t, masks, **conditions):
        return {"tokens": self.paths["tokens"].evidence(x["tokens"], t)}


def test_every_sample_comes_out_even_whatever_the_denoiser_says():
    mask = torch.arange(9) < torch.tensor([3, 5, 7, 9] * 20)[:, None]
    x = sample(GrammaticalDenoiser(Careless(), Grammar(PIECES)), {"tokens": mask}, FirstHitting())["tokens"]
    strings = [PIECES.read(row[:n].tolist()) for row, n in zip(x, mask.sum(1).tolist())]
    assert (
        all(comes_out_even(words, orderly=False) for words in strings) and len({tuple(words) for words in strings}) > 40
    )


def fitting_words(*words: str | None) -> set[str]:
    """The pieces, by their first word, that fit at the one place that is None."""
    pieces = Pieces(("*C", "*C*", "c1ccncc1", "C1CCCCC1", "@0", "@1", "@3", "@5", "*O"))
    row = torch.tensor([[len(pieces) if word is None else pieces.index[word] for word in words]])
    found = Grammar(pieces).fitting(row, torch.ones_like(row, dtype=torch.bool))[0, words.index(None)]
    return {pieces.words[number] for number in torch.nonzero(found)[:, 0].tolist()}


def test_openings_are_at_atoms_with_a_hydrogen_and_in_order():
    # Atom 3 of pyridine is the nitrogen; each atom of cyclohexane has two hydrogens.
    assert fitting_words("*C", "c1ccncc1", "@1", None, "*O") == {"@0", "@5"}
    assert fitting_words("*C", "c1ccncc1", None, "@5", "*O") == {"@0", "@1"}
    assert fitting_words("*C", "C1CCCCC1", "@3", "@3", None, "*O", "*O") == {"@5"}
    assert fitting_words("*C", None, "@3") == {"C1CCCCC1"}
