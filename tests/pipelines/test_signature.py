"""Options made from signatures, and outputs that are whole or absent."""

import json
import os
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ornstein.core.errors import UsageError
from ornstein.pipelines import outputs
from ornstein.pipelines.batch import plan
from ornstein.pipelines.console import Console, Progress
from ornstein.pipelines.options import device_name, slice_range
from ornstein.pipelines.provenance import plain, to_json
from ornstein.pipelines.runtime import available_memory, memory_budget, peak_memory
from ornstein.pipelines.signature import Option, parameters


def example(
    x,
    *,
    whole: Annotated[int, Option(low=1, high=10)] = 3,
    number: Annotated[float | None, Option(above=0, none="auto")] = None,
    choice: Literal["a", "b"] = "a",
    flag: bool = False,
    must: str,
): ...


OPTIONS = {p.name: p for p in parameters(example)}


@given(st.integers(-100, 100))
def test_whole_numbers_are_taken_within_their_range_only(n):
    option = OPTIONS["whole"]
    if 1 <= n <= 10:
        assert option.read(str(n)) == option.check(n) == n
    else:
        for take in (lambda: option.read(str(n)), lambda: option.check(n)):
            with pytest.raises(ValueError, match="1 to 10"):
                take()


@given(st.one_of(st.floats(), st.text(), st.booleans(), st.none(), st.integers()))
def test_any_word_is_read_or_refused_and_nothing_else_happens(value):
    for option in OPTIONS.values():
        for take in (option.check, lambda v, option=option: option.read(str(v))):
            try:
                take(value)
            except ValueError as error:
                assert str(error)


def test_signature_gives_flags_defaults_and_what_must_be_given():
    assert [p.flag for p in OPTIONS.values()] == ["--whole", "--number", "--choice", "--flag", "--must"]
    assert OPTIONS["must"].required and not OPTIONS["whole"].required
    assert OPTIONS["number"].read("auto") is None and OPTIONS["number"].read("2e-3") == 0.002
    assert OPTIONS["choice"].choices == ("a", "b")


def test_a_type_that_makes_no_option_is_a_programming_error():
    def wrong(*, x: dict = {}): ...  # noqa: B006

    with pytest.raises(AssertionError, match="no option"):
        parameters(wrong)


@given(st.one_of(st.none(), st.integers(-99, 99)), st.one_of(st.none(), st.integers(-99, 99)))
def test_ranges_are_read_as_python_writes_slices(a, b):
    text = f"{'' if a is None else a}:{'' if b is None else b}"
    assert slice_range(text) == (a, b) == slice_range(slice(a, b)) == slice_range((a, b))


@given(st.text(max_size=12))
def test_only_devices_are_devices(text):
    known = text in ("auto", "cpu", "cuda") or (
        text.startswith("cuda:") and text[5:].isdigit() and text[5:].isdecimal()
    )
    if known:
        assert device_name(text) == text
    else:
        with pytest.raises(ValueError, match="auto, cpu"):
            device_name(text)


@pytest.mark.parametrize(
    ("name", "std"),
    [("r.nii.gz", "r-std.nii.gz"), ("a.b.npy", "a.b-std.npy"), ("R.NII.GZ", "R-std.NII.GZ"), ("plain", "plain-std")],
)
def test_further_outputs_keep_the_whole_suffix(name, std):
    assert outputs.sibling(f"x/{name}", "std").as_posix() == f"x/{std}"
    assert outputs.sidecar(f"x/{name}").name == f"{name}.json"


def test_staged_files_appear_together_or_not_at_all(tmp_path):
    target = tmp_path / "a.out"
    with pytest.raises(RuntimeError), outputs.staged(target) as path:
        path.write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with outputs.staged(target) as path:
        path.write_text("whole")
        outputs.sibling(path, "std").write_text("too")
        assert not target.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a-std.out", "a.out"]
    with pytest.raises(KeyboardInterrupt), outputs.staged(target, overwrite=True) as path:
        path.write_text("new")
        raise KeyboardInterrupt
    assert target.read_text() == "whole"


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "a.zarr"
    for content in ("one", "two"):
        with outputs.staged(target, overwrite=True) as path:
            path.mkdir()
            (path / content).write_text(content)
    assert [p.name for p in target.iterdir()] == ["two"] and list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="an administrator may write everywhere")
def test_a_folder_that_cannot_be_written_is_wrong_usage(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="cannot be written"):
        outputs.check_target(tmp_path / "a.out")


@given(st.lists(st.sampled_from(["a", "b", "c/a", "c/b", "d"]), min_size=1, max_size=5, unique=True))
def test_every_input_of_a_folder_has_its_own_target(tmp_path_factory, names):
    root = tmp_path_factory.mktemp("plan")
    for name in names:
        (root / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "in" / f"{name}.num").write_text("")
    made = plan([str(root / "in")], str(root / "out"), (".num",), (".out.gz",))
    targets = [job.target.relative_to(root / "out").as_posix() for job in made.jobs]
    assert sorted(targets) == sorted(f"{name}.out.gz" for name in names)


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text()),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_sidecars_are_always_strict_json(value):
    assert json.loads(to_json(value), parse_constant=lambda name: pytest.fail(name)) == json.loads(
        json.dumps(plain(value))
    )


def test_progress_tells_the_time_left_and_is_silent_for_short_or_quiet_runs(capsys):
    for quiet, patience in ((False, 60.0), (True, 0.0)):
        progress = Progress("x", Console(quiet), patience=patience)
        progress(1, 2)
        progress(2, 2)
    assert capsys.readouterr().err == ""
    progress = Progress("x", Console(), patience=0.0)
    progress._start -= 10
    progress._first = (0.0, 0.0)
    progress(1, 4)
    assert capsys.readouterr().err == "x:  25%, 30.0 s left\n"


def test_memory_is_counted_in_bytes_that_make_sense():
    assert 2**20 < peak_memory() < 2**45
    assert 0 < memory_budget(None) <= available_memory()
    assert memory_budget(10_000) > 9e12
