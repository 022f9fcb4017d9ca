"""Molecules drawn from a model of graphs, with what is asked of them: a size, parts that they contain, goals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from rdkit import Chem
from torch import Tensor

from ornstein.core.discrete.decoding import sample_valued
from ornstein.core.discrete.denoisers import CategoricalDenoiser
from ornstein.core.discrete.samplers import Sampler, sample
from ornstein.core.errors import UsageError
from ornstein.core.noise import KeyedUniform
from ornstein.core.pairs import node_mask, pair_mask, unpack
from ornstein.datasets.molecules import Vocabulary, assemble_batch
from ornstein.domains.molecules.attempts import Attempt, judge, refuse, repaired
from ornstein.domains.molecules.objectives import Objective
from ornstein.domains.molecules.parts import UNKNOWN, Part, hold

GUIDED = (0.0, 0.75)
"""The times in which goals choose: before, the likeliest molecule says nothing of what will come out."""
SIZES = 2048
"""The stream of the numbers that choose sizes, apart from those of the samplers."""


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


@dataclass(frozen=True, eq=False)
class Wish:
    """What is asked of every molecule.

    Args:
        atoms: the fewest and the most heavy atoms; None leaves it to the model.
        parts: what it contains.
        objective: what it is to be good at.
        candidates: next states among which the objective chooses, at least 1.
        alpha: how far the choice is left to chance, in standard deviations of the goals; 0 takes the best.
    """

    atoms: tuple[int, int] | None = None
    parts: Sequence[Part] = ()
    objective: Objective | None = None
    candidates: int = 8
    alpha: float = 0.0


def allowed_sizes(model: MoleculeModel, wish: Wish) -> Tensor:
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
    model: MoleculeModel,
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
        UsageError: for a size that the model does not make, or a sampler that its paths do not allow.
        InputError: where a user's function fails.
    """
    law = allowed_sizes(model, wish).cumsum(0)
    uniform = KeyedUniform(seed, [int(item) for item in items])(0, (len(items), 1), SIZES)[:, 0]
    counts = torch.searchsorted(law, uniform.clamp(max=float(law[-1]) - 1e-12), right=True)
    run = _Run(model, wish, steps or model.steps, sampler or model.sampler, seed, torch.device(device), precision)
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
        dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]
        try:
            with torch.autocast(self.device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
                if wish.objective is None or wish.candidates == 1:
                    x = sample(
                        denoiser, masks, self.sampler, steps=self.steps, seed=self.seed, items=items, known=known
                    )
                else:
                    value = _Value(self.model.vocabulary, mask, wish)
                    x = sample_valued(
                        denoiser, masks, value, self.sampler, steps=self.steps, seed=self.seed, items=items, known=known,
                        candidates=wish.candidates, alpha=wish.alpha, span=GUIDED,
                    )  # fmt: skip
        except ValueError as error:
            raise UsageError(f"this model cannot be sampled so: {error}", "leave --solver to the model") from error
        raw = assemble_batch(x["nodes"], unpack(x["edges"], nodes), mask, self.model.vocabulary)
        return [_with_parts(judge(molecule), wish.parts) for molecule in raw]


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
        attempt = _with_parts(judge(raw), self._wish.parts)
        if attempt.valid:
            return objective(attempt.molecule, attempt.smiles)
        mended = None if final else repaired(attempt.molecule)
        return math.nan if mended is None else objective(mended)


def _with_parts(attempt: Attempt, parts: Sequence[Part]) -> Attempt:
    """Not valid where a part is not found: a bond beside it can change what its rings are."""
    missing = [part.smiles for part in parts if attempt.valid and not part.within(attempt.molecule)]
    return refuse(attempt, f"{missing[0]} is not in it") if missing else attempt
