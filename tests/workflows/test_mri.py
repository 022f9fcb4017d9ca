"""The MRI workflow: a sample sheet in, the right commands out, and nothing else."""

import csv
import json
import re
import shlex
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml
from jsonschema import Draft202012Validator

WORKFLOW = Path(__file__).resolve().parents[2] / "workflows" / "mri"
SHEET = """sample\tkspace\treference\tsensitivities
one\tdaten (März)/k 1.h5\tdata/1.nii\t
two\tdata/2.h5\t\tdata/m.cfl
"""


def schema(name):
    return yaml.safe_load((WORKFLOW / "workflow" / "schemas" / f"{name}.schema.yaml").read_text())


def problems(name, value):
    return list(Draft202012Validator(schema(name)).iter_errors(value))


def commands(planned):
    return [line.removeprefix("Shell command: ") for line in planned.splitlines() if line.startswith("Shell command: ")]


def test_the_workflow_is_in_the_catalogues_layout():
    for name in ("workflow/Snakefile", "config/config.yaml", "config/README.md", "README.md"):
        assert (WORKFLOW / name).is_file()
    assert "usage" in yaml.safe_load((WORKFLOW / ".snakemake-workflow-catalog.yml").read_text())


def test_a_dry_run_plans_the_commands_of_the_sheet(study):
    study.sheet(SHEET)
    study.touch("daten (März)/k 1.h5", "data/1.nii", "data/2.h5", "data/m.cfl", "data/m.hdr")
    study.configure(reconstruct={"method": "sense", "max_memory": 6.5, "force": True}, report={"pictures": 3})
    done = study.snakemake("--dry-run", "--printshellcmds", "--workflow-profile", "profiles/local")
    assert done.returncode == 0, done.stderr
    planned = [shlex.split(command) for command in commands(done.stdout + done.stderr) if command != "None"]
    reconstructions = [words for words in planned if words[:3] == ["ornstein", "mri", "reconstruct"]]
    assert len(planned) == 4 and len(reconstructions) == 2
    for words in reconstructions:
        assert {"--method=sense", "--max-memory=6.5", "--force", "--overwrite"} <= set(words)
        assert words[3] in ("daten (März)/k 1.h5", "data/2.h5")
        assert ("--sensitivities=data/m.cfl" in words) == (words[3] == "data/2.h5")
    (evaluation,) = [words for words in planned if words[1] == "evaluate"]
    assert evaluation[3:5] == ["results/samples/one/one.nii.gz", "data/1.nii"]
    (report,) = [words for words in planned if words[1:3] == ["workflow", "report"]]
    assert {"results/samples/two/two.nii.gz", "results/samples/one/measures.json", "--pictures=3"} <= set(report)


def test_training_is_planned_only_where_it_is_asked_for(study):
    study.sheet("sample\tkspace\none\tdata/1.h5\n")
    study.touch("data/1.h5")
    done = study.snakemake("--dry-run", "--printshellcmds", "results/trained")
    assert done.returncode == 0, done.stderr
    (command,) = commands(done.stdout + done.stderr)
    assert command.startswith("ornstein train training/mri-brain.yaml ")


@pytest.mark.parametrize(
    "sheet, says",
    [
        ("sample\tkspace\n../../x\tk.h5\n", "line 2"),
        ("sample\tkspace\nx; touch y #\tk.h5\n", "line 2"),
        ("sample\tkspace\na\tk.h5\na\tk.h5\n", "line 3: sample a is there twice"),
    ],
)
def test_a_wrong_sheet_is_refused_before_anything_runs(study, sheet, says):
    study.sheet(sheet)
    study.touch("k.h5")
    done = study.snakemake("--cores", "1")
    assert done.returncode != 0 and says in done.stdout + done.stderr
    assert not (study.folder / "results").exists() and not (study.folder / "y").exists()
    assert not (study.folder.parents[1] / "x").exists()


@pytest.mark.parametrize(
    "name", ["../../x", "x; touch y #", "a/b", "", ".hidden", "-o", "a b", "a\n", "a\nb", "$(y)", "é"]
)
def test_no_identifier_can_leave_its_folder_or_speak_to_a_shell(name):
    assert problems("samples", {"sample": name, "kspace": "k.h5"})


@pytest.mark.parametrize("name", ["a", "sub-01_ses-2", "2026.11.21", "A" * 100])
def test_usual_identifiers_are_taken(name):
    assert not problems("samples", {"sample": name, "kspace": "k.h5"})


@pytest.mark.parametrize("column", ["kspace", "reference", "sensitivities"])
@pytest.mark.parametrize(
    "path", ["k;y", "$(y)", "`y`", "a|b", "a&b", "{sample}", "*.h5", "-o", "a\nb", "a'b", 'a"b', "a\\b"]
)
def test_no_path_can_speak_to_a_shell_or_be_an_option_or_a_pattern(column, path):
    assert problems("samples", {"sample": "a", "kspace": "k.h5", column: path})


@pytest.mark.parametrize("path", ["k.h5", "/data/k.h5", "../k.h5", "my data/k-1,2.h5", "données/k+1=2@x~.h5"])
def test_usual_paths_are_taken(path):
    assert not problems("samples", {"sample": "a", "kspace": path})


@pytest.mark.parametrize("row", [{"sample": "a"}, {"sample": "a", "kspace": "k.h5", "price": "3"}])
def test_a_scan_needs_kspace_and_no_unknown_column(row):
    assert problems("samples", row)


def test_a_wrong_configuration_is_refused_by_name(study):
    study.sheet("sample\tkspace\none\tdata/1.h5\n")
    study.touch("data/1.h5")
    study.configure(reconstruct={"method": "magic"})
    done = study.snakemake("--dry-run")
    assert done.returncode != 0 and "magic" in done.stdout + done.stderr


def test_every_placeholder_of_a_command_is_quoted():
    found = 0
    for file in (WORKFLOW / "workflow" / "rules").glob("*.smk"):
        for shell in re.findall(r"    shell:\n((?:        .*\n)+)", file.read_text()):
            placeholders = re.findall(r"\{([^}]*)\}", shell)
            assert placeholders and all(name.endswith(":q") for name in placeholders), (file.name, placeholders)
            assert all(line.strip().startswith(('"ornstein ', '" ')) for line in shell.splitlines())
            found += 1
    assert found == 4


def test_the_configurations_options_are_those_of_the_command_line():
    from ornstein.pipelines import mri, summary
    from ornstein.pipelines.signature import parameters

    sections = schema("config")["properties"]
    functions = {"reconstruct": mri.reconstruct.function, "evaluate": mri.evaluate, "report": summary.summarise}
    for section, function in functions.items():
        known = {p.name: p for p in parameters(function)}
        for name, field in sections[section]["properties"].items():
            p = known[name]
            if "enum" in field:
                assert set(field["enum"]) == set(p.choices)
            assert field.get("minimum") == p.option.low and field.get("maximum") == p.option.high
            assert field.get("exclusiveMinimum") == p.option.above
            if "default" in field:
                assert field["default"] == p.default


@pytest.mark.slow
def test_two_simulated_scans_become_images_measures_and_a_report(study):
    from ornstein.pipelines import mri

    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in (72, 88, 3)], indexing="ij"))
    shell = np.sqrt((grid[:2] ** 2).sum(0))
    head = (100.0 * (shell < 0.8) * (1 + 0.3 * np.sin(9 * grid[0]) * np.cos(7 * grid[1]))).astype(np.float32)
    (study.folder / "data").mkdir()
    nibabel.save(nibabel.Nifti1Image(head, affine), study.folder / "data" / "head.nii.gz")
    for name, seed in (("k 1.h5", 1), ("k 2.h5", 2)):
        simulated = mri.simulate(str(study.folder / "data" / "head.nii.gz"), acceleration=2, seed=seed, slice_axis=2)
        simulated.save(study.folder / "data" / name)
    study.sheet("sample\tkspace\treference\na\tdata/k 1.h5\tdata/head.nii.gz\nb\tdata/k 2.h5\t\n")
    study.configure(reconstruct={"method": "sense"})
    done = study.snakemake("--cores", "1", "--workflow-profile", "profiles/local", timeout=900)
    assert done.returncode == 0, done.stderr
    results = study.folder / "results"
    for name in "ab":
        made = nibabel.load(results / "samples" / name / f"{name}.nii.gz")
        assert made.shape == head.shape and np.allclose(made.affine, affine)
    measures = json.loads((results / "samples" / "a" / "measures.json").read_text())
    assert measures["psnr_head"] > 20  # an error of a tenth of the peak; SENSE at 2x is well above it
    with open(results / "measures.tsv", newline="") as file:
        a, b = csv.DictReader(file, delimiter="\t")
    assert (a["name"], b["name"], a["method"]) == ("a", "b", "sense")
    assert float(a["psnr_head"]) == pytest.approx(measures["psnr_head"]) and b["psnr_head"] == ""
    page = (results / "report.html").read_text()
    assert page.count("data:image/png") >= 2 and "research use only" in page.lower()
    again = study.snakemake("--cores", "1", "--workflow-profile", "profiles/local")
    assert again.returncode == 0 and "Nothing to be done" in again.stdout + again.stderr
