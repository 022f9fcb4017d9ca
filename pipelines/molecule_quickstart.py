"""The quickstart of molecules: as the model learnt them, around a scaffold, and towards a goal."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ornstein.pipelines import molecule
from ornstein.pipelines.console import Console
from ornstein.pipelines.molecule_results import MoleculeGeneration, grid
from ornstein.pipelines.quickstart import Demonstration
from ornstein.pipelines.report import Report

if TYPE_CHECKING:
    from ornstein.domains.molecules.attempts import Attempt
    from ornstein.domains.molecules.design import Model

COUNT, AIMED = 48, 12
"""Attempts without and with a goal."""
SCAFFOLD = "c1ccncc1"
SHOWN = 12
BASELINE = "independent places"


def demonstrate(folder: Path, report: Report, device: str, seed: int, console: Console) -> Demonstration:
    """Generates molecules plainly, around pyridine and towards drug-likeness, beside graphs of independent atoms and bonds."""
    from ornstein.pipelines.models import find_model
    from ornstein.pipelines.runtime import choose_device

    runs: dict[str, dict[str, Any]] = {
        "diffusion": {"n": COUNT},
        f"diffusion, scaffold {SCAFFOLD}": {"n": COUNT, "scaffold": SCAFFOLD},
        "diffusion, maximise qed": {"n": AIMED, "maximise": "qed", "candidates": 4},
    }
    rows: list[tuple[Any, ...]] = []
    loaded = molecule._load(find_model(None, "molecule").folder, choose_device(device))
    rows.append((BASELINE, *_summary(independent(loaded, COUNT, seed)), 0.0))
    made: dict[str, MoleculeGeneration] = {}
    for name, options in runs.items():
        progress = console.progress(f"molecule {name}")
        made[name] = molecule.generate(device=device, seed=seed, progress=progress, **options)
        progress.close()
        made[name].save(folder / f"{name.replace(', ', '-').replace(' ', '-')}.sdf", overwrite=True)
        rows.append((name, *_summary(made[name].attempts), made[name].record["seconds"]))
        console.say(f"molecule {name}: {rows[-1][1]:.0%} valid")
    head = ("method", "valid", "valid and unique", "mean QED", "seconds")
    plain, _, aimed = made.values()
    said = (
        f"{plain.measures['valid']:.0%} of attempts are molecules, without correction, where independent places make "
        f"{rows[0][1]:.0%}; the goal moves the mean QED from {rows[1][3]:.2f} to {rows[3][3]:.2f}"
    )
    report.text(
        f"Molecules, {COUNT} attempts of each kind ({AIMED} with the goal); all attempts count. Beside them stands what the "
        "model starts from: atoms and bonds (or fragments) that are drawn independently."
    )
    report.text(f"Outcome: {said}.").table(rows, head)
    for name, result in made.items():
        first = [a for a in result.attempts if a.valid][:SHOWN]
        if first:
            report.picture(
                grid([a.molecule for a in first], [a.smiles for a in first]), f"{name[0].upper()}{name[1:]}."
            )
    report.provenance(aimed.record)
    return Demonstration(head, rows, plain.model, said)


def independent(model: "Model", count: int, seed: int) -> "list[Attempt]":
    """Attempts whose atoms and bonds, or letters, are drawn independently, from the noise of the model's own paths where it
    has such, at the model's own sizes."""
    import torch

    from ornstein.core.noise import KeyedUniform
    from ornstein.core.pairs import node_mask, pair_mask, unpack
    from ornstein.datasets.molecules import assemble_batch
    from ornstein.domains.molecules.attempts import judge, judge_words
    from ornstein.domains.molecules.score import ScoreModel
    from ornstein.domains.molecules.strings import StringModel

    law = (model.sizes.sum(1) if isinstance(model, StringModel) else model.sizes).double().cumsum(0)
    uniform = KeyedUniform(seed, range(count))
    sizes = torch.searchsorted(law / law[-1], uniform(0, (count, 1))[:, 0], right=True)
    mask = node_mask(sizes, int(sizes.max()))
    if isinstance(model, StringModel):
        drawn = (uniform(1, tuple(mask.shape)) * len(model.pieces)).long().tolist()
        return [judge_words(model.pieces.read(row[:n])) for row, n in zip(drawn, sizes.tolist())]
    classes = {"nodes": len(model.vocabulary.atoms), "edges": len(model.vocabulary.bonds)}
    places = {}
    for stream, (name, present) in enumerate((("nodes", mask), ("edges", pair_mask(mask)))):
        u = uniform(1, tuple(present.shape), stream)
        noise = (u * classes[name]).long() if isinstance(model, ScoreModel) else model.denoiser.paths[name].start(u)
        places[name] = noise.clamp_max(classes[name] - 1) * present  # a mask is no class
    raw = assemble_batch(places["nodes"], unpack(places["edges"], mask.shape[1]), mask, model.vocabulary)
    return [judge(graph) for graph in raw]


def _summary(attempts: "list[Attempt]") -> tuple[float, float, float | None]:
    from ornstein.domains.molecules.attempts import counts
    from ornstein.domains.molecules.measures import PROPERTIES

    found = counts(attempts)
    values = [PROPERTIES["QED"](attempt.molecule) for attempt in attempts if attempt.valid]
    return found["valid"], found["valid_unique"], sum(values) / len(values) if values else None
