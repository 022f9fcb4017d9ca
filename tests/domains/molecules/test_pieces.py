"""Pieces are merges of frequent neighbours: they spell the words that they are of, and never more pieces than words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ornstein.domains.molecules.pieces import Pieces

strings = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=12), min_size=1, max_size=8)
WORDS = ("a", "b", "c", "d")


@given(strings, st.integers(0, 6))
def test_pieces_spell_their_words(rows, count):
    arrays = [np.array(row) for row in rows]
    pieces = Pieces.learn(arrays, WORDS, count)
    assert len(pieces) <= 4 + count
    for row, merged in zip(rows, pieces.merge(arrays), strict=True):
        assert pieces.read(merged) == [WORDS[i] for i in row] and len(merged) <= len(row)
        assert [int(x) for x in pieces.merge([np.array(row)])[0]] == merged.tolist()
    assert Pieces.from_json(pieces.to_json()) == pieces


def test_the_most_frequent_neighbours_are_merged_first_and_from_the_left():
    pieces = Pieces.learn([np.array([0, 0, 0, 1]), np.array([0, 0, 2])], WORDS, 2)
    assert pieces.merges == ((0, 0),)  # nothing else is there twice
    assert pieces.merge([np.array([0, 0, 0, 1])])[0].tolist() == [4, 0, 1]
    assert pieces.numbers(["a", "d"]).tolist() == [0, 3]


def test_wrong_merges_are_refused():
    with pytest.raises(ValueError, match="merge 0"):
        Pieces(WORDS, ((0, 4),))
    with pytest.raises(KeyError):
        Pieces(WORDS).numbers(["e"])
