"""Parts that every molecule must contain: they are held while the rest is sampled."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from rdkit import Chem, rdBase
from torch import Tensor

from ornstein.core.errors import InputError, UsageError
from ornstein.core.pairs import pack
from ornstein.datasets.molecules import NotAGraph, Vocabulary, parse

UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class Part:
    """A scaffold or a fragment as a graph.

    Args:
        smiles: as it was given; `*` stands where it may grow.
        nodes: node types (atoms,).
        edges: edge types (atoms, atoms).
        pieces: the number of the piece that each atom is of (atoms,).
        grows: whether an atom may have further bonds (atoms,): those that bore a `*`, or all where none did.
        pattern: what must be found in a molecule, `*` standing for any heavy atom.
    """

    smiles: str
    nodes: np.ndarray
    edges: np.ndarray
    pieces: np.ndarray
    grows: np.ndarray
    pattern: Chem.Mol

    @property
    def atoms(self) -> int:
        return len(self.nodes)

    @property
    def openings(self) -> int:
        """The fewest further atoms that it needs."""
        return int(any(atom.GetAtomicNum() == 0 for atom in self.pattern.GetAtoms()))

    def within(self, molecule: Chem.Mol) -> bool:
        """Whether a sanitised molecule contains it."""
        return bool(molecule.HasSubstructMatch(self.pattern))


def read_part(smiles: str, vocabulary: Vocabulary, option: str) -> Part:
    """A part from SMILES such as `c1ccncc1` (may grow anywhere) or `*c1ccncc1` (only at the `*`).

    Args:
        smiles: of one piece or several, separated by dots; stereochemistry is left out.
        vocabulary: of the model.
        option: what an error calls it.

    Raises:
        UsageError: for SMILES that cannot be read.
        InputError: for atoms or bonds that the model does not know.
    """
    try:
        whole = parse(smiles)
    except ValueError as error:
        raise UsageError(f"{option} {smiles!r}: {error}", "give SMILES, such as c1ccncc1 or *c1ccncc1") from None
    Chem.RemoveStereochemistry(whole)
    stars = [atom.GetIdx() for atom in whole.GetAtoms() if atom.GetAtomicNum() == 0]
    if len(stars) == whole.GetNumAtoms() or any(len(whole.GetAtomWithIdx(i).GetNeighbors()) != 1 for i in stars):
        raise UsageError(f"{option} {smiles!r}: a * stands at the end of a bond", "such as *c1ccncc1")
    kekulised = Chem.Mol(whole)
    with rdBase.BlockLogs():
        Chem.Kekulize(kekulised, clearAromaticFlags=True)
    kept = [i for i in range(whole.GetNumAtoms()) if i not in stars]
    orders = {None: 0, Chem.BondType.SINGLE: 1, Chem.BondType.DOUBLE: 2, Chem.BondType.TRIPLE: 3}
    try:
        atoms = [kekulised.GetAtomWithIdx(i) for i in kept]
        if any(atom.GetIsotope() or atom.GetNumRadicalElectrons() for atom in atoms):
            raise NotAGraph("isotopes and radicals are not supported")
        nodes = np.array([vocabulary.number(a.GetSymbol(), a.GetFormalCharge()) for a in atoms], np.int64)
        edges = np.zeros((len(kept), len(kept)), np.int64)
        for bond in kekulised.GetBonds():
            ends = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            if bond.GetBondType() not in orders:
                raise NotAGraph(f"it has a {str(bond.GetBondType()).lower()} bond")
            if not set(ends) & set(stars):
                i, j = map(kept.index, ends)
                edges[i, j] = edges[j, i] = orders[bond.GetBondType()]
    except NotAGraph as error:
        raise InputError(f"{option} {smiles!r}: {error}", "choose another model, or another part") from None
    pieces = np.zeros(len(kept), np.int64)
    for number, piece in enumerate(Chem.GetMolFrags(whole)):
        for i in piece:
            if i in kept:
                pieces[kept.index(i)] = number
    grows = np.array(
        [not stars or any(n.GetIdx() in stars for n in whole.GetAtomWithIdx(i).GetNeighbors()) for i in kept]
    )
    return Part(smiles, nodes, edges, pieces, grows, _pattern(whole))


def hold(parts: Sequence[Part], nodes: int) -> tuple[Tensor, Tensor]:
    """What is known of a molecule of `nodes` nodes that begins with these parts: (nodes,) and (pairs,), -1 where open."""
    known = torch.full((nodes,), UNKNOWN, dtype=torch.int64)
    edges = torch.full((nodes, nodes), UNKNOWN, dtype=torch.int64)
    first = 0
    for part in parts:
        last = first + part.atoms
        assert last <= nodes, f"parts of {last} atoms or more in {nodes}"
        known[first:last] = torch.from_numpy(part.nodes)
        closed = torch.from_numpy(~part.grows)
        edges[first:last][closed] = 0
        edges[:, first:last][:, closed] = 0
        inside = part.pieces[:, None] == part.pieces[None, :]
        block = edges[first:last, first:last]
        block[torch.from_numpy(inside)] = torch.from_numpy(part.edges)[torch.from_numpy(inside)]
        first = last
    return known, pack(edges[None])[0]


def _pattern(whole: Chem.Mol) -> Chem.Mol:
    parameters = Chem.AdjustQueryParameters.NoAdjustments()
    parameters.makeDummiesQueries = True  # type: ignore[assignment]
    return Chem.AdjustQueryProperties(whole, parameters)
