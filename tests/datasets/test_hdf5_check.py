"""HDF5 files that are not what they say."""

import subprocess
import sys

import h5py
import numpy as np
import pytest

from ornstein.core.errors import InputError
from ornstein.datasets import hdf5_check
from ornstein.datasets.hdf5_check import check
from ornstein.datasets.kspace import read_kspace


@pytest.fixture
def whole(tmp_path):
    path = tmp_path / "whole.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "kspace", data=np.ones((4, 2, 64, 64), np.complex64), chunks=(1, 2, 64, 8), compression="gzip"
        )
        file["group/text"] = "text"
        file["group/again"] = file["kspace"]  # a second name of the same object
        file["group/nothing"] = h5py.SoftLink("/nowhere")
        file.attrs["note"] = "a note"
        file["empty"] = h5py.Empty("f4")
    return path


def test_a_sound_file_passes_and_is_looked_at_once(whole, monkeypatch):
    check(whole)
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("a second child"))
    check(whole)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"this is not what it says\n" * 40, "not an HDF5 file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(900), "damaged"),
    ],
    ids=["empty", "text", "signature only"],
)
def test_what_is_no_hdf5_is_refused_by_name(tmp_path, content, words):
    (tmp_path / "bad.h5").write_bytes(content)
    with pytest.raises(InputError, match=rf"bad\.h5.*{words}"):
        read_kspace(tmp_path / "bad.h5")


@pytest.mark.parametrize("share", [0.34, 0.99])
def test_a_file_that_is_cut_is_refused_by_name(whole, tmp_path, share):
    content = whole.read_bytes()
    (tmp_path / "cut.h5").write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"cut\.h5.*damaged.*truncated"):
        check(tmp_path / "cut.h5")


def test_damage_within_is_refused_or_harmless(whole, tmp_path):
    """Noise anywhere in the file: an error with its name, or a file that is read; the reader itself never falls."""
    content, refused = bytearray(whole.read_bytes()), 0
    generator = np.random.default_rng(0)
    for i in range(4):
        bad = bytearray(content)
        for place in generator.integers(8, len(bad), 40):
            bad[place] ^= int(generator.integers(1, 255))
        (tmp_path / f"{i}.h5").write_bytes(bad)
        try:
            check(tmp_path / f"{i}.h5")
        except InputError as error:
            refused += 1
            assert f"{i}.h5" in str(error) and "\n" not in str(error)
    assert refused > 0


def test_a_child_that_crashes_is_an_input_error(whole, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, -11, b"", b""))
    with pytest.raises(InputError, match=r"whole\.h5.*status -11"):
        check(whole)


def test_damage_in_what_nobody_reads_is_no_hindrance_until_it_is_asked_for(tmp_path):
    with h5py.File(tmp_path / "k.h5", "w") as file:
        file["kspace"] = np.ones((1, 2, 4, 4), np.complex64)
        maps = file.create_dataset(
            "true_sensitivities", (1, 2, 64, 64), np.complex64, chunks=(1, 2, 64, 64), compression="gzip"
        )
        maps[...] = np.random.default_rng(0).normal(size=maps.shape).astype(np.complex64)
        place = maps.id.get_chunk_info(0)
    content = bytearray((tmp_path / "k.h5").read_bytes())
    content[place.byte_offset : place.byte_offset + place.size] = bytes(place.size)
    (tmp_path / "k.h5").write_bytes(content)
    assert read_kspace(tmp_path / "k.h5").coils == 2
    with pytest.raises(InputError, match=r"k\.h5.*damaged"):
        read_kspace(tmp_path / "k.h5", truth=True)


def test_values_in_other_files_are_refused(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["kspace"] = np.ones((1, 1, 4, 4), np.complex64)
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["kspace"] = h5py.ExternalLink("other.h5", "/kspace")
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout((1, 1, 4, 4), np.complex64)
        layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "kspace", (1, 1, 4, 4))
        file.create_virtual_dataset("kspace", layout)
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file.create_dataset("kspace", (4,), np.float32, external=[(str(tmp_path / "other.h5"), 0, 16)])
    for name, words in (("link", "link to another file"), ("virtual", "other files"), ("raw", "other files")):
        with pytest.raises(InputError, match=rf"{name}\.h5.*{words}"):
            check(tmp_path / f"{name}.h5")


def test_a_small_file_that_declares_a_huge_array_is_refused(tmp_path):
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file.create_dataset("kspace", (1 << 20, 64, 512, 512), np.complex64, chunks=(1, 1, 64, 64))
    with pytest.raises(InputError, match=r"huge\.h5.*declares"):
        check(tmp_path / "huge.h5")


def test_the_child_imports_no_torch_and_little_else(whole):
    code = (
        "import sys; from ornstein.datasets.hdf5_check import main; main(sys.argv[1]);"
        "print(sorted({m.partition('.')[0] for m in sys.modules} & {'torch', 'scipy', 'nibabel', 'monai', 'xarray'}))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code, str(whole)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_child_that_does_not_end_is_an_input_error(whole, monkeypatch):
    def late(*arguments, timeout, **options):
        assert timeout >= 600, "a busy machine is no damage"
        raise subprocess.TimeoutExpired(arguments, timeout)

    monkeypatch.setattr(subprocess, "run", late)
    with pytest.raises(InputError, match=r"whole\.h5.*does not end"):
        check(whole)


def test_a_crash_in_the_library_does_not_reach_us(tmp_path, whole, monkeypatch):
    """The child really is another process: one that kills itself leaves an error here."""
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nkill -SEGV $$\n")
    script.chmod(0o755)
    monkeypatch.setattr(hdf5_check.sys, "executable", str(script))
    with pytest.raises(InputError, match=r"whole\.h5.*status -11"):
        check(whole)
