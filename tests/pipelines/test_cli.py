"""The command line: quick to start, made from signatures, clear in its refusals."""

import json
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ["torch", "numpy", "monai", "xarray", "scipy", "matplotlib", "nibabel", "h5py"]


@pytest.mark.parametrize("words", [["--help"], ["mri", "--help"], ["mri", "reconstruct", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(words):
    code = (
        "import sys\nfrom ornstein.pipelines import cli\n"
        "try:\n    cli.main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_starts_within_three_tenths_of_a_second():
    program = Path(sys.executable).with_name("ornstein")
    times = []
    for _ in range(10):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([program, "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    # Processor time, which on an idle machine is the wall time: a busy neighbour does not decide.
    assert statistics.median(times) < 0.3, sorted(times)


def test_overview_names_every_domain_and_command(ornstein):
    code, out, err = ornstein("--help")
    assert code == 0 and err == ""
    for word in ("mri", "tiny", "evaluate", "models", "doctor", "quickstart", "train", "workflow"):
        assert f"  {word} " in out


def test_help_of_a_verb_shows_ranges_choices_defaults_and_the_docstring(ornstein):
    code, out, _ = ornstein("tiny", "scale", "--help")
    text = " ".join(out.split())
    assert code == 0
    for part in (
        "--output",
        "--seed",
        "--overwrite",
        "--resume",
        "--report",
        "--json",
        "--quiet",
        "--debug",
        "--force",
    ):
        assert part in text
    assert "what to multiply with (above 0 and at most 100; default 2)" in text
    assert "{exact,noisy}" in text and "exact, or with noise that the seed decides (default exact)" in text
    assert "--progress" not in text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--no-such-option"], "--no-such-option"),
        (["--stepz", "3"], "did you mean --steps"),
        (["--steps", "-3"], "at least 1|1 to"),
        (["--steps", "many"], "whole number"),
        (["--steps", "2.5"], "whole number"),
        (["--factor", "nan"], "finite"),
        (["--factor", "0"], "above 0"),
        (["--mode", "exct"], "did you mean exact"),
        (["--step", "3"], "unknown option"),
        (["--seed"], "expected one argument"),
    ],
)
def test_a_wrong_option_is_named_in_one_message(ornstein, numbers, tmp_path, words, says):
    code, out, err = ornstein("tiny", "scale", numbers, "-o", tmp_path / "b.out", *words)
    assert code == 2 and out == "" and len(err.strip().splitlines()) <= 2
    assert any(part in err for part in says.split("|")), err
    assert not (tmp_path / "b.out").exists()


@pytest.mark.parametrize("device", ["toaster", "cuda:-1", "CPU", "cuda:1:2"])
def test_an_unknown_device_is_wrong_usage(ornstein, numbers, tmp_path, device):
    code, _, err = ornstein("tiny", "locate", numbers, "-o", tmp_path / "b.out", "--device", device)
    assert code == 2 and "auto, cpu, cuda, cuda:N" in err


def test_a_gpu_that_is_not_there_is_wrong_usage(ornstein, numbers, tmp_path):
    code, _, err = ornstein("tiny", "locate", numbers, "-o", tmp_path / "b.out", "--device", "cuda:99")
    assert code == 2 and "CUDA" in err and not (tmp_path / "b.out").exists()


@pytest.mark.parametrize("words", [["tny"], ["tiny", "scal"], ["models", "shwo"], ["--verbose"]])
def test_an_unknown_word_is_wrong_usage_and_close_ones_are_offered(ornstein, words):
    code, out, err = ornstein(*words)
    assert code == 2 and out == "" and ("did you mean" in err or "known:" in err)


def test_no_words_show_the_overview(ornstein):
    code, out, err = ornstein()
    assert code == 2 and out == "" and "usage: ornstein" in err


def test_a_missing_output_is_wrong_usage(ornstein, numbers):
    code, _, err = ornstein("tiny", "scale", numbers)
    assert code == 2 and "--output" in err


def test_inputs_may_stand_on_both_sides_of_options(ornstein, numbers, tmp_path):
    other = tmp_path / "z.num"
    other.write_text("[3]")
    assert ornstein("tiny", "scale", numbers, "-o", tmp_path / "done", "--steps", "1", other)[0] == 0
    assert (tmp_path / "done" / "z.out").exists() and (tmp_path / "done" / "a.out").exists()


def test_version_is_the_packages(ornstein):
    import ornstein as package

    for words in (["--version"], ["tiny", "--version"], ["tiny", "scale", "--version"]):
        code, out, _ = ornstein(*words)
        assert code == 0 and out.strip() == f"ornstein {package.__version__}"


def test_evaluate_prints_a_table_or_json(ornstein, numbers, tmp_path):
    other = tmp_path / "z.num"
    other.write_text("[1, 2.5]")
    code, out, err = ornstein("evaluate", "tiny", numbers, other)
    assert (code, err) == (0, "") and out.splitlines()[1].split() == ["largest", "0.5"]
    code, out, _ = ornstein("evaluate", "tiny", numbers, other, "--json")
    assert json.loads(out)["largest"] == 0.5


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    program = Path(sys.executable).with_name("ornstein")
    done = subprocess.run(
        ["bash", "-c", f"for i in 1 2 3; do '{program}' --help; done | head -c 10"], capture_output=True, text=True
    )
    assert done.stderr == ""
