"""What is the same for every verb: whole outputs, sidecars, batches, exit codes, quiet streams."""

import json
import signal
import time

import pytest

SIDECAR = {"ornstein_version", "command", "inputs", "model", "parameters", "seed", "device", "seconds", "peak_memory_bytes", "measures", "warnings", "versions", "use"}  # fmt: skip


def names(folder):
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def one_message(err):
    lines = err.strip().splitlines()
    return "Traceback" not in err and 1 <= len(lines) <= 2


def test_a_run_writes_its_result_and_says_nothing_on_standard_output(ornstein, numbers, tmp_path):
    code, out, err = ornstein("tiny", "scale", numbers, "-o", tmp_path / "b.out", "--factor", 3)
    assert (code, out) == (0, "")
    assert json.loads((tmp_path / "b.out").read_text()) == [3, 6]
    assert names(tmp_path) == ["a.num", "b.out", "b.out.json"]
    assert "complains" not in err and "a library prints" in err


def test_sidecar_tells_where_the_result_comes_from(ornstein, numbers, tmp_path):
    other = tmp_path / "offsets.txt"
    other.write_text("")
    ornstein("tiny", "scale", numbers, "-o", tmp_path / "b.out", "--seed", 5, "--offsets", other)
    side = json.loads((tmp_path / "b.out.json").read_text())
    assert side.keys() == SIDECAR
    assert side["command"] == f"ornstein tiny scale {numbers} -o {tmp_path / 'b.out'} --seed 5 --offsets {other}"
    assert [i["path"] for i in side["inputs"]] == [str(numbers), str(other)]
    assert (
        side["inputs"][1]["sha256"] == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )  # of nothing
    assert side["parameters"]["factor"] == 2.0 and side["parameters"]["mode"] == "exact" and side["seed"] == 5
    assert side["measures"] == {"sum": 6.0}
    assert side["peak_memory_bytes"] > 2**20 and side["seconds"] >= 0
    assert side["use"] == "research use only, not for clinical decisions"


def test_quiet_success_leaves_standard_error_empty(ornstein, numbers, tmp_path):
    assert ornstein("tiny", "scale", numbers, "-o", tmp_path / "b.out", "--quiet") == (0, "", "")


def test_json_is_one_object_and_nothing_else(ornstein, numbers, tmp_path):
    code, out, _ = ornstein("tiny", "scale", numbers, "-o", tmp_path / "b.out", "--json")
    assert code == 0 and json.loads(out)["measures"] == {"sum": 6.0}
    assert json.loads(out)["output"] == str(tmp_path / "b.out")


def test_existing_output_is_refused_and_kept_unless_overwritten(ornstein, numbers, tmp_path):
    target = tmp_path / "b.out"
    target.write_text("mine")
    code, _, err = ornstein("tiny", "scale", numbers, "-o", target)
    assert code == 2 and target.read_text() == "mine" and "b.out" in err and one_message(err)
    assert ornstein("tiny", "scale", numbers, "-o", target, "--overwrite")[0] == 0
    assert target.read_text() == "[2.0, 4.0]"


@pytest.mark.parametrize("bad", ["no/such/folder/b.out", "b.pdf", "b"])
def test_an_output_that_cannot_be_written_is_wrong_usage(ornstein, numbers, tmp_path, bad):
    code, _, err = ornstein("tiny", "scale", numbers, "-o", tmp_path / bad)
    assert code == 2 and one_message(err) and names(tmp_path) == ["a.num"]


def test_more_samples_write_the_deviation_beside(ornstein, numbers, tmp_path):
    ornstein("tiny", "scale", numbers, "-o", tmp_path / "b.out", "--samples", 2)
    assert names(tmp_path) == ["a.num", "b-std.out", "b.out", "b.out.json"]


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        ("no list", 3, "not a list"),
        ("[13]", 1, "--debug"),
        ("[14]", 5, "memory"),
        ("[15]", 6, "no such model"),
        ("[99]", 4, "--force"),
        ("[333]", 1, "the writer broke"),
        (None, 3, "no such file"),
    ],
)
def test_each_failure_has_its_exit_status_one_message_and_leaves_nothing(ornstein, tmp_path, content, code, words):
    source = tmp_path / "bad.num"
    if content is not None:
        source.write_text(content)
    before = names(tmp_path)
    found, out, err = ornstein("tiny", "scale", source, "-o", tmp_path / "b.out", "--quiet")
    assert found == code and out == "" and words in err and one_message(err)
    assert code in (5, 6) or "bad.num" in err or "writer" in err
    assert names(tmp_path) == before and not list(tmp_path.glob(".*"))


def test_debug_shows_the_traceback(ornstein, tmp_path):
    (tmp_path / "bad.num").write_text("[13]")
    code, _, err = ornstein("tiny", "scale", tmp_path / "bad.num", "-o", tmp_path / "b.out", "--debug")
    assert code == 1 and "Traceback" in err and "RuntimeError" in err


def test_force_marks_the_result(ornstein, tmp_path):
    (tmp_path / "far.num").write_text("[99]")
    assert ornstein("tiny", "scale", tmp_path / "far.num", "-o", tmp_path / "b.out", "--force")[0] == 0
    assert json.loads((tmp_path / "b.out.json").read_text())["warnings"] == ["forced"]


def test_batch_keeps_relative_paths_and_reports_what_failed(ornstein, tmp_path):
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.num").write_text("[1]")
    (folder / "deep" / "b.num").write_text("[2]")
    (folder / "c.num").write_text("nonsense")
    (folder / ".hidden.num").write_text("[3]")
    (folder / "notes.txt").write_text("not an input")
    code, _, err = ornstein("tiny", "scale", folder, "-o", tmp_path / "done")
    assert code == 7 and "c.num" in err and "Traceback" not in err
    assert names(tmp_path / "done") == ["a.out", "a.out.json", "deep/b.out", "deep/b.out.json"]


def test_resume_makes_only_what_is_missing(ornstein, tmp_path):
    folder, done = tmp_path / "in", tmp_path / "done"
    folder.mkdir()
    for name in "ab":
        (folder / f"{name}.num").write_text("[1]")
    assert ornstein("tiny", "scale", folder, "-o", done)[0] == 0
    stamp = (done / "a.out").stat().st_mtime_ns
    assert ornstein("tiny", "scale", folder, "-o", done)[0] == 2
    (done / "b.out").unlink()
    code, out, _ = ornstein("tiny", "scale", folder, "-o", done, "--resume", "--json")
    assert code == 0 and (done / "b.out").exists() and (done / "a.out").stat().st_mtime_ns == stamp
    assert json.loads(out)["skipped"] == [str(done / "a.out")]


def test_resume_does_not_take_a_file_without_sidecar_for_done(ornstein, numbers, tmp_path):
    (tmp_path / "b.out").write_text("someone else's")
    code, _, _ = ornstein("tiny", "scale", numbers, "-o", tmp_path / "b.out", "--resume")
    assert code == 2 and (tmp_path / "b.out").read_text() == "someone else's"


def test_two_inputs_with_one_target_stop_before_any_work(ornstein, tmp_path):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.num").write_text("[1]")
    code, _, err = ornstein("tiny", "scale", tmp_path / "x/a.num", tmp_path / "y/a.num", "-o", tmp_path / "done")
    assert code == 2 and one_message(err) and not (tmp_path / "done").exists()


def test_a_folder_without_inputs_is_bad_input(ornstein, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = ornstein("tiny", "scale", tmp_path / "empty", "-o", tmp_path / "done")
    assert code == 3 and ".num" in err and not (tmp_path / "done").exists()


def test_one_input_may_go_into_a_folder_that_is_there(ornstein, numbers, tmp_path):
    (tmp_path / "there").mkdir()
    assert ornstein("tiny", "scale", numbers, "-o", tmp_path / "there")[0] == 0
    assert names(tmp_path / "there") == ["a.out", "a.out.json"]


def test_what_is_not_the_files_fault_stops_a_batch(ornstein, tmp_path):
    (tmp_path / "in").mkdir()
    for name, content in (("a", "[15]"), ("b", "[1]")):
        (tmp_path / "in" / f"{name}.num").write_text(content)
    assert ornstein("tiny", "scale", tmp_path / "in", "-o", tmp_path / "done")[0] == 6
    assert not (tmp_path / "done" / "b.out").exists()


def test_report_is_written_for_one_file_and_for_a_batch(ornstein, numbers, tmp_path):
    assert ornstein("tiny", "scale", numbers, "-o", tmp_path / "b.out", "--report", tmp_path / "one.html")[0] == 0
    page = (tmp_path / "one.html").read_text()
    assert "Research use only" in page and "Settings" in page and "--report" in page
    other = tmp_path / "other.num"
    other.write_text("[5]")
    ornstein("tiny", "scale", numbers, other, "-o", tmp_path / "done", "--report", tmp_path / "many.html")
    page = (tmp_path / "many.html").read_text()
    assert "a.out" in page and "other.out" in page


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interruption_has_its_exit_status_and_leaves_nothing(start, numbers, tmp_path, sent, code):
    process = start("tiny", "scale", numbers, "-o", tmp_path / "b.out", "--steps", 10_000)
    assert "library prints" in process.stderr.readline()  # the work has begun
    time.sleep(0.2)
    process.send_signal(sent)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code and "Traceback" not in err
    assert names(tmp_path) == ["a.num"] and not list(tmp_path.glob(".*"))


def test_python_call_checks_and_saves_as_the_command_does(tiny, tmp_path):
    from ornstein.core.errors import UsageError

    result = tiny.scale([1, 2], factor=3)
    assert result.values == [3, 6]
    result.save(tmp_path / "b.out")
    side = json.loads((tmp_path / "b.out.json").read_text())
    assert side["command"] == "ornstein.tiny.scale(<list>, factor=3.0)" and side["inputs"][0]["sha256"]
    with pytest.raises(UsageError, match="exists already"):
        result.save(tmp_path / "b.out")
    with pytest.raises(UsageError, match="factor"):
        tiny.scale([1], factor=-1)
    with pytest.raises(UsageError, match="exact, noisy"):
        tiny.scale([1], mode="loud")


def test_the_same_command_gives_the_same_bytes_and_another_seed_does_not(ornstein, numbers, tmp_path):
    for name, seed in (("x", 0), ("y", 0), ("z", 1)):
        ornstein("tiny", "scale", numbers, "-o", tmp_path / f"{name}.out", "--mode", "noisy", "--seed", seed)
    x, y, z = ((tmp_path / f"{name}.out").read_bytes() for name in "xyz")
    assert x == y != z
