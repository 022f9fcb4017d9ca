"""Files of molecules: SMILES, SDF, tables, Parquet, also compressed; what cannot be read is named by file and row."""

import contextlib
import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rdkit import Chem, rdBase

from ornstein.core.errors import InputError
from ornstein.datasets.molecules import canonical, parse, why_invalid

LINES, TABLES, SDF, PARQUET = (".smi", ".smiles", ".txt"), (".csv", ".tsv"), (".sdf",), (".parquet",)
READ = (*LINES, *TABLES, *SDF, *PARQUET)
COLUMNS = ("smiles", "canonical_smiles", "molecule")
"""Names of the column of SMILES that are looked for, in any case, where none is given."""


@dataclass(frozen=True)
class Problem:
    """A row that holds no molecule.

    Args:
        row: the line of the file, or the record of an SDF, from 1; a table's head is row 1.
        text: what stands there, empty where the row is blank.
        reason: why it is none.
    """

    row: int
    text: str
    reason: str

    def __str__(self) -> str:
        shown = f" ({self.text[:60]!r})" if self.text else ""
        return f"row {self.row}{shown}: {self.reason}"


@dataclass(frozen=True, eq=False)
class Records:
    """What a file of molecules holds.

    Args:
        name: the file.
        molecules: sanitised, one a row that holds one, without explicit hydrogens.
        rows: the row of each.
        problems: rows that cannot be read.
        blank: number of rows that are left empty, as generators do for attempts that failed.
        names: canonical non-isomeric SMILES, where they alone were asked for; there are no molecules then.
    """

    name: str
    molecules: list[Chem.Mol]
    rows: list[int]
    problems: list[Problem] = field(default_factory=list)
    blank: int = 0
    names: list[str] = field(default_factory=list)

    @property
    def attempts(self) -> int:
        """Rows in all."""
        return len(self.rows) + len(self.problems) + self.blank

    @property
    def smiles(self) -> list[str]:
        """Canonical non-isomeric SMILES, one a molecule."""
        return self.names or [canonical(molecule) for molecule in self.molecules]

    @property
    def warnings(self) -> list[str]:
        """One sentence for each row that cannot be read, of the first twenty, and how many more there are."""
        told = [f"{self.name}: {problem}" for problem in self.problems[:20]]
        more = len(self.problems) - len(told)
        return told + ([f"{self.name}: {more} more rows cannot be read"] if more else [])


def open_molecules(
    source: Any, column: str | None = None, name: str = "molecules", names: bool = False, empty: bool = False
) -> Records:
    """The molecules of whatever a user has.

    Args:
        source: a file (see `read_molecules`), or a sequence of SMILES and RDKit molecules; None or "" is blank.
        column: of a table.
        name: what an error calls a sequence.
        names: keep the SMILES alone: of a million molecules they take a hundredth of the memory.
        empty: a source without any row is right, as an SDF is of which every attempt failed.

    Raises:
        InputError: for a file that cannot be read, or where no row is a molecule.
    """
    if isinstance(source, (str, Path)):
        return read_molecules(source, column, names, empty)
    rows = ((i, one if one is not None else "") for i, one in enumerate(source, 1))
    return _records(name, rows, names, empty)


def read_molecules(path: str | Path, column: str | None = None, names: bool = False, empty: bool = False) -> Records:
    """The molecules of a file, those that can be read.

    `.smi`, `.smiles`, `.txt`: one SMILES a line, what follows a blank is its name. `.csv`, `.tsv`, `.parquet`: a column
    of SMILES. `.sdf`: records. All but Parquet also with `.gz`.

    Args:
        path: the file.
        column: of a table; by default one of `COLUMNS`.
        names, empty: see `open_molecules`.

    Raises:
        InputError: for a file that cannot be read, has no such column, or no molecule at all.
    """
    path, kind = _known(path, READ)
    with _told(path, kind):
        return _records(str(path), _sdf(path) if kind in SDF else _texts(path, kind, column), names, empty)


def has_columns(path: str | Path) -> bool:
    """Whether a file of this name is a table, whose column of SMILES may be named."""
    return Path(Path(path).name.lower().removesuffix(".gz")).suffix in (*TABLES, *PARQUET)


def first_molecules(path: str | Path, count: int) -> list[Chem.Mol]:
    """The first different molecules of a file, at most `count`, without reading on; rows that hold none are passed over.

    Args:
        path: a file (see `read_molecules`).
        count: at least 1.

    Raises:
        InputError: for a file that cannot be read, or a table without a column of SMILES.
    """
    path, kind = _known(path, READ)
    found: dict[str, Chem.Mol] = {}
    with _told(path, kind):
        for _, one in _sdf(path) if kind in SDF else _texts(path, kind, None):
            with contextlib.suppress(ValueError):
                if not isinstance(one, Problem):
                    molecule = _molecule(one)
                    found.setdefault(canonical(molecule), molecule)
            if len(found) == count:
                break
    return list(found.values())


def read_smiles(path: str | Path, column: str | None = None) -> list[tuple[int, str]]:
    """(row, SMILES) of a file that is not an SDF, as they stand and unchecked: for sets of a million.

    Raises:
        InputError: as `read_molecules`.
    """
    path, kind = _known(path, (*LINES, *TABLES, *PARQUET))
    with _told(path, kind):
        return list(_texts(path, kind, column))


def write_smi(path: str | Path, smiles: Iterable[str]) -> None:
    """One SMILES a line; an empty one is a blank line."""
    Path(path).write_text("".join(f"{one}\n" for one in smiles), encoding="utf-8")


def write_table(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A comma-separated table; a column stands where any row has it."""
    columns = list(dict.fromkeys(name for row in rows for name in row)) or ["index", "smiles"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    Path(path).write_text(text.getvalue(), encoding="utf-8")


def write_sdf(path: str | Path, molecules: Iterable[tuple[str, Chem.Mol, Mapping[str, Any]]]) -> None:
    """Records of (title, molecule with a conformer or none, properties)."""
    with Chem.SDWriter(str(path)) as writer:
        for title, molecule, properties in molecules:
            record = Chem.Mol(molecule)
            record.SetProp("_Name", title)
            for name, value in properties.items():
                record.SetProp(name, f"{value:.6g}" if isinstance(value, float) else str(value))
            writer.write(record)


def _known(path: str | Path, kinds: Sequence[str]) -> tuple[Path, str]:
    """The path and the kind of its file. Raises: InputError for a file that is absent or of another kind."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file", "is the name right?")
    kind = Path(path.name.lower().removesuffix(".gz")).suffix
    if kind not in kinds:
        raise InputError(f"{path}: molecules are read from {', '.join(kinds)}", "convert it, or rename it")
    return path, kind


@contextlib.contextmanager
def _told(path: Path, kind: str) -> Iterator[None]:
    """Says of which file a reader's error is."""
    try:
        yield
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read as {kind}: {reason}", "is the file whole?") from None


def _records(
    name: str, rows: Iterable[tuple[int, str | Chem.Mol | Problem]], names: bool, empty: bool = False
) -> Records:
    made = Records(name, [], [])
    blank = 0
    for row, one in rows:
        if isinstance(one, Problem):
            made.problems.append(one)
            continue
        if isinstance(one, str) and not one.strip():
            blank += 1
            continue
        try:
            molecule = _molecule(one)
            if names:
                made.names.append(canonical(molecule))
            else:
                made.molecules.append(molecule)
            made.rows.append(row)
        except ValueError as error:
            made.problems.append(Problem(row, one if isinstance(one, str) else "", str(error)))
    if not made.rows and not blank and (made.problems or not empty):
        first = f": {made.problems[0]}" if made.problems else ""
        raise InputError(f"{name}: holds no molecule{first}", "give SMILES, one a line, a table or an SDF")
    return replace(made, blank=blank)


def _molecule(one: str | Chem.Mol) -> Chem.Mol:
    """A sanitised molecule. Raises: ValueError with the reason where there is none."""
    if isinstance(one, str):
        return parse(one)
    copy = Chem.Mol(one)
    reason = why_invalid(copy) if copy.GetNumAtoms() else "it has no atoms"
    if reason:
        raise ValueError(reason)
    return Chem.RemoveHs(copy)


def _texts(path: Path, kind: str, column: str | None) -> Iterator[tuple[int, str]]:
    if kind in PARQUET:
        yield from _parquet(path, column)
    elif kind in TABLES:
        with _text(path) as file:
            # A byte-order mark is taken off by the encoding; a quoted field may hold line breaks, so rows are counted.
            reader = csv.reader(file, delimiter="\t" if kind == ".tsv" else ",")
            head = next(reader, None)
            if head is None:
                raise InputError(f"{path}: is empty", "it needs a head with the names of its columns")
            place = _column(path, [name.strip() for name in head], column)
            for row, cells in enumerate(reader, 2):
                if cells:
                    yield row, cells[place].strip() if place < len(cells) else ""
    else:
        if column is not None:
            raise InputError(f"{path}: lines of SMILES have no column {column!r}", "leave the column out")
        with _text(path) as file:
            for row, line in enumerate(file, 1):
                word = (line.split() or [""])[0]
                if not (row == 1 and word.lower() in COLUMNS):
                    yield row, word


def _column(path: Path, names: Sequence[str], wanted: str | None) -> int:
    lower = [name.lower() for name in names]
    for name in [wanted.lower()] if wanted is not None else COLUMNS:
        if name in lower:
            return lower.index(name)
    what = f"column {wanted!r}" if wanted is not None else f"column of SMILES ({', '.join(COLUMNS)})"
    raise InputError(f"{path}: no {what}", f"its columns are {', '.join(names[:20])}; name one of them")


def _parquet(path: Path, column: str | None) -> Iterator[tuple[int, str]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InputError(f"{path}: Parquet needs the package pyarrow", "install it: pip install pyarrow") from None
    try:
        file = pyarrow.parquet.ParquetFile(path)
        names = file.schema_arrow.names
        name = names[_column(path, names, column)]
        values = file.read([name]).column(name).to_pylist()
    except pyarrow.ArrowException as error:
        raise InputError(f"{path}: cannot be read as Parquet: {error}", "is the file whole?") from None
    for row, value in enumerate(values, 1):
        yield row, "" if value is None else str(value)


def _sdf(path: Path) -> Iterator[tuple[int, Chem.Mol | Problem]]:
    with contextlib.ExitStack() as stack:
        stack.enter_context(rdBase.BlockLogs())
        opened: Any = gzip.open if path.suffix.lower() == ".gz" else open
        file = stack.enter_context(opened(path, "rb"))
        for row, molecule in enumerate(Chem.ForwardSDMolSupplier(file, sanitize=False), 1):
            yield row, molecule if molecule is not None else Problem(row, "", "the record cannot be read")


@contextlib.contextmanager
def _text(path: Path) -> Iterator[Any]:
    opened: Any = gzip.open if path.suffix.lower() == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        yield file
