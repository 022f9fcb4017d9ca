"""Paths to pure noise: the interpolants among them, and the shift of the log-SNR."""

import math

import pytest
import torch

from ornstein.core.analytic import GaussianDenoiser
from ornstein.core.grids import LogSNR
from ornstein.core.paths import (
    EDM,
    Cosine,
    RectifiedFlow,
    Shifted,
    SquareRoot,
    VarianceExploding,
    VariancePreserving,
)
from ornstein.core.solvers import Exponential, sample

T = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)


@pytest.mark.parametrize("interpolant", [SquareRoot(), Cosine(0.0, math.pi / 2)], ids=str)
def test_interpolants_that_preserve_the_variance_are_vp_in_another_time(interpolant):
    vp = VariancePreserving()
    c, expected = interpolant.coefficients(interpolant.time_of(vp.log_snr(T))), vp.coefficients(T)
    torch.testing.assert_close(c.a, expected.a, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(c.s, expected.s, rtol=1e-12, atol=1e-14)


def test_trigonometric_interpolant_goes_from_data_to_noise_exactly():
    c = Cosine(0.0, math.pi / 2).coefficients(torch.tensor([0.0, 1.0]))
    assert c.a.tolist() == [1.0, 0.0] and c.s.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("path", [VariancePreserving(), Cosine(), RectifiedFlow(), VarianceExploding()], ids=str)
@pytest.mark.parametrize("shift", [0.5, 4.0])
def test_shift_multiplies_the_noise_to_signal_ratio(path, shift):
    shifted, c = Shifted(path, shift).coefficients(T), path.coefficients(T)
    torch.testing.assert_close(shifted.s / shifted.a, shift * c.s / c.a, rtol=1e-10, atol=0)


def test_shifted_flow_is_the_published_shift_of_its_time():
    shift = 3.0
    published = shift * T / (1 + (shift - 1) * T)  # Esser et al. (2024), eq. 23
    torch.testing.assert_close(Shifted(RectifiedFlow(), shift).coefficients(T).s, published, rtol=1e-12, atol=0)


def test_shift_of_one_changes_nothing_and_shifts_compose():
    path = VariancePreserving()
    for one, other in [(Shifted(path, 1.0), path), (Shifted(Shifted(path, 2.0), 3.0), Shifted(path, 6.0))]:
        for value, expected in zip(one.coefficients(T), other.coefficients(T), strict=True):
            torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12)


def test_samples_do_not_depend_on_the_shift():
    # The same noise levels are the same flow, whatever time they are reached at.
    mean, variances = torch.tensor([0.5, -1.0], dtype=torch.float64), torch.tensor([0.2, 2.0], dtype=torch.float64)
    denoiser = GaussianDenoiser(mean, variances, EDM())
    z = torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ends = {}
    for path in (EDM(), Shifted(EDM(), 4.0)):
        first, last = (float(path.time_of(-math.log(sigma))) for sigma in (40.0, 0.01))
        grid = LogSNR(start=first, end=last)
        ends[path] = sample(denoiser, path, Exponential(order=2), steps=12, grid=grid, x_start=40 * z)
    torch.testing.assert_close(*ends.values(), rtol=1e-9, atol=1e-11)
