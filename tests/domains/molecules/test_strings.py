"""Models of SMILES: tokens give the strings back, a small model learns a few, and its folder makes strings."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ornstein.core.checkpoints import load_tensors, save_model
from ornstein.core.discrete.samplers import ConfidentUnmasking
from ornstein.core.errors import InputError, ModelError, UsageError
from ornstein.domains.molecules.strings import (
    TOKEN,
    StringConfiguration,
    StringTable,
    TokenNetwork,
    build,
    generate,
    load_strings,
    prepare,
    train_strings,
)
from ornstein.domains.molecules.training import train_from_settings
from ornstein.pipelines.train import read_configuration

SMILES = ["CCO", "c1ccccc1Br", "C[N+](C)C", "ClCC%12CCC%12"]


def settings(output: Path, file: Path, **changes) -> dict:
    file.write_text("\n".join(SMILES) + "\n")
    training = {"steps": 4, "warmup": 1, "save_every": 2, "precision": "fp32", **changes.pop("training", {})}
    return {"representation": "strings", "output": str(output), "name": "tiny", "path": str(file), "width": 16,
            "depth": 1, "heads": 2, "batch": 8, "training": training, **changes}  # fmt: skip


def test_tokens_are_atoms_bonds_and_rings_and_give_the_string_back():
    assert TOKEN.findall("C[N+]Br%12Cl(=O)") == ["C", "[N+]", "Br", "%12", "Cl", "(", "=", "O", ")"]
    table = StringTable.of(SMILES)
    batch = table.batch(np.array([2, 0]))
    for row, smiles in zip(range(2), (SMILES[2], SMILES[0]), strict=True):
        tokens = batch["tokens"][row][batch["mask"][row]].tolist()
        assert "".join(table.vocabulary[i] for i in tokens) == smiles
        assert not bool(batch["tokens"][row][~batch["mask"][row]].any())


def test_rare_tokens_and_long_strings_are_left_out():
    table = StringTable.of(["CCO"] * 1001 + ["CC[Xe]", "C" * 65, ""])
    assert table.vocabulary == ("C", "O") and len(table) == 1001
    with pytest.raises(InputError, match="no SMILES"):
        StringTable.of(["", ""])


def test_network_reads_no_padding_and_no_time():
    torch.manual_seed(0)
    net = TokenNetwork(5, width=16, depth=2, heads=2)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3)
    x = {"tokens": torch.tensor([[0, 5, 2, 5, 0, 0]])}
    mask = torch.tensor([[True, True, True, True, False, False]])
    with torch.no_grad():
        first = net(x, torch.tensor([0.2]), {"tokens": mask})["tokens"]
        again = net({"tokens": x["tokens"][:, :4]}, torch.tensor([0.9]), {"tokens": mask[:, :4]})["tokens"]
    torch.testing.assert_close(first[:, :4], again)


def test_training_goes_on_where_it_stopped_and_the_folder_makes_strings(tmp_path: Path):
    whole = train_from_settings(settings(tmp_path / "a", tmp_path / "m.smi"), log=lambda line: None)
    values = settings(tmp_path / "b", tmp_path / "m.smi")
    values.pop("representation")
    train_strings(values, log=lambda line: None, stop_after=2)
    parts = train_strings({**values, "path": str(tmp_path / "a" / "training")}, log=lambda line: None)
    found = [load_tensors(folder / "model.safetensors") for folder in (whole, parts)]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    model = load_strings(whole)
    made = generate(model, range(6), seed=1)
    assert {len(TOKEN.findall(one)) for one in made} <= {len(TOKEN.findall(one)) for one in SMILES}
    assert generate(model, [4, 1], seed=1, batch=1) == [made[4], made[1]]
    assert len(generate(model, range(2), sampler=ConfidentUnmasking(), steps=2)) == 2


def test_a_small_model_learns_four_strings(tmp_path: Path):
    training = {"steps": 150, "warmup": 10, "learning_rate": 0.01, "average": 10}
    values = settings(tmp_path / "a", tmp_path / "m.smi", width=32, batch=32, training=training)
    model = load_strings(train_from_settings(values, log=lambda line: None))
    made = generate(model, range(40))
    # Measured 25 of 40; independent tokens would make none.
    assert sum(one in SMILES for one in made) >= 18 and len(set(made) & set(SMILES)) == 4


def test_bad_configurations_and_other_models_are_refused(tmp_path: Path):
    for changes, said in (({"heads": 5}, "heads"), ({"batch": 0}, "batch"), ({"lenght": 3}, "lenght")):
        with pytest.raises(UsageError, match=said):
            train_from_settings(settings(tmp_path / "a", tmp_path / "m.smi", **changes))
    with pytest.raises(UsageError, match="representation"):
        train_from_settings({**settings(tmp_path / "a", tmp_path / "m.smi"), "representation": "voxels"})
    save_model(tmp_path / "other", {"x": torch.zeros(2)}, {"domain": "molecule", "name": "other"})
    with pytest.raises(ModelError, match="not a model of SMILES"):
        load_strings(tmp_path / "other")
    with pytest.raises(InputError):
        prepare(StringConfiguration("x", "x", str(tmp_path / "none.smi")))


def test_shipped_configuration_is_sound_and_its_model_small(repository: Path):
    values = read_configuration(repository / "workflows" / "molecules" / "training" / "druglike-strings.yaml")
    assert values.pop("domain") == "molecule" and values.pop("representation") == "strings"
    c = StringConfiguration(**{**values, "training": StringConfiguration("", "", "").training})
    assert (
        sum(p.numel() for p in build(c.architecture, [1 / 30] * 30).network.parameters()) * 2 < 3 * 2**20
    )  # bfloat16, 3 MiB
