"""Strings of words made shorter: frequent neighbours become one piece."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

END = -1
"""What stands between two strings in a flat array."""


@dataclass(frozen=True)
class Pieces:
    """A vocabulary of words, and of pieces that are merged of two others each.

    Piece k is word k, and merge k - len(words) after the words.

    Args:
        words: each once.
        merges: pairs of pieces, in the order in which they are merged.

    Raises:
        ValueError: for a merge of pieces that come later.

    Source: Sennrich et al. (2016), Neural machine translation of rare words with subword units, arXiv:1508.07909, section 3.2.
    """

    words: tuple[str, ...]
    merges: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        for k, pair in enumerate(self.merges):
            if not 0 <= min(pair) <= max(pair) < len(self.words) + k:
                raise ValueError(f"merge {k} is of {pair}, which are not before it")

    def __len__(self) -> int:
        return len(self.words) + len(self.merges)

    @cached_property
    def spelt(self) -> tuple[tuple[str, ...], ...]:
        """The words of every piece."""
        made: list[tuple[str, ...]] = [(word,) for word in self.words]
        for a, b in self.merges:
            made.append(made[a] + made[b])
        return tuple(made)

    @cached_property
    def index(self) -> dict[str, int]:
        """The number of every word."""
        return {word: number for number, word in enumerate(self.words)}

    @classmethod
    def learn(cls, strings: Sequence[np.ndarray], words: Sequence[str], count: int, least: int = 2) -> "Pieces":
        """The words with `count` merges of the most frequent pair each, fewer where none occurs `least` times.

        Args:
            strings: numbers of words, (length,) each.
            words: the vocabulary.
        """
        flat = _joined(strings)
        merges: list[tuple[int, int]] = []
        for size in range(len(words), len(words) + count):
            inside = (flat[:-1] != END) & (flat[1:] != END)
            pairs = np.bincount(flat[:-1][inside].astype(np.int64) * size + flat[1:][inside], minlength=1)
            best = int(pairs.argmax())
            if pairs[best] < least:
                break
            merges.append(divmod(best, size))
            flat = _merged(flat, *merges[-1], size)
        return cls(tuple(words), tuple(merges))

    def merge(self, strings: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Strings of the numbers of words as strings of pieces."""
        flat = _joined(strings)
        for k, (a, b) in enumerate(self.merges):
            flat = _merged(flat, a, b, len(self.words) + k)
        return np.split(flat[flat != END], (np.flatnonzero(flat == END) - np.arange(len(strings)))[:-1])

    def numbers(self, words: Iterable[str]) -> np.ndarray:
        """The numbers of words. Raises: KeyError for one that is not known."""
        return np.array([self.index[word] for word in words], np.int32)

    def read(self, pieces: Iterable[int]) -> list[str]:
        """The words of some pieces."""
        return [word for piece in pieces for word in self.spelt[piece]]

    def to_json(self) -> dict[str, Any]:
        return {"words": list(self.words), "merges": [list(pair) for pair in self.merges]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Pieces":
        """The inverse of `to_json`. Raises: LookupError, TypeError or ValueError for something else."""
        return cls(tuple(map(str, value["words"])), tuple((int(a), int(b)) for a, b in value["merges"]))


def _joined(strings: Sequence[np.ndarray]) -> np.ndarray:
    """All strings one after the other, `END` after each."""
    end = np.array([END], np.int32)
    return np.concatenate([part.astype(np.int32) for one in strings for part in (one, end)])


def _merged(flat: np.ndarray, a: int, b: int, new: int) -> np.ndarray:
    """The array with every (a, b) as one, from left to right."""
    hit = np.flatnonzero((flat[:-1] == a) & (flat[1:] == b))
    if a == b and len(hit):  # of three alike the first two are merged
        first = np.diff(hit, prepend=-2) > 1
        since = np.arange(len(hit)) - np.maximum.accumulate(np.where(first, np.arange(len(hit)), 0))
        hit = hit[since % 2 == 0]
    flat = flat.copy()
    flat[hit] = new
    return np.delete(flat, hit + 1)
