"""The default: a solver and a grid for any path and number of steps, without tuning."""

from dataclasses import replace

from ornstein.core.gaussian import Teleport
from ornstein.core.grids import Grid, Karras, LogOnePlus
from ornstein.core.solvers.exponential import Exponential

LEARNED = Exponential(3, "noise", corrector=False), Karras(rho=7.5)
"""For a network, whose answers at high noise would be carried too far by polynomials in the angle, or by a corrector; docs/solvers.md
says what it was chosen on, and how far it reaches."""


def auto(steps: int, scale: float = 1.0, teleported: bool = False, learned: bool = False) -> tuple[Exponential, Grid]:
    """The solver and the grid for so many steps.

    For exact denoisers and Gaussians x0_hat is interpolated in the angle atan(sigma / c), with a corrector, on a grid that
    spends the more of its steps at low noise the fewer they are. The constants were fitted on three exact targets whose
    deviation is about 1 (benchmarks/solvers.py): the largest ratio of our error to that of azula's zEAB3, over the targets,
    was made small at 5, 10 and 20 steps.

    Args:
        steps: at least 1.
        scale: of the data, twice their standard deviation, above 0.
        teleported: whether the run starts at a level that `Teleport` took it to.
        learned: whether the denoiser is a network; it gets DEIS of third order in log(rho).

    Source: Zhang and Chen (2023), DEIS, arXiv:2204.13902, for networks.
    """
    if learned:
        return LEARNED
    angle = 0.37 * min(steps, 10)
    knee, rho = (0.0044 * steps**2, 2.35 + 0.29 * (steps - 5)) if teleported else (0.044 * steps, 3.8)
    solver = Exponential(4, weights="angle", corrector=True, scale=angle * scale)
    return solver, LogOnePlus(scale=min(knee, 1.3) * scale, rho=min(max(rho, 1.5), 3.8))


def raised(teleport: Teleport, steps: int) -> Teleport:
    """The jump for so many steps: the smaller their error, the less that of the jump may be."""
    return replace(teleport, factor=max(teleport.factor, 1.5 * steps))
