"""The default: a solver and a grid for any path and number of steps, without tuning."""

from ornstein.core.grids import Grid, LogOnePlus
from ornstein.core.solvers.exponential import Exponential

ORDER = 4
RHO = 3.8
ANGLE, ANGLE_STEPS = 0.37, 10
OFFSET, OFFSET_MOST = 0.044, 1.3


def auto(steps: int, scale: float = 1.0) -> tuple[Exponential, Grid]:
    """The solver and the grid for so many steps.

    x0_hat is interpolated in the angle atan(sigma / scale), with a corrector, on a grid that spends more of its steps at
    low noise the fewer they are. The constants were fitted on three exact targets whose deviation is about 1
    (benchmarks/solvers.py): the largest ratio of our error to that of azula's zEAB3 over the targets was made small at 5,
    10 and 20 steps.

    Args:
        steps: at least 1.
        scale: of the data, twice its standard deviation in one value, above 0.
    """
    solver = Exponential(ORDER, weights="angle", corrector=True, scale=ANGLE * min(steps, ANGLE_STEPS) * scale)
    return solver, LogOnePlus(scale=min(OFFSET * steps, OFFSET_MOST) * scale, rho=RHO)
