"""What the raw data of many coils say before any image: their principal components and their noise."""

import torch
from torch import Tensor

from ornstein.core.operators import eigen
from ornstein.domains.mri.operator import ifft


def virtual_coils(kspace: Tensor) -> Tensor:
    """Principal components of the coils, strongest first: unitary (slices, coils, coils), one component a column."""
    data = kspace.flatten(2)
    scale = data.abs().amax((1, 2), keepdim=True).clamp(min=1e-30)
    _, vectors = eigen((data / scale) @ (data / scale).mH)
    vectors = vectors.flip(-1)
    # An eigenvector's phase is arbitrary: here its largest entry is positive.
    largest = vectors.gather(-2, vectors.abs().argmax(-2, keepdim=True))
    return vectors * torch.polar(torch.ones_like(largest.real), -largest.angle())


def compression(kspace: Tensor, virtual: int) -> Tensor:
    """The matrix (virtual, coils) to the principal components of all the slices, strongest first.

    Its rows are orthonormal: white noise stays white, with the same standard deviation.

    Args:
        kspace: (slices, coils, readout, phase), complex; some slices serve for a whole volume.
        virtual: how many components to keep, from 1 to the number of coils.

    Source: Buehrer et al. (2007), Array compression for MRI with large coil arrays, 10.1002/mrm.21237.
    """
    coils = kspace.shape[1]
    assert 1 <= virtual <= coils, f"{virtual} virtual coils of {coils}"
    return virtual_coils(kspace.transpose(0, 1).reshape(1, coils, 1, -1))[0, :, :virtual].mH


def compress_coils(kspace: Tensor, virtual: int, *, matrix: Tensor | None = None) -> Tensor:
    """K-space (or calibration lines, or maps) in `virtual` coils: (*batch, virtual, ...) from (*batch, coils, ...).

    Args:
        kspace: (*batch, coils, readout, phase), complex.
        virtual: coils to keep; where there are no more than that, the data stay as they are.
        matrix: of `compression`, where it was found on other data; that of `kspace` otherwise.
    """
    if virtual >= kspace.shape[-3]:
        return kspace
    if matrix is None:
        matrix = compression(kspace.reshape(-1, *kspace.shape[-3:]), virtual)
    return torch.einsum("vc,...cxy->...vxy", matrix, kspace)


def estimate_noise(kspace: Tensor, mask: Tensor | None = None, trajectory: Tensor | None = None) -> Tensor:
    """The standard deviation of the noise in the real and in the imaginary part, for each coil, (coils,).

    It is read where the object is weakest: the outermost samples and, where whole lines are sampled, the ends of the
    readout in image space on the outer lines; the lower of the two. The median absolute value ignores what is left of
    the object there. Exact zeros (padding) are not counted.

    Args:
        kspace: (slices, coils, readout, phase), complex, or (slices, coils, spokes, samples) with a trajectory.
        mask: bool (phase,) or (readout, phase), of what was sampled.
        trajectory: (spokes, samples, 2) in 1 / field of view, instead of a mask.
    """
    size = kspace.shape[-2:]
    if trajectory is not None:
        return _outermost(kspace, torch.linalg.vector_norm(trajectory.to(kspace.real), dim=-1))
    mask = torch.ones(size[-1], dtype=torch.bool, device=kspace.device) if mask is None else mask
    away = [(torch.arange(n, device=kspace.device) - n // 2).to(kspace.real.dtype) / n for n in size]
    radius = torch.hypot(away[0][:, None], away[1][None]).masked_fill(~mask, -1)
    noise = _outermost(kspace, radius)
    lines = mask.reshape(-1, mask.shape[-1])
    if not bool((lines == lines[:1]).all()):
        return noise
    sampled = lines[0].nonzero()[:, 0]
    outer = sampled[torch.argsort(away[1][sampled].abs(), descending=True, stable=True)[: max(1, len(sampled) // 2)]]
    hybrid = ifft(kspace[..., outer], (-2,))
    margin = max(1, size[0] // 25)
    ends = torch.cat([hybrid[..., :margin, :], hybrid[..., -margin:, :]], -2)
    return torch.minimum(noise, _spread(ends.transpose(0, 1).flatten(1)))


def _outermost(kspace: Tensor, radius: Tensor) -> Tensor:
    """The spread of the tenth of the samples that lies farthest out; a negative radius was not sampled."""
    radius = radius.flatten()
    order = torch.argsort(radius, descending=True, stable=True)[: max(1, int((radius >= 0).sum()) // 10)]
    return _spread(kspace.flatten(-2)[..., order].transpose(0, 1).flatten(1))


def _spread(values: Tensor) -> Tensor:
    """The standard deviation of each row's Gaussian real and imaginary parts, by the median of their size."""
    parts = torch.view_as_real(values.resolve_conj()).flatten(1).abs()
    medians = [row[row > 0].median() if bool((row > 0).any()) else row.new_zeros(()) for row in parts]
    return torch.stack(medians) / 0.6744897501960817  # the median of |z|, z ~ N(0, 1)
