"""Graphs through the command line: what is written is what networkx reads, and measures tell sets apart."""

import json

import networkx as nx
import numpy as np
import pytest
import torch

from ornstein.core.checkpoints import save_model
from ornstein.datasets.graphs import as_graphs, read_graphs, write_graphs
from ornstein.pipelines import graph, models

REAL_DRAW = graph._draw


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint of two sets; what is in it is not read."""
    place = tmp_path_factory.mktemp("model") / "two"
    save_model(place, {"nothing": torch.zeros(1)}, {"name": "two", "domain": "graph", "sets": ["tree", "dense"]})
    return str(place)


@pytest.fixture(autouse=True)
def random_graphs(monkeypatch):
    """Random trees and dense graphs stand where a trained model would."""

    def draw(model, name, items, settings):
        seeds = [1000 * settings["seed"] + i for i in items]
        if name == "tree":
            return as_graphs([nx.random_labeled_tree(9, seed=seed) for seed in seeds])
        return as_graphs([nx.gnp_random_graph(9, 0.7, seed=seed) for seed in seeds])

    monkeypatch.setattr(graph, "_load", lambda folder, device: None)
    monkeypatch.setattr(graph, "_most_nodes", lambda model, name: 9)
    monkeypatch.setattr(graph, "_draw", draw)


@pytest.fixture
def untrained(tmp_path, monkeypatch):
    """A real model of two sets with fresh weights, read as users' models are."""
    from ornstein.domains.graphs import generation

    architecture = {"width": 16, "edge_width": 8, "depth": 1, "heads": 2, "product": 2, "expansion": 1.0, "walks": 2}
    denoiser = generation.build(architecture, [0.2, 0.7])
    card = {
        "domain": "graph", "architecture": architecture, "sets": ["thin", "dense"], "densities": [0.2, 0.7],
        "sizes": [[0.0] * 8 + [1.0], [0.0] * 5 + [0.5, 0.5]], "sampler": {}, "steps": 3,
    }  # fmt: skip
    save_model(tmp_path / "model", denoiser.network.state_dict(), card)
    monkeypatch.setattr(graph, "_load", generation.load_generator)
    monkeypatch.setattr(graph, "_most_nodes", lambda model, name: model.largest(name))
    monkeypatch.setattr(graph, "_draw", REAL_DRAW)
    return tmp_path / "model"


def test_model_of_a_folder_is_read_and_sampled(tmp_path, untrained, ornstein):
    sizes = {}
    for name in ("thin", "dense"):
        words = ("graph", "generate", "-o", tmp_path / f"{name}.json", "-n", 30, "--model", f"{untrained}:{name}")
        code, _, err = ornstein(*words)
        assert code == 0, err
        sizes[name] = {graph.nodes for graph in read_graphs(tmp_path / f"{name}.json")}
    assert sizes == {"thin": {8}, "dense": {5, 6}}
    assert ornstein(*words[:-2], "--overwrite", *words[-2:], "--solver", "first-hitting")[0] == 2


def test_written_graphs_are_networkx_node_links(tmp_path, checkpoint, ornstein):
    words = ("graph", "generate", "-o", tmp_path / "g.json", "-n", 5, "--model", f"{checkpoint}:tree")
    code, out, err = ornstein(*words, "--report", tmp_path / "r.html")
    assert (code, out) == (0, ""), err
    records = json.loads((tmp_path / "g.json").read_text())
    assert len(records) == 5 and all(nx.is_tree(nx.node_link_graph(record, edges="edges")) for record in records)
    sidecar = json.loads((tmp_path / "g.json.json").read_text())
    assert sidecar["measures"] | {"valid": 1.0, "mean_nodes": 9.0, "set": "tree"} == sidecar["measures"]
    assert (tmp_path / "r.html").read_text().count("data:image/png") == 2


def test_seed_decides(checkpoint):
    made = [graph.generate(n=3, model=f"{checkpoint}:dense", seed=seed).graphs for seed in (0, 0, 1)]
    same = [all(np.array_equal(a.edges, b.edges) for a, b in zip(made[0], other)) for other in made[1:]]
    assert same == [True, False]


def test_results_are_networkx_and_pytorch_geometric(checkpoint):
    made = graph.generate(n=2, model=f"{checkpoint}:tree")
    assert [g.number_of_edges() for g in made.to_networkx()] == [8, 8]


@pytest.mark.parametrize(("set_name", "code"), [("", 2), (":grid", 2), (":tree", 0)])
def test_model_of_several_sets_asks_which(tmp_path, checkpoint, ornstein, set_name, code):
    found, _, err = ornstein("graph", "generate", "-o", tmp_path / "g.json", "-n", 1, "--model", checkpoint + set_name)
    assert found == code
    assert code == 0 or "tree, dense" in err


def test_unknown_model_is_refused(tmp_path, ornstein):
    code, _, err = ornstein("graph", "generate", "-o", tmp_path / "g.json", "--model", tmp_path / "absent")
    assert code == 6 and "absent" in err


def test_unknown_set_names_the_sets_of_the_shipped_model(tmp_path, ornstein):
    shipped = [one for model in models.shipped("graph") for one in model.card["sets"]]
    code, _, err = ornstein("graph", "generate", "-o", tmp_path / "g.json", "--model", "comunity")
    assert code == 6 and shipped and all(name in err for name in shipped)


def test_evaluation_tells_sets_apart_and_names_the_floor(tmp_path, ornstein):
    trees, dense = (
        [nx.random_labeled_tree(9, seed=i) for i in range(24)],
        [nx.gnp_random_graph(9, 0.7, seed=i) for i in range(8)],
    )
    for name, some in (("ref", trees[:8]), ("train", trees[8:16]), ("like", trees[16:]), ("unlike", dense)):
        write_graphs(tmp_path / f"{name}.json", as_graphs(some))
    found = {}
    for name in ("like", "unlike"):
        words = ("evaluate", "graph", tmp_path / f"{name}.json", tmp_path / "ref.json", "--json")
        code, out, err = ornstein(*words, "--train", tmp_path / "train.json")
        assert (code, err) == (0, "")
        found[name] = json.loads(out)
    assert found["like"]["validity"] == "tree" and found["like"]["valid"] == 1 and found["unlike"]["valid"] == 0
    assert found["unlike"]["ratio_tv_mean"] > 3 * found["like"]["ratio_tv_mean"] > 0
    assert {"floor_emd_orbit", "mmd_tv_spectrum", "valid_unique_novel_low"} <= found["like"].keys()


def test_bad_files_are_refused_by_name(tmp_path, ornstein):
    (tmp_path / "bad.json").write_text("[1]")
    code, out, err = ornstein("evaluate", "graph", tmp_path / "bad.json", tmp_path / "bad.json")
    assert code == 3 and out == "" and "bad.json: graph 0" in err
