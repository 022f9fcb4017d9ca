"""A prior is trained from a configuration, comes back from its folder, and bad configurations are refused first."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml

from ornstein.core.checkpoints import load_tensors, save_model
from ornstein.core.errors import InputError, ModelError, UsageError
from ornstein.domains.mri.crops import Crops
from ornstein.domains.mri.prior import (
    LEVELS,
    PriorConfiguration,
    Source,
    build,
    denoising_errors,
    load_prior,
    train_prior,
)
from ornstein.domains.mri.typicality import judge


def phantom(seed: int = 0, shape: tuple[int, ...] = (24, 28, 20)) -> np.ndarray:
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    radius = sum(a**2 for a in axes)
    grain = np.random.default_rng(seed).uniform(0.9, 1.1, shape)
    return (1000 * grain * (0.6 * (radius < 0.8) + 0.4 * (radius < 0.3))).astype(np.float32)


def write(path: Path, data: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)
    return path


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads")
    for i in range(2):
        write(folder / f"head{i}.nii.gz", phantom(i))
    np.savez(folder / "slabs.npz", image=np.stack([phantom(i) for i in range(3)]))
    return folder


def settings(heads: Path, output: Path, **changes: Any) -> dict[str, Any]:
    return {
        "output": str(output),
        "name": "tiny",
        "data": [{"path": str(heads / "head*.nii.gz"), "weight": 2}, {"path": str(heads / "slabs.npz"), "array": "image",
                 "volumes": [0, 2], "slice_axes": [1]}],
        "validation": [{"path": str(heads / "slabs.npz"), "array": "image", "volumes": [2, 3]}],
        "channels": [8, 16],
        "blocks": 1,
        "crop": 16,
        "batch": 4,
        "training": {"steps": 4, "warmup": 1, "learning_rate": "1e-3", "save_every": 2, "log_every": 2},
        "card": {"licence": "CC0"},
        **changes,
    }  # fmt: skip


@pytest.fixture(scope="module")
def trained(heads: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    lines: list[str] = []
    output = tmp_path_factory.mktemp("model") / "tiny"
    folder = train_prior(PriorConfiguration.parse(settings(heads, output)), log=lines.append)
    assert folder == output
    return folder, lines


def test_training_writes_the_model_its_card_and_its_state(trained):
    folder, lines = trained
    assert {p.name for p in folder.iterdir()} == {"model.safetensors", "card.json", "training"}
    card = json.loads((folder / "card.json").read_text())
    assert card["name"] == "tiny" and card["domain"] == "mri" and card["licence"] == "CC0"
    assert card["architecture"] == {"channels": [8, 16], "blocks": 1, "patch": 2, "attention": []}
    assert card["configuration"]["training"]["learning_rate"] == 0.001
    assert list(card["denoising_rmse"]) == [str(level) for level in LEVELS]
    assert "slices" in lines[0] and lines[-1].startswith("step 4 of 4")


def test_loaded_prior_is_the_moving_average_in_bfloat16(trained):
    folder, _ = trained
    denoiser, card = load_prior(folder)
    assert not denoiser.training and denoiser.sigma_data == card["sigma_data"] == 0.3
    average = {
        name.removeprefix("average.network."): tensor
        for name, tensor in load_tensors(folder / "training" / "training.safetensors").items()
        if name.startswith("average.network.")
    }
    found = denoiser.network.state_dict()
    assert found.keys() == average.keys()
    for name, tensor in average.items():
        assert torch.equal(found[name], tensor.bfloat16().float() if tensor.ndim > 1 else tensor), name


def test_loaded_prior_denoises_pictures_of_any_size(trained):
    denoiser, _ = load_prior(trained[0])
    x = torch.randn(2, 2, 21, 30, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        output = denoiser(x, torch.tensor(0.5))
    assert output.shape == x.shape and bool(output.isfinite().all())


def test_training_that_is_started_again_goes_on_and_ends_the_same(heads: Path, trained, tmp_path: Path):
    configuration = PriorConfiguration.parse(settings(heads, tmp_path / "again"))
    train_prior(configuration, log=lambda line: None, stop_after=2)
    train_prior(configuration, log=lambda line: None)
    whole, parts = (load_tensors(f / "model.safetensors") for f in (trained[0], tmp_path / "again"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_untrained_prior_errs_as_the_linear_estimate(heads: Path):
    """x0_hat = c_skip x_t: at large sigma the error is that of zero, the data's own scale; at small ones the noise's."""
    slices = Source(str(heads / "head0.nii.gz"), slice_axes=(0,)).slices()
    errors = denoising_errors(build({"channels": [8]}, 0.3), slices, 16, count=16)
    assert errors["0.005"] == pytest.approx(0.005, rel=0.05)
    scale = float(Crops([slices], [1.0], 16, 16)(0, torch.Generator().manual_seed(1))["x0"].square().mean().sqrt())
    assert errors["2.56"] == pytest.approx(scale, rel=0.15)


def test_training_makes_a_judge_where_it_is_asked_for_and_the_same_again(heads: Path, tmp_path: Path):
    others = {"path": str(write(tmp_path / "ct.nii.gz", phantom(9) - 300))}
    made = []
    for name in "ab":
        values = settings(heads, tmp_path / name, judge=2, others=[others])
        folder = train_prior(PriorConfiguration.parse(values), log=lambda line: None)
        card = json.loads((folder / "card.json").read_text())
        verdict = judge(folder, card, phantom()[8:12])
        assert verdict is not None and verdict.slices == 4 and card["configuration"]["judge"] == 2
        made.append(card["typicality"]["sha256"])
    assert made[0] == made[1]


def test_source_reads_nifti_of_complex_and_integer_type(tmp_path: Path):
    write(tmp_path / "a.nii.gz", phantom().astype(np.int16))
    write(tmp_path / "b.nii.gz", (phantom() * np.exp(1j)).astype(np.complex64)[..., None])
    plain, rotated = (Source(str(tmp_path / f"{n}.nii.gz"), slice_axes=(2,)).slices() for n in "ab")
    assert len(plain) == len(rotated) > 10
    np.testing.assert_allclose(plain[5], rotated[5], atol=0.005)  # integers of about 1000, float16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 1}, "no field 'colour'"),
        ({"channels": "wide"}, "channels: 'wide' is not a list"),
        ({"channels": []}, "channels"),
        ({"batch": 0}, "batch"),
        ({"sigma_data": -1}, "sigma_data"),
        ({"attention": [2]}, "attention"),
        ({"data": []}, "data: no source"),
        ({"judge": -1}, "judge -1"),
        ({"data": [{"weight": 1}]}, r"data\[0\]: the field 'path' is missing"),
        ({"data": [{"path": "a", "slice_axes": [3]}]}, r"data\[0\]: slice_axes"),
        ({"data": [{"path": "a", "weight": 0}]}, "weight"),
        ({"training": {"steps": -1}}, "training: .*steps"),
        ({"training": {"precision": "fp8"}}, "precision"),
    ],
)
def test_bad_configuration_is_a_usage_error_that_names_the_field(heads: Path, tmp_path: Path, change, message: str):
    with pytest.raises(UsageError, match=message) as caught:
        PriorConfiguration.parse(settings(heads, tmp_path / "m", **change))
    assert caught.value.code == 2 and caught.value.hint
    assert not (tmp_path / "m").exists()


def test_shipped_configuration_is_one(repository: Path):
    for path in sorted((repository / "workflows" / "mri" / "training").glob("*.yaml")):
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert values.pop("domain") == "mri"
        assert PriorConfiguration.parse(values).training.steps > 1000


def test_missing_data_is_an_input_error(heads: Path, tmp_path: Path):
    configuration = PriorConfiguration.parse(settings(heads, tmp_path / "m", data=[{"path": "absent/*.nii.gz"}]))
    with pytest.raises(InputError, match="absent") as caught:
        train_prior(configuration, log=lambda line: None)
    assert caught.value.code == 3


@pytest.mark.parametrize("kind", ["text", "truncated", "nan", "empty", "flat", "series", "array"])
def test_data_that_is_no_volume_is_an_input_error_that_names_the_file(heads: Path, tmp_path: Path, kind: str):
    path, array = tmp_path / "bad.nii.gz", ""
    if kind == "text":
        path.write_text("no image")
    elif kind == "truncated":
        content = write(path, phantom()).read_bytes()
        path.write_bytes(content[: len(content) // 2])
    elif kind == "array":
        path, array = heads / "slabs.npz", "absent"
    else:
        data = phantom()
        shapes = {"nan": data * np.nan, "empty": data * 0, "flat": data[0], "series": np.stack([data] * 2, -1)}
        write(path, shapes[kind])
    with pytest.raises(InputError, match=path.name.replace(".", r"\.")):
        Source(str(path), array=array).slices()


def test_folder_of_another_kind_is_a_model_error(tmp_path: Path):
    save_model(tmp_path / "a", {"w": torch.ones(3)}, {"name": "other"})
    save_model(tmp_path / "b", {"w": torch.ones(3)}, {"architecture": {"channels": []}, "sigma_data": 0.3})
    save_model(tmp_path / "c", {"w": torch.ones(3)}, {"architecture": {"channels": [8]}, "sigma_data": 0.3})
    for name in "abc":
        with pytest.raises(ModelError, match="not an MRI prior") as caught:
            load_prior(tmp_path / name)
        assert caught.value.code == 6


def test_loss_that_is_no_number_is_a_model_error_with_a_way_out(heads: Path, tmp_path: Path, monkeypatch):
    def diverge(*args, **options):
        raise FloatingPointError("the loss is nan at step 3")

    monkeypatch.setattr("ornstein.domains.mri.prior.train", diverge)
    with pytest.raises(ModelError, match="nan at step 3") as caught:
        train_prior(PriorConfiguration.parse(settings(heads, tmp_path / "m")), log=lambda line: None)
    assert "learning_rate" in caught.value.hint
