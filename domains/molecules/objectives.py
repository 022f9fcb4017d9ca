"""What molecules are to be good at: descriptors of RDKit, values to be reached, and functions of the user's own."""

import difflib
import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from rdkit import Chem
from rdkit.Chem import Descriptors

from ornstein.core.errors import InputError, UsageError
from ornstein.datasets.molecules import canonical

Score = Callable[[Chem.Mol], float]


@cache
def descriptors() -> dict[str, Score]:
    """RDKit's descriptors by name."""
    return dict(Descriptors.descList)


def descriptor(name: str) -> tuple[str, Score]:
    """A descriptor by its name, in any case, with its own spelling: `qed` is `qed`, `mollogp` is `MolLogP`.

    Raises:
        UsageError: for a name that is none; it names the nearest.
    """
    known = descriptors()
    spelt = {key.lower(): key for key in known}
    if name.lower() not in spelt:
        close = difflib.get_close_matches(name.lower(), spelt, 3)
        hint = f"did you mean {', '.join(spelt[c] for c in close)}?" if close else "such as qed, MolLogP, TPSA, MolWt"
        raise UsageError(f"{name!r} is none of RDKit's descriptors", hint)
    key = spelt[name.lower()]
    return key, known[key]


def user_function(place: str) -> Score:
    """The function of `file.py:function`, which takes an RDKit molecule and gives a number.

    The file is the user's own program and is run as such.

    Raises:
        InputError: for a file that is not there, or fails, or has no such function.
    """
    file, _, name = place.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise InputError(f"{file}: no such file", "give it as file.py:function")
    spec = importlib.util.spec_from_file_location(f"ornstein_objective_{path.stem}", path)
    assert spec is not None and spec.loader is not None, f"{path} is no Python file"
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{path}: running it failed: {type(error).__name__}: {error}", "does it run alone?") from error
    function = getattr(module, name, None)
    if not callable(function):
        names = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
        raise InputError(f"{path}: it has no function {name!r}", f"it has {', '.join(names) or 'none'}")
    return function


@dataclass(frozen=True, eq=False)
class Goal:
    """One thing that is wanted. It is asked about each molecule once: a program of the user's may take its time.

    Args:
        name: the descriptor's name, or `file.py:function`.
        of: its value for a molecule.
        target: the value to be reached; None to make it as large as can be.
        known: the values that it gave, by canonical SMILES.
    """

    name: str
    of: Score
    target: float | None = None
    known: dict[str, float] = field(default_factory=dict)

    def value(self, molecule: Chem.Mol, smiles: str | None = None) -> float:
        """The value of a sanitised molecule as a finite number, NaN where it is not finite.

        Raises:
            InputError: where a user's function fails or gives no number.
        """
        name = canonical(molecule) if smiles is None else smiles
        if name not in self.known:
            try:
                value = float(self.of(molecule))
            except Exception as error:
                raise InputError(
                    f"{self.name} failed for {name}: {type(error).__name__}: {error}",
                    "return a number, NaN where a molecule has none",
                ) from error
            self.known[name] = value if math.isfinite(value) else math.nan
        return self.known[name]

    def __str__(self) -> str:
        return f"maximise {self.name}" if self.target is None else f"{self.name} = {self.target:g}"


def read_goals(maximise: str | None, targets: Sequence[tuple[str, float]]) -> list[Goal]:
    """The goals that options say.

    Args:
        maximise: a descriptor's name or `file.py:function`.
        targets: (descriptor or `file.py:function`, value).

    Raises:
        UsageError, InputError: as `descriptor` and `user_function`; one name twice.
    """
    goals = []
    for name, value in ([(maximise, None)] if maximise else []) + list(targets):
        spelt, of = (name, user_function(name)) if _is_place(name) else descriptor(name)
        goals.append(Goal(spelt, of, value))
    names = [goal.name for goal in goals]
    if len(set(names)) < len(names):
        raise UsageError(f"{max(names, key=names.count)} is asked for twice", "give each name once")
    return goals


def _is_place(name: str) -> bool:
    return name.rpartition(":")[0].endswith(".py")


@dataclass(eq=False)
class Objective:
    """Goals as one number, the more the better; each molecule is asked about once and counted.

        sum over goals of value / scale, for a target -|value - target| / scale

    Args:
        goals: at least one.
        scales: of the goals, in their units, above 0: one of them is worth as much as the other's.

    Attributes:
        calls: how many different molecules were asked about.
        history: (SMILES, score) in the order of asking; NaN where a goal has no value.
    """

    goals: Sequence[Goal]
    scales: Sequence[float] = ()
    history: list[tuple[str, float]] = field(default_factory=list)
    _known: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.goals, "no goals"
        self.scales = list(self.scales) or [1.0] * len(self.goals)
        assert len(self.scales) == len(self.goals) and min(self.scales) > 0, f"scales {self.scales}"

    @property
    def calls(self) -> int:
        return len(self.history)

    def __call__(self, molecule: Chem.Mol, smiles: str | None = None) -> float:
        """The score of a sanitised molecule; NaN where a goal has none."""
        name = canonical(molecule) if smiles is None else smiles
        if name not in self._known:
            parts = [goal.value(molecule, name) for goal in self.goals]
            self._known[name] = sum(
                (value if goal.target is None else -abs(value - goal.target)) / scale
                for goal, value, scale in zip(self.goals, parts, self.scales)
            )
            self.history.append((name, self._known[name]))
        return self._known[name]


def spreads(goals: Sequence[Goal], molecules: Sequence[Chem.Mol]) -> list[float]:
    """The standard deviation of each goal's value among molecules, 1 where there is none: the scale of an `Objective`."""
    made = []
    for goal in goals:
        values = np.array([goal.value(molecule) for molecule in molecules])
        values = values[np.isfinite(values)]
        spread = float(values.std()) if len(values) > 1 else 0.0
        made.append(spread if spread > 1e-9 else 1.0)
    return made


def area_under_top(scores: Sequence[float], calls: int, top: int = 10) -> float:
    """The mean of the best `top` scores found so far, averaged over `calls` calls: how good, and how soon.

    NaN counts as 0. Where fewer calls were made the last mean stands for the rest; where fewer than `top` molecules are
    known, the missing ones count 0. Scores are in [0, 1].

    Source: Gao et al. (2022), Sample efficiency matters (PMO), arXiv:2206.12411: AUC of the top 10.
    """
    assert calls > 0, f"{calls} calls"
    best: list[float] = []
    total, mean = 0.0, 0.0
    for score in list(scores)[:calls]:
        best = sorted([*best, 0.0 if math.isnan(score) else score], reverse=True)[:top]
        mean = sum(best) / top
        total += mean
    return (total + mean * (calls - min(calls, len(scores)))) / calls
