"""How near an image is to its reference: PSNR, SSIM, NMSE, over the volume and inside the head."""

import numpy as np
from numpy.typing import NDArray

from ornstein.core.errors import InputError

Array = NDArray[np.floating]

MARGIN = 3  # voxels that the head is grown by: the edge belongs to it
WINDOW = 7  # voxels of the SSIM's window
C1, C2 = 0.01, 0.03  # of SSIM, in units of the peak


def peak_of(reference: Array) -> float:
    """The 99.9th percentile: a peak that a few bright voxels (vessels, spikes) do not move."""
    return float(np.percentile(reference, 99.9))


def head_of(reference: Array) -> NDArray[np.bool_]:
    """The head: above Otsu's threshold of the reference, grown by 3 voxels (steps to the 6, in 2D 4, neighbours)."""
    from scipy.ndimage import binary_dilation
    from skimage.filters import threshold_otsu

    return binary_dilation(reference > threshold_otsu(reference), iterations=MARGIN)


def similarity(result: Array, reference: Array, peak: float) -> Array:
    """SSIM of one slice at each voxel, (readout, phase), over 7 x 7 windows with uniform weights.

        (2 m_x m_y + c1) (2 cov + c2) / ((m_x^2 + m_y^2 + c1) (v_x + v_y + c2))

    Source: Wang et al. (2004), Image quality assessment: from error visibility to structural similarity,
    10.1109/TIP.2003.819861, eq. 13; sample variances and the window as in Zbontar et al. (2018), fastMRI,
    arXiv:1811.08839.
    """
    from scipy.ndimage import uniform_filter

    x, y = result.astype(np.float64), reference.astype(np.float64)
    mean = lambda image: uniform_filter(image, WINDOW)  # noqa: E731
    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    mean_x, mean_y = mean(x), mean(y)
    variance = unbiased * (mean(x * x) - mean_x**2 + mean(y * y) - mean_y**2)
    covariance = unbiased * (mean(x * y) - mean_x * mean_y)
    c1, c2 = (C1 * peak) ** 2, (C2 * peak) ** 2
    return (2 * mean_x * mean_y + c1) * (2 * covariance + c2) / ((mean_x**2 + mean_y**2 + c1) * (variance + c2))


def measure(
    result: Array,
    reference: Array,
    *,
    mask: NDArray[np.bool_] | None = None,
    fit_scale: bool = False,
    slice_axis: int = -1,
) -> dict[str, float]:
    """The field's measures of a magnitude image.

    Args:
        result: real image (x, y) or volume (x, y, z).
        reference: the truth, of the same shape.
        mask: the region of `psnr_head` and `ssim_head`, bool, of the same shape; by default the head, see `head_of`.
        fit_scale: first multiply the result by the factor that fits the reference best (least squares).
        slice_axis: the axis across the slices that SSIM looks at, for volumes.

    Returns:
        `psnr` and `psnr_head` in dB with the reference's 99.9th percentile as peak, `ssim` (mean over slices; windows
        that reach over the edge are left out) and `ssim_head` (mean over the voxels of the head), `nmse`
        = |x - y|^2 / |y|^2 and `nrmse`, its root.

    Raises:
        InputError: for shapes that differ, a slice smaller than the window, or a reference that is constant.
    """
    if result.shape != reference.shape or reference.ndim not in (2, 3):
        raise InputError(f"result {result.shape} against reference {reference.shape}", "give two volumes of one shape")
    x, y = result.astype(np.float64), reference.astype(np.float64)
    peak = peak_of(y)
    if not np.isfinite(x).all() or not np.isfinite(y).all() or peak <= 0 or float(np.ptp(y)) == 0:
        raise InputError("the reference is constant, or one of the images has values that are not finite")
    if fit_scale:
        x = x * (np.vdot(x, y) / max(np.vdot(x, x), np.finfo(np.float64).tiny))
    head = head_of(y) if mask is None else mask.astype(bool)
    if not head.any():
        raise InputError("the mask is empty", "give a mask that holds the object")
    if y.ndim == 2:
        x, y, head = x[..., None], y[..., None], head[..., None]
    else:
        x, y = np.moveaxis(x, slice_axis, -1), np.moveaxis(y, slice_axis, -1)
        head = np.moveaxis(head, slice_axis, -1)
    if min(y.shape[:2]) < WINDOW:
        raise InputError(f"slices of {y.shape[:2]} voxels, SSIM needs {WINDOW} x {WINDOW}", "choose another slice axis")
    edge = WINDOW // 2
    whole, inside = 0.0, 0.0
    for i in range(y.shape[-1]):
        values = similarity(x[..., i], y[..., i], peak)
        whole += float(values[edge:-edge, edge:-edge].mean())
        inside += float(values[head[..., i]].sum())
    error = (x - y) ** 2
    nmse = float(error.sum() / (y**2).sum())
    return {
        "psnr": _decibel(peak, float(error.mean())),
        "psnr_head": _decibel(peak, float(error[head].mean())),
        "ssim": whole / y.shape[-1],
        "ssim_head": inside / int(head.sum()),
        "nmse": nmse,
        "nrmse": nmse**0.5,
    }


def _decibel(peak: float, mean_square: float) -> float:
    """10 log10(peak^2 / mean square error); infinite for equal images."""
    return float("inf") if mean_square == 0 else float(10 * np.log10(peak**2 / mean_square))
