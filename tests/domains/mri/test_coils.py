"""Coil compression keeps the signal and the whiteness of noise; the noise is found where there is no object."""

import pytest
import torch
from torch import Tensor

from ornstein.domains.mri.coils import compress_coils, compression, estimate_noise, virtual_coils
from ornstein.domains.mri.operator import NonCartesian, fft


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Real and imaginary parts of unit standard deviation."""
    return torch.randn(shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed)) * 2**0.5


def test_virtual_coils_are_orthonormal_and_strongest_first(head, coils):
    kspace = fft(head * coils)[None]
    vectors = virtual_coils(kspace)[0]
    torch.testing.assert_close(vectors.mH @ vectors, torch.eye(6, dtype=torch.complex64), rtol=0, atol=1e-5)
    energy = (vectors.mH @ kspace[0].flatten(1)).norm(dim=1)
    assert (energy.diff() <= 0).all()


def test_compression_keeps_all_energy_that_so_many_coils_can(head, coils):
    kspace = fft(head * coils)[None]
    for virtual in (1, 3, 5):
        singular = torch.linalg.svdvals(kspace[0].flatten(1))
        kept = compress_coils(kspace, virtual)
        assert kept.shape == (1, virtual, 96, 80)
        best = singular[:virtual].square().sum()
        assert kept.norm().square() == pytest.approx(float(best), rel=1e-4)  # Eckart and Young
    assert compress_coils(kspace, 6) is kspace and compress_coils(kspace, 12) is kspace


def test_one_matrix_serves_data_calibration_and_maps(head, coils):
    kspace = fft(head * coils)[None]
    matrix = compression(kspace, 4)
    image = compress_coils(coils[None, None], 4, matrix=matrix)[0] * head
    torch.testing.assert_close(fft(image), compress_coils(kspace, 4, matrix=matrix), rtol=1e-4, atol=1e-4)


def test_compressed_noise_stays_white():
    kspace = noise(1, 6, 96, 80)
    parts = torch.view_as_real(compress_coils(kspace, 4))
    # 15,360 numbers a coil: their deviation is known to 0.6 %.
    torch.testing.assert_close(parts.transpose(0, 1).flatten(1).std(1), torch.ones(4), rtol=0.03, atol=0)


@pytest.mark.parametrize("level", [0.001, 0.005, 0.05])
@pytest.mark.parametrize("acceleration", [1, 4])
def test_noise_of_each_coil_is_found_within_fifteen_percent(head, coils, lines, level, acceleration):
    mask = lines(80, acceleration, 80 if acceleration == 1 else 8)
    levels = level * torch.linspace(0.5, 2, 6)
    image = head * coils
    smooth = fft(image)
    smooth = smooth * torch.hann_window(96, periodic=False)[:, None] * torch.hann_window(80, periodic=False)
    kspace = (smooth + levels[:, None, None] * noise(*coils.shape)) * mask
    torch.testing.assert_close(estimate_noise(kspace[None], mask) / levels, torch.ones(6), rtol=0.15, atol=0)


def test_noise_is_found_with_a_mask_in_the_plane_and_along_spokes(head, coils):
    window = torch.hann_window(96, periodic=False)[:, None] * torch.hann_window(80, periodic=False)
    mask = torch.rand(96, 80, generator=torch.Generator().manual_seed(1)) < 0.3
    kspace = (fft(head * coils) * window + 0.02 * noise(*coils.shape)) * mask
    torch.testing.assert_close(estimate_noise(kspace[None], mask) / 0.02, torch.ones(6), rtol=0.15, atol=0)
    angle = torch.pi * torch.arange(40)[:, None] / 40
    radius = torch.arange(-48, 48)
    k = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle) * 80 / 96], -1)
    blurred = torch.fft.fftshift(
        torch.fft.ifft2(torch.fft.ifftshift(fft(head * coils) * window, (-2, -1)), norm="ortho"), (-2, -1)
    )
    samples = NonCartesian(torch.ones(1, 1, 96, 80, dtype=torch.complex64), k).forward(blurred[:, None])[:, 0]
    samples = samples[None] + 0.02 * noise(1, 6, 40, 96)
    torch.testing.assert_close(estimate_noise(samples, trajectory=k) / 0.02, torch.ones(6), rtol=0.15, atol=0)


def test_padding_with_zeros_is_not_taken_for_silence(coils):
    kspace = 0.3 * noise(1, *coils.shape)
    kspace[..., :4, :] = kspace[..., -4:, :] = 0
    kspace[..., :6] = kspace[..., -6:] = 0
    assert estimate_noise(kspace).mean() == pytest.approx(0.3, rel=0.15)
    assert torch.equal(estimate_noise(torch.zeros_like(kspace)), torch.zeros(6))
