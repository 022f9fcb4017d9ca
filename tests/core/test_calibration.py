"""Calibration of samples that are right, too narrow, too wide and off."""

import math

import pytest
import torch
from torch import Tensor

from ornstein.core.calibration import central_interval, coverage, error_spread, rank_histogram, ranks


def cases(n: int, spread: float = 1.0, offset: float = 0.0, problems: int = 4000) -> tuple[Tensor, Tensor]:
    """Samples and truth of one law, with a deviation of its own for each problem; samples are wider or off as told."""
    generator = torch.Generator().manual_seed(0)
    deviation = torch.rand(problems, 1, 2, generator=generator) + 0.2
    truth = (deviation * torch.randn(problems, 1, 2, generator=generator))[:, 0]
    return deviation * (spread * torch.randn(problems, n, 2, generator=generator) + offset), truth


@pytest.mark.parametrize("n", [19, 25, 32, 199])
def test_intervals_of_the_right_samples_cover_what_they_claim(n: int):
    # 8,000 cases: a standard error of 0.0034. For 25 and 32 samples the ends are interpolated.
    assert coverage(*cases(n), level=0.9).share == pytest.approx(0.9, abs=0.012)


def test_intervals_tell_samples_that_are_too_narrow_too_wide_and_off():
    assert coverage(*cases(39, spread=0.5)).share < 0.65
    assert coverage(*cases(39, spread=2.0)).share > 0.98
    assert coverage(*cases(39, offset=1.0)).share < 0.8


def test_interval_ends_are_the_order_statistics():
    samples = torch.arange(1.0, 20.0).flip(0)[None]  # 1 to 19
    lower, upper = central_interval(samples, 0.9)
    assert (float(lower), float(upper)) == pytest.approx((1.0, 19.0))
    lower, upper = central_interval(samples, 0.5)
    assert (float(lower), float(upper)) == pytest.approx((5.0, 15.0))


def test_too_few_samples_for_a_level_are_refused():
    with pytest.raises(ValueError, match="19 samples, not 18"):
        central_interval(torch.zeros(1, 18), 0.9)
    with pytest.raises(ValueError, match="3 samples"):
        central_interval(torch.zeros(1, 2), 0.5)


def test_width_and_error_are_in_the_data_units_and_a_mask_chooses_cases():
    samples, truth = cases(39)
    whole, ten = coverage(samples, truth), coverage(10 * samples, 10 * truth)
    assert ten.share == whole.share
    assert (ten.width, ten.rmse) == pytest.approx((10 * whole.width, 10 * whole.rmse), rel=1e-4)
    half = coverage(samples, truth, mask=torch.tensor([True, False]))
    assert half.share == coverage(samples[..., :1], truth[..., :1]).share


def test_ranks_count_samples_below_the_truth():
    samples = torch.tensor([[[1.0], [2.0], [3.0]]])
    assert [int(ranks(samples, torch.tensor([[v]]))) for v in (0.0, 1.5, 2.5, 9.0)] == [0, 1, 2, 3]
    assert int(ranks(torch.zeros(1, 4, 1), torch.zeros(1, 1))) == 2


def test_rank_histograms_are_even_for_the_right_samples_alone():
    even = rank_histogram(*cases(19), bins=10)
    assert int(even.counts.sum()) == 8000 and even.p_value > 0.001
    narrow, wide, off = (
        rank_histogram(*cases(19, **how), bins=10) for how in ({"spread": 0.7}, {"spread": 1.4}, {"offset": 0.3})
    )
    for histogram in (narrow, wide, off):
        assert histogram.p_value < 1e-6
    assert narrow.counts[0] > narrow.counts[5] < narrow.counts[-1]  # a U
    assert wide.counts[0] < wide.counts[5] > wide.counts[-1]  # a hill
    assert off.counts[0] > off.counts[-1]  # samples above the truth: low ranks


def test_the_p_value_is_that_of_the_chi_square_law():
    # With two degrees of freedom it is exp(-chi^2 / 2).
    samples, truth = cases(2, problems=50)
    histogram = rank_histogram(samples, truth)
    assert histogram.p_value == pytest.approx(math.exp(-histogram.chi_square / 2))


def test_bins_that_ranks_do_not_fill_evenly_are_refused():
    with pytest.raises(ValueError, match="bins 7 of ranks 0 to 19"):
        rank_histogram(*cases(19), bins=7)


def test_spread_is_error_in_every_bin_for_the_right_samples():
    # The spread of 8 samples is itself uncertain, and sorting by it picks the lucky ones: 200 are sorted by the truth.
    found = error_spread(*cases(200), bins=5)
    torch.testing.assert_close(found.spread, found.error, rtol=0.08, atol=0)
    assert found.ratio == pytest.approx(1.0, abs=0.03)
    assert bool((found.spread.diff() > 0.1).all())


def test_spread_counts_the_error_of_a_mean_of_few():
    assert error_spread(*cases(3), bins=1).ratio == pytest.approx(1.0, abs=0.04)
    assert error_spread(*cases(3, spread=0.5), bins=1).ratio < 0.6
