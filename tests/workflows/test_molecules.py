"""The molecules' workflow: a sample sheet in, the right commands out, and nothing else."""

import json
from pathlib import Path

import pytest

HEAD = "name\tn\tseed\tmodel\tatoms\tscaffold\tfragment\tmaximise\ttarget\treference\ttrain\n"
SHEET = (
    HEAD + "plain\t20\t3\t\t\t\t\t\t\tmeine (Prüf) 1.csv\tdata/train.smi\n"
    "built\t7\t0\tmodels/mine\t12-20\t[nH]1cccc1/C=C/C#N\t*CO.*c1ccccc1\t\t\t\t\n"
    "good\t5\t0\t\t\t\t\tgoals/mine.py:weight\tgoals/other.py:f=1e-1,MolLogP=-2.5\t\t\n"
)
ROW = {"name": "a", "n": "10", "seed": "0"}


def test_a_dry_run_plans_the_commands_of_the_sheet(study):
    study.sheet(SHEET)
    study.touch("meine (Prüf) 1.csv", "data/train.smi", "goals/mine.py", "goals/other.py")
    study.configure(
        format="smi",
        generate={"until_valid": True, "repair": False, "candidates": 4, "model": "druglike", "steps": 50},
        evaluate={"fcd": False},
        report={"pictures": 3},
    )
    commands = study.plan("--workflow-profile", "profiles/local")
    assert len(commands) == 5
    made = {Path(words[4]).stem: words[5 : words.index("2>")] for words in commands if words[1] == "molecule"}
    common = ["--model=druglike", "--steps=50", "--until-valid"]
    assert made["plain"] == ["--overwrite", "-n", "20", "--seed", "3", *common]
    own = ["--model=models/mine", "--atoms=12-20", "--scaffold=[nH]1cccc1/C=C/C#N", "--fragment=*CO.*c1ccccc1"]
    assert set(made["built"]) == {"--overwrite", "-n", "7", "--seed", "0", "--until-valid", "--steps=50", *own}
    aims = ["--candidates=4", "--maximise=goals/mine.py:weight", "--target=goals/other.py:f=1e-1,MolLogP=-2.5"]
    assert set(made["good"]) == {"--overwrite", "-n", "5", "--seed", "0", *common, *aims}
    (evaluation,) = [words for words in commands if words[1] == "evaluate"]
    assert evaluation[2:5] == ["molecule", "results/samples/plain/plain.smi", "meine (Prüf) 1.csv"]
    assert {"--train=data/train.smi", "--no-fcd", "--json"} <= set(evaluation)
    (report,) = [words for words in commands if words[1:3] == ["workflow", "report"]]
    assert report[3] == "molecule" and "--pictures=3" in report
    assert {"results/samples/built/built.smi", "results/samples/plain/measures.json"} <= set(report)


def test_a_program_that_is_not_there_is_missed_before_anything_runs(study):
    study.sheet(SHEET)
    study.touch("meine (Prüf) 1.csv", "data/train.smi", "goals/mine.py")
    done = study.snakemake("--cores", "1")
    assert done.returncode != 0 and "goals/other.py" in done.stdout + done.stderr
    assert not (study.folder / "results" / "samples").exists()


def test_the_sheet_that_is_there_needs_no_file(study):
    assert [words[1] for words in study.plan()].count("molecule") == 3


def test_a_count_that_is_no_number_is_refused_before_anything_runs(study):
    study.sheet("name\tn\tseed\na\tmany\t0\n")
    assert "line 2" in study.refusal()


def test_no_target_can_speak_to_a_shell_or_be_an_option_or_a_pattern(problems, hostile):
    assert problems("samples", ROW | {"target": f"{hostile}=1"})


@pytest.mark.parametrize(
    "cells",
    [
        {"n": "0"}, {"n": "10000001"}, {"n": "5\n"}, {"seed": "-1"}, {"seed": "x"}, {"atoms": "20-"}, {"atoms": "a-b"},
        {"scaffold": "CC O"}, {"fragment": "CC;y"}, {"scaffold": "C\nC"}, {"target": "MolWt"}, {"target": "=3"},
        {"target": "qed=1,"}, {"target": "MolWt=x"}, {"train": "t.smi"},
    ],
)  # fmt: skip
def test_cells_that_cannot_be_meant_are_refused(problems, cells):
    assert problems("samples", ROW | cells)


@pytest.mark.parametrize(
    "cells",
    [
        {"n": "10000000"}, {"atoms": "17"}, {"atoms": "12-20"}, {"scaffold": r"F/C=C\C(=O)[O-].[Na+]"}, {"fragment": "*C%12CCC%12"},
        {"target": "MolLogP=2.5, mine (2).py:f=-1e-3"}, {"reference": "my data/t.smi.gz", "train": "/data/é.parquet"},
    ],
)  # fmt: skip
def test_usual_cells_are_taken(problems, cells):
    assert not problems("samples", ROW | cells)


def test_the_formats_and_columns_are_those_of_the_command_line(schema):
    from ornstein.pipelines import molecule
    from ornstein.pipelines.signature import parameters

    assert {f".{kind}" for kind in schema("config")["properties"]["format"]["enum"]} == set(molecule.WRITTEN)
    columns = {p.name for p in parameters(molecule.generate.function)} | {"name", "reference", "train"}
    assert set(schema("samples")["properties"]) == set(HEAD.split()) <= columns


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model of two or three atoms of C, N, O and F, with fresh weights."""
    from ornstein.core.checkpoints import save_model
    from ornstein.datasets.molecules import Vocabulary
    from ornstein.domains.molecules import generation

    architecture = {"width": 16, "edge_width": 8, "depth": 1, "heads": 2, "product": 2, "expansion": 1.0, "walks": 2}
    frequencies = {"nodes": [0.7, 0.1, 0.1, 0.1], "edges": [0.4, 0.5, 0.05, 0.05]}
    denoiser = generation.build(architecture, generation.paths_from("marginal", "cosine", frequencies))
    atoms = Vocabulary((("C", 0), ("N", 0), ("O", 0), ("F", 0)))
    card = {
        "name": "fresh", "domain": "molecule", "architecture": architecture, "path": "marginal", "schedule": "cosine",
        "steps": 3, "frequencies": frequencies, "vocabulary": atoms.to_json(), "sizes": [0, 0, 0.5, 0.5], "sampler": {},
    }  # fmt: skip
    place = tmp_path_factory.mktemp("model") / "fresh"
    save_model(place, denoiser.network.state_dict(), card)
    return place


def test_a_result_is_shown_with_its_reference(tmp_path, model):
    from ornstein.pipelines import molecule
    from ornstein.pipelines.molecule_pictures import show
    from ornstein.pipelines.report import Report

    made = molecule.generate(n=8, model=str(model), until_valid=True)
    (tmp_path / "ref.smi").write_text("CCO\n\nCN\n")
    pages = set()
    for suffix in molecule.WRITTEN:
        made.save(tmp_path / f"m{suffix}")
        report = Report("molecules")
        show(report, tmp_path / f"m{suffix}", tmp_path / "ref.smi")
        pages.add(report.html())
    (page,) = pages  # an SDF's coordinates and stereocentres, which are arbitrary, change no picture
    assert page.count("data:image/png") == 2
    (tmp_path / "none.smi").write_text("\n\n")
    report = Report("molecules")
    show(report, tmp_path / "none.smi")
    assert "No molecule" in report.html() and "data:image/png" not in report.html()


@pytest.mark.slow
def test_jobs_become_molecules_measures_and_a_report(study, model):
    study.sheet(HEAD + "a\t40\t1\t\t\t\t\t\t\tref.smi\ttrain.csv\nb\t6\t0\t\t3\tCO\t\t\t\t\t\n")
    (study.folder / "ref.smi").write_text("CCO\nCC\nC1CC\nCN\n")  # the third cannot be read: the others are measured
    (study.folder / "train.csv").write_text("smiles\nCC\nCO\n")
    study.configure(format="smi", generate={"model": str(model)}, evaluate={"fcd": False})
    results = study.run()
    lines = (results / "samples" / "a" / "a.smi").read_text().split("\n")[:-1]
    measures = json.loads((results / "samples" / "a" / "measures.json").read_text())
    assert len(lines) == measures["attempts"] == 40
    assert measures["valid"] == sum(map(bool, lines)) / 40 > 0 and 0 <= measures["novel"] <= 1
    assert "ref.smi: row 3" in (results / "logs" / "evaluate" / "a.log").read_text()
    held = [line for line in (results / "samples" / "b" / "b.smi").read_text().split("\n") if line]
    assert all("O" in line for line in held)
    a, b = study.table()
    assert (a["name"], b["name"], a["model"], a["attempts"]) == ("a", "b", "fresh", "40")
    assert float(a["novel"]) == measures["novel"] and b["novel"] == ""
    assert (results / "report.html").read_text().count("data:image/png") >= 2
    study.assert_done()
