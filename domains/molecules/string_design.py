"""Molecules drawn from a model of SMILES, with what is asked of them: parts are written down, and the rest is filled in."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from rdkit import Chem
from torch import Tensor

from ornstein.core.discrete.draws import SIZES
from ornstein.core.discrete.samplers import Sampler, sample
from ornstein.core.errors import InputError, UsageError
from ornstein.core.noise import KeyedUniform, key
from ornstein.core.pairs import node_mask
from ornstein.core.precision import autocast
from ornstein.datasets.molecules import Vocabulary
from ornstein.domains.molecules.attempts import Attempt, judge_text, refuse
from ornstein.domains.molecules.parts import UNKNOWN
from ornstein.domains.molecules.strings import TOKEN, StringModel
from ornstein.domains.molecules.wishes import Wish, pursue, with_parts

GAP = "*"
"""Where a template is open."""


def atoms_of(model: StringModel) -> Vocabulary:
    """The atoms that the tokens of a model can say."""
    found = []
    for token in model.vocabulary:
        read = Chem.MolFromSmiles(token, sanitize=False) if token.strip("[").lower()[:1].isalpha() else None
        if read is not None and read.GetNumAtoms() == 1:
            atom = read.GetAtomWithIdx(0)
            found.append((atom.GetSymbol(), atom.GetFormalCharge()))
    return Vocabulary(tuple(dict.fromkeys(found)))


def template(wish: Wish, seed: int) -> list[str]:
    """The tokens of the parts of a wish as one string in an order that the seed chooses, `*` where it is open.

    The pieces are bonded to one opening, further `*` of theirs are openings too; a piece without any gets one or two, at atoms
    that have a hydrogen.

    Raises:
        UsageError: for a piece on which nothing can grow.
    """
    chance = np.random.default_rng(seed)
    whole = Chem.RWMol()
    ends: list[int] = []
    for part in wish.parts:
        for piece in Chem.GetMolFrags(Chem.MolFromSmiles(part.smiles), asMols=True):
            first = whole.GetNumAtoms()
            whole.InsertMol(piece)
            stars = [first + a.GetIdx() for a in piece.GetAtoms() if a.GetAtomicNum() == 0]
            if not stars:
                free = [first + a.GetIdx() for a in piece.GetAtoms() if a.GetTotalNumHs() > 0]
                if not free:
                    raise UsageError(
                        f"nothing can grow on {part.smiles!r}: no atom has a hydrogen", "ask for another part"
                    )
                for i in chance.choice(free, min(len(free), int(chance.integers(1, 3))), replace=False):
                    stars.append(whole.AddAtom(Chem.Atom(0)))
                    whole.AddBond(int(i), stars[-1], Chem.BondType.SINGLE)
                    atom = whole.GetAtomWithIdx(int(i))
                    atom.SetNumExplicitHs(max(0, atom.GetNumExplicitHs() - 1))  # [nH] bears what grows instead
            ends.append(int(chance.choice(stars)))
    for star in sorted(ends[1:], reverse=True):  # the other pieces hang on the first one's opening
        (neighbour,) = whole.GetAtomWithIdx(star).GetNeighbors()
        whole.AddBond(ends[0], neighbour.GetIdx(), Chem.BondType.SINGLE)
        whole.RemoveAtom(star)
    made = whole.GetMol()
    Chem.SanitizeMol(made)
    (text,) = Chem.MolToRandomSmilesVect(made, 1, randomSeed=int(chance.integers(1, 2**31)), isomericSmiles=False)
    return list(TOKEN.findall(text))


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

    Parts are tokens that are held, with openings of lengths that the item chooses. A string cannot be told how many
    atoms it is to have: what has others is not valid, for that reason.

    Raises:
        UsageError: for a size that the model does not make.
        InputError: for a part whose tokens the model does not know.
    """
    law = model.lengths.double().cpu().clone()
    if wish.atoms is not None:
        law[: wish.atoms[0]] = 0  # an atom is a token
    longest = int(torch.nonzero(model.lengths)[-1])
    uniform = KeyedUniform(seed, [int(item) for item in items])(0, (len(items), 1), SIZES)[:, 0]
    rows = []
    for item, u in zip(items, uniform.tolist()):
        fixed = template(wish, key(seed, int(item), SIZES)) if wish.parts else [GAP]
        gaps = fixed.count(GAP)
        mine = law.clone()
        mine[: len(fixed)] = 0
        if mine.sum() == 0:
            least = max(len(fixed), wish.atoms[0] if wish.atoms else 0)
            raise UsageError(
                f"what is asked for takes {least} tokens or more; this model writes {longest}",
                "ask for something smaller",
            )
        cumulative = mine.cumsum(0)
        length = int(torch.searchsorted(cumulative, min(u, 1 - 1e-12) * cumulative[-1], right=True))
        chance = np.random.default_rng(key(seed, int(item), SIZES + 1))
        spare = chance.multinomial(length - len(fixed), np.full(gaps, 1 / gaps)) + 1
        rows.append(_held(fixed, spare.tolist(), model))
    run = _Run(model, wish, steps, sampler, seed, device, precision)
    attempts: list[Attempt | None] = [None] * len(items)
    order = torch.tensor([len(row) for row in rows]).argsort(descending=True, stable=True)
    for part in order.split(batch):
        numbers = part.tolist()
        for i, attempt in zip(numbers, run([int(items[i]) for i in numbers], [rows[i] for i in numbers])):
            attempts[i] = attempt
    return [attempt for attempt in attempts if attempt is not None]


def hold_tokens(model: StringModel, wish: Wish) -> None:
    """Raises: InputError for a part whose tokens the model does not know, UsageError for one on which nothing can grow."""
    fixed = template(wish, 0)
    _held(fixed, [1] * fixed.count(GAP), model)


def _held(fixed: list[str], spare: list[int], model: StringModel) -> list[int]:
    """The numbers of the tokens, -1 where open; the openings have these lengths."""
    number = {token: i for i, token in enumerate(model.vocabulary)}
    row: list[int] = []
    lengths = iter(spare)
    for token in fixed:
        if token == GAP:
            row += [UNKNOWN] * next(lengths)
        elif token in number:
            row.append(number[token])
        else:
            raise InputError(f"{token} is none of the model's tokens", "choose another model, or another part")
    return row


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

    def __call__(self, items: list[int], rows: list[list[int]]) -> list[Attempt]:
        denoiser, wish = self.model.denoiser, self.wish
        lengths = torch.tensor([len(row) for row in rows])
        mask = node_mask(lengths, int(lengths.max())).to(self.device)
        known = torch.full(mask.shape, UNKNOWN, dtype=torch.int64)
        for k, row in enumerate(rows):
            known[k, : len(row)] = torch.tensor(row)
        held = {"tokens": known.to(self.device)} if wish.parts else None
        masks = {"tokens": mask}
        with autocast(self.device, self.precision):
            if wish.objective is None:
                x = sample(denoiser, masks, self.sampler, steps=self.steps, seed=self.seed, items=items, known=held)
            else:
                x = pursue(
                    denoiser, masks, lambda x, final: self._values(x, lengths), self.sampler, wish, steps=self.steps,
                    seed=self.seed, items=items, known=held,
                )  # fmt: skip
        return [self._attempt(row, n) for row, n in zip(x["tokens"].tolist(), lengths.tolist())]

    def _attempt(self, row: list[int], length: int) -> Attempt:
        text = "".join(self.model.vocabulary[token] for token in row[:length])
        attempt = with_parts(judge_text(text), self.wish.parts)
        atoms = attempt.molecule.GetNumHeavyAtoms()
        if self.wish.atoms is not None and not self.wish.atoms[0] <= atoms <= self.wish.atoms[1]:
            return refuse(attempt, f"{atoms} heavy atoms")
        return attempt

    def _values(self, x: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """The objective of what stands there, NaN where it is no molecule."""
        objective = self.wish.objective
        assert objective is not None
        copies = len(x["tokens"]) // len(lengths)
        made = [self._attempt(r, n) for r, n in zip(x["tokens"].tolist(), lengths.repeat_interleave(copies).tolist())]
        values = [objective(a.molecule, a.smiles) if a.valid else math.nan for a in made]
        return torch.tensor(values, dtype=torch.float64)
