"""Files of molecules: every format gives the same molecules, and what is wrong is named by file and row."""

import gzip

import pytest
from rdkit import Chem

from ornstein.core.errors import InputError
from ornstein.datasets.molecule_files import (
    first_molecules,
    open_molecules,
    read_molecules,
    read_smiles,
    write_sdf,
    write_smi,
    write_table,
)

SMILES = ["CCO", "c1ccccc1", "C[N+](=O)[O-]"]


def test_every_format_gives_the_same_molecules(tmp_path):
    write_smi(tmp_path / "m.smi", SMILES)
    write_table(tmp_path / "m.csv", [{"index": i, "SMILES": s} for i, s in enumerate(SMILES)])
    write_sdf(tmp_path / "m.sdf", [(str(i), Chem.MolFromSmiles(s), {"a": 1.5}) for i, s in enumerate(SMILES)])
    for name in ("m.smi", "m.csv", "m.sdf"):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    for name in ("m.smi", "m.csv", "m.sdf", "m.smi.gz", "m.csv.gz", "m.sdf.gz"):
        found = read_molecules(tmp_path / name)
        assert found.smiles == SMILES, name
        assert (found.attempts, found.problems) == (3, []), name


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"id": [1, 2, 3], "smiles": SMILES}), tmp_path / "m.parquet")
    assert read_molecules(tmp_path / "m.parquet").smiles == SMILES
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=r"bad\.parquet"):
        read_molecules(tmp_path / "bad.parquet")


def test_bad_rows_are_named_and_the_rest_goes_on(tmp_path):
    (tmp_path / "m.smi").write_text("CCO ethanol\nC(C\n\nCC(C)(C)(C)C too many\nCC\n")
    found = read_molecules(tmp_path / "m.smi")
    assert found.smiles == ["CCO", "CC"] and found.rows == [1, 5]
    assert [problem.row for problem in found.problems] == [2, 4]
    assert found.blank == 1 and found.attempts == 5
    names = open_molecules(tmp_path / "m.smi", names=True)
    assert (names.smiles, names.molecules, names.attempts) == (["CCO", "CC"], [], 5)
    assert "m.smi: row 2 ('C(C')" in found.warnings[0] and "valence" in found.warnings[1]


def test_rows_of_a_table_are_counted_with_its_head_and_quotes(tmp_path):
    (tmp_path / "m.csv").write_text('\ufeffname,Smiles\n"a, b",CCO\nc,C1CC\n')
    found = read_molecules(tmp_path / "m.csv")
    assert (found.smiles, found.problems[0].row) == (["CCO"], 3)
    assert read_smiles(tmp_path / "m.csv") == [(2, "CCO"), (3, "C1CC")]


def test_named_column_is_used_and_a_missing_one_lists_what_there_is(tmp_path):
    (tmp_path / "m.csv").write_text("structure,smiles\nCCO,CC\n")
    assert read_molecules(tmp_path / "m.csv", "structure").smiles == ["CCO"]
    with pytest.raises(InputError, match=r"m\.csv.*'mol'") as caught:
        read_molecules(tmp_path / "m.csv", "mol")
    assert "structure, smiles" in caught.value.hint


def test_bad_record_of_an_sdf_is_named(tmp_path):
    write_sdf(tmp_path / "m.sdf", [("0", Chem.MolFromSmiles("CCO"), {})])
    bad = Chem.MolFromSmiles("CC(C)(C)(C)C", sanitize=False)
    text = (tmp_path / "m.sdf").read_text() + Chem.MolToMolBlock(bad, kekulize=False) + "$$$$\n"
    (tmp_path / "m.sdf").write_text(text)
    found = read_molecules(tmp_path / "m.sdf")
    assert found.smiles == ["CCO"] and found.problems[0].row == 2 and "valence" in found.problems[0].reason


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("m.smi", b""), ("m.smi", b"hello\nworld\n"), ("m.csv", b""), ("m.csv", b"a,b\n1,2\n"), ("m.sdf", b"no\n"),
        ("m.smi.gz", b"no gzip"), ("m.smi.gz", gzip.compress(b"CCO\n" * 999)[:30]), ("m.smi", b"\xff\xfe\x00"),
        ("m.xyz", b"3"), ("m.parquet", b""),
    ],
)  # fmt: skip
def test_files_without_a_molecule_are_refused_by_name(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=name.partition(".")[0]):
        read_molecules(tmp_path / name)


def test_absent_file_is_refused():
    with pytest.raises(InputError, match=r"absent\.smi"):
        read_molecules("absent.smi")


def test_sequences_of_smiles_and_molecules_are_as_good_as_files():
    found = open_molecules(["CCO", Chem.MolFromSmiles("CC"), None, "x"])
    assert found.smiles == ["CCO", "CC"] and found.blank == 1 and found.problems[0].row == 4


@pytest.mark.parametrize("suffix", [".smi", ".csv"])
def test_the_first_different_molecules_are_read_and_no_more(tmp_path, suffix):
    path = tmp_path / f"m{suffix}"
    head = "smiles\n" if suffix == ".csv" else ""
    path.write_bytes(f"{head}CCO\nC1CC\nOCC\nCN\nCF\n".encode() + b"CC\n" * 100_000 + b"\xff\n")
    assert [Chem.MolToSmiles(m) for m in first_molecules(path, 3)] == ["CCO", "CN", "CF"]
    with pytest.raises(InputError, match="cannot be read"):
        first_molecules(path, 5)


def test_a_file_without_a_molecule_has_no_first_one(tmp_path):
    (tmp_path / "m.sdf").write_bytes(b"")
    (tmp_path / "m.smi").write_text("\n\n")
    assert first_molecules(tmp_path / "m.sdf", 2) == first_molecules(tmp_path / "m.smi", 2) == []
