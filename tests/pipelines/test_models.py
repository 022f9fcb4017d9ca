"""Models, doctor, workflows and training as commands."""

import json

import pytest
import torch

from ornstein.core.checkpoints import save_model
from ornstein.core.errors import ModelError, UsageError
from ornstein.pipelines import models, train, workflow


@pytest.fixture
def shipped(monkeypatch, tmp_path):
    """Two models of a domain as the package would ship them."""
    root = tmp_path / "domains" / "mri" / "weights"
    for name, default in (("brain-a", False), ("brain-b", True)):
        card = {"name": name, "licence": "CC0", "scores": {"psnr": 30.5}, "data": ["one", "two"], "default": default}
        save_model(root / name, {"w": torch.arange(4.0)}, card)
    monkeypatch.setattr(models, "weights_folders", lambda: sorted(root.iterdir()))
    return root


def test_models_are_found_by_name_folder_and_default(shipped):
    assert models.find_model("brain-a").name == "brain-a"
    assert models.find_model(None, "mri").name == "brain-b"
    assert models.find_model(shipped / "brain-a", "mri").domain == "mri"
    assert models.find_model("brain-a").identity.keys() == {"name", "sha256"}


def test_unknown_models_are_refused_with_the_known_ones(shipped, ornstein):
    with pytest.raises(ModelError, match="brain-c") as caught:
        models.find_model("brain-c", "mri")
    assert "brain-a, brain-b" in caught.value.hint and caught.value.code == 6
    code, _, err = ornstein("models", "show", "brian-a")
    assert code == 6 and "did you mean brain-a" in err


def test_a_model_of_another_domain_is_refused(shipped):
    with pytest.raises(ModelError):
        models.find_model("brain-a", "speech")
    with pytest.raises(ModelError, match="for mri"):
        models.find_model(shipped / "brain-a", "speech")


@pytest.mark.parametrize("harm", ["changed", "missing", "no card", "bad card"])
def test_damaged_models_are_refused(shipped, harm):
    folder = shipped / "brain-a"
    if harm == "changed":
        data = bytearray((folder / "model.safetensors").read_bytes())
        data[-1] ^= 1
        (folder / "model.safetensors").write_bytes(data)
    elif harm == "missing":
        (folder / "model.safetensors").unlink()
    elif harm == "no card":
        (folder / "card.json").unlink()
    else:
        (folder / "card.json").write_text("{")
    with pytest.raises(ModelError):
        models.find_model(folder)


def test_models_are_listed_and_shown(shipped, ornstein):
    code, out, err = ornstein("models", "list")
    assert (code, err) == (0, "") and "brain-a" in out and "CC0" in out
    code, out, _ = ornstein("models", "list", "--json")
    assert [m["name"] for m in json.loads(out)["models"]] == ["brain-a", "brain-b"]
    code, out, _ = ornstein("models", "show", "brain-b")
    assert code == 0 and "  psnr: 30.5" in out and "data: one, two" in out
    assert json.loads(ornstein("models", "show", "brain-b", "--json")[1])["scores"] == {"psnr": 30.5}


def test_doctor_finds_this_installation_usable(ornstein):
    code, out, err = ornstein("doctor")
    assert (code, err) == (0, "") and out.splitlines()[-1] == "usable"
    for word in ("python", "torch", "nibabel", "cores", "free memory", "free disk"):
        assert word in out
    assert json.loads(ornstein("doctor", "--json")[1])["usable"] is True


def test_doctor_reports_a_damaged_model(shipped, ornstein):
    (shipped / "brain-a" / "model.safetensors").write_bytes(b"")
    code, out, _ = ornstein("doctor")
    assert code == 1 and "fault  model brain-a" in out and out.splitlines()[-1].startswith("not usable")


def test_workflow_is_copied_and_an_existing_folder_kept(monkeypatch, tmp_path, ornstein):
    (tmp_path / "src" / "config").mkdir(parents=True)
    (tmp_path / "src" / "Snakefile").write_text("rule all: input: []")
    (tmp_path / "src" / "config" / "config.yaml").write_text("a: 1")
    (tmp_path / "src" / ".snakemake").mkdir()
    monkeypatch.setattr(workflow, "workflows", lambda: {"mri": tmp_path / "src"})
    code, out, _ = ornstein("workflow", "init", "mri", tmp_path / "mine", "--json")
    assert code == 0 and json.loads(out)["files"] == ["Snakefile", "config/config.yaml"]
    code, _, err = ornstein("workflow", "init", "mri", tmp_path / "mine")
    assert code == 2 and "exists" in err
    assert ornstein("workflow", "init", "speech", tmp_path / "other")[0] == 2


def test_training_runs_the_domains_trainer_with_checked_settings(monkeypatch, tmp_path, ornstein):
    seen = {}

    def trainer(settings, device, log):
        seen.update(settings)
        log("step 1")
        return tmp_path / "model"

    monkeypatch.setattr(
        train.importlib, "import_module", lambda name: type("M", (), {"train_model": staticmethod(trainer)})
    )
    config = tmp_path / "c.yaml"
    config.write_text("domain: mri\nname: x\nsteps: 3\n")
    answer = train.train(str(config), device="cpu")
    assert seen == {"name": "x", "steps": 3} and "model" in answer.text


@pytest.mark.parametrize(
    ("text", "code"),
    [(None, 3), ("a: [", 3), ("- 1", 3), ("domain: cooking", 2), ("!!python/object/apply:os.system [ls]", 3)],
)
def test_a_wrong_configuration_is_refused_and_never_executed(tmp_path, ornstein, text, code):
    config = tmp_path / "c.yaml"
    if text is not None:
        config.write_text(text)
    found, out, err = ornstein("train", config)
    assert found == code and out == "" and "c.yaml" in err and "Traceback" not in err


def test_unknown_fields_of_a_configuration_are_refused(tmp_path):
    from ornstein.pipelines import mri

    with pytest.raises(UsageError, match="configuration"):
        mri.train_model(
            {"output": str(tmp_path), "name": "x", "data": [], "colour": "blue"}, torch.device("cpu"), print
        )
