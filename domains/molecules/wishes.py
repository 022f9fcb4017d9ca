"""What is asked of molecules, whatever model draws them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ornstein.core.discrete.decoding import Value, sample_valued
from ornstein.core.discrete.denoisers import CategoricalDenoiser, States
from ornstein.core.discrete.samplers import Sampler
from ornstein.core.noise import key
from ornstein.domains.molecules.attempts import Attempt, refuse
from ornstein.domains.molecules.objectives import Objective
from ornstein.domains.molecules.parts import Part

GUIDED = (0.0, 0.75)
"""The times in which goals choose: before, the likeliest molecule says nothing of what will come out."""
MIDDLE = 0.5
"""The time up to which a result is noised before it is refined."""


@dataclass(frozen=True, eq=False)
class Wish:
    """What is asked of every molecule.

    Args:
        atoms: the fewest and the most heavy atoms; None leaves it to the model.
        parts: what it contains.
        objective: what it is to be good at.
        candidates: next states among which the objective chooses, at least 1.
        rounds: how often it is decoded, at least 1: after the first the result is noised up to the middle of the run, decoded
            again, and kept where it is better.
        alpha: how far the choice is left to chance, in standard deviations of the goals; 0 takes the best.
    """

    atoms: tuple[int, int] | None = None
    parts: Sequence[Part] = ()
    objective: Objective | None = None
    candidates: int = 8
    rounds: int = 1
    alpha: float = 0.0


def pursue(
    denoiser: CategoricalDenoiser,
    masks: States,
    value: Value,
    sampler: Sampler,
    wish: Wish,
    *,
    steps: int,
    seed: int,
    items: Sequence[int],
    known: States | None,
    **conditions: Any,
) -> dict[str, Tensor]:
    """Samples that pursue the goals of a wish, `wish.rounds` times; each item keeps the best of its rounds."""
    best: dict[str, Tensor] = {}
    scores = torch.zeros(0)
    for number in range(wish.rounds):
        x = sample_valued(
            denoiser, masks, value, sampler, steps=steps, seed=key(seed, number) if number else seed, items=items,
            known=known, candidates=wish.candidates, alpha=wish.alpha, span=GUIDED,
            begun=(best, MIDDLE) if number else None, **conditions,
        )  # fmt: skip
        if wish.rounds == 1:
            return x
        found = value(x, True).nan_to_num(nan=-math.inf)
        if number == 0:
            best, scores = x, found
            continue
        better = found > scores
        best = {name: torch.where(better.to(x[name].device)[:, None], x[name], best[name]) for name in best}
        scores = torch.maximum(found, scores)
    return best


def with_parts(attempt: Attempt, parts: Sequence[Part]) -> Attempt:
    """Not valid where a part is not found: a bond beside it can change what its rings are."""
    missing = [part.smiles for part in parts if attempt.valid and not part.within(attempt.molecule)]
    return refuse(attempt, f"{missing[0]} is not in it") if missing else attempt
