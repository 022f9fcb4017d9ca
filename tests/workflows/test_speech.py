"""The speech workflow: a sample sheet in, the right commands out, and nothing else."""

import json
import re
import shlex
from pathlib import Path

import pytest
import soundfile
import yaml
from jsonschema import Draft202012Validator

WORKFLOW = Path(__file__).resolve().parents[2] / "workflows" / "speech"
SHEET = "sample\trecording\treference\none\tmein (Büro)/a 1.wav\tdata/1.flac\ntwo\tdata/2.mp3\t\n"


def schema(name):
    return yaml.safe_load((WORKFLOW / "workflow" / "schemas" / f"{name}.schema.yaml").read_text())


def planned(done):
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Shell command: ")]
    commands = [line.removeprefix("Shell command: ") for line in lines]
    return [shlex.split(command) for command in commands if command != "None"]


def test_a_dry_run_plans_the_commands_of_the_sheet(study):
    study.sheet(SHEET)
    study.touch("mein (Büro)/a 1.wav", "data/1.flac", "data/2.mp3")
    study.configure(verb="dereverberate", format="wav", enhance={"method": "wpe", "mix": 0.8}, report={"pictures": 3})
    done = study.snakemake("--dry-run", "--printshellcmds", "--workflow-profile", "profiles/local")
    assert done.returncode == 0, done.stderr
    commands = planned(done)
    assert len(commands) == 4
    made = {words[3]: words for words in commands if words[1] == "speech"}
    assert set(made) == {"mein (Büro)/a 1.wav", "data/2.mp3"}
    for words in made.values():
        assert words[2] == "dereverberate" and {"--method=wpe", "--mix=0.8", "--overwrite"} <= set(words)
    (evaluation,) = [words for words in commands if words[1] == "evaluate"]
    assert evaluation[3:7] == ["results/samples/one/one.wav", "data/1.flac", "--input", "mein (Büro)/a 1.wav"]
    (report,) = [words for words in commands if words[1:3] == ["workflow", "report"]]
    assert {"results/samples/two/two.wav", "results/samples/one/measures.json", "--pictures=3"} <= set(report)


@pytest.mark.parametrize("name", ["../../x", "x; touch y #"])
def test_a_wrong_sheet_is_refused_before_anything_runs(study, name):
    study.sheet(f"sample\trecording\n{name}\ta.wav\n")
    study.touch("a.wav")
    done = study.snakemake("--cores", "1")
    assert done.returncode != 0 and "line 2" in done.stdout + done.stderr
    assert not (study.folder / "results").exists() and not (study.folder / "y").exists()


@pytest.mark.parametrize("path", ["k;y", "$(y)", "`y`", "a|b", "{sample}", "*.wav", "-o", "a\nb", "a'b"])
def test_no_path_can_speak_to_a_shell_or_be_an_option_or_a_pattern(path):
    rows = [{"sample": "a", "recording": path}, {"sample": "a", "recording": "a.wav", "reference": path}]
    assert all(list(Draft202012Validator(schema("samples")).iter_errors(row)) for row in rows)


def test_every_placeholder_of_a_command_is_quoted():
    found = 0
    for file in (WORKFLOW / "workflow" / "rules").glob("*.smk"):
        for shell in re.findall(r"    shell:\n((?:        .*\n)+)", file.read_text()):
            placeholders = re.findall(r"\{([^}]*)\}", shell)
            assert placeholders and all(name.endswith(":q") for name in placeholders), (file.name, placeholders)
            found += 1
    assert found == 4


def test_the_configurations_options_are_those_of_the_command_line():
    from ornstein.pipelines import speech
    from ornstein.pipelines.signature import parameters

    both = [{p.name: p for p in parameters(f.function)} for f in (speech.enhance, speech.dereverberate)]
    for name, field in schema("config")["properties"]["enhance"]["properties"].items():
        if "enum" in field:
            assert set(field["enum"]) == {choice for known in both for choice in known[name].choices}
        for known in both:
            assert field.get("minimum") == known[name].option.low
            assert field.get("exclusiveMinimum") == known[name].option.above


@pytest.mark.slow
def test_two_recordings_become_sounds_measures_and_a_report(study):
    from ornstein.datasets.voice import synthetic_voice
    from ornstein.pipelines import speech

    (study.folder / "data").mkdir()
    clean = study.folder / "data" / "clean.wav"
    soundfile.write(clean, synthetic_voice(3.0), 16_000)
    for name, seed in (("a 1.wav", 1), ("a 2.wav", 2)):
        speech.simulate(str(clean), snr=5.0, seed=seed).save(study.folder / "data" / name)
    study.sheet("sample\trecording\treference\na\tdata/a 1.wav\tdata/clean.wav\nb\tdata/a 2.wav\t\n")
    study.configure(enhance={"method": "wiener"})
    done = study.snakemake("--cores", "1", "--workflow-profile", "profiles/local", timeout=600)
    assert done.returncode == 0, done.stderr
    results = study.folder / "results"
    assert soundfile.info(results / "samples" / "b" / "b.flac").frames == 48_000
    assert json.loads((results / "samples" / "a" / "measures.json").read_text())["si_sdr"] > 5
    page = (results / "report.html").read_text()
    assert page.count("<audio") >= 3 and page.count("data:image/png") >= 3
