"""Covariances, climatologies, baselines and measures against closed forms and other libraries."""

import numpy as np
import pytest
import scipy.fft
import torch

from ornstein.core.analytic import GaussianDenoiser
from ornstein.datasets.fields import Grid
from ornstein.domains.atmosphere import measures
from ornstein.domains.atmosphere.baselines import anomaly, gaussian_mean, interpolate, optimal_interpolation
from ornstein.domains.atmosphere.climatology import day_harmonics, fit_harmonics, low_order
from ornstein.domains.atmosphere.covariances import (
    Spectrum,
    Stationary,
    cosine_waves,
    fourier_waves,
    regional,
    spectrum_of_coarse,
    wave_power,
)  # fmt: skip
from ornstein.domains.atmosphere.operator import Coarsening

GRID = Grid(50 + 0.25 * np.arange(16), -10 + 0.25 * np.arange(24))
RANDOM = np.random.default_rng(0)


def test_waves_are_the_cosine_transform_and_orthonormal():
    x = RANDOM.standard_normal((5, 12))
    np.testing.assert_allclose(x @ cosine_waves(12), scipy.fft.dct(x, norm="ortho"), atol=1e-12)
    for waves in (cosine_waves(9), fourier_waves(9), fourier_waves(10)):
        np.testing.assert_allclose(waves.T @ waves, np.eye(len(waves)), atol=1e-12)


def test_a_periodic_covariance_is_the_same_at_every_longitude():
    covariance = Stationary(
        torch.from_numpy(Spectrum((0.0, 3.0), (0.0, -9.0)).variances(Grid(np.arange(4.0), np.arange(12) * 30.0, True)))[
            None
        ],
        True,
    )
    dense = covariance.dense().reshape(4, 12, 4, 12)
    torch.testing.assert_close(dense.roll((3, 3), (1, 3)), dense, atol=1e-12, rtol=0)
    torch.testing.assert_close(dense.reshape(48, 48).diagonal(), covariance.diagonal())


def test_a_spectrum_is_found_again_from_fields_that_have_it():
    true = Spectrum((0.0, 2.0, 4.0), (0.0, -4.0, -12.0))
    covariance = Stationary(torch.from_numpy(true.variances(GRID))[None])
    fields = covariance.root(
        torch.randn(400, 1, *GRID.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    )
    found = Spectrum.fit([wave_power(fields.numpy()[:, 0])], [GRID])
    ratio = found.variances(GRID)[1:, 1:] / true.variances(GRID)[1:, 1:]
    assert np.exp(np.abs(np.log(ratio)).mean()) < 1.25  # 400 samples and the width of the bins


def test_coarse_averages_tell_the_spectrum_beyond_their_cells():
    true = Spectrum((0.0, 6.0), (0.0, -21.0))  # a slope of -3.5
    big = Grid(50 + 0.25 * np.arange(64), -10 + 0.25 * np.arange(64))
    covariance = Stationary(torch.from_numpy(true.variances(big))[None])
    fields = covariance.root(
        torch.randn(60, 1, *big.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    )
    operator = Coarsening.between(big, big.coarsen(4))
    coarse = operator.whole(fields).numpy()[:, 0]
    found = spectrum_of_coarse(coarse, big.coarsen(4))
    share = found.variances(big)[32:, 32:].sum() / true.variances(big)[32:, 32:].sum()
    assert 0.3 < share < 3  # what the coarse field cannot see, within a factor of 3


def test_a_regional_covariance_has_the_samples_variances_and_ends_with_distance():
    samples = torch.randn(50, *GRID.shape, generator=torch.Generator().manual_seed(0)) * 2
    covariance = regional(samples, GRID, radius=2.0, weight=1.0)
    dense = covariance.dense()
    torch.testing.assert_close(dense.diagonal(), samples.square().mean(0).flatten().double(), rtol=0.02, atol=0)
    assert abs(float(dense[0, -1])) < 1e-2


def test_optimal_interpolation_is_the_textbook_formula():
    samples = torch.randn(40, *GRID.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).cumsum(-1)
    operator = Coarsening.between(GRID, GRID.coarsen(8))
    y = torch.randn(1, 6, dtype=torch.float64)
    posterior = optimal_interpolation(samples, GRID, operator, y, torch.full((6,), 0.1), radius=6.0, inflation=1.1)
    c = posterior.gaussian.covariance.dense()
    a = operator.forward(torch.eye(384, dtype=torch.float64).reshape(384, 1, *GRID.shape)).mT
    gain = c @ a.mT @ torch.linalg.inv(a @ c @ a.mT + 0.01 * torch.eye(6))
    torch.testing.assert_close(gaussian_mean(posterior).flatten(), (gain @ y[0]), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
def test_interpolation_is_exact_for_linear_fields_inside_and_closes_around_the_globe(kind):
    coarse = GRID.coarsen(4)
    field = coarse.latitudes[:, None] - 3 * coarse.longitudes
    found = interpolate(field, coarse, GRID, kind)
    truth = GRID.latitudes[:, None] - 3 * GRID.longitudes
    np.testing.assert_allclose(found[6:-6, 6:-6], truth[6:-6, 6:-6], atol=1e-9)
    globe = Grid(np.arange(8.0), np.arange(36) * 10.0, True)
    wave = np.broadcast_to(np.sin(np.deg2rad(globe.longitudes)), globe.shape)
    fine = globe.refine(2)
    error = interpolate(wave, globe, fine, kind) - np.sin(np.deg2rad(fine.longitudes))
    assert np.abs(error).max() < 0.01  # also across the seam


def test_an_anomaly_keeps_the_climatology_where_the_coarse_field_is_the_climatology():
    climatology = RANDOM.standard_normal((2, *GRID.shape))
    coarse = GRID.coarsen(4)
    operator = Coarsening.between(GRID, coarse)
    flat = torch.from_numpy(climatology)[:, None]
    np.testing.assert_allclose(
        anomaly(operator.whole(flat).numpy()[:, 0], climatology, operator, coarse, GRID), climatology, atol=1e-12
    )


def test_harmonics_are_found_and_hours_that_are_all_one_have_none():
    hours = np.arange(48)
    fields = (day_harmonics(hours) @ RANDOM.standard_normal((5, 6))).reshape(48, 2, 3)
    np.testing.assert_allclose(np.tensordot(day_harmonics(hours), fit_harmonics(fields, hours), 1), fields, atol=1e-9)
    assert (fit_harmonics(fields[::24], hours[::24])[1:] == 0).all()


def test_a_low_order_fit_is_exact_for_a_parabola_also_with_gaps():
    coarse = GRID.coarsen(2)
    f = lambda g: 280 + (g.latitudes[:, None] - 51) ** 2 + 0.1 * g.longitudes * g.latitudes[:, None]  # noqa: E731
    values = f(coarse)[None].copy()
    values[0, 2, 3] = np.nan
    np.testing.assert_allclose(low_order(values, coarse, GRID)[0], f(GRID), atol=1e-3)


def test_crps_of_an_ensemble_is_the_formula():
    members, truth = RANDOM.standard_normal((6, 3, 2, 2)), RANDOM.standard_normal((3, 2, 2))
    pairs = np.abs(members[:, None] - members[None]).sum((0, 1)) / (6 * 5)
    np.testing.assert_allclose(measures.crps(members, truth), np.abs(members - truth).mean(0) - pairs / 2)


def test_exchangeable_members_have_spread_one_and_flat_ranks():
    members, truth = RANDOM.standard_normal((16, 40, 16, 24)), RANDOM.standard_normal((40, 16, 24))
    found = measures.measure(members, truth, GRID)
    assert found["spread_skill"] == pytest.approx(1, abs=0.02)
    assert found["rank_outside"] == pytest.approx(1, abs=0.05)
    assert all(found[f"power_band{b}"] == pytest.approx(1, abs=0.3 / b) for b in (1, 2, 3, 4))  # few waves are long
    assert measures.rank_chi_squared(measures.rank_histogram(members, truth, np.ones(GRID.shape))) < 2
    narrow = measures.rank_histogram(0.5 * members, truth, np.ones(GRID.shape))
    assert measures.rank_chi_squared(narrow) > 50


def test_scores_leave_out_what_is_masked_or_missing():
    members, truth = np.zeros((4, 2, 16, 24)), np.zeros((2, 16, 24))
    truth[0, 0, 0], truth[1, 3, 3] = np.nan, 100.0
    mask = np.ones(GRID.shape)
    mask[3, 3] = 0
    assert measures.measure(members, truth, GRID, mask)["rmse"] == 0


def test_the_bootstrap_interval_holds_the_skill():
    reference = RANDOM.uniform(0.9, 1.1, 96)
    skill, low, high = measures.bootstrap_skill(0.95 * reference + RANDOM.normal(0, 0.01, 96), reference, 24)
    assert low < skill < high and skill == pytest.approx(0.05, abs=0.01) and low > 0.03


def test_a_seam_shows():
    smooth = np.broadcast_to(np.sin(np.arange(36) * np.pi / 18), (4, 36))
    assert (
        measures.seam_gradient(smooth) < 1.6 and measures.seam_gradient(np.broadcast_to(np.arange(36.0), (4, 36))) > 30
    )


def test_gaussian_draws_have_the_covariance_that_was_asked():
    covariance = Stationary(torch.from_numpy(Spectrum((0.0, 5.0), (0.0, -15.0)).variances(GRID))[None])
    gaussian = GaussianDenoiser(torch.zeros(1, *GRID.shape), covariance)
    assert float(gaussian.covariance.trace() / 384) == pytest.approx(1)
