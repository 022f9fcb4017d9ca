"""Three-dimensional coordinates for molecules that are known as graphs."""

from dataclasses import dataclass

from rdkit import Chem, rdBase
from rdkit.Chem import rdDepictor, rdDistGeom


@dataclass(frozen=True, eq=False)
class Embedded:
    """A molecule with coordinates.

    Args:
        molecule: with explicit hydrogens where it is in three dimensions.
        kind: `ETKDG`, or `2D` where that found none.
        stereochemistry: `none`, or what a reader must know of it.
    """

    molecule: Chem.Mol
    kind: str
    stereochemistry: str


def embed(molecule: Chem.Mol, seed: int = 0) -> Embedded:
    """Coordinates by ETKDG, in angstrom; flat ones where it finds none. The same seed gives the same ones.

    A graph has no stereochemistry: that of the coordinates is arbitrary, and is said to be.

    Source: Riniker, Landrum (2015), Better informed distance geometry (ETKDG); version 3 of RDKit.
    """
    solid = Chem.AddHs(molecule)
    parameters = rdDistGeom.ETKDGv3()
    parameters.randomSeed = seed % 2**31  # type: ignore[assignment]
    parameters.maxIterations = 30  # type: ignore[assignment]
    with rdBase.BlockLogs():
        found = rdDistGeom.EmbedMolecule(solid, parameters)
    if found < 0:
        flat = Chem.Mol(molecule)
        rdDepictor.Compute2DCoords(flat)
        return Embedded(flat, "2D", _stereochemistry(molecule))
    Chem.AssignStereochemistryFrom3D(solid)
    return Embedded(solid, "ETKDG", _stereochemistry(molecule))


def _stereochemistry(molecule: Chem.Mol) -> str:
    open_places = list(Chem.FindPotentialStereo(Chem.Mol(molecule)))
    return f"arbitrary at {len(open_places)} places" if open_places else "none"
