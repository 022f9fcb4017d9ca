"""The score-based variant: its coding of molecules is lossless, and its folder makes graphs of the right sizes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ornstein.core.errors import ModelError, UsageError
from ornstein.core.joint import S4, JointPredictorCorrector
from ornstein.datasets.graph_table import GraphTable
from ornstein.domains.molecules.generation import load_generator
from ornstein.domains.molecules.score import decoded, encoded, generate, load_score_model, solver_from
from ornstein.domains.molecules.training import MoleculeConfiguration, train_from_settings
from ornstein.pipelines.train import read_configuration


def test_coding_gives_the_graph_back_through_noise_below_half_an_order():
    table = GraphTable.of([(np.array([0, 2, 1]), np.array([[0, 1], [1, 2]]), np.array([3, 1])), (np.array([1]), np.zeros((0, 2)), np.zeros(0))])  # fmt: skip
    batch = table.batch(np.arange(2))
    x, masks = encoded(batch, 3)
    assert x["nodes"].shape == (2, 3, 3) and x["edges"].shape == (2, 3, 1) and float(x["edges"].max()) == 1.0
    noisy = {name: value + 0.15 * torch.rand(value.shape) for name, value in x.items()}
    nodes, edges = decoded(noisy, masks)
    assert torch.equal(nodes, batch["nodes"]) and torch.equal(edges, batch["edges"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("score")
    (place / "molecules.smi").write_text("CCO\nCC=O\nC#N\nC[NH3+]\n")
    settings = {
        "output": str(place / "tiny"), "name": "tiny", "data": {"path": str(place / "molecules.smi")}, "path": "gaussian",
        "width": 16, "edge_width": 8, "depth": 1, "heads": 2, "product": 2, "walks": 3, "batch": 8, "steps": 3,
        "sampler": {"name": "s4", "snr": "0.1"}, "training": {"steps": 2, "warmup": 1, "precision": "fp32"},
    }  # fmt: skip
    return train_from_settings(settings, log=lambda line: None)


def test_folder_makes_symmetric_graphs_that_depend_on_their_number(folder: Path):
    model = load_score_model(folder)
    assert isinstance(model.solver, S4) and json.loads((folder / "card.json").read_text())["path"] == "gaussian"
    nodes, edges, mask = generate(model, range(6), seed=2)
    assert (
        set(mask.sum(1).tolist()) <= {2, 3} and int(nodes.max()) < 4 and 0 <= int(edges.min()) <= int(edges.max()) <= 3
    )
    assert torch.equal(edges, edges.transpose(1, 2)) and not bool(nodes[~mask].any())
    again = generate(model, [4], seed=2)
    n = again[0].shape[1]
    assert torch.equal(again[0][0], nodes[4, :n])


def test_the_two_kinds_of_model_are_told_apart(folder: Path):
    with pytest.raises(ModelError, match="not a molecule model"):
        load_generator(folder)


def test_solvers_are_those_of_gdss():
    assert isinstance(solver_from({}), JointPredictorCorrector)
    assert solver_from({"name": "s4", "snr": 0.3}) == S4({"nodes": 0.3, "edges": 0.3}, {"nodes": 0.7, "edges": 0.7})
    with pytest.raises(ValueError, match="known"):
        solver_from({"name": "euler"})
    with pytest.raises(UsageError, match="sampler"):
        MoleculeConfiguration.parse(
            {"output": "x", "name": "x", "data": {"path": "y"}, "path": "gaussian", "sampler": {"power": "2"}}
        )


def test_shipped_configuration_is_sound(repository: Path):
    values = read_configuration(repository / "workflows" / "molecules" / "training" / "qm9-score.yaml")
    assert values.pop("domain") == "molecule" and MoleculeConfiguration.parse(values).path == "gaussian"
