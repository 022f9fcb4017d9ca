"""Slices coupled along z: the minimum that is claimed, and volumes that are smoother through their plane at no loss."""

import pytest
import torch
from torch import Tensor

from ornstein.core.analytic import GaussianDenoiser
from ornstein.core.grids import Karras
from ornstein.core.inverse.coupled import CoupledPosterior, smooth_along
from ornstein.core.inverse.posterior import LinearPosterior
from ornstein.core.operators import Mask, Matrix
from ornstein.core.paths import EDM
from ornstein.core.solvers import Exponential, sample

WIDE = torch.float64
HERE = torch.tensor(0.3, dtype=WIDE)


def randn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=WIDE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("joint", [(), (1,)])
def test_smoothing_is_its_minimum(joint):
    u = randn(0, 6, 2, 3)

    def cost(v: Tensor) -> float:
        difference = v.diff(dim=0)
        size = difference.abs() if not joint else difference.square().sum(joint).sqrt()
        return float((v - u).square().sum() / 2 + 0.5 * size.sum())

    v, dual = smooth_along(u, 0.5, joint, iterations=400)
    best = cost(v)
    assert all(cost(v + 1e-3 * randn(seed, 6, 2, 3)) > best for seed in range(1, 20))  # it is strictly convex
    again, _ = smooth_along(u, 0.5, joint, iterations=1, dual=dual)
    torch.testing.assert_close(again, v, rtol=0, atol=1e-4)
    few, _ = smooth_along(u, 0.5, joint)
    assert cost(few) < 1.01 * best
    torch.testing.assert_close(smooth_along(u, 1e6, iterations=400)[0], u.mean(0).expand_as(u), rtol=0, atol=1e-6)
    assert torch.equal(smooth_along(u, 0.0)[0], u)


def test_rounds_lead_to_the_minimum_that_is_claimed():
    prior = GaussianDenoiser(torch.zeros(4), torch.ones(4, dtype=WIDE))
    a, y, x_t = Matrix(randn(0, 3, 4)), randn(1, 5, 3), 3 * randn(2, 5, 4)
    settings = {"slices": 5, "difference": 0.3}

    def cost(x: Tensor) -> float:
        fit = (y - a.forward(x)).square().sum() / (2 * 0.2**2) + (x - prior(x_t, HERE)).square().sum() / (2 * 0.5**2)
        return float(fit + x.diff(dim=0).abs().sum() / 0.3)

    def found(rounds: int) -> Tensor:
        return CoupledPosterior(prior, a, y, 0.2, lambda s: 0.5, 10, **settings, rounds=rounds)(x_t, HERE)

    best = cost(found(300))
    assert all(cost(found(300) + 1e-2 * randn(seed, 5, 4)) > best for seed in range(3, 10))
    assert best <= cost(found(2)) < cost(LinearPosterior(prior, a, y, 0.2, lambda s: 0.5, 10)(x_t, HERE))


def test_without_coupling_or_neighbours_slices_are_by_themselves():
    prior, a = GaussianDenoiser(torch.zeros(4), torch.ones(4, dtype=WIDE)), Matrix(randn(0, 3, 4))
    y, x_t = randn(1, 6, 3), randn(2, 6, 4)
    alone = LinearPosterior(prior, a, y, 0.2, lambda s: 0.5, 10)(x_t, HERE)
    for slices, difference in ((6, float("inf")), (1, 0.1)):
        settings = {"slices": slices, "difference": difference}
        assert torch.equal(CoupledPosterior(prior, a, y, 0.2, lambda s: 0.5, 10, **settings)(x_t, HERE), alone)
    pairs = CoupledPosterior(prior, a, y, 0.2, lambda s: 0.5, 10, slices=3, difference=0.3)
    first = CoupledPosterior(prior, a, y[::2], 0.2, lambda s: 0.5, 10, slices=3, difference=0.3)
    # Two samples of three slices: those of one sample meet each other, and nothing else.
    torch.testing.assert_close(pairs(x_t, HERE)[::2], first(x_t[::2], HERE), rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="difference"):
        CoupledPosterior(prior, a, y, 0.2, lambda s: 0.5, slices=3, difference=0.0)


def test_coupled_volume_has_less_error_and_a_better_gradient_along_z():
    """A Gaussian volume, smooth along z; a prior that knows its slices' covariance; half of each slice's values, noisy."""
    slices, size, path = 24, 16, EDM(0.01, 10.0)
    z = torch.arange(slices, dtype=WIDE)
    along = torch.linalg.cholesky(torch.exp(-((z[:, None] - z) ** 2) / 18) + 1e-6 * torch.eye(slices, dtype=WIDE))
    truth = along @ randn(0, slices, size)
    mask = (torch.arange(slices)[:, None] + torch.arange(size)) % 2 == 0
    y = mask * (truth + 0.1 * randn(1, slices, size))
    prior = GaussianDenoiser(torch.zeros(size), torch.ones(size, dtype=WIDE), path)

    def error(sigma: float) -> float:
        return sigma / (1 + sigma**2) ** 0.5

    def run(posterior: LinearPosterior) -> tuple[float, float]:
        x = sample(
            posterior, solver=Exponential(1, renoise=True), grid=Karras(), steps=20, shape=(slices, size), dtype=WIDE
        )
        return float((x - truth).square().mean()), float((x - truth).diff(dim=0).square().mean())

    alone = run(LinearPosterior(prior, Mask(mask), y, 0.1, error))
    together = run(CoupledPosterior(prior, Mask(mask), y, 0.1, error, slices=slices, difference=0.25))
    assert together[0] < 0.6 * alone[0] and together[1] < 0.4 * alone[1]
