"""Objectives of GuacaMol that need RDKit alone, and three ways to pursue them with a number of calls."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rdkit import Chem, DataStructs, rdBase
from rdkit.Chem import QED, rdFingerprintGenerator, rdMolDescriptors

from ornstein.datasets.molecules import canonical, why_invalid
from ornstein.domains.molecules.design import Model, draw
from ornstein.domains.molecules.measures import fingerprints, internal_diversity
from ornstein.domains.molecules.objectives import Goal, Objective, area_under_top
from ornstein.domains.molecules.wishes import Wish

_ECFP4 = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
CELECOXIB = "CC1=CC=C(C=C1)C1=CC(=NN1C1=CC=C(C=C1)S(N)(=O)=O)C(F)(F)F"
CAMPHOR, MENTHOL = "CC1(C)C2CCC1(C)C(=O)C2", "CC(C)C1CCC(C)CC1O"
PERINDOPRIL = "O=C(OCC)C(NC(C(=O)N1C(C(=O)O)CC2CCCCC12)C)CCC"


def similarity(target: str) -> Callable[[Chem.Mol], float]:
    """Tanimoto similarity of counted ECFP4 to a molecule."""
    goal = _ECFP4.GetCountFingerprint(Chem.MolFromSmiles(target))
    return lambda molecule: float(DataStructs.TanimotoSimilarity(_ECFP4.GetCountFingerprint(molecule), goal))


def geometric_mean(*scores: Callable[[Chem.Mol], float]) -> Callable[[Chem.Mol], float]:
    return lambda molecule: float(np.prod([score(molecule) for score in scores]) ** (1 / len(scores)))


def two_aromatic_rings(molecule: Chem.Mol) -> float:
    return float(np.exp(-0.5 * ((rdMolDescriptors.CalcNumAromaticRings(molecule) - 2) / 0.5) ** 2))


OBJECTIVES: dict[str, Callable[[Chem.Mol], float]] = {
    "celecoxib rediscovery": similarity(CELECOXIB),
    "median molecules 1": geometric_mean(similarity(CAMPHOR), similarity(MENTHOL)),
    "perindopril MPO": geometric_mean(similarity(PERINDOPRIL), two_aromatic_rings),
    "QED": QED.qed,
}
"""Brown et al. (2019), GuacaMol, arXiv:1811.09621; all are in [0, 1]."""


def best_of_n(model: Model, objective: Objective, calls: int, seed: int, **settings: Any) -> dict[str, float]:
    """Molecules of the model as it is, until enough different ones were asked about."""
    return _drawn(model, Wish(), objective, calls, seed, 256, settings)


def decoding(
    model: Model, objective: Objective, calls: int, seed: int, candidates: int, rounds: int = 1, **settings: Any
) -> dict[str, float]:
    """Soft value decoding, in small batches until enough different molecules were asked about."""
    wish = Wish(objective=objective, candidates=candidates, rounds=rounds)
    return _drawn(model, wish, objective, calls, seed, 16, settings)


def _drawn(
    model: Model, wish: Wish, objective: Objective, calls: int, seed: int, batch: int, settings: dict[str, Any]
) -> dict[str, float]:
    made, idle, attempts, valid = 0, 0, 0, 0
    while objective.calls < calls and idle < 20:  # a model that has no new molecules left ends too
        before = objective.calls
        attempts_now = draw(model, range(made, made + batch), wish, seed=seed, **settings)
        made += batch
        for attempt in attempts_now:
            attempts, valid = attempts + 1, valid + attempt.valid
            if attempt.valid:
                objective(attempt.molecule, attempt.smiles)
        idle = idle + 1 if objective.calls == before else 0
    return {"valid": valid / attempts}


def genetic_algorithm(
    start: Sequence[Chem.Mol],
    objective: Objective,
    calls: int,
    seed: int,
    population: int = 120,
    offspring: int = 70,
    mutation: float = 0.3,
    largest: int = 50,
) -> dict[str, float]:
    """A graph genetic algorithm: parents by rank cross over at bonds outside rings, children mutate an atom or a bond.

    After Jensen (2019), A graph-based genetic algorithm, with the sizes of the PMO benchmark; rings change by mutation only.
    """
    chance = random.Random(seed)
    pool = {canonical(m): m for m in chance.sample(list(start), min(population, len(start)))}
    scored = {name: objective(m, name) for name, m in pool.items()}
    tried, valid, idle = 0, 0, 0
    while objective.calls < calls and idle < 50:
        ranked = sorted(scored, key=lambda name: -scored[name])[:population]
        pool, scored = {name: pool[name] for name in ranked}, {name: scored[name] for name in ranked}
        weights = [1 / (5 + rank) for rank in range(len(ranked))]
        before = objective.calls
        for _ in range(offspring):
            parents = [pool[name] for name in chance.choices(ranked, weights, k=2)]
            child = crossed(*parents, chance) or parents[0]
            if chance.random() < mutation or child is parents[0]:
                child = mutated(child, chance) or child
            tried += 1
            if why_invalid(child) or len(Chem.GetMolFrags(child)) > 1 or not 2 < child.GetNumAtoms() <= largest:
                continue
            valid += 1
            name = canonical(child)
            if name not in pool and objective.calls < calls:
                pool[name], scored[name] = child, objective(child, name)
        idle = idle + 1 if objective.calls == before else 0
    return {"valid": valid / max(tried, 1)}


def crossed(a: Chem.Mol, b: Chem.Mol, chance: random.Random) -> Chem.Mol | None:
    """A piece of each, joined by a single bond; None where either has no bond to cut."""
    pieces = []
    for parent in (a, b):
        bonds = parent.GetSubstructMatches(Chem.MolFromSmarts("[*]-;!@[*]"))
        if not bonds:
            return None
        i, j = chance.choice(bonds)
        cut = Chem.RWMol(parent)
        cut.RemoveBond(i, j)
        kept = chance.choice((i, j))
        atoms = next(piece for piece in Chem.GetMolFrags(cut) if kept in piece)
        pieces.append((cut, atoms, kept))
    child = Chem.RWMol()
    ends = []
    for cut, atoms, kept in pieces:
        place = {i: child.AddAtom(cut.GetAtomWithIdx(i)) for i in atoms}
        for bond in cut.GetBonds():
            if bond.GetBeginAtomIdx() in place:
                child.AddBond(place[bond.GetBeginAtomIdx()], place[bond.GetEndAtomIdx()], bond.GetBondType())
        ends.append(place[kept])
    child.AddBond(*ends, Chem.BondType.SINGLE)
    return _free(child)


def mutated(molecule: Chem.Mol, chance: random.Random) -> Chem.Mol | None:
    """Another element, another bond order, an atom more or less, a bond in a ring more or less."""
    child = Chem.RWMol(molecule)
    with rdBase.BlockLogs():
        Chem.Kekulize(child, clearAromaticFlags=True)
    atom = chance.randrange(child.GetNumAtoms())
    kind = chance.choice(("element", "order", "grow", "shrink", "close", "open"))
    if kind == "element":
        child.GetAtomWithIdx(atom).SetAtomicNum(chance.choice((6, 6, 7, 8, 9, 16, 17)))
    elif kind == "order" and child.GetNumBonds():
        orders = (Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE)
        child.GetBondWithIdx(chance.randrange(child.GetNumBonds())).SetBondType(chance.choice(orders))
    elif kind == "grow":
        child.AddBond(atom, child.AddAtom(Chem.Atom(chance.choice((6, 6, 7, 8, 9)))), Chem.BondType.SINGLE)
    elif kind == "shrink":
        if child.GetAtomWithIdx(atom).GetDegree() != 1:
            return None
        child.RemoveAtom(atom)
    elif kind == "close":
        distances = Chem.GetDistanceMatrix(child)[atom]
        far = [int(i) for i in np.flatnonzero((distances >= 2) & (distances <= 6))]
        if not far:
            return None
        child.AddBond(atom, chance.choice(far), Chem.BondType.SINGLE)
    else:
        rings = [bond for bond in child.GetBonds() if bond.IsInRing()]
        if not rings:
            return None
        bond = chance.choice(rings)
        child.RemoveBond(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())
    return _free(child)


def _free(child: Chem.RWMol) -> Chem.Mol:
    """Hydrogens follow from the bonds again."""
    for atom in child.GetAtoms():
        atom.SetNoImplicit(False)
        atom.SetNumExplicitHs(0)
    return child.GetMol()


def compare(
    model: Model, start: Sequence[Chem.Mol], calls: int, seeds: Sequence[int], candidates: int, **settings: Any
) -> list[dict[str, Any]]:
    """One row for each objective, method and seed."""
    rows = []
    for name, score in OBJECTIVES.items():
        for seed in seeds:
            runs: dict[str, Callable[[Objective], dict[str, float]]] = {
                "best of N": lambda o, s=seed: best_of_n(model, o, calls, s, **settings),  # type: ignore[misc]
                "SVDD": lambda o, s=seed: decoding(model, o, calls, s, candidates, **settings),  # type: ignore[misc]
                "SVDD, 5 rounds": lambda o, s=seed: decoding(model, o, calls, s, candidates, 5, **settings),  # type: ignore[misc]
                "graph GA": lambda o, s=seed: genetic_algorithm(start, o, calls, s),  # type: ignore[misc]
            }
            for method, run in runs.items():
                objective = Objective([Goal(name, score)])
                told = run(objective)
                history = objective.history[:calls]
                best = sorted(history, key=lambda one: -one[1])[:100]
                molecules = [Chem.MolFromSmiles(smiles) for smiles, _ in best]
                rows.append({
                    "objective": name, "method": method, "seed": seed, "calls": len(history),
                    "auc_top10": area_under_top([value for _, value in history], calls),
                    "top10": float(np.mean([value for _, value in best[:10]])), "top1": best[0][1],
                    "diversity_top100": internal_diversity(fingerprints(molecules)), **told,
                })  # fmt: skip
    return rows
