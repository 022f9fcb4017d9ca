"""Molecules drawn from a model of strings, with what is asked of them: parts are written down, and the rest is filled in."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

import numpy as np
import torch
from rdkit import Chem
from torch import Tensor

from ornstein.core.discrete.draws import SIZES
from ornstein.core.discrete.samplers import Sampler, sample
from ornstein.core.errors import UsageError
from ornstein.core.noise import KeyedUniform, key
from ornstein.core.pairs import node_mask
from ornstein.core.precision import autocast
from ornstein.datasets.molecules import Vocabulary
from ornstein.domains.molecules.attempts import Attempt, judge_words, refuse
from ornstein.domains.molecules.fragments import OPEN, PLACE, STAR, fragments
from ornstein.domains.molecules.parts import UNKNOWN
from ornstein.domains.molecules.pieces import Pieces
from ornstein.domains.molecules.strings import StringModel
from ornstein.domains.molecules.wishes import Wish, pursue, with_parts


def atoms_of(model: StringModel) -> Vocabulary:
    """The atoms of the fragments of a model."""
    found: dict[tuple[str, int], None] = {}
    for word in model.pieces.words:
        if not word.startswith(PLACE):
            for atom in Chem.MolFromSmiles(word, sanitize=False).GetAtoms():
                if atom.GetAtomicNum():
                    found[atom.GetSymbol(), atom.GetFormalCharge()] = None
    return Vocabulary(tuple(found))


@dataclass(frozen=True)
class Template:
    """The parts of a wish as a string with openings.

    Args:
        words: fragments, and `STAR` where it is open.
        atoms: heavy atoms of the fragments.
    """

    words: tuple[str, ...]
    atoms: int

    @property
    def openings(self) -> int:
        return self.words.count(STAR)

    def held(self, pieces: Pieces, lengths: Sequence[int]) -> tuple[list[int], dict[int, str]]:
        """Its pieces, -1 at its openings, of so many pieces each; and words that the model does not know, by place, where
        pieces like them stand."""
        row: list[int] = []
        foreign: dict[int, str] = {}
        waiting = iter(lengths)
        for open_, group in groupby(self.words, lambda word: word if word == STAR or word not in pieces.index else ""):
            words = list(group)
            if open_ == STAR:
                row += [UNKNOWN] * sum(next(waiting) for _ in words)
            elif open_:
                foreign |= {len(row) + k: word for k, word in enumerate(words)}
                row += [likeness(word, pieces) for word in words]
            else:
                (merged,) = pieces.merge([pieces.numbers(words)])
                row += [int(piece) for piece in merged]
        return row, foreign


@lru_cache(maxsize=4096)
def likeness(word: str, pieces: Pieces) -> int:
    """A piece that has as many openings as a word, to stand for it; `UNKNOWN` where there is none."""
    return next((n for n, known in enumerate(pieces.words) if _kind(known) == _kind(word)), UNKNOWN)


def _kind(word: str) -> tuple[bool, int]:
    return word.startswith(PLACE), word.count(OPEN)


def template(wish: Wish, seed: int) -> Template:
    """The parts of a wish in an order that the seed chooses.

    A piece without `*` gets one or two openings, at atoms that have a hydrogen. Several pieces are joined by two carbons,
    one of which is open too.

    Raises:
        UsageError: for a piece on which nothing can grow.
    """
    chance = np.random.default_rng(seed)
    whole = Chem.RWMol()
    for part in wish.parts:
        for piece in Chem.GetMolFrags(Chem.MolFromSmiles(part.smiles), asMols=True):
            before = _stars(whole)
            first = whole.GetNumAtoms()
            whole.InsertMol(piece)
            if len(_stars(whole)) == len(before):
                free = [first + a.GetIdx() for a in piece.GetAtoms() if a.GetTotalNumHs() > 0]
                if not free:
                    raise UsageError(
                        f"nothing can grow on {part.smiles!r}: no atom has a hydrogen", "ask for another part"
                    )
                for atom in chance.choice(free, min(len(free), int(chance.integers(1, 3))), replace=False):
                    _open(whole, int(atom))
            if before:
                mine = [star for star in _stars(whole) if star not in before]
                _join(whole, int(chance.choice(before)), int(chance.choice(mine)))
    Chem.RemoveStereochemistry(whole)
    Chem.SanitizeMol(whole)
    words = fragments(whole, chance)
    return Template(tuple(words), whole.GetNumAtoms() - len(_stars(whole)))


def _stars(molecule: Chem.Mol) -> list[int]:
    return [atom.GetIdx() for atom in molecule.GetAtoms() if atom.GetAtomicNum() == 0]


def _open(molecule: Chem.RWMol, atom: int) -> None:
    """A new opening at an atom, which gives a hydrogen for it."""
    molecule.AddBond(atom, molecule.AddAtom(Chem.Atom(0)), Chem.BondType.SINGLE)
    bearer = molecule.GetAtomWithIdx(atom)
    bearer.SetNumExplicitHs(max(0, bearer.GetNumExplicitHs() - 1))  # [nH] bears what grows instead


def _join(molecule: Chem.RWMol, first: int, second: int) -> None:
    """Two bonded carbons in place of two openings; the first is open."""
    for star in (first, second):
        molecule.GetAtomWithIdx(star).SetAtomicNum(6)
    molecule.AddBond(first, second, Chem.BondType.SINGLE)
    molecule.AddBond(first, molecule.AddAtom(Chem.Atom(0)), Chem.BondType.SINGLE)


@torch.no_grad()
def draw_strings(
    model: StringModel,
    items: Sequence[int],
    wish: Wish,
    steps: int,
    sampler: Sampler,
    seed: int,
    device: torch.device,
    precision: str,
    batch: int,
) -> list[Attempt]:
    """One attempt for each item; see `design.draw`.

    The number of pieces and of atoms is drawn from the model's law, within what is asked for. The model is told the
    atoms, and keeps to them mostly: within a range that is asked for, what has others is not valid, for that reason.
    Parts are pieces that are held, with openings among which the rest is shared out by chance.

    Raises:
        UsageError: for a size that the model does not make.
    """
    uniform = KeyedUniform(seed, [int(item) for item in items])(0, (len(items), 1), SIZES)[:, 0].tolist()
    plans = [_plan(model, wish, int(item), seed, u) for item, u in zip(items, uniform)]
    run = _Run(model, wish, steps, sampler, seed, device, precision)
    attempts: list[Attempt | None] = [None] * len(items)
    order = torch.tensor([len(plan.row) for plan in plans]).argsort(descending=True, stable=True)
    for part in order.split(batch):
        numbers = part.tolist()
        for i, attempt in zip(numbers, run([int(items[i]) for i in numbers], [plans[i] for i in numbers])):
            attempts[i] = attempt
    return [attempt for attempt in attempts if attempt is not None]


def allowed_strings(model: StringModel, wish: Wish, pieces: int = 0, atoms: int = 0) -> Tensor:
    """The law of the numbers of pieces and of atoms under a wish, of at least so many each; see `StringModel.sizes`.

    Raises:
        UsageError: where the model makes none such.
    """
    law = model.sizes.double().cpu().clone()
    low, high = wish.atoms or (0, law.shape[1] - 1)
    law[:pieces] = 0
    law[:, : max(low, atoms)] = 0
    law[:, high + 1 :] = 0
    if law.sum() == 0:
        made = torch.nonzero(model.sizes.sum(0))[:, 0].tolist()
        fewest = max(low, atoms)
        raise UsageError(
            f"what is asked for has {fewest} heavy atoms or more{f' and at most {high}' if wish.atoms else ''};"
            f" this model makes molecules of {made[0]} to {made[-1]}",
            "ask for a smaller part or another number of atoms, or choose another model",
        )
    return law


def check_strings(model: StringModel, wish: Wish) -> None:
    """Raises: UsageError where a model cannot meet a wish."""
    _plan(model, wish, 0, 0, 0.5)


@dataclass(frozen=True)
class _Plan:
    """What is given of an attempt: its pieces, -1 where open, words that no piece is, by place, and its heavy atoms."""

    row: list[int]
    foreign: dict[int, str]
    atoms: int


def _plan(model: StringModel, wish: Wish, item: int, seed: int, uniform: float) -> _Plan:
    made = template(wish, key(seed, item, SIZES)) if wish.parts else Template((STAR,), 0)
    fixed = len(made.held(model.pieces, [1] * made.openings)[0])
    law = allowed_strings(model, wish, fixed, made.atoms + bool(wish.parts)).flatten().cumsum(0)
    place = int(torch.searchsorted(law, min(uniform, 1 - 1e-12) * law[-1], right=True))
    pieces, atoms = divmod(place, model.sizes.shape[1])
    chance = np.random.default_rng(key(seed, item, SIZES + 1))
    spare = chance.multinomial(pieces - fixed, np.full(made.openings, 1 / made.openings))
    row, foreign = made.held(model.pieces, (1 + spare).tolist())
    return _Plan(row, foreign, atoms)


@dataclass(frozen=True, eq=False)
class _Run:
    """How attempts are drawn; called with their numbers and their held tokens."""

    model: StringModel
    wish: Wish
    steps: int
    sampler: Sampler
    seed: int
    device: torch.device
    precision: str

    def __call__(self, items: list[int], plans: list[_Plan]) -> list[Attempt]:
        denoiser, wish = self.model.denoiser, self.wish
        lengths = torch.tensor([len(plan.row) for plan in plans])
        mask = node_mask(lengths, int(lengths.max())).to(self.device)
        known = torch.full(mask.shape, UNKNOWN, dtype=torch.int64)
        for k, plan in enumerate(plans):
            known[k, : len(plan.row)] = torch.tensor(plan.row)
        held = {"tokens": known.to(self.device)} if wish.parts else None
        masks = {"tokens": mask}
        atoms = torch.tensor([plan.atoms for plan in plans], device=self.device)
        with autocast(self.device, self.precision):
            if wish.objective is None:
                x = sample(
                    denoiser, masks, self.sampler, steps=self.steps, seed=self.seed, items=items, known=held, atoms=atoms
                )  # fmt: skip
            else:
                x = pursue(
                    denoiser, masks, lambda x, final: self._values(x, plans), self.sampler, wish, steps=self.steps,
                    seed=self.seed, items=items, known=held, atoms=atoms,
                )  # fmt: skip
        return [self._attempt(row, plan) for row, plan in zip(x["tokens"].tolist(), plans)]

    def _attempt(self, row: list[int], plan: _Plan) -> Attempt:
        attempt = with_parts(self._judged(row, plan), self.wish.parts)
        atoms = attempt.molecule.GetNumHeavyAtoms()
        if self.wish.atoms is not None and not self.wish.atoms[0] <= atoms <= self.wish.atoms[1]:
            return refuse(attempt, f"{atoms} heavy atoms")
        return attempt

    def _judged(self, row: list[int], plan: _Plan) -> Attempt:
        words: list[str] = []
        given = False
        for place, piece in enumerate(row[: len(plan.row)]):
            new = [plan.foreign[place]] if place in plan.foreign else self.model.pieces.spelt[piece]
            open_ = plan.row[place] == UNKNOWN and place not in plan.foreign
            if given and open_ and new[0].startswith(PLACE):
                return Attempt(Chem.Mol(), "", "a part has further openings", False)
            words += new
            given = not open_
        return judge_words(words)

    def _values(self, x: dict[str, Tensor], plans: list[_Plan]) -> Tensor:
        """The objective of what stands there, NaN where it is no molecule."""
        objective = self.wish.objective
        assert objective is not None
        copies = len(x["tokens"]) // len(plans)
        wide = [plan for plan in plans for _ in range(copies)]
        made = [self._attempt(row, plan) for row, plan in zip(x["tokens"].tolist(), wide)]
        values = [objective(a.molecule, a.smiles) if a.valid else math.nan for a in made]
        return torch.tensor(values, dtype=torch.float64)
