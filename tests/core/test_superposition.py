"""Combined denoisers against the mixture, the equal densities and the product of Gaussians in closed form."""

import math

import pytest
import torch
from torch import Tensor

from ornstein.core import grids
from ornstein.core.denoisers import Denoiser
from ornstein.core.paths import EDM, VariancePreserving
from ornstein.core.superposition import product, superpose

WIDE = torch.float64
GRID = grids.LogOnePlus(scale=1.0, rho=2.0, sigma_min=0.02)


class Round(Denoiser):
    """The denoiser of N(mean, variance I), in few operations; and its log-density at sigma."""

    def __init__(self, mean: list[float], variance: float, path=None) -> None:
        super().__init__(path or EDM(0.02, 80))
        self.mean, self.variance = torch.tensor(mean, dtype=WIDE), variance

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
        c = self.path.coefficients(t)
        a, s = float(c.a), float(c.s)
        gain = a * self.variance / (a**2 * self.variance + s**2)
        return (self.mean + gain * (x_t - a * self.mean)).to(x_t.dtype)

    def error(self, sigma: float) -> float:
        return math.sqrt(self.variance * sigma**2 / (self.variance + sigma**2))

    def log_density(self, x: Tensor, sigma: float) -> Tensor:
        total = self.variance + sigma**2
        return -((x - self.mean).square().sum(-1) / total + x.shape[-1] * math.log(2 * math.pi * total)) / 2


def fast(seed: int):
    generator = torch.Generator().manual_seed(seed)
    return lambda step, shape, dtype, device: torch.randn(shape, dtype=dtype, generator=generator)


A, B = Round([-2.0, 0.0], 0.25), Round([2.0, 1.0], 0.5)
NEAR = Round([-0.5, 0.0], 0.5), Round([0.7, 0.4], 0.8)


def run(denoisers, rule="or", count=4000, steps=100, **settings):
    return superpose(denoisers, rule, shape=(count, 2), steps=steps, grid=GRID, noise=fast(0), dtype=WIDE, **settings)


def test_or_samples_the_mixture():
    # Tolerances are four standard errors of 4,000 samples, and 0.02 for the 100 steps.
    x = run((A, B), weights=(0.3, 0.7)).x
    right = x[:, 0] > 0
    assert float(right.double().mean()) == pytest.approx(0.7, abs=4 * math.sqrt(0.21 / 4000) + 0.02)
    for side, one in ((x[~right], A), (x[right], B)):
        error = (side.mean(0) - one.mean).abs().max()
        assert float(error) < 4 * math.sqrt(one.variance / len(side)) + 0.02
        torch.testing.assert_close(side.var(0), torch.full((2,), one.variance, dtype=WIDE), rtol=0.12, atol=0)


def test_one_denoiser_alone_gives_samples_with_log_densities_of_bias_one_over_n_and_scatter_one_over_root_n():
    # The slopes of the issue, over 100 to 1,600 steps; the tolerance is about two standard errors of 6,000 samples.
    one, counts = Round([0.5, -1.0], 0.6), (100, 400, 1600)
    bias, rms = [], []
    for steps in counts:
        x, log_q = run((one,), count=6000, steps=steps)
        error = log_q[0] - one.log_density(x, 0.02)
        bias.append(float(error.mean()))
        rms.append(float(error.square().mean().sqrt()))
    slope = lambda values: math.log(abs(values[2] / values[0])) / math.log(16)  # noqa: E731
    assert slope(bias) == pytest.approx(-1.0, abs=0.15)
    assert slope(rms) == pytest.approx(-0.5, abs=0.1)


def test_and_samples_where_densities_are_equal_with_a_gap_that_shrinks_with_the_steps():
    gaps = []
    for steps in (50, 200, 800):
        x, estimates = run((A, B), "and", count=1000, steps=steps)
        assert float((estimates[0] - estimates[1]).abs().mean()) < 0.2
        gap = A.log_density(x, 0.02) - B.log_density(x, 0.02)
        gaps.append(float(gap.square().mean().sqrt()))
    # 0.95, 0.27 and 0.074 nats were measured.
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2]
    assert gaps[2] < 0.2
    # Samples of A alone, say, are 30 nats nearer to A.
    alone = A.mean + math.sqrt(A.variance) * torch.randn(1000, 2, dtype=WIDE)
    assert float((A.log_density(alone, 0.02) - B.log_density(alone, 0.02)).mean()) > 20 * gaps[2]


def test_and_of_equal_denoisers_is_each_of_them():
    x = run((A, A), "and", count=2000, steps=200).x
    torch.testing.assert_close(x.var(0), torch.full((2,), 0.25, dtype=WIDE), rtol=0.12, atol=0)


def test_three_denoisers_agree_too():
    third = Round([0.0, -1.5], 0.4)
    x, estimates = run((*NEAR, third), "and", count=200, steps=200)
    assert float((estimates - estimates[0]).abs().max()) < 0.5
    spread = torch.stack([one.log_density(x, 0.02) for one in (*NEAR, third)]).std(0)
    assert float(spread.mean()) < 1.0


SETTINGS = {"grid": GRID, "dtype": WIDE}


def errors_of(denoisers):
    return [one.error for one in denoisers]


def moments(one: Round, other: Round, sigma: float) -> tuple[Tensor, float, float]:
    """Mean, variance and log-integral of the product of both at that noise level."""
    p, q = one.variance + sigma**2, other.variance + sigma**2
    variance = 1 / (1 / p + 1 / q)
    gap = float((one.mean - other.mean).square().sum())
    return variance * (one.mean / p + other.mean / q), variance, -gap / (2 * (p + q)) - math.log(2 * math.pi * (p + q))


def test_product_converges_to_the_exact_product_as_particles_grow():
    # 40 problems repeat one: the slope of their error in the particles. With the exact errors of the denoisers no error of
    # the steps is left.
    mean, variance, evidence = moments(*NEAR, 0.02)
    errors, counts = [], (32, 128, 512)
    for particles in counts:
        found = product(NEAR, shape=(40, 2), particles=particles, steps=30, errors=errors_of(NEAR), **SETTINGS)
        errors.append(float((found.mean() - mean).square().mean().sqrt()))
    assert math.log(errors[2] / errors[0]) / math.log(16) == pytest.approx(-0.5, abs=0.15)
    assert errors[2] < 3 * math.sqrt(variance / counts[2])
    covariance = found.covariance().mean(0)
    torch.testing.assert_close(covariance, variance * torch.eye(2, dtype=WIDE), atol=0.04 * variance, rtol=0)
    assert float(found.log_evidence.exp().mean().log()) == pytest.approx(evidence, abs=0.1)


def test_without_the_errors_the_product_closes_in_with_the_steps():
    _, variance, _ = moments(*NEAR, 0.02)
    gaps = []
    for steps in (25, 100):
        found = product(NEAR, shape=(16, 2), particles=400, steps=steps, **SETTINGS)
        gaps.append(1 - float(found.covariance().diagonal(dim1=1, dim2=2).mean()) / variance)
    assert gaps[0] > 2 * abs(gaps[1]) and abs(gaps[1]) < 0.15


def test_and_is_not_the_product():
    x = run(NEAR, "and", count=1000, steps=200).x
    gap = NEAR[0].log_density(x, 0.02) - NEAR[1].log_density(x, 0.02)
    found = product(NEAR, shape=(4, 2), particles=256, steps=50, grid=GRID, dtype=WIDE).x
    apart = NEAR[0].log_density(found, 0.02) - NEAR[1].log_density(found, 0.02)
    assert float(apart.std()) > 2 * float(gap.std())


def test_exponents_anneal_and_guide():
    # One Gaussian to the power 2 has half its variance; (2, -1) is guidance: precisions add with their exponents.
    squared = product((A,), exponents=(2.0,), shape=(8, 2), particles=200, steps=30, errors=[A.error], **SETTINGS)
    assert float(squared.covariance().diagonal(dim1=1, dim2=2).mean()) == pytest.approx(0.125, rel=0.08)
    near, far = NEAR
    guided = product(
        NEAR, exponents=(2.0, -1.0), shape=(8, 2), particles=400, steps=30, errors=errors_of(NEAR), **SETTINGS
    )
    precision = 2 / near.variance - 1 / far.variance
    mean = (2 * near.mean / near.variance - far.mean / far.variance) / precision
    torch.testing.assert_close(guided.mean().mean(0), mean, atol=0.06, rtol=0)
    variance = float(guided.covariance().diagonal(dim1=1, dim2=2).mean())
    assert variance == pytest.approx(1 / precision, rel=0.1)


@pytest.mark.parametrize("path", [VariancePreserving()], ids=lambda p: type(p).__name__)
def test_a_path_is_as_good_as_another(path):
    # From pure noise of 80 either: VP's own is noisier, so that its grid begins later.
    start = float(path.time_of(-math.log(80.0)))
    settings = {"steps": 20, "noise": None, "dtype": WIDE}
    both = [
        superpose((one, two), "or", shape=(3, 2), grid=grid, **settings).x
        for one, two, grid in (
            (A, B, grids.LogSNR(end=float(A.path.time_of(-math.log(0.02))))),
            (Round([-2.0, 0.0], 0.25, path), Round([2.0, 1.0], 0.5, path),
             grids.LogSNR(start=start, end=float(path.time_of(-math.log(0.02))))),
        )
    ]  # fmt: skip
    scale = float(path.coefficients(path.time_of(-math.log(0.02))).a)
    torch.testing.assert_close(both[1] / scale, both[0], rtol=1e-6, atol=1e-8)


def test_a_problem_does_not_depend_on_the_others():
    whole = superpose((A, B), "and", shape=(3, 2), steps=10, grid=GRID, dtype=WIDE)
    part = superpose((A, B), "and", shape=(1, 2), steps=10, grid=GRID, dtype=WIDE, items=[2])
    torch.testing.assert_close(whole.x[2:], part.x)
    both = product(NEAR, shape=(3, 2), particles=8, steps=10, grid=GRID)
    alone = product(NEAR, shape=(1, 2), particles=8, steps=10, grid=GRID, items=[2])
    torch.testing.assert_close(both.x[2:], alone.x)
    torch.testing.assert_close(both.log_weights[2:], alone.log_weights)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="rule 'xor'"):
        run((A, B), "xor")
    with pytest.raises(ValueError, match="weights above 0"):
        run((A, B), weights=(1.0, 0.0))
    with pytest.raises(ValueError, match="sum above 0"):
        product((A, B), exponents=(1.0, -1.0), shape=(1, 2), particles=2)
    with pytest.raises(ValueError, match="ends without noise"):
        superpose((Round([0.0], 1.0, VariancePreserving()),), "or", shape=(1, 1), grid=grids.Uniform())
