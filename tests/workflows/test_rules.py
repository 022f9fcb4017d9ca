"""What holds for every workflow: nothing that a sheet says reaches a shell, and the options are those of the command line."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import yaml

from ornstein.pipelines import atmosphere, graph, molecule, mri, speech, summary
from ornstein.pipelines.signature import parameters
from ornstein.pipelines.workflow import workflows


@dataclass(frozen=True)
class Rules:
    """What differs between the workflows.

    Attributes:
        item: what a line of the sample sheet is called.
        row: a sound line, with the columns that must be there and all that hold paths; the first names it.
        options: the functions of the command line whose options a section of config.yaml holds.
        training: the configuration that `results/trained` reads.
    """

    item: str
    row: dict[str, str]
    options: dict[str, list[Callable]]
    training: str

    @property
    def paths(self) -> list[str]:
        """The columns that hold paths."""
        return [column for column in self.row if column not in ("sample", "name", "n", "seed")]

    def named(self, name: str) -> dict[str, str]:
        """The line of that name."""
        return self.row | {next(iter(self.row)): name}


REPORT = {"report": [summary.summarise]}
JOB = {"name": "a", "n": "10", "seed": "0", "model": "models/mine", "reference": "r.json", "train": "t.json"}
RULES = {
    "mri": Rules(
        "sample",
        {"sample": "a", "kspace": "k.h5", "reference": "r.nii", "sensitivities": "m.h5"},
        {"reconstruct": [mri.reconstruct.function], "evaluate": [mri.evaluate], **REPORT},
        "training/mri-brain.yaml",
    ),
    "speech": Rules(
        "sample",
        {"sample": "a", "recording": "a.wav", "reference": "r.flac"},
        {"enhance": [speech.enhance.function, speech.dereverberate.function], **REPORT},
        "training/speech.yaml",
    ),
    "atmosphere": Rules(
        "sample",
        {"sample": "a", "coarse": "a.nc", "observations": "o.csv", "reference": "r.nc"},
        {"superresolve": [atmosphere.superresolve.function], **REPORT},
        "training/atmosphere.yaml",
    ),
    "molecules": Rules(
        "job",
        {**JOB, "maximise": "mine.py:weight"},
        {"generate": [molecule.generate.function], "evaluate": [molecule.evaluate], **REPORT},
        "training/druglike.yaml",
    ),
    "graphs": Rules(
        "job",
        JOB,
        {"generate": [graph.generate.function], "evaluate": [graph.evaluate], **REPORT},
        "training/graphs.yaml",
    ),
}
# The shipped ones, too, so that none is forgotten here.
pytestmark = pytest.mark.parametrize("workflow", sorted({*RULES, *workflows()}))


@pytest.fixture
def rules(workflow) -> Rules:
    return RULES[workflow]


def test_the_workflow_is_in_the_catalogues_layout(source):
    for name in ("workflow/Snakefile", "config/config.yaml", "config/README.md", "README.md"):
        assert (source / name).is_file()
    assert "usage" in yaml.safe_load((source / ".snakemake-workflow-catalog.yml").read_text())


def test_training_is_planned_only_where_it_is_asked_for(study, rules):
    (command,) = study.plan("results/trained")
    assert command[:3] == ["ornstein", "train", rules.training] and (study.folder / rules.training).is_file()


@pytest.mark.parametrize(
    "names, says",
    [(["../../x"], "line 2"), (["x; touch y #"], "line 2"), (["a", "a"], "line 3: {item} a is there twice")],
    ids=["out of its folder", "a command", "twice"],
)
def test_a_wrong_sheet_is_refused_before_anything_runs(study, rules, names, says):
    lines = ["\t".join(rules.row), *("\t".join(rules.named(name).values()) for name in names)]
    study.sheet("\n".join(lines) + "\n")
    study.touch(*(rules.row[column] for column in rules.paths))
    assert says.format(item=rules.item) in study.refusal()
    assert not (study.folder / "y").exists() and not (study.folder.parents[1] / "x").exists()


@pytest.mark.parametrize(
    "name", ["../../x", "x; touch y #", "a/b", "", ".hidden", "-o", "a b", "a\n", "a\nb", "$(y)", "é"]
)
def test_no_identifier_can_leave_its_folder_or_speak_to_a_shell(problems, rules, name):
    assert problems("samples", rules.named(name))


@pytest.mark.parametrize("name", ["a", "sub-01_ses-2", "2026.11.21", "A" * 100])
def test_usual_identifiers_are_taken(problems, rules, name):
    assert not problems("samples", rules.named(name))


def test_no_path_can_speak_to_a_shell_or_be_an_option_or_a_pattern(problems, rules, hostile):
    for column in rules.paths:
        assert problems("samples", rules.row | {column: hostile}), column


@pytest.mark.parametrize("path", ["k.h5", "/data/k.h5", "../k.h5", "my data/k-1,2.h5", "données/k+1=2@x~.h5"])
def test_usual_paths_are_taken(problems, rules, path):
    for column in rules.paths:
        assert not problems("samples", rules.row | {column: path}), column


def test_an_unknown_column_is_refused(problems, rules):
    assert problems("samples", rules.row | {"price": "3"})


def test_every_placeholder_of_a_command_is_quoted(source):
    found = 0
    for file in (source / "workflow" / "rules").glob("*.smk"):
        for shell in re.findall(r"    shell:\n((?:        .*\n)+)", file.read_text()):
            placeholders = re.findall(r"\{([^}]*)\}", shell)
            assert placeholders and all(name.endswith(":q") for name in placeholders), (file.name, placeholders)
            assert all(line.strip().startswith(('"ornstein ', '" ')) for line in shell.splitlines())
            found += 1
    assert found == 4


def test_the_configurations_options_are_those_of_the_command_line(schema, rules):
    sections = schema("config")["properties"]
    for section, functions in rules.options.items():
        known = [{p.name: p for p in parameters(function)} for function in functions]
        for name, field in sections[section]["properties"].items():
            offered = [of_function[name] for of_function in known]
            assert set(field.get("enum", ())) == {choice for p in offered for choice in p.choices}
            for p in offered:
                assert field.get("minimum") == p.option.low and field.get("maximum") == p.option.high
                assert field.get("exclusiveMinimum") == p.option.above
                assert field.get("default", p.default) == p.default
                assert (field.get("$ref") == "#/$defs/path") == p.option.file
