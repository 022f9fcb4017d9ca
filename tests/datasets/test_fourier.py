"""The Fourier convention."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ornstein.datasets.fourier import crop, crop_readout, to_image, to_kspace


def dft(n: int) -> np.ndarray:
    """The centred orthonormal DFT as a matrix, from its definition."""
    m = np.arange(n) - n // 2
    return np.exp(-2j * np.pi * np.outer(m, m) / n) / np.sqrt(n)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 100))
def test_transform_is_the_centred_orthonormal_dft(rows, columns, seed):
    x = np.random.default_rng(seed).normal(size=(2, rows, columns, 2)).view(complex)[..., 0]
    k = to_kspace(x)
    assert np.allclose(k, dft(rows) @ x @ dft(columns).T, atol=1e-12)  # float64 rounding
    assert np.allclose(to_image(k), x, atol=1e-12)


def test_transform_keeps_single_precision():
    assert to_kspace(np.ones((4, 4), np.complex64)).dtype == np.complex64


@pytest.mark.parametrize(("length", "size"), [(8, 4), (8, 5), (9, 4), (9, 5), (7, 7)])
def test_cropped_readout_is_the_kspace_of_the_middle_of_the_image(length, size):
    x = np.random.default_rng(0).normal(size=(3, length, 6)).astype(np.complex64)
    middle = crop(x, size, -2)
    assert middle[0, size // 2, 0] == x[0, length // 2, 0]
    assert np.allclose(crop_readout(to_kspace(x), size), to_kspace(middle), atol=1e-5)  # float32 rounding


def test_cropping_the_readout_keeps_the_deviation_of_white_noise():
    noise = np.random.default_rng(0).normal(size=(1, 512, 400, 2)).view(complex)[..., 0]
    cut = crop_readout(noise, 256)
    assert cut.real.std() == pytest.approx(1, abs=0.01)  # 100,000 values: their deviation is known to 0.2 %
