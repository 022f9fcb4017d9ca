"""What the molecule pipeline gives back: molecules with what was asked of them, as files and as a page."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ornstein.pipelines.provenance import hash_input
from ornstein.pipelines.results import Result

if TYPE_CHECKING:
    import numpy as np
    from rdkit import Chem

    from ornstein.domains.molecules.attempts import Attempt
    from ornstein.domains.molecules.objectives import Goal
    from ornstein.pipelines.report import Report

SHOWN = 24
"""Molecules in the picture of a report."""
REACHED = 0.25
"""A target is reached within this share of the deviation that the property has without it."""


class MoleculeGeneration(Result):
    """Generated molecules.

    Attributes:
        attempts: all of them, in their order, with reasons where they are not valid.
        smiles: canonical and without stereochemistry, one an attempt, empty where it is not valid.
        molecules: those that are valid.
        values: of the goals, by name, one a valid molecule.
    """

    title = "Generated molecules"

    def __init__(
        self,
        attempts: "Sequence[Attempt]",
        goals: "Sequence[Goal]" = (),
        pilot: "Sequence[Attempt]" = (),
        wanted: int | None = None,
        seed: int = 0,
        repair: bool = False,
    ) -> None:
        from ornstein.domains.molecules.attempts import counts

        super().__init__()
        self.attempts, self._goals, self._seed = list(attempts), list(goals), seed
        self._pilot = [attempt.molecule for attempt in pilot if attempt.valid]
        self.values = {
            goal.name: [goal.value(a.molecule, a.smiles) for a in self.attempts if a.valid] for goal in self._goals
        }
        self._flat: list[dict[str, Any]] = []
        programs = [
            goal.name.rpartition(":")[0] for goal in self._goals if goal.name.rpartition(":")[0].endswith(".py")
        ]
        self._programs = [entry for file in dict.fromkeys(programs) for entry in hash_input(file)]
        self.measures = counts(self.attempts, repair)
        self._tell_goals()
        if self._goals:
            self.measures["objective_calls"] = max(len(goal.known) for goal in self._goals)
        if wanted is not None and len(self.molecules) < wanted:
            self.warnings.append(
                f"--until-valid stopped after {len(self.attempts)} attempts with {len(self.molecules)} of {wanted} valid"
            )
        if not self.molecules:
            self.warnings.append("no attempt is a valid molecule")

    @property
    def smiles(self) -> list[str]:
        return [attempt.smiles for attempt in self.attempts]

    @property
    def molecules(self) -> "list[Chem.Mol]":
        return [attempt.molecule for attempt in self.attempts if attempt.valid]

    @property
    def record(self) -> dict[str, Any]:
        """The sidecar's content, with the attempts that failed, and the user's programs among the inputs."""
        invalid = [{"index": i, "reason": a.reason} for i, a in enumerate(self.attempts) if not a.valid]
        more: dict[str, Any] = {"invalid": invalid}
        if self._flat:
            more["without_coordinates"] = self._flat
        said = super().record
        return said | {"inputs": said["inputs"] + self._programs} | more

    def write(self, path: Path) -> None:
        from ornstein.datasets.molecule_files import write_sdf, write_smi, write_table

        suffix = path.suffix.lower()
        if suffix == ".smi":
            write_smi(path, self.smiles)
        elif suffix == ".csv":
            write_table(path, self._rows())
        else:
            write_sdf(path, self._records())

    def describe(self, report: "Report") -> None:
        """Pictures of the first different molecules and, where there are goals, how their values moved."""
        first = self._best()
        if first:
            order = "The best of all" if self._goals else "The first different ones"
            report.section("Molecules").picture(grid([m for m, _ in first], [text for _, text in first]), f"{order}.")
        for goal in self._goals:
            before = [goal.value(molecule) for molecule in self._pilot]
            if before and self.values[goal.name]:
                caption = f"{goal.name} with the goal, and without it in {len(before)} molecules."
                report.picture(histogram(before, self.values[goal.name], goal.name, goal.target), caption)
        report.section("Properties").table(self._property_rows(), ["property", "mean", "lowest", "highest"])
        reasons: dict[str, int] = {}
        for attempt in self.attempts:
            if not attempt.valid:
                kind = attempt.reason.partition(" #")[0].partition(":")[0]
                reasons[kind] = reasons.get(kind, 0) + 1
        if reasons:
            rows = sorted(reasons.items(), key=lambda item: -item[1])
            report.section("Attempts that are not valid").table(rows, ["reason", "attempts"])

    def _tell_goals(self) -> None:
        """Measures of the goals, and a warning for a target that nothing reached."""
        import numpy as np

        from ornstein.domains.molecules.objectives import spreads

        for goal, spread in zip(self._goals, spreads(self._goals, self._pilot)):
            values = np.array([v for v in self.values[goal.name] if np.isfinite(v)])
            before = np.array([v for v in map(goal.value, self._pilot) if np.isfinite(v)])
            if len(before):
                self.measures[f"{goal.name}_without_goal"] = float(before.mean())
            if not len(values):
                self.warnings.append(f"no molecule has a value of {goal.name}")
                continue
            self.measures[f"{goal.name}_mean"] = float(values.mean())
            if goal.target is None:
                self.measures[f"{goal.name}_best"] = float(values.max())
                continue
            error = np.abs(values - goal.target)
            reached = float((error <= REACHED * spread + 1e-9).mean())
            self.measures[f"{goal.name}_error"] = float(error.mean())
            self.measures[f"{goal.name}_reached"] = reached
            if reached == 0:
                usual = f"; without the target they are {before.min():.4g} to {before.max():.4g}" if len(before) else ""
                nearest = values[error.argmin()]
                self.warnings.append(
                    f"target {goal.name}={goal.target:g} was reached by none of {len(values)} molecules: "
                    f"the nearest has {nearest:.4g}{usual}"
                )

    def _best(self) -> "list[tuple[Chem.Mol, str]]":
        """Different molecules with their texts: the best by the first goal, or the first."""
        seen: dict[str, tuple[Chem.Mol, str, float]] = {}
        goal = self._goals[0] if self._goals else None
        valid = [attempt for attempt in self.attempts if attempt.valid]
        for i, attempt in enumerate(valid):
            if attempt.smiles in seen:
                continue
            value = self.values[goal.name][i] if goal else 0.0
            rank = value if goal is None or goal.target is None else -abs(value - goal.target)
            text = f"{goal.name} {value:.3g}" if goal else attempt.smiles
            seen[attempt.smiles] = (attempt.molecule, text, rank if rank == rank else float("-inf"))
        ordered = sorted(seen.values(), key=lambda one: -one[2]) if goal else list(seen.values())
        return [(molecule, text) for molecule, text, _ in ordered[:SHOWN]]

    def _properties(self, molecule: "Chem.Mol") -> dict[str, float]:
        from ornstein.domains.molecules.measures import PROPERTIES

        return {name: float(of(molecule)) for name, of in PROPERTIES.items()}

    def _property_rows(self) -> list[list[Any]]:
        rows = [self._properties(molecule) for molecule in self.molecules[:1000]]
        if not rows:
            return []
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        return [[name, sum(c) / len(c), min(c), max(c)] for name, c in columns.items()]

    def _rows(self) -> list[dict[str, Any]]:
        """One row an attempt for a table."""
        rows, valid = [], 0
        for i, attempt in enumerate(self.attempts):
            row: dict[str, Any] = {"index": i, "smiles": attempt.smiles, "reason": attempt.reason}
            if attempt.valid:
                row |= {name: f"{value:.6g}" for name, value in self._properties(attempt.molecule).items()}
                row |= {name: f"{values[valid]:.6g}" for name, values in self.values.items()}
                valid += 1
            rows.append(row)
        return rows

    def _records(self) -> "list[tuple[str, Chem.Mol, dict[str, Any]]]":
        """One record a valid attempt for an SDF: its title is the attempt's number."""
        from ornstein.domains.molecules.coordinates import embed

        self._flat = []
        records, valid = [], 0
        for i, attempt in enumerate(self.attempts):
            if not attempt.valid:
                continue
            made = embed(attempt.molecule, self._seed)
            properties: dict[str, Any] = {"smiles": attempt.smiles, **self._properties(attempt.molecule)}
            properties |= {name: values[valid] for name, values in self.values.items()}
            properties |= {"coordinates": made.kind, "stereochemistry": made.stereochemistry}
            if made.kind != "ETKDG":
                self._flat.append({"index": i, "smiles": attempt.smiles})
            records.append((str(i), made.molecule, properties))
            valid += 1
        flat = f"{len(self._flat)} molecules have flat coordinates, as ETKDG found none: see without_coordinates"
        if self._flat and flat not in self.warnings:
            self.warnings.append(flat)
        return records


def grid(molecules: "Sequence[Chem.Mol]", texts: Sequence[str], columns: int = 6, size: int = 190) -> bytes:
    """Molecules side by side with a text under each, as the bytes of a PNG."""
    from rdkit import Chem
    from rdkit.Chem.Draw import rdMolDraw2D

    columns = min(columns, len(molecules))
    rows = -(-len(molecules) // columns)
    canvas = rdMolDraw2D.MolDraw2DCairo(columns * size, rows * size, size, size)
    canvas.drawOptions().legendFontSize = 13  # type: ignore[assignment]
    canvas.DrawMolecules([Chem.Mol(m) for m in molecules], legends=[text[:32] for text in texts])
    canvas.FinishDrawing()
    drawn: bytes = canvas.GetDrawingText()
    return drawn


def histogram(before: "Sequence[float] | np.ndarray", after: Sequence[float], name: str, target: float | None) -> Any:
    """A figure of a property without and with a goal."""
    import numpy as np

    from ornstein.pipelines.report import figure

    sets = [np.asarray(values, float) for values in (before, after)]
    sets = [values[np.isfinite(values)] for values in sets]
    everything = np.concatenate([*sets, [] if target is None else [target]])
    edges = np.linspace(everything.min() - 1e-9, everything.max() + 1e-9, 41)
    made = figure(7, 2.6)
    panel = made.subplots()
    for values, colour, label in zip(sets, ("#9aa3ad", "#1f5f8b"), ("without the goal", "with the goal")):
        weights = np.full(len(values), 1 / max(len(values), 1))
        panel.hist(values, edges, weights=weights, color=colour, alpha=0.7, label=label)
    if target is not None:
        panel.axvline(target, color="#b5482a", linewidth=1.5, label="target")
    panel.set_xlabel(name)
    panel.set_ylabel("share")
    panel.legend(frameon=False)
    return made
