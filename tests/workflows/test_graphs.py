"""The graphs' workflow: a sample sheet in, the right commands out, and nothing else."""

import csv
import json
import re
import shlex
from pathlib import Path

import networkx as nx
import pytest
import yaml
from jsonschema import Draft202012Validator

from ornstein.core.errors import InputError

WORKFLOW = Path(__file__).resolve().parents[2] / "workflows" / "graphs"
HEAD = "name\tn\tseed\tmodel\treference\ttrain\n"
ROW = {"name": "a", "n": "10", "seed": "0"}


def schema(name):
    return yaml.safe_load((WORKFLOW / "workflow" / "schemas" / f"{name}.schema.yaml").read_text())


def problems(**cells):
    return list(Draft202012Validator(schema("samples")).iter_errors(ROW | cells))


def planned(done):
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Shell command: ")]
    commands = [line.removeprefix("Shell command: ") for line in lines]
    return [shlex.split(command) for command in commands if command != "None"]


def test_a_dry_run_plans_the_commands_of_the_sheet(study):
    study.sheet(HEAD + "measures\t20\t3\truns/graphs:tree\tmeine (Prüf) 1.json\tdata/train.npz\nb\t7\t0\t\t\t\n")
    study.touch("meine (Prüf) 1.json", "data/train.npz")
    study.configure(generate={"model": "grid", "steps": 9}, evaluate={"valid": "tree"}, report={"pictures": 3})
    done = study.snakemake("--dry-run", "--printshellcmds", "--workflow-profile", "profiles/local")
    assert done.returncode == 0, done.stderr
    commands = planned(done)
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
    done = study.snakemake("--dry-run", "--printshellcmds")
    assert done.returncode == 0, done.stderr
    assert [words[1] for words in planned(done)].count("graph") == 2


def test_training_is_planned_only_where_it_is_asked_for(study):
    done = study.snakemake("--dry-run", "--printshellcmds", "results/trained")
    assert done.returncode == 0, done.stderr
    (command,) = planned(done)
    assert command[:3] == ["ornstein", "train", "training/graphs.yaml"] and (study.folder / command[2]).is_file()


@pytest.mark.parametrize("name", ["../../x", "x; touch y #"])
def test_a_wrong_sheet_is_refused_before_anything_runs(study, name):
    study.sheet(f"name\tn\tseed\n{name}\t5\t0\n")
    done = study.snakemake("--cores", "1")
    assert done.returncode != 0 and "line 2" in done.stdout + done.stderr
    assert not (study.folder / "results").exists() and not (study.folder / "y").exists()


@pytest.mark.parametrize("column", ["model", "reference"])
@pytest.mark.parametrize("path", ["k;y", "$(y)", "`y`", "a|b", "{name}", "*.json", "-o", "a\nb", "a'b"])
def test_no_path_can_speak_to_a_shell_or_be_an_option_or_a_pattern(column, path):
    assert problems(**{column: path})


@pytest.mark.parametrize("cells", [{"n": "0"}, {"n": "5\n"}, {"seed": "-1"}, {"train": "t.json"}, {"price": "3"}])
def test_cells_that_cannot_be_meant_are_refused(cells):
    assert problems(**cells)


def test_usual_cells_are_taken():
    assert not problems(model="my runs/graphs:community-small", reference="/data/é.npz", train="t 1.json")


def test_every_placeholder_of_a_command_is_quoted():
    found = 0
    for file in (WORKFLOW / "workflow" / "rules").glob("*.smk"):
        for shell in re.findall(r"    shell:\n((?:        .*\n)+)", file.read_text()):
            placeholders = re.findall(r"\{([^}]*)\}", shell)
            assert placeholders and all(name.endswith(":q") for name in placeholders), (file.name, placeholders)
            found += 1
    assert found == 4


def test_the_configurations_options_are_those_of_the_command_line():
    from ornstein.pipelines import graph, summary
    from ornstein.pipelines.signature import parameters

    sections = schema("config")["properties"]
    functions = {"generate": graph.generate.function, "evaluate": graph.evaluate, "report": summary.summarise}
    for section, function in functions.items():
        known = {p.name: p for p in parameters(function)}
        for name, field in sections[section]["properties"].items():
            p = known[name]
            assert set(field.get("enum", ())) == set(p.choices)
            assert field.get("minimum") == p.option.low and field.get("maximum") == p.option.high
            assert field.get("exclusiveMinimum") == p.option.above


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
    done = study.snakemake("--cores", "1", "--workflow-profile", "profiles/local", timeout=600)
    assert done.returncode == 0, done.stderr
    results = study.folder / "results"
    made = json.loads((results / "samples" / "measures" / "measures.json").read_text())
    assert [nx.node_link_graph(one, edges="edges").number_of_nodes() for one in made] == [8] * 5
    measures = json.loads((results / "samples" / "measures" / "measures-measures.json").read_text())
    assert (measures["count"], measures["validity"]) == (5, "tree") and measures["mmd_tv_degree"] > 0
    with open(results / "measures.tsv", newline="") as file:
        a, b = csv.DictReader(file, delimiter="\t")
    assert (a["name"], b["name"], a["model"], b["count"]) == ("measures", "b", "fresh", "3")
    assert float(a["mmd_tv_degree"]) == measures["mmd_tv_degree"] and b["mmd_tv_degree"] == ""
    assert (results / "report.html").read_text().count("data:image/png") == 3
    again = study.snakemake("--cores", "1", "--workflow-profile", "profiles/local")
    assert again.returncode == 0 and "Nothing to be done" in again.stdout + again.stderr
