"""Posterior samples of stacks: coupling lessens the error from slice to slice, and the spread of samples is a factor."""

import math
from dataclasses import replace

import pytest
import torch

from ornstein.core.analytic import GaussianDenoiser
from ornstein.domains.mri.diffusion import DiffusionSettings, posterior_samples
from ornstein.domains.mri.operator import encode, fft

SETTINGS = DiffusionSettings(steps=6, samples=2, precision="fp32")


@pytest.fixture
def stack(coils, head, lines):
    """k-space of four slices that change little from one to the next, and the slices."""
    images = torch.stack([head * (1 + 0.02 * n) for n in range(4)])
    mask = lines(head.shape[-1], 4, 8)
    noise = torch.view_as_complex(0.05 * torch.randn(4, 6, *head.shape, 2, generator=torch.Generator().manual_seed(1)))
    kspace = (fft(images[:, None] * coils) + noise) * mask
    return *encode(kspace[:, None], coils[None, None, None].expand(4, 1, 1, -1, -1, -1), mask), images


def white(shape):
    prior = GaussianDenoiser(torch.zeros(2, *shape), torch.full((2, *shape), 0.25))
    return prior, lambda sigma: 0.5 * sigma / math.hypot(0.5, sigma)


def run(stack, difference, items=(5, 6, 7, 8)):
    operator, y, images = stack
    prior, error = white(images.shape[1:])
    settings = replace(SETTINGS, difference=difference)
    made = posterior_samples(operator, y, prior, error, 0.05, settings, list(items))
    return made.images[:, :, 0]


def test_coupling_lowers_the_error_through_the_plane(stack):
    truth = stack[2][:, None]

    def errors(images):
        left = images.mean(1, keepdim=True) - truth
        return float(left.abs().square().mean()), float(left.diff(dim=0).abs().square().mean())

    alone, coupled = errors(run(stack, math.inf)), errors(run(stack, 0.02))
    assert coupled[0] < alone[0]
    assert coupled[1] < 0.7 * alone[1]


def test_slices_that_do_not_follow_each_other_are_no_stack(stack):
    with pytest.raises(AssertionError, match="no stack"):
        run(stack, 0.02, items=(1, 2, 3, 9))
    assert run(stack, math.inf, items=(1, 2, 3, 9)).isfinite().all()


def test_spread_scales_the_deviations_and_leaves_the_mean(stack):
    operator, y, images = stack
    prior, error = white(images.shape[1:])
    one, two = (
        posterior_samples(operator, y, prior, error, 0.05, replace(SETTINGS, spread=spread), [0, 1, 2, 3]).images
        for spread in (1.0, 2.0)
    )
    torch.testing.assert_close(one.mean(1), two.mean(1))
    torch.testing.assert_close(2 * (one - one.mean(1, keepdim=True)), two - two.mean(1, keepdim=True))
