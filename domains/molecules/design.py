"""Molecules drawn from a model of graphs, with what is asked of them: a size, parts that they contain, goals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from rdkit import Chem
from torch import Tensor

from ornstein.core.checkpoints import read_card
from ornstein.core.discrete.denoisers import CategoricalDenoiser
from ornstein.core.discrete.draws import draw_sizes
from ornstein.core.discrete.samplers import Ancestral, FirstHitting, Sampler, sample
from ornstein.core.errors import UsageError
from ornstein.core.pairs import node_mask, pair_mask, unpack
from ornstein.core.precision import autocast
from ornstein.datasets.molecules import Vocabulary, assemble_batch
from ornstein.domains.molecules.attempts import Attempt, judge, repaired
from ornstein.domains.molecules.generation import load_generator
from ornstein.domains.molecules.parts import UNKNOWN, hold
from ornstein.domains.molecules.score import ScoreModel, load_score_model
from ornstein.domains.molecules.score import generate as score_generate
from ornstein.domains.molecules.string_design import atoms_of, check_strings, draw_strings
from ornstein.domains.molecules.strings import StringModel, load_strings
from ornstein.domains.molecules.wishes import Wish, pursue, with_parts


class MoleculeModel(Protocol):
    """What is known of a model of molecular graphs.

    Attributes:
        denoiser: of the tensors `nodes` (batch, n) and `edges` (batch, pairs), pairs as `core/pairs.py` orders them.
        vocabulary: of the classes.
        sizes: the share of molecules of each number of heavy atoms, from 0 to the largest, float64.
        sampler, steps: those that serve it best.
    """

    @property
    def denoiser(self) -> CategoricalDenoiser: ...
    @property
    def vocabulary(self) -> Vocabulary: ...
    @property
    def sizes(self) -> Tensor: ...
    @property
    def sampler(self) -> Sampler: ...
    @property
    def steps(self) -> int: ...


Model = MoleculeModel | ScoreModel | StringModel


def vocabulary_of(model: Model) -> Vocabulary:
    """The atoms that a model knows."""
    return atoms_of(model) if isinstance(model, StringModel) else model.vocabulary


def largest(model: Model) -> int:
    """The most places of a molecule in memory: its atoms, or pieces of its string."""
    return len(model.sizes)


def load(folder: Path, device: str | torch.device = "cpu") -> Model:
    """The model of a folder, of whichever kind its card says.

    Raises:
        ModelError: where the folder holds no molecule model, or a damaged one.
    """
    card = read_card(folder)
    if card.get("representation") == "strings":
        return load_strings(folder, device)
    if card.get("path") == "gaussian":
        return load_score_model(folder, device)
    return load_generator(folder, device)


def how(default: Sampler, default_steps: int, sampler: Sampler | None, steps: int | None) -> tuple[Sampler, int]:
    """The sampler and its steps: the model's own where nothing is said. First hitting takes one call a position: where steps
    are asked for, and no sampler, the ancestral one makes them.

    Raises:
        UsageError: for steps of first hitting.
    """
    if steps is not None and isinstance(sampler or default, FirstHitting):
        if sampler is not None:
            raise UsageError(
                "first-hitting takes as many steps as there are places, and none are to be given",
                "leave out --steps, or choose another --solver",
            )
        sampler = Ancestral()
    return sampler or default, steps or default_steps


def check(model: Model, wish: Wish) -> None:
    """Raises: UsageError where a model cannot meet a wish, InputError where it does not know a part."""
    if isinstance(model, StringModel):
        check_strings(model, wish)
        return
    if isinstance(model, ScoreModel) and (wish.parts or wish.objective):
        raise UsageError(
            "a score-based model neither holds parts nor pursues goals",
            "choose a discrete one of `ornstein models list`",
        )
    allowed_sizes(model, wish)


def allowed_sizes(model: MoleculeModel | ScoreModel, wish: Wish) -> Tensor:
    """The law of the number of heavy atoms under a wish, float64 (largest + 1,).

    Raises:
        UsageError: where the model makes no molecule of such a size.
    """
    law = model.sizes.double().cpu().clone()
    made = torch.nonzero(law)[:, 0].tolist()
    held = sum(part.atoms for part in wish.parts)
    # A part alone is one molecule only: something grows on it, where the model goes so far.
    fewest = held + max([int(held > 0 and held < made[-1]), *(part.openings for part in wish.parts)])
    low, high = wish.atoms or (0, len(law) - 1)
    makes = f"this model makes molecules of {made[0]} to {made[-1]} heavy atoms"
    if fewest > min(high, made[-1]):
        grown = "and what grows on them " if fewest > held else ""
        most = f", and at most {high} are asked for" if wish.atoms else ""
        raise UsageError(
            f"the parts to be contained {grown}have {fewest} heavy atoms or more; {makes}{most}",
            "ask for a smaller part or more atoms, or choose another model",
        )
    law[: max(low, fewest)] = 0
    law[high + 1 :] = 0
    if law.sum() == 0:
        raise UsageError(f"no molecule of {low} to {high} heavy atoms: {makes}", "ask for a size that it makes")
    return law / law.sum()


@torch.no_grad()
def draw(
    model: Model,
    items: Sequence[int],
    wish: Wish = Wish(),
    *,
    steps: int | None = None,
    sampler: Sampler | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    precision: str = "fp32",
    batch: int = 256,
) -> list[Attempt]:
    """One attempt for each item; an item's attempt does not depend on the others.

    Sizes come from the model's law, within what is asked for. Parts are held while the rest is sampled: at their places the
    law of the data is certain, so that every sample contains them and the rest grows around them. Goals choose among
    several next states in the last three quarters of the run (`sample_valued`); a guess that is no molecule is repaired
    to be valued, which the result never is.

    Args:
        model, wish: see above.
        items: numbers of the attempts.
        steps, sampler: the model's own by default.
        seed: at least 0.
        device: where the model is.
        precision: of the network: `fp32`, `bf16` or `fp16`.
        batch: attempts at a time; those of equal size go together.

    Raises:
        UsageError: for a size that the model does not make, or a sampler that its paths do not allow; see also `how`.
        InputError: where a user's function fails.
    """
    device = torch.device(device)
    if isinstance(model, StringModel):
        sampler, steps = how(FirstHitting(), 100, sampler, steps)
        return draw_strings(model, items, wish, steps, sampler, seed, device, precision, batch)
    if isinstance(model, ScoreModel):
        return _drawn_by_score(model, items, wish, steps, sampler, seed, device)
    counts = draw_sizes(allowed_sizes(model, wish), seed, items)
    sampler, steps = how(model.sampler, model.steps, sampler, steps)
    run = _Run(model, wish, steps, sampler, seed, device, precision)
    attempts: list[Attempt | None] = [None] * len(items)
    for part in counts.argsort(descending=True, stable=True).split(batch):
        for i, attempt in zip(part.tolist(), run([int(items[i]) for i in part.tolist()], counts[part])):
            attempts[i] = attempt
    return [attempt for attempt in attempts if attempt is not None]


@dataclass(frozen=True, eq=False)
class _Run:
    """How attempts are drawn; called with their numbers and sizes."""

    model: MoleculeModel
    wish: Wish
    steps: int
    sampler: Sampler
    seed: int
    device: torch.device
    precision: str

    def __call__(self, items: list[int], counts: Tensor) -> list[Attempt]:
        denoiser, wish, nodes = self.model.denoiser, self.wish, int(counts.max())
        mask = node_mask(counts, nodes).to(self.device)
        masks = {"nodes": mask, "edges": pair_mask(mask)}
        known = None
        if wish.parts:
            held = dict(zip(("nodes", "edges"), hold(wish.parts, nodes)))
            known = {
                name: torch.where(masks[name], x.to(self.device).expand(len(items), -1), UNKNOWN)
                for name, x in held.items()
            }
        try:
            with autocast(self.device, self.precision):
                if wish.objective is None:
                    x = sample(
                        denoiser, masks, self.sampler, steps=self.steps, seed=self.seed, items=items, known=known
                    )
                else:
                    value = _Value(self.model.vocabulary, mask, wish)
                    x = pursue(
                        denoiser,
                        masks,
                        value,
                        self.sampler,
                        wish,
                        steps=self.steps,
                        seed=self.seed,
                        items=items,
                        known=known,
                    )
        except ValueError as error:
            raise UsageError(f"this model cannot be sampled so: {error}", "leave --solver to the model") from error
        raw = assemble_batch(x["nodes"], unpack(x["edges"], nodes), mask, self.model.vocabulary)
        return [with_parts(judge(molecule), wish.parts) for molecule in raw]


class _Value:
    """The objective as `sample_valued` asks for it."""

    def __init__(self, vocabulary: Vocabulary, mask: Tensor, wish: Wish) -> None:
        self._vocabulary, self._mask, self._wish = vocabulary, mask, wish

    def __call__(self, x: dict[str, Tensor], final: bool) -> Tensor:
        nodes = x["nodes"].shape[1]
        mask = self._mask.repeat_interleave(len(x["nodes"]) // len(self._mask), dim=0)
        raw = assemble_batch(x["nodes"], unpack(x["edges"], nodes), mask, self._vocabulary)
        return torch.tensor([self._one(molecule, final) for molecule in raw], dtype=torch.float64)

    def _one(self, raw: Chem.Mol, final: bool) -> float:
        objective = self._wish.objective
        assert objective is not None
        attempt = with_parts(judge(raw), self._wish.parts)
        if attempt.valid:
            return objective(attempt.molecule, attempt.smiles)
        mended = None if final else repaired(attempt.molecule)
        return math.nan if mended is None else objective(mended)


def _drawn_by_score(
    model: ScoreModel,
    items: Sequence[int],
    wish: Wish,
    steps: int | None,
    sampler: Sampler | None,
    seed: int,
    device: torch.device,
) -> list[Attempt]:
    """Attempts of a score-based model, which knows sizes alone."""
    if sampler is not None:
        raise UsageError("a score-based model has a solver of its own", "leave --solver to the model")
    check(model, wish)
    sized = replace(model, sizes=allowed_sizes(model, wish))
    raw = assemble_batch(
        *score_generate(sized, list(items), steps=steps, seed=seed, device=device), model.vocabulary
    )  # fmt: skip
    return [judge(molecule) for molecule in raw]
