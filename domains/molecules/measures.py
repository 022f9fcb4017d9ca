"""Sets of molecules beside a reference: distances of distributions, similarity, diversity, filters, novelty."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
from rdkit import Chem
from rdkit.Chem import QED, Descriptors, rdFingerprintGenerator, rdMolDescriptors
from rdkit.Chem.FilterCatalog import FilterCatalog, FilterCatalogParams
from rdkit.Chem.Scaffolds import MurckoScaffold
from scipy.stats import wasserstein_distance

BITS, RADIUS = 1024, 2
FEWEST_RINGS = 2
"""Scaffolds of fewer rings do not count in their similarity."""

_RDKIT: dict[str, Callable[[Chem.Mol], float]] = dict(Descriptors.descList)
PROPERTIES: dict[str, Callable[[Chem.Mol], float]] = {
    "MolWt": _RDKIT["MolWt"],
    "MolLogP": _RDKIT["MolLogP"],
    "TPSA": rdMolDescriptors.CalcTPSA,
    "QED": QED.qed,
    "RingCount": rdMolDescriptors.CalcNumRings,
    "HeavyAtomCount": lambda molecule: molecule.GetNumHeavyAtoms(),
}
"""What the distributions are compared in, by its name in RDKit's descriptors."""


def fingerprints(molecules: Sequence[Chem.Mol]) -> np.ndarray:
    """Morgan fingerprints of radius 2 in 1024 bits, float32 (molecules, 1024) of 0 and 1."""
    maker = rdFingerprintGenerator.GetMorganGenerator(radius=RADIUS, fpSize=BITS)
    made = np.zeros((len(molecules), BITS), np.float32)
    for row, molecule in zip(made, molecules):
        row[:] = maker.GetFingerprintAsNumPy(molecule)
    return made


def nearest_similarity(made: np.ndarray, reference: np.ndarray) -> float:
    """SNN: the mean over `made` of the Tanimoto similarity to the nearest of `reference`, both fingerprints.

    Source: Polykovskiy et al. (2020), Molecular sets (MOSES), arXiv:1811.12823.
    """
    return float(np.mean(np.concatenate([block.max(1) for block in _tanimoto(made, reference)])))


def internal_diversity(made: np.ndarray) -> float:
    """IntDiv1: 1 - the mean Tanimoto similarity over all ordered pairs, each with itself too. Source: as above."""
    total = sum(float(block.sum(dtype=np.float64)) for block in _tanimoto(made, made))
    return 1 - total / len(made) ** 2


def scaffold(molecule: Chem.Mol) -> str | None:
    """The Bemis-Murcko scaffold as SMILES without stereochemistry, None where it has fewer than two rings."""
    core = MurckoScaffold.GetScaffoldForMol(molecule)
    if rdMolDescriptors.CalcNumRings(core) < FEWEST_RINGS:
        return None
    return Chem.MolToSmiles(core, isomericSmiles=False)


def scaffold_similarity(made: Sequence[Chem.Mol], reference: Sequence[Chem.Mol]) -> float | None:
    """The cosine between the counts of scaffolds in both sets; None where either has none.

    Source: Polykovskiy et al. (2020), MOSES, arXiv:1811.12823.
    """
    a, b = (Counter(filter(None, map(scaffold, molecules))) for molecules in (made, reference))
    if not a or not b:
        return None
    product = sum(count * b[name] for name, count in a.items())
    return float(product / np.sqrt(sum(c * c for c in a.values()) * sum(c * c for c in b.values())))


def passes_filters(molecule: Chem.Mol) -> bool:
    """Whether none of the patterns of PAINS and Brenk, as RDKit has them, is in it.

    Source: Baell, Holloway (2010), pan assay interference compounds; Brenk et al. (2008), unwanted groups.
    """
    return not _catalog().HasMatch(molecule)


def property_values(molecules: Sequence[Chem.Mol]) -> dict[str, np.ndarray]:
    """`PROPERTIES` of every molecule, float64 (molecules,) by name."""
    return {name: np.array([of(m) for m in molecules], float) for name, of in PROPERTIES.items()}


def activations(smiles: Sequence[str], device: str = "cpu", batch: int = 256) -> np.ndarray:
    """What ChemNet says of molecules, float32 (molecules, 512), in their order. The weights lie in the package `fcd`."""
    import torch
    from fcd import load_ref_model
    from fcd.utils import SmilesDataset

    network = load_ref_model().to(device).eval()
    rows = SmilesDataset(list(smiles))
    made = []
    with torch.no_grad():
        for first in range(0, len(rows), batch):
            block = np.stack([np.asarray(rows[i], np.float32) for i in range(first, min(first + batch, len(rows)))])
            made.append(network(torch.from_numpy(block).transpose(1, 2).to(device)).cpu().numpy())
    return np.concatenate(made).astype(np.float32)


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """The Frechet distance of the Gaussians that fit two sets of activations (molecules, 512).

        |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))

    Source: Preuer et al. (2018), Frechet ChemNet distance, arXiv:1803.09518.
    """
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    assert len(a) > 1 and len(b) > 1, f"{len(a)} and {len(b)} molecules: a covariance needs two"
    difference = a.mean(0) - b.mean(0)
    covariances = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    # tr (AB)^(1/2) is the sum of the singular values of A^(1/2) B^(1/2): no root of a matrix that is not symmetric.
    roots = [_root(covariance) for covariance in covariances]
    shared = np.linalg.svd(roots[0] @ roots[1], compute_uv=False).sum()
    return float(difference @ difference + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * shared)


def measure(
    made: Sequence[Chem.Mol],
    made_smiles: Sequence[str],
    reference: Sequence[Chem.Mol],
    reference_smiles: Sequence[str],
    train_smiles: Sequence[str] | None = None,
    fcd: bool = True,
    device: str = "cpu",
    seed: int = 0,
) -> dict[str, Any]:
    """Everything that is said of the valid molecules of a set.

    Args:
        made, made_smiles: the valid molecules with their canonical SMILES, repeated ones too.
        reference, reference_smiles: molecules that no one trained on, a whole or a shuffled set.
        train_smiles: what the model was trained on: for novelty and for the floor of the FCD.
        fcd: also the Frechet ChemNet distance, which costs a second for a hundred molecules or so.
        device: of ChemNet.
        seed: of the part of the training set that the floor is made from.

    Returns:
        `novel` (of the different ones), `snn`, `scaffold_similarity`, `internal_diversity`, `filters`, for each property
        `wasserstein_NAME`, `mean_NAME` and `mean_NAME_reference`; `fcd` with `fcd_n` and, with a train set, `fcd_floor`,
        which as many training molecules have, and `fcd_excess` over it.
    """
    assert made and reference, f"{len(made)} molecules made, {len(reference)} references"
    found: dict[str, Any] = {}
    if train_smiles is not None:
        different = set(made_smiles)
        found["novel"] = len(different.difference(train_smiles)) / len(different)
    prints = fingerprints(made)
    found |= {
        "snn": nearest_similarity(prints, fingerprints(reference)),
        "scaffold_similarity": scaffold_similarity(made, reference),
        "internal_diversity": internal_diversity(prints),
        "filters": float(np.mean([passes_filters(molecule) for molecule in made])),
    }
    ours, theirs = property_values(made), property_values(reference)
    for name in PROPERTIES:
        found[f"wasserstein_{name}"] = float(wasserstein_distance(ours[name], theirs[name]))
        found[f"mean_{name}"] = float(ours[name].mean())
        found[f"mean_{name}_reference"] = float(theirs[name].mean())
    if fcd and min(len(made), len(reference)) > 1:
        goal = activations(reference_smiles, device)
        found |= {"fcd": frechet_distance(activations(made_smiles, device), goal), "fcd_n": len(made)}
        if train_smiles is not None and len(train_smiles) > 1:
            n = min(len(made), len(train_smiles))
            chosen = np.random.default_rng(seed).choice(len(train_smiles), n, replace=False)
            found["fcd_floor"] = frechet_distance(activations([train_smiles[i] for i in chosen], device), goal)
            found["fcd_floor_n"] = n
            found["fcd_excess"] = found["fcd"] - found["fcd_floor"]
    return found


def _tanimoto(a: np.ndarray, b: np.ndarray) -> Iterator[np.ndarray]:
    """Similarities in blocks of rows, (block, len(b)), of 64 MiB or so; two empty fingerprints are alike."""
    block = max(1, 2**24 // max(len(b), 1))
    size_a, size_b = a.sum(1), b.sum(1)
    for first in range(0, len(a), block):
        both = a[first : first + block] @ b.T
        either = size_a[first : first + block, None] + size_b - both
        yield np.divide(both, either, out=np.ones_like(both), where=either > 0)


@cache
def _catalog() -> FilterCatalog:
    parameters = FilterCatalogParams()
    for name in ("PAINS_A", "PAINS_B", "PAINS_C", "BRENK"):
        parameters.AddCatalog(getattr(FilterCatalogParams.FilterCatalogs, name))
    return FilterCatalog(parameters)


def _root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(values.clip(0))) @ vectors.T
