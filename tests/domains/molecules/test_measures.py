"""Measures of molecules against RDKit's own, plain loops and known answers."""

import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

from ornstein.datasets.molecules import Vocabulary, assemble, canonical
from ornstein.domains.molecules import measures
from ornstein.domains.molecules.attempts import counts, judge, refuse, repaired

SMILES = ["CCO", "c1ccccc1", "CC(=O)Oc1ccccc1C(=O)O", "c1ccc2ccccc2c1", "CN1CCC[C@H]1c1cccnc1", "O=C1CCCN1"]
OTHERS = ["CCN", "c1ccc2[nH]ccc2c1", "c1ccc2ccccc2c1C", "CCCCCC", "OC1CCCCC1"]
molecules, others = ([Chem.MolFromSmiles(s) for s in some] for some in (SMILES, OTHERS))
VOCABULARY = Vocabulary((("C", 0), ("N", 0), ("O", 0), ("N", 1)))


def raw(nodes, bonds):
    edges = np.zeros((len(nodes), len(nodes)), int)
    for i, j, kind in bonds:
        edges[i, j] = edges[j, i] = kind
    return assemble(np.array(nodes), edges, VOCABULARY)


GRAPHS = {
    "ethanol": raw([0, 0, 2], [(0, 1, 1), (1, 2, 1)]),
    "five bonds": raw([0, 0, 0, 0], [(0, 1, 3), (0, 2, 1), (0, 3, 1)]),
    "two pieces": raw([0, 0, 2], [(0, 1, 1)]),
    "nothing": raw([], []),
}


def test_valid_is_sanitised_in_one_piece_and_nothing_else():
    attempts = {name: judge(graph) for name, graph in GRAPHS.items()}
    assert attempts["ethanol"].smiles == "CCO" and attempts["ethanol"].valid
    assert "valence" in attempts["five bonds"].reason and attempts["five bonds"].connected
    assert attempts["two pieces"].reason == "2 fragments" and not attempts["two pieces"].connected
    assert attempts["nothing"].reason == "no atoms"


def test_every_attempt_is_in_the_denominator_and_repair_stands_apart():
    found = counts([judge(graph) for graph in GRAPHS.values()] + [judge(GRAPHS["ethanol"])], repair=True)
    assert (found["attempts"], found["valid"], found["unique"], found["valid_unique"]) == (5, 0.4, 0.5, 0.2)
    assert found["connected"] == 0.6 and found["valid_repaired"] == 0.8
    assert counts([judge(GRAPHS["nothing"])])["unique"] is None


def test_repair_weakens_bonds_and_keeps_the_largest_piece():
    assert canonical(repaired(GRAPHS["five bonds"])) == "C=C(C)C"
    assert canonical(repaired(GRAPHS["two pieces"])) == "CC"
    assert repaired(GRAPHS["nothing"]) is None
    assert canonical(repaired(GRAPHS["ethanol"])) == "CCO"


def test_refused_attempt_keeps_its_first_reason():
    assert refuse(judge(GRAPHS["ethanol"]), "no scaffold").reason == "no scaffold"
    assert refuse(judge(GRAPHS["two pieces"]), "no scaffold").reason == "2 fragments"


def similarities(a, b):
    maker = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    prints = [[maker.GetFingerprint(m) for m in some] for some in (a, b)]
    return np.array([DataStructs.BulkTanimotoSimilarity(p, prints[1]) for p in prints[0]])


def test_similarities_are_rdkits():
    ours, theirs = measures.fingerprints(molecules), measures.fingerprints(others)
    assert measures.nearest_similarity(ours, theirs) == pytest.approx(similarities(molecules, others).max(1).mean())
    assert measures.internal_diversity(ours) == pytest.approx(1 - similarities(molecules, molecules).mean())
    assert measures.nearest_similarity(ours, ours) == 1


def test_scaffold_similarity_counts_scaffolds_of_two_rings():
    naphthalene, nicotine = "c1ccc2ccccc2c1", "c1cncc(C2CCCN2)c1"
    assert measures.scaffold(others[2]) == naphthalene
    assert measures.scaffold(molecules[1]) is None  # one ring
    # made: one naphthalene, one nicotine; others: one indole, one naphthalene
    assert measures.scaffold(molecules[4]) == Chem.CanonSmiles(nicotine)
    assert measures.scaffold_similarity(molecules, others) == pytest.approx(0.5)
    assert measures.scaffold_similarity(molecules, [molecules[0]]) is None


def test_filters_find_a_quinone_and_pass_aspirins_alcohol():
    assert not measures.passes_filters(Chem.MolFromSmiles("O=C1C=CC(=O)C=C1"))
    assert measures.passes_filters(Chem.MolFromSmiles("CC(O)c1ccccc1"))


def test_frechet_distance_of_known_gaussians():
    generator = np.random.default_rng(0)
    x = generator.standard_normal((40, 5))
    assert measures.frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert measures.frechet_distance(x, x + 2) == pytest.approx(5 * 4)
    # Scaled by 3 the covariances are C and 9 C: tr (C + 9 C - 2 * 3 C) = 4 tr C, and the mean moves by 2 m.
    moved = 4 * np.trace(np.cov(x, rowvar=False)) + 4 * np.square(x.mean(0)).sum()
    assert measures.frechet_distance(x, 3 * x) == pytest.approx(moved)


def test_fcd_is_that_of_the_package():
    fcd = pytest.importorskip("fcd")
    ours = measures.frechet_distance(measures.activations(SMILES), measures.activations(OTHERS))
    acts = [fcd.get_predictions(fcd.load_ref_model(), some, n_jobs=0, device="cpu") for some in (SMILES, OTHERS)]
    theirs = fcd.calculate_frechet_distance(
        mu1=acts[0].mean(0), mu2=acts[1].mean(0), sigma1=np.cov(acts[0].T), sigma2=np.cov(acts[1].T)
    )
    # 1e-3 relative: of a few molecules the covariances are singular, where the package's root of their product errs.
    assert ours == pytest.approx(float(theirs), rel=1e-3)


def test_measures_of_a_set_beside_itself():
    found = measures.measure(molecules, SMILES, molecules, SMILES, train_smiles=SMILES[:3], fcd=False)
    assert found["novel"] == 0.5 and found["snn"] == 1 and found["scaffold_similarity"] == pytest.approx(1)
    assert all(found[f"wasserstein_{name}"] == 0 for name in measures.PROPERTIES)
    assert 0 < found["internal_diversity"] < 1
