"""The measures are those of the field: closed forms, and scikit-image for SSIM."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation
from skimage.filters import threshold_otsu
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ornstein.core.errors import InputError
from ornstein.domains.mri.measures import head_of, measure, peak_of


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    """A ball with texture in a dark room, (40, 36, 12)."""
    rng = np.random.default_rng(0)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (40, 36, 12)), indexing="ij")
    ball = x**2 + y**2 + z**2 < 0.6
    return (ball * (0.7 + 0.2 * np.sin(9 * x) * np.cos(7 * y)) + 0.01 * rng.random(ball.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def noisy(volume: np.ndarray) -> np.ndarray:
    return volume + 0.05 * np.random.default_rng(1).standard_normal(volume.shape).astype(np.float32)


def test_values_agree_with_independent_implementations(volume, noisy):
    found = measure(noisy, volume)
    peak = np.percentile(volume, 99.9)
    inside = binary_dilation(volume > threshold_otsu(volume), iterations=3)
    double = volume.astype(np.float64), noisy.astype(np.float64)
    maps = [
        structural_similarity(double[0][..., i], double[1][..., i], win_size=7, data_range=peak, full=True)
        for i in range(volume.shape[-1])
    ]
    # Float64 on both sides.
    assert found["psnr"] == pytest.approx(peak_signal_noise_ratio(*double, data_range=peak), abs=1e-6)
    expected = 10 * math.log10(peak**2 / np.mean((double[0] - double[1])[inside] ** 2))
    assert found["psnr_head"] == pytest.approx(expected, abs=1e-6)
    assert found["ssim"] == pytest.approx(np.mean([m[0] for m in maps]), abs=1e-9)
    assert found["ssim_head"] == pytest.approx(np.stack([m[1] for m in maps], -1)[inside].mean(), abs=1e-9)
    nmse = np.sum((double[0] - double[1]) ** 2) / np.sum(double[0] ** 2)
    assert found["nmse"] == pytest.approx(nmse) and found["nrmse"] == pytest.approx(math.sqrt(nmse))


def test_equal_images_are_perfect(volume):
    found = measure(volume, volume)
    assert found["psnr"] == found["psnr_head"] == math.inf
    assert found["ssim"] == pytest.approx(1) and found["ssim_head"] == pytest.approx(1)
    assert found["nmse"] == 0


@given(factor=st.floats(0.01, 100))
def test_a_common_factor_changes_nothing(volume, noisy, factor):
    scaled, plain = measure(factor * noisy, factor * volume), measure(noisy, volume)
    assert scaled == pytest.approx(plain, rel=1e-4)  # the factor is rounded in float32


@given(factor=st.floats(0.01, 100))
def test_fitted_scale_undoes_a_factor_of_the_result_only(volume, noisy, factor):
    fitted = measure(factor * noisy, volume, fit_scale=True)
    assert fitted == pytest.approx(measure(noisy, volume, fit_scale=True), rel=1e-4)
    assert fitted["nmse"] <= measure(noisy, volume)["nmse"] + 1e-9
    if abs(factor - 1) > 0.5:
        assert measure(factor * noisy, volume)["psnr"] < fitted["psnr"] - 3


def test_a_mask_chooses_where_the_head_is(volume, noisy):
    mask = np.zeros(volume.shape, bool)
    mask[10:20, 10:20, 5] = True
    expected = 10 * math.log10(peak_of(volume) ** 2 / np.mean((noisy - volume)[mask] ** 2))
    assert measure(noisy, volume, mask=mask)["psnr_head"] == pytest.approx(expected, abs=1e-4)


def test_slice_axis_is_only_a_view(volume, noisy):
    turned = measure(noisy.transpose(2, 0, 1), volume.transpose(2, 0, 1), slice_axis=0)
    assert turned == pytest.approx(measure(noisy, volume))


def test_one_slice_is_a_volume_of_one(volume, noisy):
    assert measure(noisy[..., 5], volume[..., 5]) == pytest.approx(
        measure(noisy[..., 5:6], volume[..., 5:6], mask=head_of(volume[..., 5])[..., None])
    )


@pytest.mark.parametrize(
    ("result", "reference"),
    [
        (np.ones((9, 9)), np.ones((9, 8))),
        (np.ones((9, 9)), np.ones((9, 9))),
        (np.full((9, 9), np.nan), np.eye(9)),
        (np.eye(5), np.eye(5)),
        (np.ones(9), np.ones(9)),
    ],
)
def test_images_that_cannot_be_compared_are_refused(result, reference):
    with pytest.raises(InputError):
        measure(result, reference)
