"""What became of an attempt to make a molecule: valid as it stands, or not, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rdkit import Chem, rdBase

from ornstein.datasets.molecules import canonical, parse, why_invalid
from ornstein.domains.molecules.fragments import joined


@dataclass(frozen=True, eq=False)
class Attempt:
    """One attempt.

    Valid: RDKit sanitises the raw graph, and it is one fragment; nothing was corrected and nothing left out.

    Args:
        molecule: sanitised where it is valid, else the raw graph.
        smiles: canonical, non-isomeric; empty where it is not valid.
        reason: why it is not valid, empty where it is.
        connected: whether the raw graph is in one piece.
    """

    molecule: Chem.Mol
    smiles: str
    reason: str
    connected: bool

    @property
    def valid(self) -> bool:
        return not self.reason


def judge(raw: Chem.Mol) -> Attempt:
    """The attempt that a raw graph is."""
    molecule = Chem.Mol(raw)
    if molecule.GetNumAtoms() == 0:
        return Attempt(molecule, "", "no atoms", False)
    pieces = len(Chem.GetMolFrags(molecule))
    reason = why_invalid(molecule) or (f"{pieces} fragments" if pieces > 1 else "")
    if reason:
        return Attempt(Chem.Mol(raw), "", reason, pieces == 1)
    return Attempt(molecule, canonical(molecule), "", True)


def judge_text(smiles: str) -> Attempt:
    """The attempt that a string is, which may be no SMILES at all."""
    try:
        return judge(parse(smiles))
    except ValueError as error:
        return Attempt(Chem.Mol(), "", f"{error} ({smiles[:60]})", False)


def judge_words(words: Sequence[str]) -> Attempt:
    """The attempt that a string of fragments is, which may fit together or not."""
    try:
        return judge_text(joined(words))
    except ValueError as error:
        return Attempt(Chem.Mol(), "", str(error), False)


def refuse(attempt: Attempt, reason: str) -> Attempt:
    """The attempt, not valid for a further reason: what was asked for is not in it."""
    return attempt if attempt.reason else Attempt(attempt.molecule, "", reason, attempt.connected)


def repaired(raw: Chem.Mol) -> Chem.Mol | None:
    """The molecule after a repair: bonds of atoms with too many are weakened, the highest first, until RDKit sanitises
    it; of several pieces the largest stays. None where there is no such molecule.

    Source: as Jo et al. (2022), GDSS, arXiv:2202.02514, count "validity with correction", without its added charges.
    """
    molecule = Chem.RWMol(raw)
    bonds = sum(int(bond.GetBondTypeAsDouble()) for bond in molecule.GetBonds())
    with rdBase.BlockLogs():
        for _ in range(bonds + 1):
            problems = [p for p in Chem.DetectChemistryProblems(molecule) if p.GetType() == "AtomValenceException"]
            if not problems:
                break
            _weaken(molecule, problems[0].GetAtomIdx())
        pieces = Chem.GetMolFrags(molecule, asMols=True, sanitizeFrags=False)
        if not pieces:
            return None
        largest = max(pieces, key=lambda piece: piece.GetNumAtoms())
        return None if why_invalid(largest) else largest


def counts(attempts: Sequence[Attempt], repair: bool = False) -> dict[str, Any]:
    """Shares of all attempts: `valid`, `connected`, `valid_unique` and, with `repair`, `valid_repaired`; of the valid
    ones `unique`, the share of different ones."""
    assert attempts, "no attempts"
    n = len(attempts)
    valid = [attempt.smiles for attempt in attempts if attempt.valid]
    found: dict[str, Any] = {
        "attempts": n,
        "valid": len(valid) / n,
        "connected": sum(attempt.connected for attempt in attempts) / n,
        "unique": len(set(valid)) / len(valid) if valid else None,
        "valid_unique": len(set(valid)) / n,
    }
    if repair:
        found["valid_repaired"] = sum(a.valid or repaired(a.molecule) is not None for a in attempts) / n
    return found


def _weaken(molecule: Chem.RWMol, atom: int) -> None:
    """Takes one from the order of the atom's highest bond; a single bond goes."""
    lower = {Chem.BondType.TRIPLE: Chem.BondType.DOUBLE, Chem.BondType.DOUBLE: Chem.BondType.SINGLE}
    bond = max(molecule.GetAtomWithIdx(atom).GetBonds(), key=lambda b: (b.GetBondTypeAsDouble(), -b.GetIdx()))
    if bond.GetBondType() in lower:
        bond.SetBondType(lower[bond.GetBondType()])
    else:
        molecule.RemoveBond(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())
