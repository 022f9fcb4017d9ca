"""Model folders come back as they were written, damage is a ModelError, and a file is whole or the old one."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from ornstein.core import checkpoints
from ornstein.core.checkpoints import (
    load_model,
    load_tensors,
    read_card,
    save_model,
    save_tensors,
    sha256,
    write_json,
    write_whole,
)
from ornstein.core.errors import ModelError


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "matrix": torch.randn(4, 3, generator=generator),
        "picture": torch.randn(2, 3, 4, 4, generator=generator).to(memory_format=torch.channels_last),
        "vector": torch.randn(5, generator=generator),
        "count": torch.tensor(7),
    }


@pytest.fixture
def folder(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    save_model(tmp_path / "deep" / "model", tensors, {"name": "tiny", "limits": "für Prüfungen"}, dtype=torch.bfloat16)
    return tmp_path / "deep" / "model"


def test_round_trip_in_bfloat16_rounds_matrices_once_and_keeps_vectors(folder: Path, tensors):
    found, card = load_model(folder)
    assert found.keys() == tensors.keys()
    for name in ("matrix", "picture"):
        assert torch.equal(found[name], tensors[name].bfloat16().float())
    assert torch.equal(found["vector"], tensors["vector"])
    assert torch.equal(found["count"], tensors["count"]) and found["count"].dtype == torch.int64
    assert card["name"] == "tiny" and card["limits"] == "für Prüfungen"
    assert card["sha256"] == sha256(folder / "model.safetensors")
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert file.get_tensor("matrix").dtype == torch.bfloat16


def test_round_trip_without_a_type_is_exact(tmp_path: Path, tensors):
    save_model(tmp_path, tensors, {})
    found, _ = load_model(tmp_path)
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_same_model_gives_the_same_bytes(tmp_path: Path, folder: Path, tensors):
    save_model(tmp_path / "again", dict(reversed(tensors.items())), {}, dtype=torch.bfloat16)
    assert sha256(tmp_path / "again" / "model.safetensors") == sha256(folder / "model.safetensors")


def test_changed_weights_are_a_model_error(folder: Path):
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelError, match="SHA-256") as caught:
        load_model(folder)
    assert caught.value.code == 6 and str(weights) in str(caught.value) and caught.value.hint


@pytest.mark.parametrize("missing", ["card.json", "model.safetensors", "model"])
def test_missing_file_is_a_model_error(folder: Path, missing: str):
    if missing != "model":
        (folder / missing).unlink()
    with pytest.raises(ModelError, match=missing.replace(".", r"\.")) as caught:
        load_model(folder if missing != "model" else folder.parent / "other-model")
    assert caught.value.code == 6


@pytest.mark.parametrize("content", ["{", "[1, 2]", '{"name": "tiny"}'])
def test_damaged_card_is_a_model_error(folder: Path, content: str):
    (folder / "card.json").write_text(content)
    with pytest.raises(ModelError):
        load_model(folder)


def test_card_that_is_not_text_is_a_model_error(folder: Path):
    (folder / "card.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError):
        read_card(folder)


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\x10\x00\x00\x00\x00\x00\x00\x00{}"])
def test_file_that_is_no_safetensors_is_a_model_error(tmp_path: Path, content: bytes):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"x\.safetensors"):
        load_tensors(path)
    with pytest.raises(ModelError):
        load_tensors(tmp_path)
    with pytest.raises(ModelError):
        load_tensors(tmp_path / "absent")


def test_pickled_file_is_never_opened(tmp_path: Path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    torch.save({"w": Trap()}, tmp_path / "model.safetensors")
    write_json(tmp_path / "card.json", {"sha256": sha256(tmp_path / "model.safetensors")})
    with pytest.raises(ModelError):
        load_model(tmp_path)
    assert not (tmp_path / "sprung").exists()


def test_crash_in_the_middle_of_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "w.safetensors"
    save_tensors(path, {"w": torch.ones(3)})

    def half(tensors, temporary: Path) -> None:
        Path(temporary).write_bytes(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "save_file", half)
    with pytest.raises(KeyboardInterrupt):
        save_tensors(path, {"w": torch.zeros(3)})
    assert torch.equal(load_tensors(path)["w"], torch.ones(3))
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_target_never_exists_in_part(tmp_path: Path):
    path = tmp_path / "target"

    def slowly(temporary: Path) -> None:
        temporary.write_text("first")
        assert not path.exists() and temporary.parent == path.parent  # one file system: the renaming is atomic
        temporary.write_text("whole")

    write_whole(path, slowly)
    assert path.read_text() == "whole" and len(list(tmp_path.iterdir())) == 1


def test_value_that_is_no_json_leaves_the_old_file(tmp_path: Path):
    write_json(tmp_path / "card.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "card.json", {"a": object()})
    assert json.loads((tmp_path / "card.json").read_text()) == {"a": 1}
