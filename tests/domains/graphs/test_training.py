"""One model learns several sets of graphs, each with its own noise, and makes graphs of the set that is asked for."""

import json
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch

from ornstein.core.checkpoints import load_tensors, save_model
from ornstein.core.errors import ModelError, UsageError
from ornstein.datasets.graphs import as_graphs, from_batch, write_graphs
from ornstein.domains.graphs.generation import build, generate, load_generator
from ornstein.domains.graphs.training import (
    GraphBatches,
    GraphConfiguration,
    graph_loss,
    read_tables,
    save_unfinished,
    train_from_settings,
    train_generator,
)
from ornstein.pipelines.train import read_configuration


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stars of 5 to 7 nodes and complete graphs of 4: the noise of each would not serve the other."""
    folder = tmp_path_factory.mktemp("graphs")
    write_graphs(folder / "stars.json", as_graphs([nx.star_graph(n) for n in (4, 5, 6)]))
    write_graphs(folder / "whole.json", as_graphs([nx.complete_graph(4), nx.path_graph(4)]))
    return {name: folder / f"{name}.json" for name in ("stars", "whole")}


def settings(files: dict[str, Path], output: Path, **changes: Any) -> dict[str, Any]:
    return {
        "output": str(output),
        "name": "tiny",
        "data": [{"name": name, "path": str(path)} for name, path in files.items()],
        "width": 16,
        "edge_width": 8,
        "depth": 1,
        "heads": 2,
        "product": 2,
        "walks": 3,
        "batch": 8,
        "steps": 4,
        "sampler": {"power": 2.0},
        "training": {"steps": 4, "warmup": 1, "save_every": 2, "log_every": 2, "precision": "fp32"},
        **changes,
    }


@pytest.fixture(scope="module")
def trained(files, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    values = settings(files, tmp_path_factory.mktemp("model") / "tiny")
    return train_from_settings(values, log=lambda line: None), values


def test_card_names_the_sets_with_their_sizes_and_densities(trained):
    card = json.loads((trained[0] / "card.json").read_text())
    assert card["domain"] == "graph" and card["sets"] == ["stars", "whole"]
    assert card["densities"] == pytest.approx([15 / (10 + 15 + 21), 9 / 12])
    assert card["sizes"][1] == [0, 0, 0, 0, 1.0] and card["sampler"] == {"power": 2.0}


def test_graphs_are_of_the_sizes_of_their_set_and_depend_on_their_number_alone(trained):
    model = load_generator(trained[0])
    assert model.largest("stars") == 7 and model.largest("whole") == 4
    nodes, edges, mask = generate(model, "stars", range(12), seed=1)
    assert set(mask.sum(1).tolist()) <= {5, 6, 7} and not bool(nodes.any())
    assert torch.equal(edges, edges.transpose(1, 2)) and int(edges.max()) == 1
    again = from_batch(*generate(model, "stars", [7, 3], seed=1)[1:])
    whole = from_batch(edges, mask)
    assert all(np.array_equal(a.edges, whole[i].edges) for a, i in zip(again, (7, 3), strict=True))
    assert all(graph.nodes == 4 for graph in from_batch(*generate(model, "whole", range(3))[1:]))


def test_training_that_is_started_again_goes_on_and_ends_the_same(trained, tmp_path: Path):
    configuration = GraphConfiguration.parse({**trained[1], "output": str(tmp_path / "again")})
    train_generator(configuration, log=lambda line: None, stop_after=2)
    assert load_generator(save_unfinished(configuration)).names == ("stars", "whole")
    train_generator(configuration, log=lambda line: None)
    whole, parts = (load_tensors(f / "model.safetensors") for f in (trained[0], tmp_path / "again"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_batches_are_of_one_set_and_smaller_where_graphs_are_large(files):
    c = GraphConfiguration.parse(settings(files, Path("x")))
    tables = read_tables(c.data)
    batches = GraphBatches(tables, [1.0, 1.0], 64, 100)
    seen = [batches(step, torch.Generator().manual_seed(step)) for step in range(20)]
    sizes = {int(b["set"]): len(b["mask"]) for b in seen}
    assert sizes == {0: 100 // 49, 1: 100 // 16}
    for b in seen:
        assert b["mask"].shape[1] <= (7, 4)[int(b["set"])]


def test_loss_is_that_of_the_noise_of_the_set(files):
    """An untrained network with the right constant is the best that knows each pair alone, of either set."""
    c = GraphConfiguration.parse(settings(files, Path("x")))
    tables = read_tables(c.data)
    denoiser = build(c.architecture, [0.2, 0.75])
    for number, table in enumerate(tables):
        batch = {**table.batch(np.zeros(64, int)), "set": torch.tensor(number)}
        value = graph_loss(denoiser, batch, torch.Generator().manual_seed(0))
        # The logits of an untrained network are the evidence alone: at t = 1 it is nothing, log 2; at t = 0 all.
        assert 0.1 < float(value.detach().mean()) < 0.7


def test_a_model_learns_two_sets_apart(files, tmp_path: Path):
    """Independent edges of the right density would make 6 paths and no star of 30 graphs each."""
    values = settings(files, tmp_path / "two", batch=32, steps=25, width=32, edge_width=16, depth=2)
    values["data"] = [*values["data"][:1], {"name": "path", "path": str(tmp_path / "path.json")}]
    write_graphs(tmp_path / "path.json", as_graphs([nx.path_graph(4)]))
    values["training"] = {"steps": 200, "warmup": 10, "learning_rate": 0.01, "average": 10, "precision": "fp32"}
    model = load_generator(train_from_settings(values, log=lambda line: None))
    degrees = {
        name: [sorted(d for _, d in g.to_networkx().degree) for g in from_batch(*generate(model, name, range(30))[1:])]
        for name in ("stars", "path")
    }
    assert sum(d == [1, 1, 2, 2] for d in degrees["path"]) >= 12
    assert sum(d == [1] * (len(d) - 1) + [len(d) - 1] for d in degrees["stars"]) >= 10


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": []}, "data"),
        ({"heads": 3}, "heads"),
        ({"sampler": {"power": -1.0}}, "sampler"),
        ({"sampler": {"speed": 1.0}}, "sampler"),
        ({"late": 0.0}, "late"),
        ({"entries": 0}, "entries"),
    ],
)
def test_bad_configurations_are_refused_by_the_name_of_the_field(files, tmp_path: Path, changes, said: str):
    with pytest.raises(UsageError, match=said):
        GraphConfiguration.parse(settings(files, tmp_path, **changes))


def test_another_model_is_refused(tmp_path: Path):
    save_model(tmp_path / "other", {"x": torch.zeros(2)}, {"domain": "graph", "name": "other"})
    with pytest.raises(ModelError, match="not a graph model"):
        load_generator(tmp_path / "other")


def test_shipped_configuration_is_sound_and_its_model_small(repository: Path):
    values = read_configuration(repository / "workflows" / "graphs" / "training" / "graphs.yaml")
    assert values.pop("domain") == "graph"
    c = GraphConfiguration.parse(values)
    assert [one.name for one in c.data] == ["community-small", "grid", "planar", "sbm", "tree"]
    network = build(c.architecture, [0.1] * 5).network
    assert sum(p.numel() for p in network.parameters()) * 2 < 2 * 2**20  # bfloat16, 2 MiB
