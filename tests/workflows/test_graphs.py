"""The graphs' workflow: a sample sheet in, the right commands out, and nothing else."""

import json
import re
from pathlib import Path

import networkx as nx
import pytest

from ornstein.core.errors import InputError

HEAD = "name\tn\tseed\tmodel\treference\ttrain\n"
ROW = {"name": "a", "n": "10", "seed": "0"}


def test_a_dry_run_plans_the_commands_of_the_sheet(study):
    study.sheet(HEAD + "measures\t20\t3\truns/graphs:tree\tmeine (Prüf) 1.json\tdata/train.npz\nb\t7\t0\t\t\t\n")
    study.touch("meine (Prüf) 1.json", "data/train.npz")
    study.configure(generate={"model": "grid", "steps": 9}, evaluate={"valid": "tree"}, report={"pictures": 3})
    commands = study.plan("--workflow-profile", "profiles/local")
    assert len(commands) == 4
    made = {Path(words[4]).stem: words[5 : words.index("2>")] for words in commands if words[1] == "graph"}
    assert made == {
        "measures": ["--overwrite", "-n", "20", "--seed", "3", "--model=runs/graphs:tree", "--steps=9"],
        "b": ["--overwrite", "-n", "7", "--seed", "0", "--model=grid", "--steps=9"],
    }
    (evaluation,) = [words for words in commands if words[1] == "evaluate"]
    assert evaluation[2:5] == ["graph", "results/samples/measures/measures.json", "meine (Prüf) 1.json"]
    assert {"--train=data/train.npz", "--valid=tree", "--json"} <= set(evaluation)
    (report,) = [words for words in commands if words[1:3] == ["workflow", "report"]]
    wanted = {f"results/samples/{name}.json" for name in ("b/b", "measures/measures", "measures/measures-measures")}
    assert report[3] == "graph" and "--pictures=3" in report and wanted == {w for w in report if w.endswith(".json")}


def test_the_sheet_that_is_there_needs_no_file(study):
    assert [words[1] for words in study.plan()].count("graph") == 2


@pytest.mark.parametrize("cells", [{"n": "0"}, {"n": "5\n"}, {"seed": "-1"}, {"train": "t.json"}])
def test_cells_that_cannot_be_meant_are_refused(problems, cells):
    assert problems("samples", ROW | cells)


def test_usual_cells_are_taken(problems):
    cells = {"model": "my runs/graphs:community-small", "reference": "/data/é.npz", "train": "t 1.json"}
    assert not problems("samples", ROW | cells)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model of two sets, thin and dense, with fresh weights."""
    from ornstein.core.checkpoints import save_model
    from ornstein.domains.graphs import generation

    architecture = {"width": 16, "edge_width": 8, "depth": 1, "heads": 2, "product": 2, "expansion": 1.0, "walks": 2}
    denoiser = generation.build(architecture, [0.2, 0.7])
    card = {
        "name": "fresh", "domain": "graph", "architecture": architecture, "sets": ["thin", "dense"], "densities": [0.2, 0.7],
        "sizes": [[0.0] * 8 + [1.0], [0.0] * 5 + [0.5, 0.5]], "sampler": {}, "steps": 3,
    }  # fmt: skip
    place = tmp_path_factory.mktemp("model") / "fresh"
    save_model(place, denoiser.network.state_dict(), card)
    return place


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """Files of eight trees each: what to compare with, and what was learnt."""
    from ornstein.datasets.graphs import as_graphs, write_graphs

    files = []
    for first in (0, 8):
        files.append(tmp_path_factory.mktemp("trees") / "trees.json")
        write_graphs(files[-1], as_graphs([nx.random_labeled_tree(8, seed=first + i) for i in range(8)]))
    return files


def test_results_that_are_json_are_told_from_their_evaluations(tmp_path, monkeypatch, model, trees):
    from ornstein.pipelines import graph, summary

    monkeypatch.chdir(tmp_path)
    for name in ("thin", "dense"):
        graph.generate(n=4, model=f"{model}:{name}").save(Path(f"{name}.json"))
    answer = graph.evaluate("dense.json", str(trees[0]))
    Path("said.json").write_text(answer.json())
    told = summary.summarise("graph", "thin.json", "dense.json", "said.json", output="r.html")
    thin, dense = told.record["results"]
    assert (thin["count"], thin.get("mmd_tv_degree"), dense["mmd_tv_degree"]) == (
        4,
        None,
        answer.record["mmd_tv_degree"],
    )
    page = Path("r.html").read_text()
    assert re.findall(r"<h2>(\w+)</h2>", page) == ["dense", "thin"]
    assert page.count("data:image/png") == 3  # both results, and the reference of one
    Path("thin.json.json").unlink()
    with pytest.raises(InputError, match=r"thin\.json"):
        summary.summarise("graph", "thin.json", "dense.json", output="again.html")


@pytest.mark.slow
def test_jobs_become_graphs_measures_and_a_report(study, model, trees):
    study.sheet(HEAD + f"measures\t5\t1\t{model}:thin\t{trees[0]}\t{trees[1]}\nb\t3\t0\t{model}:dense\t\t\n")
    results = study.run()
    made = json.loads((results / "samples" / "measures" / "measures.json").read_text())
    assert [nx.node_link_graph(one, edges="edges").number_of_nodes() for one in made] == [8] * 5
    measures = json.loads((results / "samples" / "measures" / "measures-measures.json").read_text())
    assert (measures["count"], measures["validity"]) == (5, "tree") and measures["mmd_tv_degree"] > 0
    a, b = study.table()
    assert (a["name"], b["name"], a["model"], b["count"]) == ("measures", "b", "fresh", "3")
    assert float(a["mmd_tv_degree"]) == measures["mmd_tv_degree"] and b["mmd_tv_degree"] == ""
    assert (results / "report.html").read_text().count("data:image/png") == 3
    study.assert_done()
