"""ESPIRiT maps explain the coils' images, are unit vectors inside the object and zero outside."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ornstein.core.errors import InputError
from ornstein.domains.mri.operator import NonCartesian, fft, ifft
from ornstein.domains.mri.sensitivities import Espirit, _iterate, calibration_region, estimate_sensitivities


def unexplained(maps: Tensor, images: Tensor) -> float:
    """|(I - S S^H) x| / |x| of coil images (slices, coils, readout, phase)."""
    parts = (maps.conj() * images.unsqueeze(1)).sum(2, keepdim=True)
    return float((images - (maps * parts).sum(1)).norm() / images.norm())


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed)) * 2**0.5


@pytest.fixture(scope="module")
def folded(head: Tensor, coils: Tensor) -> Tensor:
    """Coil images (1, coils, 96, 40) of a field of view half as wide as the head: two places in one pixel."""
    full = head * coils
    return (full[..., :40] + full[..., 40:]).roll(20, -1)[None]


@pytest.mark.parametrize("centre", [10, 16, 24])
def test_maps_of_undersampled_noisy_data_are_the_true_ones(head, coils, lines, centre):
    mask = lines(80, 4, centre)
    kspace = (fft(head * coils) + 0.005 * noise(*coils.shape)) * mask
    maps = estimate_sensitivities(kspace[None], mask)
    assert maps.shape == (1, 1, 6, 96, 80)
    # Noise-free coil images against maps from noisy data: measured .012 to .022.
    assert unexplained(maps, (head * coils)[None]) < 0.04
    inside = head.abs() > 0.1
    agreement = (maps[0, 0].conj() * coils).sum(0).abs()[inside]
    assert agreement.quantile(0.02) > 0.99


def test_maps_are_unit_vectors_inside_and_zero_outside(head, coils, lines):
    mask = lines(80, 4, 16)
    maps = estimate_sensitivities((fft(head * coils) * mask)[None], mask)[0, 0]
    length = maps.abs().square().sum(0)
    inside = length > 0
    torch.testing.assert_close(length[inside], torch.ones_like(length[inside]), rtol=1e-5, atol=0)
    assert inside[head.abs() > 0.1].float().mean() > 0.999
    assert inside.float().mean() < 0.75  # the ellipse covers .41, the eigenvalue blurs its edge


def test_phase_is_smooth(head, coils, lines):
    mask = lines(80, 4, 16)
    maps = estimate_sensitivities((fft(head * coils) * mask)[None], mask)[0, 0]
    inside = head.abs() > 0.1
    steps = ((maps[:, 1:] * maps[:, :-1].conj()).sum(0).angle().abs())[inside[1:] & inside[:-1]]
    # The phases of the maps themselves turn by some hundredths of a radian a pixel; random ones would by pi / 2.
    assert steps.max() < 0.2


def test_one_set_cannot_explain_a_folded_object_and_two_can(folded):
    mask = torch.ones(40, dtype=torch.bool)
    one, two = (estimate_sensitivities(fft(folded), mask, sets=sets) for sets in (1, 2))
    assert two.shape[1] == 2
    # Measured .006 against .100: the folded part is a sixth of the picture.
    assert 4 * unexplained(two, folded) < unexplained(one, folded)
    both = (two[:, 0].conj() * two[:, 1]).sum(1).abs()
    assert both.max() < 1e-5  # orthogonal, in float32


def test_iterated_eigenvectors_are_those_of_a_dense_solver(folded):
    settings = Espirit()
    lags = settings.lags(fft(folded)[:, :, 36:60, 8:32])[0]
    maps = settings.maps(fft(folded)[:, :, 36:60, 8:32], (96, 40), 2)[0]
    lag = torch.arange(-5, 6)
    rows, columns = (
        torch.exp(-2j * torch.pi * (torch.arange(n) - n // 2)[:, None] * lag / n).to(lags) for n in (96, 40)
    )
    values, vectors = torch.linalg.eigh(torch.einsum("xa,yb,abcd->xycd", rows, columns, lags))
    vectors = vectors.flip(-1)[..., :2] * (values.flip(-1)[..., None, :2] > 0.8)
    wanted = vectors @ vectors.mH
    found = torch.einsum("scxy,sdxy->xycd", maps, maps.conj())
    gap = (wanted - found).flatten(2).norm(dim=-1)
    # Four iterations: the projectors differ by 1e-3 where eigenvalues lie close, by far less elsewhere; at the edge of
    # the crop a pixel may fall on the other side.
    assert gap.median() < 1e-4 and gap.quantile(0.99) < 0.02


@given(seed=st.integers(0, 1000), spread=st.floats(0, 1))
def test_rayleigh_ritz_in_the_plane_sorts_the_pair(seed, spread):
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(5, 4, 4, dtype=torch.complex128, generator=generator))[0]
    values = torch.tensor([1.0, 1.0 - 0.3 * spread, 0.1, 0.0], dtype=torch.float64)
    matrices = basis @ torch.diag(values).to(basis) @ basis.mH
    start = torch.randn(5, 4, 2, dtype=torch.complex128, generator=generator)
    vectors, found = _iterate(matrices, start, iterations=30)
    torch.testing.assert_close(found, values[:2].expand(5, 2), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(matrices @ vectors, vectors * found[:, None].to(vectors), rtol=0, atol=1e-6)


def test_unsampled_positions_and_lines_outside_calibration_are_not_read(head, coils, lines):
    mask = lines(80, 4, 16)
    kspace = fft(head * coils)[None]
    centre = torch.zeros(80, dtype=torch.bool)
    centre[calibration_region(mask)[1]] = True
    assert torch.equal(estimate_sensitivities(kspace, mask), estimate_sensitivities(kspace * centre, mask))


def test_separate_calibration_lines_serve_where_the_centre_is_undersampled(head, coils):
    every_third = torch.arange(80) % 3 == 0
    kspace = fft(head * coils)[None]
    maps = estimate_sensitivities(kspace * every_third, every_third, calibration=kspace[..., 36:60, 28:52])
    assert unexplained(maps, (head * coils)[None]) < 0.04


def test_spokes_calibrate_too(head, coils):
    angle = 2.4 * torch.arange(60)[:, None]
    radius = torch.arange(-48, 48, 0.5)
    k = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle) * 80 / 96], -1)
    kspace = NonCartesian(coils[None], k).forward(head[None, None])
    maps = estimate_sensitivities(kspace, trajectory=k, shape=(96, 80))
    assert maps.shape == (1, 1, 6, 96, 80)
    assert unexplained(maps, (head * coils)[None]) < 0.02  # measured .004


def test_missing_centre_is_refused_with_what_to_do(head, coils):
    every_third = torch.arange(80) % 3 == 0
    with pytest.raises(InputError, match="fully sampled") as caught:
        estimate_sensitivities(fft(head * coils)[None], every_third)
    assert "calibration" in caught.value.hint


def test_a_slice_has_the_same_maps_whatever_its_batch(head, coils, lines):
    mask = lines(80, 4, 16)
    kspace = torch.stack([fft(head * coils), fft(head.flip(0) * coils), torch.zeros_like(coils)]) * mask
    whole = estimate_sensitivities(kspace, mask)
    alone = estimate_sensitivities(kspace[1:2], mask)
    torch.testing.assert_close(whole[1:2], alone, rtol=1e-4, atol=1e-4)  # batched matrix products in another order
    assert whole[2].abs().max() == 0  # an empty slice has no maps


@pytest.mark.parametrize("scale", [1e-6, 3.0, 1e6])
def test_units_of_the_data_do_not_matter(head, coils, lines, scale):
    mask = lines(80, 4, 16)
    kspace = (fft(head * coils) * mask)[None]
    torch.testing.assert_close(
        estimate_sensitivities(kspace * scale, mask), estimate_sensitivities(kspace, mask), rtol=1e-3, atol=1e-3
    )


@given(low=st.integers(0, 30), high=st.integers(33, 63), rest=st.integers(0, 99))
def test_calibration_region_is_the_run_around_the_centre(low, high, rest):
    mask = torch.zeros(64, dtype=torch.bool)
    mask[low:high] = True
    found = calibration_region(mask, 24)[1]
    assert mask[found].all() and found.start <= 32 < found.stop
    assert found.stop - found.start == min(high, 44) - max(low, 20)


def test_calibration_region_of_a_plane_is_the_largest_rectangle():
    mask = torch.zeros(64, 48, dtype=torch.bool)
    mask[32 - 7 : 32 + 7, 24 - 5 : 24 + 5] = True
    mask[0, 0] = True
    rows, columns = calibration_region(mask, 24)
    assert (rows, columns) == (slice(25, 39), slice(19, 29))
    assert calibration_region(torch.zeros(64, 48, dtype=torch.bool)) == (slice(0, 0), slice(0, 0))


@pytest.mark.data
def test_real_folded_slice_is_explained_as_well_as_by_bart(shared_data):
    import h5py

    with h5py.File(shared_data / "medical" / "kspace" / "lustig_brain_8coil_full_320x168.h5") as file:
        kspace = torch.from_numpy(file["kspace"][...])
    maps = estimate_sensitivities(kspace, torch.ones(168, dtype=torch.bool), sets=2)
    # `bart ecalib -m 2` (0.8.00) leaves .1127.
    assert unexplained(maps, ifft(kspace)) < 1.05 * 0.1127
