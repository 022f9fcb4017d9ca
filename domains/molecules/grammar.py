"""Which pieces a string of fragments can still take, so that its openings come out even, at atoms that have a hydrogen."""

from functools import lru_cache
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from rdkit import Chem
from torch import Tensor

from ornstein.core.discrete.denoisers import CategoricalDenoiser, States
from ornstein.domains.molecules.fragments import OPEN, PLACE
from ornstein.domains.molecules.pieces import Pieces

MOST = 24
"""The most openings that wait at a time."""
NEVER = -1e9
"""The logit of a piece that does not fit."""

DEAD, BEGIN, ALONE = 0, 1, 2
"""States of the reader of a string: it does not fit, nothing is read, and a first ring system, or a whole molecule."""


class Grammar:
    """A finite reader of strings of fragments; see `fragments.py`.

    Its states are those above and, for each number of openings that wait, three: between fragments, after a ring system whose
    bond is to come, and after places of a ring system, of which there may be more.

    Args:
        pieces: the vocabulary.
    """

    def __init__(self, pieces: Pieces) -> None:
        words = {word: [_after(state, word) for state in range(3 + 3 * (MOST + 1))] for word in pieces.words}
        maps = []
        for spelt in pieces.spelt:
            state = list(range(3 + 3 * (MOST + 1)))
            for word in spelt:
                state = [words[word][s] for s in state]
            maps.append(state)
        found, kind = np.unique(np.array(maps), axis=0, return_inverse=True)
        self.kind = torch.from_numpy(kind.reshape(-1))  # of each piece: pieces of a kind are alike to the reader
        self.after = torch.from_numpy(found)  # the state after a piece of each kind, (kinds, states)
        states = self.after.shape[1]
        self.any = torch.zeros(states, states)  # whether some piece leads from one state to the other
        for row in self.after:
            self.any[torch.arange(states), row] = 1
        self.any[:, DEAD] = 0
        self.lead = [tuple(int(w[1:]) for w in takewhile(_is_place, spelt)) for spelt in pieces.spelt]
        self.whole = [len(lead) == len(spelt) for lead, spelt in zip(self.lead, pieces.spelt)]  # nothing but openings
        self.tail = [_tail(spelt) for spelt in pieces.spelt]
        self._kept: dict[Any, Tensor] = {}
        self.good = torch.zeros(states)
        self.good[[ALONE, _number(0, 0), _number(2, 0)]] = 1

    def fitting(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Whether each piece at each place leaves a string that can be completed, bool (batch, places, pieces).

        Args:
            tokens: pieces, or their number where one is still to come, int64 (batch, places).
            mask: which places there are, bool (batch, places); they come first.

        What leaves no piece is not asked for: what is held may not come out even.
        """
        batch, places = tokens.shape
        open_ = tokens == len(self.kind)
        kinds = self.kind[torch.where(open_, 0, tokens)]
        after = self.after[kinds]  # (batch, places, states)
        before = torch.zeros(places + 1, batch, self.after.shape[1])
        before[0, :, BEGIN] = 1
        for place in range(places):
            here = before[place]
            read = torch.zeros_like(here).scatter_add_(1, after[:, place], here)
            read[:, DEAD] = 0
            further = torch.where(open_[:, place, None], here @ self.any, read).clamp_max(1)
            before[place + 1] = torch.where(mask[:, place, None], further, here)
        ahead = self.good.expand(batch, -1)  # from which states the rest can come out even
        made = torch.zeros(batch, places, len(self.after), dtype=torch.bool)
        for place in reversed(range(places)):
            found = ahead[:, self.after] * before[place][:, None]  # (batch, kinds, states)
            made[:, place] = found.amax(-1) > 0
            back = torch.where(open_[:, place, None], ahead @ self.any.T, ahead.gather(1, after[:, place])).clamp_max(1)
            ahead = torch.where(mask[:, place, None], back, ahead)
        made |= ~made.any(-1, keepdim=True)
        fits = made[:, :, self.kind]
        for row, place in torch.nonzero(open_ & mask).tolist():
            beside = self._beside(tokens[row].tolist(), place, int(mask[row].sum()))
            if beside is not None:
                both = fits[row, place] & beside
                fits[row, place] = both if bool(both.any()) else fits[row, place]
        return fits

    def _beside(self, row: list[int], place: int, end: int) -> Tensor | None:
        """Which pieces fit between the ring system before a place and the openings after it; None where neither is known."""
        ring, places = self._ring_before(row, place)
        following: tuple[int, ...] = ()
        for piece in row[place + 1 : end]:
            if piece == len(self.kind) or not self.lead[piece]:
                break
            following += self.lead[piece]
            if not self.whole[piece]:
                break
        return None if ring is None and not following else self._between(ring, places, following)

    def _ring_before(self, row: list[int], place: int) -> tuple[str | None, tuple[int, ...]]:
        """The ring system that words before a place belong to, and its openings; None where that is not known."""
        places: tuple[int, ...] = ()
        for piece in reversed(row[:place]):
            if piece == len(self.kind):
                break
            if not self.whole[piece]:
                ring, own = self.tail[piece]
                return ring, own + places
            places = self.lead[piece] + places
        return None, ()

    def _between(self, ring: str | None, places: tuple[int, ...], following: tuple[int, ...]) -> Tensor:
        key = ring, places, following
        if key not in self._kept:
            fits = torch.ones(len(self.kind), dtype=torch.bool)
            for piece, lead in enumerate(self.lead):
                good = ring is None or not lead or openable(ring, places + lead)
                if following and good:
                    own, after = (ring, places + lead) if self.whole[piece] else self.tail[piece]
                    good = own is None or openable(own, after + following)
                fits[piece] = good
            self._kept[key] = fits
        return self._kept[key]


class GrammaticalDenoiser(CategoricalDenoiser):
    """A denoiser of strings that knows their grammar: pieces after which no string comes out even have no probability.

    Args:
        denoiser: of the tensor `tokens`.
        grammar: of its pieces.
    """

    def __init__(self, denoiser: CategoricalDenoiser, grammar: Grammar) -> None:
        super().__init__(denoiser.paths)
        self.denoiser, self.grammar = denoiser, grammar

    def forward(self, x: States, t: Tensor, masks: States, **conditions: Tensor) -> dict[str, Tensor]:
        logits = self.denoiser(x, t, masks, **conditions)["tokens"]
        fits = self.grammar.fitting(x["tokens"].cpu(), masks["tokens"].cpu()).to(logits.device)
        return {"tokens": logits.masked_fill(~fits, NEVER)}


@lru_cache(maxsize=100_000)
def openable(ring: str, places: tuple[int, ...]) -> bool:
    """Whether a ring system can have bonds at these atoms: the first that it hangs by, then others in ascending order."""
    hydrogens = [atom.GetTotalNumHs() for atom in Chem.MolFromSmiles(ring).GetAtoms()]
    if max(places) >= len(hydrogens) or list(places[1:]) != sorted(places[1:]):
        return False
    return all(places.count(place) <= hydrogens[place] for place in places)


def _is_place(word: str) -> bool:
    return word.startswith(PLACE)


def _tail(spelt: tuple[str, ...]) -> tuple[str | None, tuple[int, ...]]:
    """The ring system that a piece ends with, and its openings; None where it ends with another fragment."""
    places = tuple(int(word[1:]) for word in takewhile(_is_place, reversed(spelt)))[::-1]
    word = spelt[-1 - len(places)] if len(places) < len(spelt) else OPEN
    return (None, ()) if OPEN in word else (word, places)


def _number(mode: int, openings: int) -> int:
    return 3 + mode * (MOST + 1) + openings


def _after(state: int, word: str) -> int:
    """The state after a word."""
    place, bonds = word.startswith(PLACE), word.count(OPEN)
    if state == DEAD:
        return DEAD
    if state == BEGIN:
        return DEAD if place or bonds > 1 else _number(0, 1) if bonds else ALONE
    if state == ALONE:
        return _number(0, 1) if place else DEAD
    mode, openings = divmod(state - 3, MOST + 1)
    if place:
        openings += mode == 2
        return DEAD if mode == 0 or openings > MOST else _number(2, openings)
    openings += bonds - 2 if bonds else -1
    if mode == 1 or state in (_number(0, 0), _number(2, 0)) or openings > MOST:
        return DEAD
    return _number(0 if bonds else 1, openings)
