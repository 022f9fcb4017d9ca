"""What the shipped prior asks of a solver."""

import torch

from ornstein.core.grids import LogSNR
from ornstein.core.solvers import Exponential, auto, sample
from ornstein.domains.mri.prior import load_prior
from ornstein.pipelines.models import find_model


def test_the_default_for_networks_is_ahead_of_that_for_exact_denoisers():
    """The shipped prior is rough where there is more noise than it met: what is best for exact denoisers is not for it."""
    prior, _ = load_prior(find_model(None, "mri").folder)
    x = 80 * torch.randn(2, 2, 48, 48, generator=torch.Generator().manual_seed(0))
    end = sample(prior, solver=Exponential(3, weights="b2", corrector=True), grid=LogSNR(), steps=80, x_start=x)
    for steps in (8, 12):
        solver, grid = auto(steps, prior.scale)
        other = (sample(prior, solver=solver, grid=grid, steps=steps, x_start=x) - end).square().mean().sqrt()
        made = (sample(prior, steps=steps, x_start=x) - end).square().mean().sqrt()
        assert made < 0.5 * other
