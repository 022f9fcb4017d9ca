"""Gaussian paths: coefficients, derivatives, log-SNR and its inverse, and the SDE that has them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ornstein.core.paths import EDM, Cosine, Path, RectifiedFlow, VarianceExploding, VariancePreserving

PATHS = [VariancePreserving(), Cosine(), VarianceExploding(), EDM(), RectifiedFlow()]
paths = pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)


@paths
@given(t=st.floats(0.001, 0.999))
def test_derivatives_match_finite_differences(path: Path, t: float):
    step = 1e-6
    c, low, high = path.coefficients(t), path.coefficients(t - step), path.coefficients(t + step)
    for name in ("a", "b", "s"):
        measured = (getattr(high, name) - getattr(low, name)) / (2 * step)
        # Central differences: truncation of order step^2 times the third derivative (largest for VP's sqrt near 0).
        assert float(getattr(c, "d" + name)) == pytest.approx(float(measured), rel=1e-5, abs=1e-7)


@paths
@given(t=st.floats(0.001, 0.999))
def test_time_of_inverts_the_log_snr(path: Path, t: float):
    assert float(path.time_of(path.log_snr(t))) == pytest.approx(t, abs=1e-9)


@paths
def test_log_snr_is_log_a_over_s_and_falls(path: Path):
    t = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    c, log_snr = path.coefficients(t), path.log_snr(t)
    torch.testing.assert_close(log_snr, torch.log(c.a / c.s), rtol=0, atol=1e-10)
    assert bool((log_snr.diff() < 0).all())


@paths
def test_times_of_a_batch_give_the_coefficients_of_each(path: Path):
    t = torch.tensor([0.1, 0.5, 0.9])
    batch = path.coefficients(t)
    for i in range(3):
        single = path.coefficients(t[i])
        assert all(torch.equal(whole[i], one) for whole, one in zip(batch, single, strict=True))
        assert all(value.dtype == torch.float64 for value in single)


def test_variance_preserving_paths_preserve_the_variance():
    t = torch.linspace(0, 1, 11)
    for path in (VariancePreserving(), Cosine()):
        c = path.coefficients(t)
        torch.testing.assert_close(c.a**2 + c.s**2, torch.ones(11, dtype=torch.float64), rtol=0, atol=1e-14)


@paths
def test_moments_of_the_sde_are_those_of_the_path(path: Path):
    # The equations of the mean and the variance of dx = f x dt + g dW, m' = f m and v' = 2 f v + g^2, must be solved by
    # a and s^2 at every time: an identity, to rounding.
    t = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    c = path.coefficients(t)
    f, of_y, g2 = path.diffusion(t)
    torch.testing.assert_close(c.da, f * c.a, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(2 * c.s * c.ds, 2 * f * c.s**2 + g2, rtol=1e-10, atol=1e-12)
    assert bool((g2 > 0).all()) and not bool(of_y.any())


@paths
def test_marginals_of_the_simulated_sde_are_those_of_the_path(path: Path):
    # Euler-Maruyama from x0 = 1 known to s(0.3), 600 steps to 0.7; 20,000 walkers.
    generator = torch.Generator().manual_seed(0)
    steps, walkers, begin, end = 600, 20_000, 0.3, 0.7
    times = torch.linspace(begin, end, steps + 1, dtype=torch.float64)
    c, final = path.coefficients(times[0]), path.coefficients(times[-1])
    x = c.a + c.s * torch.randn(walkers, dtype=torch.float64, generator=generator)
    dt = (end - begin) / steps
    f, _, g2 = (value.tolist() for value in path.diffusion(times))
    for i in range(steps):
        x = x + f[i] * x * dt + (g2[i] * dt) ** 0.5 * torch.randn(walkers, dtype=torch.float64, generator=generator)
    # Five standard errors of the mean; 2 % for the deviation, of which 0.5 % is one standard error, the rest the step's.
    assert float(x.mean()) == pytest.approx(float(final.a), abs=5 * float(final.s) / walkers**0.5 + 2e-3)
    assert float(x.std()) == pytest.approx(float(final.s), rel=0.02)


def test_mix_places_data_and_noise():
    x0, z = torch.ones(3, 2), torch.full((3, 2), 2.0)
    mixed = RectifiedFlow().mix(x0, z, torch.tensor([0.0, 0.25, 1.0]))
    torch.testing.assert_close(mixed[:, 0], torch.tensor([1.0, 1.25, 2.0]))
