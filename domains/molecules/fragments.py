"""Molecules as strings of fragments: a tree, written from a leaf on, each fragment before what hangs on it.

Every single bond outside rings is cut, so that a fragment is a ring system, or an atom with its double and triple bonds. What is
no ring is SMILES from its bond to what stands before it, `*`; further `*` are open, and what hangs on them follows, in
their order. After a ring system, as SMILES, come the atoms that have bonds, counted from 0: first the one that it hangs on, then
those that are open. The first fragment has one opening alone, and the second hangs on it.
`*C *C(*)=O *N* c1ccccc1 @0 @3 *Cl` is 4-chloroacetanilide.

Unlike brackets and ring numbers of SMILES, or lengths in SELFIES, nothing needs to fit but the number of openings.

Source: molecules were cut so by Jin et al. (2018), Junction tree variational autoencoder, arXiv:1802.04364; diffusion over strings of
fragments is that of Lee et al. (2025), GenMol, arXiv:2501.06158.
"""

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context

import numpy as np
from rdkit import Chem

from ornstein.datasets.molecules import canonical, parse

OPEN = "*"
STAR = "**"
"""An atom of number 0 that has one bond."""
PLACE = "@"
"""Begins a word that opens an atom of the ring system before it."""
MANY = 20_000
"""So many molecules are worth several processes."""
RINGS = 10
"""The first number of a ring in what is put together; they go up to 99."""
_FIRST = re.compile(r"(\[[^\]]*\]|Br|Cl|[A-Za-z])(%\d\d|\d)*")
_PART = re.compile(r"\[(\d+)\*\]|(\*)|(\[[^\]]*\])|%(\d\d)|(\d)")


def fragments(molecule: Chem.Mol, chance: np.random.Generator | None = None) -> list[str]:
    """The fragments of a sanitised molecule of one piece, in an order that depends on the molecule alone.

    Args:
        molecule: atoms of number 0 that have one bond are kept, as fragments `STAR`.
        chance: chooses the leaf that it begins with, where it is given.
    """
    bonds = [b for b in molecule.GetBonds() if b.GetBondType() == Chem.BondType.SINGLE and not b.IsInRing()]
    if not bonds:
        return [canonical(molecule)]
    ranks = list(Chem.CanonicalRankAtoms(molecule))
    labels = [(n, n) for n in range(1, len(bonds) + 1)]
    cut = Chem.FragmentOnBonds(molecule, [b.GetIdx() for b in bonds], dummyLabels=labels)
    places: list[tuple[int, ...]] = []
    parts = Chem.GetMolFrags(cut, asMols=True, sanitizeFrags=False, fragsMolAtomMapping=places)
    stars: list[dict[int, int]] = []  # of each part, by atom the number of its cut bond
    ends: dict[int, list[tuple[int, int]]] = {}
    for number, part in enumerate(parts):
        mine = {a.GetIdx(): a.GetIsotope() for a in part.GetAtoms() if a.GetAtomicNum() == 0 and a.GetIsotope()}
        for atom, bond in mine.items():
            part.GetAtomWithIdx(atom).SetIsotope(0)
            ends.setdefault(bond, []).append((number, atom))
        stars.append(mine)

    def lowest(number: int) -> int:
        return min(ranks[atom] for atom in places[number] if atom < len(ranks))

    leaves = [number for number, mine in enumerate(stars) if len(mine) == 1]
    root = min(leaves, key=lowest) if chance is None else int(chance.choice(leaves))
    made: list[str] = []
    waiting = [(root, next(iter(stars[root])))]
    while waiting:
        number, star = waiting.pop()
        words, order = _words(parts[number], star, [atom for atom in stars[number] if atom != star])
        for atom in reversed(order if made else [star]):
            waiting += [end for end in ends[stars[number][atom]] if end != (number, atom)]
        made += words
    return made


def read_fragments(smiles: str) -> tuple[list[str], int] | str:
    """The fragments of a SMILES and its heavy atoms, or why there are none."""
    try:
        molecule = parse(smiles)
    except ValueError as error:
        return str(error)
    if len(Chem.GetMolFrags(molecule)) > 1:
        return "several pieces"
    Chem.RemoveStereochemistry(molecule)
    try:
        words = fragments(molecule)
        # What cannot be read back would be learnt wrongly: metals, some charges.
        same = canonical(parse(joined(words))) == canonical(molecule)
    except ValueError:
        same = False
    return (words, molecule.GetNumHeavyAtoms()) if same else "it cannot be written in fragments"


def all_fragments(smiles: Sequence[str]) -> Iterator[tuple[list[str], int] | str]:
    """`read_fragments` of each, on all cores where there are many."""
    if len(smiles) < MANY:
        yield from map(read_fragments, smiles)
        return
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        yield from pool.map(read_fragments, smiles, chunksize=MANY // 10)


def _words(part: Chem.Mol, star: int, others: list[int]) -> tuple[list[str], list[int]]:
    """How a fragment is written from one of its stars on, and the order of the others."""
    if part.GetNumBonds() < part.GetNumAtoms():  # no ring
        text = Chem.MolToSmiles(part, rootedAtAtom=star)
        order = [int(word) for word in part.GetProp("_smilesAtomOutputOrder").strip("[],").split(",")]
        return [text], [atom for atom in order if atom in others]
    bearers = [part.GetAtomWithIdx(atom).GetNeighbors()[0] for atom in (star, *others)]
    bare = Chem.RWMol(part)
    for bearer in bearers:
        atom = bare.GetAtomWithIdx(bearer.GetIdx())
        if (atom.GetIsAromatic() and atom.GetSymbol() != "C") or atom.GetFormalCharge():
            atom.SetNumExplicitHs(atom.GetNumExplicitHs() + 1)
            atom.SetNoImplicit(True)
    removed = {star, *others}
    number = {old: new for new, old in enumerate(a.GetIdx() for a in part.GetAtoms() if a.GetIdx() not in removed)}
    bare.BeginBatchEdit()
    for old in removed:
        bare.RemoveAtom(old)
    bare.CommitBatchEdit()
    text = Chem.MolToSmiles(bare)
    # Of symmetric atoms the first ones are open, so that a molecule is written in one way.
    query = Chem.MolFromSmiles(text, sanitize=False)
    hydrogens = [atom.GetNumExplicitHs() for atom in query.GetAtoms()]
    held = [number[bearer.GetIdx()] for bearer in bearers]
    first, rest = min(
        (match.index(held[0]), sorted((match.index(place), atom) for place, atom in zip(held[1:], others)))
        for match in bare.GetSubstructMatches(query, uniquify=False, maxMatches=10_000)
        if hydrogens == [bare.GetAtomWithIdx(atom).GetNumExplicitHs() for atom in match]
    )
    return [text, *(f"{PLACE}{place}" for place in (first, *(p for p, _ in rest)))], [atom for _, atom in rest]


Part = str | tuple[str, int]
"""Of a fragment's SMILES: text, ("ring", number) or ("open", which of its openings)."""


def joined(words: Sequence[str]) -> str:
    """The SMILES of a string of fragments.

    Raises:
        ValueError: where openings are left, or fragments, or a word does not fit.
    """
    nodes = list(_nodes(words))
    if len(nodes) == 1 and not nodes[0][1]:
        return words[0]
    if not nodes or nodes[0][1] != 1:
        raise ValueError("it does not begin with a leaf")
    rings = [RINGS]
    leaf = _text(nodes[0][0], [], rings)
    match = _FIRST.match(leaf)
    assert match, f"fragment {words[0]}"
    grown, used = _tree(nodes[1:], rings)
    if used < len(nodes) - 1:
        raise ValueError(f"{len(nodes) - 1 - used} fragments are left over")
    return f"{leaf[: match.end()]}(-{grown}){leaf[match.end() :]}"


def _tree(nodes: Sequence[tuple[tuple[Part, ...], int]], rings: list[int]) -> tuple[str, int]:
    """The SMILES of the first fragment and all that hangs on it, and how many fragments that takes.

    Raises:
        ValueError: where openings are left.
    """
    waiting: list[tuple[tuple[Part, ...], int, list[str]]] = []
    for used, (parts, bonds) in enumerate(nodes, 1):
        if not bonds:
            raise ValueError("a fragment has no opening")
        waiting.append((parts, bonds - 1, []))
        while len(waiting[-1][2]) == waiting[-1][1]:
            parts, _, grown = waiting.pop()
            text = _text(parts, grown, rings)
            if not waiting:
                return text, used
            waiting[-1][2].append(text)
    raise ValueError("openings are left")


def _nodes(words: Sequence[str]) -> Iterator[tuple[tuple[Part, ...], int]]:
    """The parts of each fragment, and how many bonds it has.

    Raises:
        ValueError: for a place after no ring system, or that it has not.
    """
    k = 0
    while k < len(words):
        end = k + 1
        while end < len(words) and words[end][:1] == PLACE:
            end += 1
        yield _fragment(words[k], tuple(int(word[1:]) for word in words[k + 1 : end]))
        k = end


def _text(parts: Sequence[Part], grown: Sequence[str], rings: list[int]) -> str:
    """The SMILES with what hangs on its openings, and ring numbers that no other fragment has."""
    first = rings[0]
    made = []
    for part in parts:
        if isinstance(part, str):
            made.append(part)
        elif part[0] == "open":
            made.append(f"-{grown[part[1]]}")
        else:
            rings[0] = max(rings[0], first + part[1] + 1)
            made.append(f"%{first + part[1]}")
    if rings[0] > 100:
        raise ValueError("too many rings")
    return "".join(made)


@lru_cache(maxsize=100_000)
def _fragment(name: str, places: tuple[int, ...]) -> tuple[tuple[Part, ...], int]:
    """The parts of a fragment from its bond on, and how many bonds it has."""
    if name[:1] == PLACE or (places and OPEN in name):
        raise ValueError("a place after no ring system")
    text = _opened(name, places) if places else name
    parts: list[Part] = []
    numbers: dict[str, int] = {}
    end = bonds = 0
    for match in _PART.finditer(text):
        label, star, bracket, *digits = match.groups()
        if bracket:
            continue
        parts.append(text[end : match.start()])
        end = match.end()
        if label or star:
            if bonds or label:
                which = int(label) - 2 if label else bonds - 1
                if which >= 0:
                    parts.append(("open", which))
            bonds += 1
        else:
            word = digits[0] or digits[1]
            parts.append(("ring", numbers.setdefault(word, len(numbers))))
    return tuple(part for part in (*parts, text[end:]) if part), bonds


def _opened(name: str, places: tuple[int, ...]) -> str:
    """The SMILES of a ring system from [1*] on, its first bond, with [2*] and so on at its openings."""
    molecule = Chem.RWMol(Chem.MolFromSmiles(name, sanitize=False))
    if max(places) >= molecule.GetNumAtoms() or list(places[1:]) != sorted(places[1:]):
        raise ValueError(f"{name} has no openings {places}")
    for label, place in enumerate(places, 1):
        star = Chem.Atom(0)
        star.SetIsotope(label)
        atom = molecule.GetAtomWithIdx(place)
        if atom.GetNumExplicitHs():
            atom.SetNumExplicitHs(atom.GetNumExplicitHs() - 1)
        molecule.AddBond(molecule.AddAtom(star), place, Chem.BondType.SINGLE)
    root = molecule.GetNumAtoms() - len(places)
    return Chem.MolToSmiles(molecule, rootedAtAtom=root, canonical=False)
