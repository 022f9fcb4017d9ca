"""Models of strings of fragments: a table gives them back, a small model learns a few, and its folder makes them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ornstein.core.checkpoints import load_tensors, save_model
from ornstein.core.discrete.samplers import ConfidentUnmasking
from ornstein.core.errors import InputError, ModelError, UsageError
from ornstein.domains.molecules.design import draw
from ornstein.domains.molecules.fragments import all_fragments
from ornstein.domains.molecules.strings import (
    StringConfiguration,
    StringTable,
    TokenNetwork,
    build,
    load_strings,
    prepare,
    save_unfinished,
    train_strings,
)
from ornstein.domains.molecules.training import train_from_settings
from ornstein.pipelines.train import read_configuration

SMILES = ["CCO", "Brc1ccccc1", "C[N+](C)(C)C", "ClCC1CCC1"]


def settings(output: Path, file: Path, **changes) -> dict:
    file.write_text("\n".join(SMILES) + "\n")
    training = {"steps": 4, "warmup": 1, "save_every": 2, "precision": "fp32", **changes.pop("training", {})}
    return {"representation": "strings", "output": str(output), "name": "tiny", "path": str(file), "merges": 2,
            "width": 16, "depth": 1, "heads": 2, "batch": 8, "training": training, **changes}  # fmt: skip


def test_a_table_gives_the_fragments_and_the_atoms_back():
    read = list(all_fragments(SMILES))
    table = StringTable.of(read, merges=3)
    assert len(table) == 4 and np.array(table.sizes()).sum() == pytest.approx(1)
    batch = table.batch(np.array([2, 0]))
    for row, (words, atoms) in zip(range(2), (read[2], read[0]), strict=True):
        pieces = batch["tokens"][row][batch["mask"][row]].tolist()
        assert table.pieces.read(pieces) == words and int(batch["atoms"][row]) == atoms
        assert not bool(batch["tokens"][row][~batch["mask"][row]].any())


def test_rare_words_and_long_strings_are_left_out():
    chain = (["*C", *["*C*"] * 63, "*O"], 65)
    table = StringTable.of([(["*C", "*C*", "*O"], 3)] * 5 + [(["*C", "*[Xe]"], 2), chain], words=3)
    assert table.pieces.words == ("*C", "*C*", "*O") and len(table) == 5
    with pytest.raises(InputError, match="no molecule"):
        StringTable.of([chain])


def test_batches_are_of_like_length_and_every_molecule_has_its_turn():
    table = StringTable.of([(["*C", *["*C*"] * n, "*O"], n + 2) for n in range(20)])
    drawn = np.concatenate([table.like(8, step, 0) for step in range(64)])
    assert set(drawn.tolist()) == set(range(20))
    spread = [np.ptp(table.lengths[table.like(8, step, 0)]) for step in range(64)]
    assert max(spread) <= 8 and np.array_equal(table.like(8, 5, 1), table.like(8, 5, 1))


def test_network_reads_no_padding_and_no_time():
    torch.manual_seed(0)
    net = TokenNetwork(5, width=16, depth=2, heads=2)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3)
    x, atoms = {"tokens": torch.tensor([[0, 5, 2, 5, 0, 0]])}, torch.tensor([4])
    mask = torch.tensor([[True, True, True, True, False, False]])
    with torch.no_grad():
        first = net(x, torch.tensor([0.2]), {"tokens": mask}, atoms)["tokens"]
        again = net({"tokens": x["tokens"][:, :4]}, torch.tensor([0.9]), {"tokens": mask[:, :4]}, atoms)["tokens"]
    torch.testing.assert_close(first[:, :4], again)


def test_training_goes_on_where_it_stopped_and_the_folder_makes_strings(tmp_path: Path):
    whole = train_from_settings(settings(tmp_path / "a", tmp_path / "m.smi"), log=lambda line: None)
    values = settings(tmp_path / "b", tmp_path / "m.smi")
    values.pop("representation")
    train_strings(values, log=lambda line: None, stop_after=2)
    parts = train_strings({**values, "path": str(tmp_path / "a" / "training")}, log=lambda line: None)
    found = [load_tensors(folder / "model.safetensors") for folder in (whole, parts)]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    made = draw(load_strings(whole), range(6), seed=1)
    again = draw(load_strings(whole), [4, 1], seed=1, batch=1)
    assert [a.smiles for a in again] == [made[4].smiles, made[1].smiles]
    assert len(draw(load_strings(whole), range(2), sampler=ConfidentUnmasking(), steps=2)) == 2


def test_a_training_that_goes_on_can_be_tried(tmp_path: Path):
    values = settings(tmp_path / "a", tmp_path / "m.smi")
    values.pop("representation")
    train_strings(values, log=lambda line: None, stop_after=2)
    assert len(draw(load_strings(save_unfinished(StringConfiguration.parse(values))), range(3))) == 3


def test_a_small_model_learns_four_molecules(tmp_path: Path):
    training = {"steps": 150, "warmup": 10, "learning_rate": 0.01, "average": 10}
    values = settings(tmp_path / "a", tmp_path / "m.smi", width=32, batch=32, training=training)
    made = [
        attempt.smiles for attempt in draw(load_strings(train_from_settings(values, log=lambda line: None)), range(40))
    ]
    # Measured 31 of 40; independent pieces would make few.
    assert sum(one in SMILES for one in made) >= 25 and len(set(made) & set(SMILES)) == 4


def test_bad_configurations_and_other_models_are_refused(tmp_path: Path):
    for changes, said in (({"heads": 5}, "heads"), ({"batch": 0}, "batch"), ({"lenght": 3}, "lenght")):
        with pytest.raises(UsageError, match=said):
            train_from_settings(settings(tmp_path / "a", tmp_path / "m.smi", **changes))
    with pytest.raises(UsageError, match="representation"):
        train_from_settings({**settings(tmp_path / "a", tmp_path / "m.smi"), "representation": "voxels"})
    save_model(tmp_path / "other", {"x": torch.zeros(2)}, {"domain": "molecule", "name": "other"})
    with pytest.raises(ModelError, match="not a model of strings"):
        load_strings(tmp_path / "other")
    with pytest.raises(InputError):
        prepare(StringConfiguration("x", "x", str(tmp_path / "none.smi")))


def test_shipped_configuration_is_sound_and_its_model_small(repository: Path):
    values = read_configuration(repository / "workflows" / "molecules" / "training" / "druglike.yaml")
    assert values.pop("domain") == "molecule" and values.pop("representation") == "strings"
    c = StringConfiguration.parse(values)
    pieces = c.words + c.merges
    assert sum(p.numel() for p in build(c.architecture, [1 / pieces] * pieces).parameters()) * 2 < 3 * 2**20  # bfloat16
