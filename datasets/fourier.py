"""The Fourier convention of every k-space here: centred and orthonormal, in numpy and in the dtype that came."""

from collections.abc import Sequence

import numpy as np
import scipy.fft


def to_kspace(image: np.ndarray, axes: Sequence[int] = (-2, -1)) -> np.ndarray:
    """k[m] = 1 / sqrt(N) sum_n x[n] exp(-2 pi i (m - N//2)(n - N//2) / N) along each of `axes`, in the dtype of x."""
    return scipy.fft.fftshift(scipy.fft.fftn(scipy.fft.ifftshift(image, axes), axes=axes, norm="ortho"), axes)


def to_image(kspace: np.ndarray, axes: Sequence[int] = (-2, -1)) -> np.ndarray:
    """The inverse and the adjoint of `to_kspace`."""
    return scipy.fft.fftshift(scipy.fft.ifftn(scipy.fft.ifftshift(kspace, axes), axes=axes, norm="ortho"), axes)


def crop(array: np.ndarray, size: int, axis: int) -> np.ndarray:
    """The middle `size` entries of an axis, the centre N//2 going to size//2; a view."""
    length = array.shape[axis]
    assert 0 < size <= length, f"{size} of {length} entries"
    start = length // 2 - size // 2
    return np.moveaxis(np.moveaxis(array, axis, 0)[start : start + size], 0, axis)


def crop_readout(kspace: np.ndarray, size: int, axis: int = -2) -> np.ndarray:
    """k-space of the middle `size` pixels along the readout: readout oversampling removed, in image space.

    The transform is orthonormal on both sides, so white noise keeps its standard deviation.
    """
    return to_kspace(crop(to_image(kspace, (axis,)), size, axis), (axis,))
