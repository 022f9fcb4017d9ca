"""Molecules through the command line: what is asked for is in every molecule, and what cannot be is said."""

import importlib
import json
import sys
from pathlib import Path

import pytest
from rdkit import Chem
from rdkit.Chem import Descriptors

from ornstein.core.errors import UsageError
from ornstein.datasets.molecule_files import read_molecules
from ornstein.pipelines import molecule
from ornstein.pipelines.molecule import read_range, read_targets

MISSING = 0.05


@pytest.fixture(scope="module")
def standin():
    sys.path.insert(0, str(Path(__file__).parent))
    try:
        yield importlib.import_module("standin")
    finally:
        sys.path.pop(0)


@pytest.fixture(scope="module")
def checkpoint(standin, tmp_path_factory):
    return standin.folder(tmp_path_factory.mktemp("chains") / "chains", name="chains", domain="molecule")


@pytest.fixture(autouse=True)
def chains(standin, monkeypatch):
    """Chains stand where a trained model would."""
    monkeypatch.setattr(molecule, "_load", lambda folder, device: standin.Molecules(standin.Chains(MISSING)))


def make(checkpoint, **options):
    return molecule.generate(model=checkpoint, **{"n": 40, **options})


def test_every_format_says_the_same(tmp_path, checkpoint, ornstein):
    for name in ("m.smi", "m.sdf", "m.csv"):
        code, out, err = ornstein("molecule", "generate", "-o", tmp_path / name, "-n", 12, "--model", checkpoint)
        assert (code, out) == (0, ""), err
    lines = (tmp_path / "m.smi").read_text().split("\n")
    sidecar = json.loads((tmp_path / "m.smi.json").read_text())
    blank = [i for i, line in enumerate(lines[:-1]) if not line]
    assert len(lines) == 13 and blank and [one["index"] for one in sidecar["invalid"]] == blank
    assert all("fragments" in one["reason"] or "valence" in one["reason"] for one in sidecar["invalid"])
    assert sidecar["measures"]["valid"] == pytest.approx(1 - len(blank) / 12) and sidecar["measures"]["attempts"] == 12
    solid = Chem.SDMolSupplier(str(tmp_path / "m.sdf"))
    assert [m.GetProp("_Name") for m in solid] == [str(i) for i, line in enumerate(lines[:-1]) if line]
    assert all(m.GetConformer().Is3D() and m.HasProp("stereochemistry") for m in solid)
    expected = [line for line in lines if line]
    assert read_molecules(tmp_path / "m.sdf").smiles == expected == read_molecules(tmp_path / "m.csv").smiles


def test_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path, checkpoint):
    for name, seed in (("a.sdf", 0), ("b.sdf", 0), ("c.sdf", 1)):
        make(checkpoint, n=6, seed=seed).save(tmp_path / name)
    a, b, c = ((tmp_path / name).read_bytes() for name in ("a.sdf", "b.sdf", "c.sdf"))
    assert a == b != c


def test_attempts_do_not_depend_on_their_number_or_batches(checkpoint, monkeypatch):
    whole = make(checkpoint, n=9).smiles
    monkeypatch.setattr("ornstein.pipelines.discrete.LARGEST_BATCH", 2)
    assert make(checkpoint, n=5).smiles == whole[:5]


def test_until_valid_tops_up_and_counts_the_attempts(checkpoint):
    made = make(checkpoint, n=30, until_valid=True)
    assert len(made.molecules) == 30 < made.measures["attempts"] == len(made.attempts)
    assert made.attempts[-1].valid and not made.warnings


def test_atoms_are_within_the_range(checkpoint):
    sizes = {m.GetNumHeavyAtoms() for m in make(checkpoint, atoms="4-5").molecules}
    assert sizes == {4, 5}
    assert {m.GetNumHeavyAtoms() for m in make(checkpoint, n=5, atoms=(3, 3)).molecules} == {3}


@pytest.mark.parametrize("options", [{"scaffold": "NCO"}, {"fragment": "OCN*"}, {"scaffold": "CO", "fragment": "N*"}])
def test_parts_are_in_every_molecule(checkpoint, options):
    made = make(checkpoint, **options)
    assert len(made.molecules) > 5
    for smiles in options.values():
        pattern = Chem.MolFromSmarts(smiles)
        assert all(m.HasSubstructMatch(pattern) and m.GetNumAtoms() > 2 for m in made.molecules)


def test_goal_moves_the_property_and_a_target_is_reached(checkpoint):
    made = make(checkpoint, n=10, maximise="tpsa", candidates=6)
    assert made.measures["TPSA_mean"] > made.measures["TPSA_without_goal"] + 10
    assert made.values["TPSA"] == [Descriptors.TPSA(m) for m in made.molecules]
    assert made.measures["objective_calls"] > 10
    refined = make(checkpoint, n=10, maximise="tpsa", candidates=6, rounds=2)
    assert refined.measures["TPSA_mean"] > made.measures["TPSA_mean"]
    aimed = make(checkpoint, n=10, target="HeavyAtomMolWt=80", candidates=12)
    assert aimed.measures["HeavyAtomMolWt_error"] < 15 and aimed.measures["HeavyAtomMolWt_reached"] > 0
    assert not aimed.warnings


def test_function_of_the_users_own_is_maximised(tmp_path, checkpoint):
    file = tmp_path / "mine.py"
    file.write_text("def nitrogens(m):\n    return sum(a.GetSymbol() == 'N' for a in m.GetAtoms())\n")
    made = make(checkpoint, n=8, maximise=f"{file}:nitrogens", candidates=6)
    (name,) = made.values
    assert [Path(entry["path"]).name for entry in made.record["inputs"]] == ["mine.py"]
    assert made.measures[f"{name}_mean"] > made.measures[f"{name}_without_goal"] + 0.5


def test_target_that_cannot_be_reached_says_so(tmp_path, checkpoint, ornstein):
    words = ("molecule", "generate", "-o", tmp_path / "m.smi", "-n", 4, "--model", checkpoint, "--candidates", 2)
    code, _, err = ornstein(*words, "--target", "MolWt=5000")
    assert code == 0
    assert "MolWt=5000 was reached by none" in err and "without the target" in err
    assert json.loads((tmp_path / "m.smi.json").read_text())["measures"]["MolWt_reached"] == 0


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--maximise", "beauty"), 2, "beauty"), (("--target", "MolWt"), 2, "NAME=VALUE"), (("--atoms", "9-4"), 2, "9-4"),
        (("--atoms", "90-99"), 2, "2 to 8"), (("--scaffold", "c1ccccc"), 2, "parsed"), (("--scaffold", "CBr"), 3, "Br"),
        (("--scaffold", "CCCCCCCCCC"), 2, "2 to 8"), (("--fragment", "*CCCC", "--atoms", "2-4"), 2, "at most 4"),
        (("--candidates", "5"), 2, "--maximise"), (("--rounds", "2"), 2, "--maximise"), (("--maximise", "absent.py:f"), 3, "absent.py"), (("-n", "0"), 2, "-n"),
        (("--solver", "first-hitting"), 2, "mask"), (("--maximise", "qed", "--target", "qed=1"), 2, "twice"),
    ],
)  # fmt: skip
def test_what_cannot_be_met_is_refused_and_nothing_is_left(tmp_path, checkpoint, ornstein, options, code, said):
    found, _, err = ornstein("molecule", "generate", "-o", tmp_path / "m.smi", "--model", checkpoint, *options)
    assert found == code and said in err and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_report_shows_molecules_goals_and_reasons(tmp_path, checkpoint, ornstein):
    code, _, err = ornstein(
        "molecule", "generate", "-o", tmp_path / "m.csv", "-n", 12, "--model", checkpoint, "--maximise", "MolLogP",
        "--candidates", 2, "--report", tmp_path / "r.html", "--repair",
    )  # fmt: skip
    assert code == 0, err
    page = (tmp_path / "r.html").read_text()
    assert page.count("data:image/png") == 2 and "MolLogP" in page
    assert json.loads((tmp_path / "m.csv.json").read_text())["measures"]["valid_repaired"] == 1


def test_evaluation_counts_blank_lines_and_names_bad_rows(tmp_path, ornstein):
    (tmp_path / "made.smi").write_text("CCO\n\nCCN\nCCO\nC.C\n")
    (tmp_path / "ref.smi").write_text("CCO\nCCC\nC1CC\n")
    words = ("evaluate", "molecule", tmp_path / "made.smi", tmp_path / "ref.smi", "--no-fcd")
    code, out, err = ornstein(*words, "--json", "--train", tmp_path / "made.smi")
    found = json.loads(out)
    assert code == 7 and "ref.smi: row 3" in err
    assert (found["attempts"], found["valid"], found["unique"], found["connected"]) == (5, 0.6, 2 / 3, 0.75)
    assert found["novel"] == 0 and found["unread"] == [
        {"file": str(tmp_path / "ref.smi"), "row": 3, "reason": "it cannot be parsed"}
    ]
    (tmp_path / "ref.smi").write_text("CCO\nCCC\n")
    code, out, err = ornstein(*words)
    assert (code, err) == (0, "") and "valid_unique" in out


def test_attempts_left_out_of_an_sdf_are_in_its_sidecar(tmp_path, checkpoint):
    made = make(checkpoint, n=20)
    made.save(tmp_path / "m.sdf")
    found = molecule.evaluate(str(tmp_path / "m.sdf"), ["CCO", "CCN"], fcd=False).record
    assert (found["attempts"], found["valid"]) == (20, made.measures["valid"])


def test_sdf_of_which_every_attempt_failed_has_validity_0(tmp_path, ornstein):
    (tmp_path / "ref.smi").write_text("CCO\n")
    (tmp_path / "m.sdf").write_text("")
    code, _, err = ornstein("evaluate", "molecule", tmp_path / "m.sdf", tmp_path / "ref.smi")
    assert code == 3 and "holds no molecule" in err  # without a sidecar it is any empty file
    (tmp_path / "m.sdf.json").write_text('{"measures": {"attempts": 4}}')
    code, out, _ = ornstein("evaluate", "molecule", tmp_path / "m.sdf", tmp_path / "ref.smi", "--json")
    found = json.loads(out)
    assert (code, found["attempts"], found["valid"], found["unique"]) == (0, 4, 0, None)


def test_column_is_that_of_the_tables_beside_lines_of_smiles(tmp_path, ornstein):
    (tmp_path / "made.csv").write_text("id,structure\n1,CCO\n2,CCN\n")
    (tmp_path / "ref.smi").write_text("CCO\n")
    words = ("--no-fcd", "--column", "structure")
    code, out, _ = ornstein("evaluate", "molecule", tmp_path / "made.csv", tmp_path / "ref.smi", "--json", *words)
    assert code == 0 and json.loads(out)["attempts"] == 2
    code, _, err = ornstein("evaluate", "molecule", tmp_path / "ref.smi", tmp_path / "ref.smi", *words)
    assert code == 2 and "structure" in err


def test_fcd_is_told_with_its_floor(tmp_path):
    pytest.importorskip("fcd")
    some = ["CCO", "CCN", "CCC", "c1ccccc1", "CC(=O)O"]
    train = tmp_path / "train.csv"
    train.write_text("smiles\n" + "\n".join(some))
    found = molecule.evaluate(some, some, train=str(train)).record
    assert found["fcd"] == pytest.approx(0, abs=1e-4) and found["fcd_n"] == found["fcd_floor_n"] == 5
    assert found["fcd_excess"] == pytest.approx(0, abs=1e-4)


def test_table_without_the_column_is_refused(tmp_path, ornstein):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    code, _, err = ornstein("evaluate", "molecule", tmp_path / "t.csv", tmp_path / "t.csv", "--column", "mol")
    assert code == 3 and "t.csv" in err and "a, b" in err


def test_targets_and_ranges_are_read_from_words_and_values():
    assert read_targets(read_targets("MolWt=100, qed=1e-1")) == (("MolWt", 100.0), ("qed", 0.1))
    assert read_range(read_range("3")) == (3, 3) and read_range("12-20") == (12, 20)
    for wrong in ("MolWt", "=3", "MolWt=x", "qed=nan", "qed=inf"):
        with pytest.raises(ValueError):
            read_targets(wrong)
    with pytest.raises(UsageError):
        molecule.generate(atoms="a-b")


def test_model_of_a_folder_is_read_and_sampled(tmp_path, standin, monkeypatch, ornstein):
    from ornstein.core.checkpoints import save_model
    from ornstein.domains.molecules import generation

    architecture = {"width": 16, "edge_width": 8, "depth": 1, "heads": 2, "product": 2, "expansion": 1.0, "walks": 2}
    frequencies = {"nodes": [0.7, 0.1, 0.1, 0.1], "edges": [0.7, 0.2, 0.05, 0.05]}
    denoiser = generation.build(architecture, generation.paths_from("marginal", "cosine", frequencies))
    card = {
        "domain": "molecule", "architecture": architecture, "path": "marginal", "schedule": "cosine", "steps": 3,
        "frequencies": frequencies, "vocabulary": standin.ATOMS.to_json(), "sizes": [0, 0, 0.5, 0.5], "sampler": {},
    }  # fmt: skip
    save_model(tmp_path / "model", denoiser.network.state_dict(), card)
    monkeypatch.setattr(molecule, "_load", generation.load_generator)
    words = ("molecule", "generate", "-o", tmp_path / "m.smi", "-n", 20, "--model", tmp_path / "model")
    code, _, err = ornstein(*words, "--scaffold", "CO", "--maximise", "qed", "--candidates", 2)
    assert code == 0, err
    made = read_molecules(tmp_path / "m.smi")
    assert made.attempts == 20 and all("O" in smiles and "C" in smiles for smiles in made.smiles)
