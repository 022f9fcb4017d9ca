"""Posterior samples with a prior whose answer is known, and what a scan tells of its noise and of the prior's error."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ornstein.core.analytic import GaussianDenoiser
from ornstein.datasets.kspace import KSpace
from ornstein.domains.mri.diffusion import DiffusionSettings, misfit, posterior_samples
from ornstein.domains.mri.operator import MultiCoil, encode, fft
from ornstein.domains.mri.reconstruction import survey

DEVIATION = 0.5


def white_prior(shape):
    """Independent pixels of deviation `DEVIATION` in real and imaginary part, and its error at a noise level."""
    prior = GaussianDenoiser(torch.zeros(2, *shape), torch.full((2, *shape), DEVIATION**2))
    return prior, lambda sigma: DEVIATION * sigma / math.hypot(DEVIATION, sigma)


def picture(shape, deviation, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.view_as_complex(deviation * torch.randn(*shape, 2, generator=generator))


def test_prior_that_knows_its_error_fits(coils):
    prior, error = white_prior(coils.shape[-2:])
    full = MultiCoil(coils[None], torch.ones(coils.shape[-1], dtype=torch.bool))
    y = full.forward(picture((2, 1, *coils.shape[-2:]), DEVIATION))
    # 2 * 96 * 80 complex pixels: the relative error of a deviation is about 1 %; SENSE of full data costs .1 %.
    assert misfit(full, y, prior, error, noise=1e-3) == pytest.approx(1, abs=0.03)


def test_misfit_is_the_error_over_the_curve(coils):
    prior, error = white_prior(coils.shape[-2:])
    full = MultiCoil(coils[None], torch.ones(coils.shape[-1], dtype=torch.bool))
    deviation, sigma, noise = 2.0, 0.3, 0.05
    y = full.forward(picture((2, 1, *coils.shape[-2:]), deviation))
    y = y + picture(y.shape, noise, seed=1)
    shrink = DEVIATION**2 / (DEVIATION**2 + sigma**2)
    expected = math.hypot((1 - shrink) * deviation, shrink * sigma) / error(sigma)
    assert expected > 2  # a picture of another kind than the prior's
    # The SENSE image is 1 % short, and the noise of its samples is also in the estimate that they are compared with.
    assert misfit(full, y, prior, error, noise) == pytest.approx(expected, rel=0.05)


def test_posterior_samples_do_not_depend_on_their_batch(coils, head, lines):
    prior, error = white_prior(head.shape)
    mask = lines(head.shape[-1], 3, 12)
    images = torch.stack([head, 0.7 * head.flip(0)])
    kspace = fft(images[:, None] * coils) * mask
    operator, y = encode(kspace[:, None], coils[None, None, None].expand(2, 1, 1, -1, -1, -1), mask)
    settings = DiffusionSettings(steps=4, samples=2, precision="fp32")
    both = posterior_samples(operator, y, prior, error, 0.01, settings, [3, 9])
    operator, y = encode(kspace[1:, None], coils[None, None, None], mask)
    one = posterior_samples(operator, y, prior, error, 0.01, settings, [9])
    assert both.evaluations == 2 * one.evaluations == 2 * 2 * 4
    # In float32; the eigenvectors of both slices' rows come from one batch.
    torch.testing.assert_close(both.images[1], one.images[0], rtol=0, atol=2e-5)
    assert (one.images[0, 0] - one.images[0, 1]).abs().mean() > 1e-3


@pytest.mark.parametrize("acceleration", [1, 3, 5])
def test_survey_finds_the_noise_whatever_the_fit_takes_along(coils, head, lines, acceleration):
    """Six coils at 5x leave hardly more samples than there are pixels: counting these would be off by far."""
    noise = 0.02
    mask = lines(head.shape[-1], acceleration, 10)
    clean = fft(head * coils)
    noisy = (clean + picture(clean.shape, noise)) * mask
    scan = KSpace(noisy[None].numpy(), mask.numpy())
    own = replace(scan, sensitivities=np.ascontiguousarray(coils[None].numpy()))
    assert survey(own).noise == pytest.approx(noise, rel=0.15)
