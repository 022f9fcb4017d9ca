"""Molecules as graphs: heavy atoms with their formal charge as nodes, kekulised bonds as edges, hydrogens implied."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rdkit import Chem, rdBase
from torch import Tensor

BONDS = ("none", "single", "double", "triple")
_RDKIT_BONDS = (Chem.BondType.ZERO, Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE)
_BOND_NUMBERS = {bond: number for number, bond in enumerate(_RDKIT_BONDS) if number}


class NotAGraph(ValueError):
    """A molecule that this description cannot hold; its text says why."""


@dataclass(frozen=True)
class Vocabulary:
    """The types of nodes and edges that a model knows.

    Args:
        atoms: (element symbol, formal charge) of each node type, each once.
        bonds: names of the edge types; 0 is no edge.

    Example:
        >>> vocabulary = Vocabulary((("C", 0), ("N", 1)))
        >>> Vocabulary.from_json(vocabulary.to_json()) == vocabulary, vocabulary.describe()
        (True, 'C, N+')
    """

    atoms: tuple[tuple[str, int], ...]
    bonds: tuple[str, ...] = BONDS

    def __post_init__(self) -> None:
        table = Chem.GetPeriodicTable()
        for symbol, charge in self.atoms:
            with rdBase.BlockLogs():
                known = table.GetAtomicNumber(symbol) > 1
            assert known and -4 <= charge <= 4, f"no heavy atom: {symbol!r} with charge {charge}"
        assert len(set(self.atoms)) == len(self.atoms) > 0, f"atoms are not each once: {self.atoms}"
        assert self.bonds == BONDS, f"bonds are {self.bonds}, wanted {BONDS}"

    @classmethod
    def of(cls, molecules: Iterable[Chem.Mol]) -> "Vocabulary":
        """The node types of these molecules, the most frequent first."""
        count = Counter((a.GetSymbol(), a.GetFormalCharge()) for molecule in molecules for a in molecule.GetAtoms())
        return cls(tuple(sorted(count, key=lambda atom: (-count[atom], atom))))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Vocabulary":
        """The vocabulary of a model's card. Raises: ValueError where it is none."""
        try:
            atoms = tuple((str(symbol), int(charge)) for symbol, charge in value["atoms"])
            return cls(atoms, tuple(map(str, value["bonds"])))
        except (KeyError, TypeError, AssertionError, RuntimeError) as error:
            raise ValueError(f"not a vocabulary: {error}") from None

    def to_json(self) -> dict[str, Any]:
        """Lists and words, for a model's card."""
        return {"atoms": [list(atom) for atom in self.atoms], "bonds": list(self.bonds)}

    def describe(self) -> str:
        """The node types in words."""
        return ", ".join(_name(*atom) for atom in self.atoms)

    def number(self, symbol: str, charge: int) -> int:
        """The node type of an atom. Raises: NotAGraph for one that is not known."""
        try:
            return self.atoms.index((symbol, charge))
        except ValueError:
            raise NotAGraph(f"{_name(symbol, charge)} is none of the model's atoms, {self.describe()}") from None


@dataclass(frozen=True, eq=False)
class MolecularGraph:
    """One molecule as arrays.

    Args:
        nodes: node types, int8 (n,).
        edges: edge types, int8 (n, n), symmetric with zero diagonal.
    """

    nodes: np.ndarray
    edges: np.ndarray

    def __post_init__(self) -> None:
        n = len(self.nodes)
        assert self.edges.shape == (n, n), f"edges {self.edges.shape} for {n} nodes"


def canonical(molecule: Chem.Mol) -> str:
    """Canonical SMILES without stereochemistry, of a sanitised molecule: the name by which molecules are compared."""
    return Chem.MolToSmiles(molecule, isomericSmiles=False)


def parse(smiles: str) -> Chem.Mol:
    """A sanitised molecule. Raises: ValueError with RDKit's reason in a few words."""
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles, sanitize=False)
    if molecule is None:
        raise ValueError("it cannot be parsed")
    if molecule.GetNumAtoms() == 0:
        raise ValueError("it has no atoms")
    reason = why_invalid(molecule)
    if reason:
        raise ValueError(reason)
    return Chem.RemoveHs(molecule)


def why_invalid(molecule: Chem.Mol) -> str:
    """What RDKit's sanitisation says against a molecule, empty where nothing; the molecule is sanitised then."""
    try:
        with rdBase.BlockLogs():
            Chem.SanitizeMol(molecule)
    except (Chem.MolSanitizeException, RuntimeError) as error:
        return str(error).strip().splitlines()[0]
    return ""


def to_graph(molecule: Chem.Mol, vocabulary: Vocabulary, check: bool = True) -> MolecularGraph:
    """The graph of a sanitised molecule.

    Args:
        molecule: of one fragment or several; stereochemistry is left out.
        vocabulary: of the node types.
        check: also hold that the graph gives the molecule back (isotopes, radicals and odd hydrogens do not).

    Raises:
        NotAGraph: for an atom that the vocabulary has not, and for what the graph cannot say.
    """
    kekulised = Chem.Mol(molecule)
    try:
        with rdBase.BlockLogs():
            Chem.Kekulize(kekulised, clearAromaticFlags=True)
    except (Chem.MolSanitizeException, RuntimeError) as error:
        raise NotAGraph(f"its rings have no alternating bonds ({error})") from None
    atoms = list(kekulised.GetAtoms())
    nodes = np.array([vocabulary.number(a.GetSymbol(), a.GetFormalCharge()) for a in atoms], np.int8)
    edges = np.zeros((len(nodes), len(nodes)), np.int8)
    for bond in kekulised.GetBonds():
        kind = _BOND_NUMBERS.get(bond.GetBondType())
        if kind is None:
            raise NotAGraph(f"it has a {str(bond.GetBondType()).lower()} bond")
        i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        edges[i, j] = edges[j, i] = kind
    graph = MolecularGraph(nodes, edges)
    if check:
        back = assemble(nodes, edges, vocabulary)
        odd = any(atom.GetIsotope() for atom in atoms) or why_invalid(back) or canonical(back) != canonical(molecule)
        if odd:
            raise NotAGraph("isotopes, radicals or hydrogens that do not follow from the bonds are not supported")
    return graph


def assemble(nodes: Any, edges: Any, vocabulary: Vocabulary) -> Chem.Mol:
    """The molecule that a graph says, nothing corrected and nothing checked: sanitise it to learn whether it is one.

    Args:
        nodes: node types (n,), an array or a tensor.
        edges: edge types (n, n); the upper triangle is read.
        vocabulary: of the node types.
    """
    nodes, edges = np.asarray(nodes), np.asarray(edges)
    assert edges.shape == (len(nodes), len(nodes)), f"edges {edges.shape} for {len(nodes)} nodes"
    made = Chem.RWMol()
    for kind in nodes:
        symbol, charge = vocabulary.atoms[int(kind)]
        atom = Chem.Atom(symbol)
        atom.SetFormalCharge(charge)
        made.AddAtom(atom)
    for i, j in zip(*np.nonzero(np.triu(edges, 1))):
        made.AddBond(int(i), int(j), _RDKIT_BONDS[int(edges[i, j])])
    return made.GetMol()


def assemble_batch(nodes: Tensor, edges: Tensor, mask: Tensor, vocabulary: Vocabulary) -> list[Chem.Mol]:
    """`assemble` for a batch (batch, n), (batch, n, n), (batch, n): masked nodes are left out with their edges."""
    assert nodes.shape == mask.shape and edges.shape == (*nodes.shape, nodes.shape[1]), (
        f"nodes {tuple(nodes.shape)}, edges {tuple(edges.shape)}, mask {tuple(mask.shape)}"
    )
    types, bonds, present = nodes.cpu().numpy(), edges.cpu().numpy(), mask.cpu().numpy().astype(bool)
    return [assemble(t[m], b[np.ix_(m, m)], vocabulary) for t, b, m in zip(types, bonds, present)]


def batch(graphs: Sequence[MolecularGraph], size: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Graphs as one dense batch.

    Args:
        graphs: at least one.
        size: nodes of the batch, by default those of the largest graph.

    Returns:
        node types int64 (batch, n), edge types int64 (batch, n, n), mask bool (batch, n); 0 where masked.
    """
    size = max(len(graph.nodes) for graph in graphs) if size is None else size
    nodes = torch.zeros(len(graphs), size, dtype=torch.int64)
    edges = torch.zeros(len(graphs), size, size, dtype=torch.int64)
    mask = torch.zeros(len(graphs), size, dtype=torch.bool)
    for k, graph in enumerate(graphs):
        n = len(graph.nodes)
        assert n <= size, f"a graph of {n} nodes in a batch of {size}"
        nodes[k, :n] = torch.from_numpy(graph.nodes.astype(np.int64))
        edges[k, :n, :n] = torch.from_numpy(graph.edges.astype(np.int64))
        mask[k, :n] = True
    return nodes, edges, mask


def _name(symbol: str, charge: int) -> str:
    """C, N+, O2-."""
    size = "" if abs(charge) <= 1 else str(abs(charge))
    return symbol + size + ("+" if charge > 0 else "-" if charge < 0 else "")
