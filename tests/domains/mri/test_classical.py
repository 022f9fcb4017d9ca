"""The classical methods solve the problems they state, and bring undersampled images closer to the truth."""

import pytest
import torch
from torch import Tensor

from ornstein.domains.mri.classical import (
    cg_sense,
    divergence,
    gradient,
    image_scale,
    total_variation,
    zero_filled,
)
from ornstein.domains.mri.operator import NonCartesian, encode, fft


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(0)) * 2**0.5


@pytest.fixture(scope="module")
def scan(head, coils, lines):
    """K-space of the head at 4x with a little noise, its mask, and maps that end at the head's edge."""
    mask = lines(80, 4, 8)
    kspace = (fft(head * coils) + 0.005 * noise(*coils.shape)) * mask
    return kspace[None], (coils * (head.abs() > 0))[None, None], mask


def error(images: Tensor, head: Tensor) -> float:
    return float((images[0, 0] - head).norm() / head.norm())


def objective(images: Tensor, scan: tuple[Tensor, Tensor, Tensor], weight: float) -> float:
    """1/2 |A x - y|^2 + weight TV(x), written from the definition."""
    kspace, maps, mask = scan
    left = fft((images.unsqueeze(2) * maps).sum(1)) * mask - kspace
    down = torch.diff(images, dim=-2, append=images[..., -1:, :])
    right = torch.diff(images, dim=-1, append=images[..., -1:])
    total = (down.abs() ** 2 + right.abs() ** 2).sqrt().sum()
    return float(left.abs().square().sum() / 2 + weight * total)


def test_all_sampled_zero_filled_image_is_the_head(head, coils):
    images = zero_filled(fft(head * coils)[None], coils[None, None])
    torch.testing.assert_close(images[0, 0], head, rtol=1e-5, atol=2e-6)  # float32 transforms there and back


def test_each_method_is_better_than_the_one_before(scan, head):
    errors = [error(method(*scan), head) for method in (zero_filled, cg_sense, total_variation)]
    # Measured .34, .17, .10.
    assert errors[0] > 1.3 * errors[1] and errors[1] > 1.3 * errors[2]


def test_cg_sense_solves_its_normal_equations(scan):
    operator, y = encode(*scan)
    x = cg_sense(*scan, regularisation=0.1, iterations=60)
    left = operator.normal(x) + 0.1 * scan[2].float().mean() * x - operator.adjoint(y)
    assert left.norm() < 1e-4 * operator.adjoint(y).norm()


def test_total_variation_reaches_the_least_objective(scan):
    weight = 0.005
    scale = float(image_scale(zero_filled(*scan)))
    exact = total_variation(*scan, weight=weight, iterations=600)
    best = objective(exact, scan, weight * scale)
    default = objective(total_variation(*scan, weight=weight), scan, weight * scale)
    # An optimum is better than what lies around it.
    moved = [objective(exact + 0.003 * scale * noise(*exact.shape), scan, weight * scale)]
    moved += [objective(factor * exact, scan, weight * scale) for factor in (0.99, 1.01)]
    assert min(moved) > best
    assert default < 1.01 * best  # measured 1.002


def test_total_variation_has_the_closed_form_of_two_pixels():
    # One coil, all sampled: min 1/2 |x - y|^2 + w |x_1 - x_2| moves both values towards each other by w.
    image = torch.tensor([[1.0 + 1j, 3.0 + 1j]], dtype=torch.complex128)[None, None]
    maps = torch.ones(1, 1, 1, 1, 2, dtype=torch.complex128)
    found = total_variation(fft(image), maps, weight=0.25, iterations=600, scale=1.0)
    torch.testing.assert_close(found, image + torch.tensor([0.25, -0.25]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-5, 1e4])
def test_units_of_the_data_do_not_matter(scan, scale):
    kspace, maps, mask = scan
    for method in (zero_filled, cg_sense, total_variation):
        one, other = method(kspace, maps, mask), method(kspace * scale, maps, mask) / scale
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_slices_do_not_see_each_other(scan):
    kspace, maps, mask = scan
    pair = torch.cat([kspace, 0.1 * kspace.flip(-2)])
    both = torch.cat([maps, maps.roll(3, -1)])
    for method in (zero_filled, cg_sense, total_variation):
        whole = method(pair, both, mask)
        alone = torch.cat([method(pair[i : i + 1], both[i : i + 1], mask) for i in range(2)])
        torch.testing.assert_close(whole, alone, rtol=1e-4, atol=1e-5)


def test_two_sets_explain_a_folded_object(head, coils):
    # A field of view half as wide as the head: every pixel holds two places, each with maps of its own.
    folded = (head * coils)[..., :40] + (head * coils)[..., 40:]
    maps = torch.stack([coils[..., :40], coils[..., 40:]])[None]
    images = cg_sense(fft(folded)[None], maps, regularisation=1e-5, iterations=200)
    wanted = torch.stack([head[:, :40], head[:, 40:]])
    assert (images[0] - wanted).norm() < 0.02 * wanted.norm()
    assert total_variation(fft(folded)[None], maps).shape == (1, 2, 96, 40)


def test_spokes_are_reconstructed_by_every_method(head, coils):
    angle = 2.4 * torch.arange(48)[:, None]
    radius = torch.arange(-48, 48, 0.5)
    k = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle) * 80 / 96], -1)
    kspace = NonCartesian(coils[None], k).forward(head[None, None])
    maps = coils[None, None]
    errors = [error(method(kspace, maps, trajectory=k), head) for method in (zero_filled, cg_sense, total_variation)]
    assert max(errors) < 0.2 and errors[2] == min(errors)


def test_empty_slice_stays_empty(scan):
    kspace, maps, mask = scan
    for method in (zero_filled, cg_sense, total_variation):
        assert method(torch.zeros_like(kspace), maps, mask).abs().max() == 0


def test_divergence_is_the_adjoint_of_the_gradient():
    x = torch.randn(2, 3, 7, 5, dtype=torch.complex128)
    g = torch.randn(2, 2, 3, 7, 5, dtype=torch.complex128)
    torch.testing.assert_close(
        torch.vdot(gradient(x).flatten(), g.flatten()), torch.vdot(x.flatten(), divergence(g).flatten())
    )


def test_scale_is_the_99th_percentile_of_the_tissue_of_each_slice():
    images = torch.linspace(0, 1, 1000).reshape(1, 1, 25, 40) * torch.tensor([1.0, 3.0])[:, None, None, None]
    # The 95 % above the background's bound of 0.05: their 99th percentile lies at 0.05 + 0.99 * 0.95.
    torch.testing.assert_close(image_scale(images), torch.tensor([0.9905, 2.9715]), rtol=2e-3, atol=0)
