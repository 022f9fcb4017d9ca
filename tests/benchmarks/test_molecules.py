"""The benchmark's own parts: baselines that do not work would be no baselines."""

import importlib
import random
import sys

import pytest
from rdkit import Chem

from ornstein.datasets.molecules import canonical, parse, why_invalid
from ornstein.domains.molecules.objectives import Goal, Objective


@pytest.fixture(scope="module")
def parts(repository):
    """The modules of the recurrent network, of the objectives, and the stand-in of a model."""
    folders = [str(repository / "benchmarks"), str(repository / "tests" / "pipelines")]
    sys.path[:0] = folders
    try:
        return [importlib.import_module(name) for name in ("molecules_lstm", "molecules_objectives", "standin")]
    finally:
        del sys.path[: len(folders)]


SMILES = ["CCO", "CCN", "CCCl", "c1ccccc1", "C[N+](=O)[O-]", "CC(=O)Oc1ccccc1C(=O)O"]


def test_recurrent_network_learns_goes_on_and_comes_back(parts, tmp_path):
    lstm, _, _ = parts
    assert lstm.tokens_of("C[N+]Cl%12Br") == ["C", "[N+]", "Cl", "%12", "Br"]
    told = []
    for steps in (30, 110):
        settings = {"parameters": 20_000, "batch": 8, "rate": 1e-2, "most_steps": steps, "log": told.append}
        model = lstm.train(SMILES[:2], tmp_path, 1e6, **settings)
    first, second = ([line for line in told if line.startswith(f"step {steps},")] for steps in (30, 110))
    assert len(first) == len(second) == 1 and len(told) == 4  # the second went on where the first stopped
    made = model.sample(40, seed=1)
    assert made == lstm.load(tmp_path).sample(40, seed=1)
    assert sum(one in SMILES[:2] for one in made) > 20
    count = sum(p.numel() for p in lstm.SmilesLstm("CNO", lstm.width_for(300_000, 3)).parameters())
    assert abs(count - 300_000) < 30_000


def test_objectives_are_1_at_their_goals_and_within_0_and_1(parts):
    _, objectives, _ = parts
    scores = objectives.OBJECTIVES
    assert scores["celecoxib rediscovery"](Chem.MolFromSmiles(objectives.CELECOXIB)) == 1
    for smiles in SMILES:
        assert all(0 <= score(parse(smiles)) <= 1 for score in scores.values())
    assert scores["perindopril MPO"](parse(objectives.PERINDOPRIL)) == pytest.approx(0.0183, abs=1e-3)  # exp(-8)^(1/2)


def test_children_are_graphs_and_most_are_molecules(parts):
    _, objectives, _ = parts
    chance = random.Random(0)
    parents = [parse(smiles) for smiles in ("CC(=O)Oc1ccccc1C(=O)O", "CN1CCCC1c1cccnc1", "CCCCO")]
    children = [objectives.crossed(*chance.choices(parents, k=2), chance) for _ in range(60)]
    children += [objectives.mutated(chance.choice(parents), chance) for _ in range(60)]
    made = [child for child in children if child is not None]
    good = [child for child in made if not why_invalid(child)]
    assert len(good) > 0.5 * len(made) > 25
    assert len({canonical(child) for child in good}) > 20


def test_genetic_algorithm_climbs_within_its_calls(parts):
    _, objectives, _ = parts
    objective = Objective([Goal("carbons", lambda m: min(1.0, sum(a.GetSymbol() == "C" for a in m.GetAtoms()) / 20))])
    objectives.genetic_algorithm(
        [parse(smiles) for smiles in SMILES], objective, 300, seed=0, population=20, offspring=20
    )
    assert objective.calls <= 300
    assert max(score for _, score in objective.history) > 0.8  # the best of the start is .45


def test_decoding_beats_the_best_of_n_on_a_stand_in(parts):
    _, objectives, standin = parts
    model = standin.Molecules(standin.Chains())
    found = {}
    for name, run in (("best", objectives.best_of_n), ("svdd", lambda *a: objectives.decoding(*a, 6))):
        objective = Objective([Goal("nitrogens", lambda m: sum(a.GetSymbol() == "N" for a in m.GetAtoms()) / 8)])
        told = run(model, objective, 150, 0)
        found[name] = sorted((score for _, score in objective.history[:150]), reverse=True)[:10]
        assert 0 < told["valid"] <= 1
    assert sum(found["svdd"]) > sum(found["best"])
