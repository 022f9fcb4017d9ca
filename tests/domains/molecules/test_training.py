"""A molecule model is trained from a configuration, goes on where it stopped, and its folder makes molecules."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rdkit import Chem

from ornstein.core.checkpoints import load_tensors, save_model
from ornstein.core.errors import InputError, ModelError, UsageError
from ornstein.core.pairs import unpack
from ornstein.datasets.graph_table import GraphTable
from ornstein.datasets.molecules import Vocabulary, assemble_batch, canonical, parse
from ornstein.domains.molecules.design import draw
from ornstein.domains.molecules.generation import generate, load_generator
from ornstein.domains.molecules.training import (
    MoleculeConfiguration,
    Source,
    prepare,
    save_unfinished,
    train_from_settings,
    train_generator,
)
from ornstein.pipelines.train import read_configuration

SMILES = ["CCO", "CC(=O)N", "C#CC", "c1ccoc1", "C[N+](C)(C)CC(=O)[O-]", "OCC1CC1", "N#CCO", "CC(C)=O", "C1CC1N", "FCC"]
PATHS = [{"path": "marginal"}, {"path": "masked", "schedule": "linear", "sampler": {"name": "first-hitting"}}]


def dense(graphs: GraphTable, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The first graphs as a dense batch."""
    batch = graphs.batch(np.arange(count))
    return batch["nodes"], unpack(batch["edges"], batch["mask"].shape[1]), batch["mask"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "molecules.csv"
    file.write_text("id,smiles\n" + "".join(f"{i},{s}\n" for i, s in enumerate([*SMILES, "not a molecule", "C1CC"])))
    return file


def settings(table: Path, output: Path, **changes: Any) -> dict[str, Any]:
    return {
        "output": str(output),
        "name": "tiny",
        "data": {"path": str(table)},
        "width": 16,
        "edge_width": 8,
        "depth": 1,
        "heads": 2,
        "product": 2,
        "walks": 3,
        "batch": 8,
        "steps": 4,
        "training": {"steps": 4, "warmup": 1, "save_every": 2, "log_every": 2, "precision": "fp32"},
        "card": {"licence": "CC0"},
        **changes,
    }


@pytest.fixture(scope="module", params=PATHS, ids=lambda p: p["path"])
def trained(request, table: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], dict[str, Any]]:
    lines: list[str] = []
    values = settings(table, tmp_path_factory.mktemp("model") / "tiny", **request.param)
    return train_from_settings(values, log=lines.append), lines, values


def test_training_writes_the_model_its_card_and_its_state(trained):
    folder, lines, values = trained
    card = json.loads((folder / "card.json").read_text())
    assert card["domain"] == "molecule" and card["licence"] == "CC0" and card["path"] == values["path"]
    assert ["N", 1] in card["vocabulary"]["atoms"] and len(card["frequencies"]["edges"]) == 4
    assert sum(card["sizes"]) == pytest.approx(1) and len(card["sizes"]) == 9
    assert any("row 12" in line for line in lines) and any("row 13" in line for line in lines)
    assert lines[-1].startswith("step 4 of 4")


def test_loaded_model_makes_graphs_of_its_sizes_and_types(trained):
    model = load_generator(trained[0])
    nodes, edges, mask = generate(model, range(20), seed=3)
    sizes = {len(m) for m in ("CCO", "CCCN", "CCC", "CCCCO", "CCCCCCCN", "OCCCC", "FCC")}
    assert set(mask.sum(1).tolist()) <= sizes and int(nodes.max()) < len(model.vocabulary.atoms)
    assert torch.equal(edges, edges.transpose(1, 2)) and int(edges.max()) < 4
    assert not bool(edges.diagonal(dim1=1, dim2=2).any()) and not bool(nodes[~mask].any())


def test_a_graph_depends_on_its_number_and_the_seed_alone(trained):
    model = load_generator(trained[0])
    whole = generate(model, range(8), seed=3)
    part = generate(model, [5, 2], seed=3, batch=1)
    n = part[0].shape[1]
    assert torch.equal(whole[0][[5, 2], :n], part[0]) and torch.equal(whole[1][[5, 2], :n, :n], part[1])
    assert not torch.equal(generate(model, range(8), seed=4)[1], whole[1])


def test_model_makes_attempts_for_what_users_call(trained):
    attempts = draw(load_generator(trained[0]), range(3))
    assert len(attempts) == 3 and all(a.molecule is not None for a in attempts)


def test_training_that_is_started_again_goes_on_and_ends_the_same(trained, tmp_path: Path):
    folder, _, values = trained
    configuration = MoleculeConfiguration.parse({**values, "output": str(tmp_path / "again")})
    train_generator(configuration, log=lambda line: None, stop_after=2)
    train_generator(configuration, log=lambda line: None)
    whole, parts = (load_tensors(f / "model.safetensors") for f in (folder, tmp_path / "again"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_unfinished_training_can_be_sampled(trained, tmp_path: Path):
    configuration = MoleculeConfiguration.parse({**trained[2], "output": str(tmp_path / "half")})
    train_generator(configuration, log=lambda line: None, stop_after=2)
    assert load_generator(save_unfinished(configuration)).steps == 4
    with pytest.raises(ModelError):
        save_unfinished(MoleculeConfiguration.parse({**trained[2], "output": str(tmp_path / "none")}))


def test_prepared_graphs_serve_in_place_of_the_file(table: Path, tmp_path: Path):
    first, words = prepare(Source(str(table)), tmp_path / "a", lambda line: None)
    again, same = prepare(Source(str(tmp_path / "a")), tmp_path / "b")
    assert words == same and len(first) == len(again) == len(SMILES) and not (tmp_path / "b").exists()
    assert [words["atoms"][i] for i in (0, 1)] == [["C", 0], ["O", 0]]  # the most frequent first
    back = assemble_batch(*dense(first, len(SMILES)), Vocabulary.from_json(words))
    assert [canonical(parse(Chem.MolToSmiles(m))) for m in back] == [canonical(parse(s)) for s in SMILES]
    small, _ = prepare(Source(str(table), limit=4, atoms=4), tmp_path / "c", lambda line: None)
    assert 1 <= len(small) <= 4 and int(small.sizes.max()) <= 4


def test_a_model_learns_three_molecules(tmp_path: Path):
    """Sampled from a model that was trained on three molecules alone, most are one of them."""
    file = tmp_path / "three.smi"
    file.write_text("CCO\nCC=O\nC#N\n")
    values = settings(file, tmp_path / "three", batch=48, edge_weight=2.0, steps=20, width=32, edge_width=16)
    values["training"] = {"steps": 150, "warmup": 10, "learning_rate": 0.01, "average": 10, "precision": "fp32"}
    model = load_generator(train_from_settings(values, log=lambda line: None))
    made = [attempt.smiles for attempt in draw(model, range(60))]
    known = sum(smiles in ("CCO", "CC=O", "C#N") for smiles in made)
    assert known >= 45 and len(set(made) & {"CCO", "CC=O", "C#N"}) == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"path": "poisson"}, "path"),
        ({"schedule": "sine"}, "schedule"),
        ({"heads": 3}, "heads"),
        ({"walks": 1}, "walks"),
        ({"batch": 0}, "batch"),
        ({"sampler": {"kernel": "gillespie"}}, "sampler"),
        ({"data": {"path": "x.csv", "limit": -1}}, "limit"),
        ({"widht": 3}, "widht"),
    ],
)
def test_bad_configurations_are_refused_by_the_name_of_the_field(table: Path, tmp_path: Path, changes, said: str):
    with pytest.raises(UsageError, match=said):
        MoleculeConfiguration.parse(settings(table, tmp_path, **changes))


def test_files_without_molecules_are_refused(tmp_path: Path):
    (tmp_path / "none.smi").write_text("nonsense\n")
    with pytest.raises(InputError, match="no molecule"):
        prepare(Source(str(tmp_path / "none.smi")), tmp_path / "a")
    with pytest.raises(InputError, match="holds no"):
        prepare(Source(str(tmp_path)), tmp_path / "a")


def test_another_model_is_refused(tmp_path: Path):
    save_model(tmp_path / "other", {"x": torch.zeros(2)}, {"domain": "molecule", "name": "other"})
    with pytest.raises(ModelError, match="not a molecule model"):
        load_generator(tmp_path / "other")


@pytest.mark.parametrize("name", ["qm9", "qm9-masked", "druglike-graph"])
def test_shipped_configurations_are_sound_and_their_models_small(repository: Path, name: str):
    from ornstein.domains.molecules.generation import build, paths_from

    values = read_configuration(repository / "workflows" / "molecules" / "training" / f"{name}.yaml")
    assert values.pop("domain") == "molecule"
    c = MoleculeConfiguration.parse(values)
    frequencies = {"nodes": [0.1] * 10, "edges": [0.25] * 4}
    network = build(c.architecture, paths_from(c.path, c.schedule, frequencies)).network
    assert sum(p.numel() for p in network.parameters()) * 2 < 3 * 2**20  # bfloat16, 3 MiB
