"""Molecules: generated from noise, with a size, parts and goals that are asked for, and measured beside others."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ornstein.core.errors import UsageError
from ornstein.pipelines import models, outputs, runtime
from ornstein.pipelines.answers import Answer
from ornstein.pipelines.console import Console
from ornstein.pipelines.discrete import Count, ModelSteps, Solver, batch_size, sampler_named
from ornstein.pipelines.evaluate import answer
from ornstein.pipelines.molecule_results import MoleculeGeneration
from ornstein.pipelines.options import Device, InputFile, MaxMemory, Model, Precision, Progress, Seed
from ornstein.pipelines.signature import Option
from ornstein.pipelines.verbs import verb

if TYPE_CHECKING:
    from ornstein.domains.molecules.attempts import Attempt
    from ornstein.domains.molecules.design import Model as DesignModel
    from ornstein.domains.molecules.wishes import Wish

WRITTEN = (".smi", ".sdf", ".csv")
PILOT = 64
"""Attempts without goals, by which the goals' values are weighed and a target is judged."""
ROUND = 4
"""Batches between two signs of progress; within them attempts of one size go together."""
MOST_TRIES = 20
"""Attempts for each molecule that --until-valid makes at most."""


def read_targets(value: Any) -> tuple[tuple[str, float], ...]:
    """`NAME=VALUE`, or several with commas between, as pairs. Raises: ValueError for anything else.

    Example:
        >>> read_targets("MolLogP=2.5,TPSA=40"), read_targets("mine.py:weight=3")
        ((('MolLogP', 2.5), ('TPSA', 40.0)), (('mine.py:weight', 3.0),))
    """
    if not isinstance(value, str):
        return tuple((str(name), float(number)) for name, number in dict(value).items())
    pairs = []
    for word in value.split(","):
        name, sign, number = word.strip().rpartition("=")
        try:
            pairs.append((name.strip(), float(number)))
        except ValueError:
            sign = ""
        if not sign or not name or not abs(pairs[-1][1]) < float("inf"):
            raise ValueError(f"{word.strip()!r} is not NAME=VALUE, such as MolLogP=2.5") from None
    return tuple(pairs)


def read_range(value: Any) -> tuple[int, int]:
    """`MIN-MAX`, a number, or a pair as (min, max). Raises: ValueError for anything else."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", value.strip())
        if match is None:
            raise ValueError(f"{value!r} is not a range MIN-MAX, such as 12-20")
        value = (match[1], match[2] or match[1])
    low, high = (int(part) for part in ((value, value) if isinstance(value, int) else value))
    if not 1 <= low <= high:
        raise ValueError(f"{low}-{high} is not a range of numbers from 1 up")
    return low, high


@verb(inputs=(), outputs=WRITTEN)
def generate(
    *,
    n: Count = 100,
    maximise: Annotated[str | None, Option(metavar="NAME", none="none")] = None,
    target: Annotated[str | None, Option(metavar="NAME=VALUE", parse=read_targets, none="none")] = None,
    scaffold: Annotated[str | None, Option(metavar="SMILES", none="none")] = None,
    fragment: Annotated[str | None, Option(metavar="SMILES", none="none")] = None,
    atoms: Annotated[str | None, Option(metavar="MIN-MAX", parse=read_range, none="any")] = None,
    until_valid: bool = False,
    repair: bool = False,
    candidates: Annotated[int | None, Option(low=2, high=10_000, none="auto")] = None,
    rounds: Annotated[int | None, Option(low=1, high=1000, none="auto")] = None,
    model: Model = None,
    steps: ModelSteps = None,
    solver: Solver = "auto",
    device: Device = "auto",
    precision: Precision = "fp32",
    max_memory: MaxMemory = None,
    seed: Seed = 0,
    progress: Progress = None,
) -> MoleculeGeneration:
    """Makes molecules.

    Args:
        n: attempts; with --until-valid, valid molecules
        maximise: make this as large as can be: a descriptor of RDKit, or file.py:function (your own program, which is run)
        target: bring a descriptor, or file.py:function, to a value; several with commas between
        scaffold: every molecule contains this, and grows on any of its atoms
        fragment: every molecule contains this, and grows on it only where it has a *, if it has one
        atoms: heavy atoms of a molecule
        until_valid: go on until -n molecules are valid
        repair: tell as well how many would be valid after a repair of their valences; they are not written
        candidates: next states among which goals choose in every step; more of them reach further and take longer
        rounds: how often goals are pursued: the result is noised halfway, decoded again, and kept where it is better

    Raises:
        UsageError: for options that contradict each other or that the model cannot meet.
        InputError: for an element that the model does not know, or a function of yours that fails.
        ModelError: for an unknown or damaged model.
    """
    from ornstein.domains.molecules.design import check
    from ornstein.domains.molecules.objectives import Objective, read_goals, spreads

    goals = read_goals(maximise, target or ())  # type: ignore[arg-type]
    for option, given in (("--candidates", candidates), ("--rounds", rounds)):
        if given is not None and not goals:
            raise UsageError(f"{option} is for goals, and there are none", "add --maximise or --target")
    place = runtime.choose_device(device)
    runtime.check_precision(precision, place)
    chosen = models.find_model(model, "molecule")
    loaded = _load(chosen.folder, place)
    plain = _wish(loaded, scaffold, fragment, atoms)
    settings = {
        "steps": steps, "sampler": sampler_named(solver), "seed": seed, "device": place, "precision": precision,
    }  # fmt: skip
    pilot: list[Attempt] = []
    wish = plain
    if goals:
        pilot = _attempts(loaded, plain, PILOT, False, max_memory, settings, None)
        scales = spreads(goals, [attempt.molecule for attempt in pilot if attempt.valid])
        wish = _with_goals(plain, Objective(goals, scales), candidates or 8, rounds or 1)
        check(loaded, wish)
    attempts = _attempts(loaded, wish, n, until_valid, max_memory, settings, progress)
    made = MoleculeGeneration(attempts, goals, pilot, wanted=n if until_valid else None, seed=seed, repair=repair)
    made.model = chosen.identity
    return made


def evaluate(
    result: str,
    reference: str,
    *,
    train: InputFile = None,
    column: Annotated[str | None, Option(metavar="NAME", none="auto")] = None,
    fcd: bool = True,
    device: Device = "auto",
    seed: Seed = 0,
    console: Annotated[Console | None, Option(hidden=True)] = None,
) -> Answer:
    """Compares molecules with others: validity, uniqueness, novelty, FCD, SNN, scaffolds, diversity, filters, properties.

    Args:
        result: the molecules to judge (.smi with blank lines for failed attempts, .sdf, .csv, .tsv, .parquet, also .gz)
        reference: molecules that no one trained on, all of them or a shuffled part
        train: what the model was trained on: for novelty and the floor of the FCD
        column: of SMILES in tables
        fcd: also the Frechet ChemNet distance, which takes a minute for ten thousand molecules or so
        seed: of the part of the training set that the floor is made from
    """
    from ornstein.datasets.molecule_files import open_molecules
    from ornstein.domains.molecules.attempts import judge
    from ornstein.domains.molecules.measures import measure

    _check_column(column, result, reference, train)
    ours = open_molecules(result, _column_of(result, column), "result", empty=_tried(result, 0) > 0)
    theirs = open_molecules(reference, _column_of(reference, column), "reference")
    learned = None if train is None else open_molecules(train, _column_of(train, column), "train", names=True)
    judged = [judge(molecule) for molecule in ours.molecules]
    good = [attempt for attempt in judged if attempt.valid]
    tried = _tried(result, ours.attempts)
    smiles = [attempt.smiles for attempt in good]
    measures: dict[str, Any] = {
        "attempts": tried,
        "valid": len(good) / tried,
        "connected": len(good) / len(judged) if judged else None,
        "unique": len(set(smiles)) / len(smiles) if smiles else None,
        "valid_unique": len(set(smiles)) / tried,
    }
    if good and theirs.molecules:
        measures |= measure(
            [attempt.molecule for attempt in good],
            smiles,
            theirs.molecules,
            theirs.smiles,
            None if learned is None else learned.smiles,
            fcd=fcd,
            device=str(runtime.choose_device(device)),
            seed=seed,
        )
    sets = [ours, theirs] + ([] if learned is None else [learned])
    warnings = [text for records in sets for text in records.warnings]
    for text in warnings:
        (console or Console(quiet=True)).error(text)
    unread = [{"file": r.name, "row": p.row, "reason": p.reason} for r in sets for p in r.problems]
    made = answer(_named(result), _named(reference), measures, {"warnings": warnings, "unread": unread})
    return Answer(made.record, made.text, 7 if unread else 0)


def train_model(settings: dict[str, Any], device: Any, log: Callable[[str], None]) -> Path:
    """Trains a molecule model from the settings of a configuration file; the folder of the model."""
    from ornstein.domains.molecules import training

    return training.train_from_settings(settings, device=device, log=log)


VERBS = (generate,)


def _load(folder: Path, device: Any) -> "DesignModel":
    """The model of a folder, on the device."""
    from ornstein.domains.molecules.design import load

    return load(folder, device)


def _wish(model: "DesignModel", scaffold: str | None, fragment: str | None, atoms: Any) -> "Wish":
    from ornstein.domains.molecules.design import check, vocabulary_of
    from ornstein.domains.molecules.parts import read_part
    from ornstein.domains.molecules.wishes import Wish

    asked = (("--scaffold", scaffold), ("--fragment", fragment))
    parts = [read_part(smiles, vocabulary_of(model), option) for option, smiles in asked if smiles is not None]
    wish = Wish(atoms=atoms, parts=parts)
    check(model, wish)  # what cannot be met is said before any work
    return wish


def _with_goals(wish: "Wish", objective: Any, candidates: int, rounds: int) -> "Wish":
    from dataclasses import replace

    return replace(wish, objective=objective, candidates=candidates, rounds=rounds)


def _attempts(
    model: "DesignModel",
    wish: "Wish",
    count: int,
    until_valid: bool,
    max_memory: float | None,
    settings: dict[str, Any],
    progress: Callable[[float, float], None] | None,
) -> "list[Attempt]":
    """Attempts 0, 1, 2, ...: `count` of them, or as many as it takes for `count` valid ones."""
    from ornstein.domains.molecules.design import draw, largest

    made: list[Attempt] = []
    copies = wish.candidates if wish.objective is not None else 1
    size = batch_size(largest(model), copies, max_memory, settings["device"])
    limit, valid = count * (MOST_TRIES if until_valid else 1), 0
    while len(made) < limit and not (until_valid and valid >= count):
        more = 2 * (count - valid) if until_valid else limit - len(made)
        numbers = range(len(made), min(limit, len(made) + min(ROUND * size, more)))
        made += draw(model, numbers, wish, batch=size, **settings)
        valid = sum(attempt.valid for attempt in made)
        if progress is not None:
            progress(min(valid if until_valid else len(made), count), count)
    return _first_valid(made, count) if until_valid else made


def _first_valid(made: "list[Attempt]", count: int) -> "list[Attempt]":
    """The attempts up to and with the last one that is needed."""
    seen = 0
    for i, attempt in enumerate(made):
        seen += attempt.valid
        if seen == count:
            return made[: i + 1]
    return made


def _check_column(column: str | None, *sources: Any) -> None:
    """Raises: UsageError for a column where no file is a table."""
    if column is not None and not any(_column_of(source, column) for source in sources):
        raise UsageError(f"--column {column} is for tables, and no file is one", "leave it out")


def _column_of(source: Any, column: str | None) -> str | None:
    """The column, for a source that has columns: a reference may be lines of SMILES beside a table."""
    from ornstein.datasets.molecule_files import has_columns

    return column if isinstance(source, (str, Path)) and has_columns(source) else None


def _tried(result: Any, rows: int) -> int:
    """The attempts behind a file: its rows, or what its sidecar says where invalid ones are left out of it."""
    if not isinstance(result, (str, Path)) or not str(result).lower().endswith((".sdf", ".sdf.gz")):
        return rows
    try:
        said = json.loads(outputs.sidecar(result).read_text(encoding="utf-8"))["measures"]["attempts"]
    except (OSError, ValueError, KeyError, TypeError):
        return rows
    return max(int(said), rows)


def _named(source: Any) -> str:
    return str(source) if isinstance(source, (str, Path)) else f"<{type(source).__name__} of {len(source)}>"
