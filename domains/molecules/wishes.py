"""What is asked of molecules, whatever model draws them."""

from collections.abc import Sequence
from dataclasses import dataclass

from ornstein.domains.molecules.attempts import Attempt, refuse
from ornstein.domains.molecules.objectives import Objective
from ornstein.domains.molecules.parts import Part

GUIDED = (0.0, 0.75)
"""The times in which goals choose: before, the likeliest molecule says nothing of what will come out."""
SIZES = 2048
"""The stream of the numbers that choose sizes, apart from those of the samplers."""


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


def with_parts(attempt: Attempt, parts: Sequence[Part]) -> Attempt:
    """Not valid where a part is not found: a bond beside it can change what its rings are."""
    missing = [part.smiles for part in parts if attempt.valid and not part.within(attempt.molecule)]
    return refuse(attempt, f"{missing[0]} is not in it") if missing else attempt
