"""Rewards that are black boxes, against tilted Gaussians in closed form."""

import math

import pytest
import torch
from torch import Tensor

from ornstein.core import grids
from ornstein.core.denoisers import Denoiser
from ornstein.core.paths import EDM, VariancePreserving
from ornstein.core.rewards import decode_soft_value, tilted

WIDE = torch.float64
GRID = grids.LogOnePlus(scale=0.5, rho=2.0, sigma_min=0.02)
MEAN, VARIANCE = torch.tensor([0.5, -1.0], dtype=WIDE), 0.6
TILT = torch.tensor([1.0, -0.5], dtype=WIDE)


class Round(Denoiser):
    """The denoiser of N(MEAN, VARIANCE I), in few operations."""

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
        c = self.path.coefficients(t)
        a, s = float(c.a), float(c.s)
        mean = MEAN.to(x_t.dtype) + conditions.get("shift", torch.zeros(1, 1, dtype=x_t.dtype))
        return mean + a * VARIANCE / (a**2 * VARIANCE + s**2) * (x_t - a * mean)


PRIOR = Round(EDM(0.02, 80))


def error(sigma: float) -> float:
    return math.sqrt(VARIANCE * sigma**2 / (VARIANCE + sigma**2))


def linear(x: Tensor) -> Tensor:
    return x.double() @ TILT


def half(x: Tensor) -> Tensor:
    return 2.0 * (x[:, 0] > 0.5)


SETTINGS = {"grid": GRID, "error": error, "dtype": WIDE}


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_decoding_a_linear_reward_samples_the_tilted_gaussian(temperature: float):
    # x0_hat's reward is the soft value there, so that only the number of candidates and samples errs.
    x = decode_soft_value(PRIOR, linear, shape=(3000, 2), candidates=16, steps=20, temperature=temperature, **SETTINGS)
    torch.testing.assert_close(x.mean(0), MEAN + VARIANCE * TILT / temperature, atol=0.08, rtol=0)
    torch.testing.assert_close(x.var(0), torch.full((2,), VARIANCE, dtype=WIDE), rtol=0.15, atol=0)


def test_more_candidates_and_no_temperature_win_more():
    won = []
    for candidates in (1, 4, 16):
        x = decode_soft_value(
            PRIOR, linear, shape=(200, 2), candidates=candidates, steps=8, temperature=0.0, **SETTINGS
        )
        won.append(float(linear(x).mean()))
    assert won[0] == pytest.approx(float(linear(MEAN[None])), abs=0.2)  # one candidate is the prior
    assert won[0] + 0.5 < won[1] < won[2] - 0.3


def test_particles_converge_to_the_tilted_gaussian_as_they_grow():
    # 40 problems repeat one; kernels are exact, so that all error is that of the particles: slope -1/2.
    wanted, counts, errors = MEAN + VARIANCE * TILT, (32, 128, 512), []
    for particles in counts:
        found = tilted(PRIOR, linear, shape=(40, 2), particles=particles, steps=12, **SETTINGS)
        errors.append(float((found.mean() - wanted).square().mean().sqrt()))
    assert math.log(errors[2] / errors[0]) / math.log(16) == pytest.approx(-0.5, abs=0.12)
    assert errors[2] < 2.5 * math.sqrt(VARIANCE / counts[2])
    evidence = float(TILT @ MEAN + VARIANCE / 2 * TILT.square().sum())
    assert float(found.log_evidence.mean()) == pytest.approx(evidence, abs=0.05)


def test_particles_are_right_for_a_reward_without_a_derivative():
    # Half of the prior is above 0.5 there: odds of exp(2).
    found = tilted(PRIOR, half, shape=(16, 2), particles=300, steps=12, **SETTINGS)
    share = (found.weights * (found.x[..., 0] > 0.5)).sum(1).mean()
    assert float(share) == pytest.approx(math.exp(2) / (1 + math.exp(2)), abs=0.02)


def test_a_reward_that_fails_has_no_say():
    def picky(x: Tensor) -> Tensor:
        return torch.where(x[:, 1] > -1.0, math.nan, linear(x))

    x = decode_soft_value(PRIOR, picky, shape=(50, 2), candidates=8, steps=10, **SETTINGS)
    assert float((x[:, 1] <= -1.0).double().mean()) > 0.9
    found = tilted(PRIOR, picky, shape=(2, 2), particles=50, steps=10, **SETTINGS)
    assert bool((found.x[..., 1][found.weights > 0] <= -1.0).all())


@pytest.mark.parametrize("method", [decode_soft_value, tilted])
def test_a_problem_does_not_depend_on_the_others_nor_the_path_or_precision(method):
    count = {"candidates": 4} if method is decode_soft_value else {"particles": 8}
    shift = torch.tensor([[0.0], [1.0], [2.0]], dtype=WIDE)
    whole = method(PRIOR, linear, shape=(3, 2), steps=6, shift=shift, **count, **SETTINGS)
    alone = method(PRIOR, linear, shape=(1, 2), steps=6, shift=shift[2:], items=[2], **count, **SETTINGS)
    one, other = (v if method is decode_soft_value else v.x for v in (whole, alone))
    torch.testing.assert_close(one[2:], other)
    vp = method(Round(VariancePreserving()), linear, shape=(3, 2), steps=20, **count)
    assert bool((vp if method is decode_soft_value else vp.x).isfinite().all())


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="temperature"):
        tilted(PRIOR, linear, shape=(1, 2), particles=2, temperature=0.0)
    with pytest.raises(ValueError, match="candidates"):
        decode_soft_value(PRIOR, linear, shape=(1, 2), candidates=0)
