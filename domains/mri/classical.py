"""Reconstruction without a learned prior: zero-filled, CG-SENSE, total variation.

All take slices in a batch and the coils' maps, and give complex images (slices, sets, readout, phase):

    kspace         (slices, coils, readout, phase), or (slices, coils, spokes, samples) with a trajectory
    sensitivities  broadcastable to (slices, sets, coils, readout, phase)
    mask           bool (phase,) or (readout, phase)
    trajectory     (spokes, samples, 2) in 1 / field of view, instead of a mask
"""

import torch
from torch import Tensor

from ornstein.core.operators import LinearOperator, conjugate_gradient, inner
from ornstein.domains.mri.operator import NonCartesian, encode

DUAL_STEP = 0.05  # of total variation, for images of unit scale: near the best from 10 to 200 iterations


def zero_filled(
    kspace: Tensor, sensitivities: Tensor, mask: Tensor | None = None, trajectory: Tensor | None = None
) -> Tensor:
    """A^H y, with unsampled k-space as zero; along a trajectory A^H W y, with W evening out the density of samples."""
    operator, y = encode(kspace, sensitivities, mask, trajectory)
    return _back_project(operator, y)


def cg_sense(
    kspace: Tensor,
    sensitivities: Tensor,
    mask: Tensor | None = None,
    trajectory: Tensor | None = None,
    *,
    regularisation: float = 0.01,
    iterations: int = 30,
) -> Tensor:
    """The least-squares image, min |A x - y|^2 + regularisation L |x|^2, L the largest eigenvalue of A^H A (1 on a grid).

    Args:
        regularisation: at least 0; it holds back the noise where the maps say little.
        iterations: of conjugate gradients.

    Source: Pruessmann et al. (2001), Advances in sensitivity encoding with arbitrary k-space trajectories,
    10.1002/mrm.1241.
    """
    operator, y = encode(kspace, sensitivities, mask, trajectory)
    b = operator.adjoint(y)
    shift = regularisation * _largest_eigenvalue(operator, b)
    return conjugate_gradient(operator.normal, b, iterations=iterations, shift=shift)


def total_variation(
    kspace: Tensor,
    sensitivities: Tensor,
    mask: Tensor | None = None,
    trajectory: Tensor | None = None,
    *,
    weight: float = 0.002,
    iterations: int = 120,
    scale: Tensor | float | None = None,
) -> Tensor:
    """The image of least isotropic total variation that explains the data,

        min 1/2 |A x - y|^2 + weight scale sum_n sqrt(|x_(n+e1) - x_n|^2 + |x_(n+e2) - x_n|^2),

    each set of maps with its own sum.

    Args:
        weight: of the total variation, at least 0, in units of the image's scale.
        iterations: of the primal-dual method; 120 bring the objective to within 1 %.
        scale: of the image, () or (slices,): by default the 99th percentile of each zero-filled slice.

    Source: Rudin, Osher, Fatemi (1992), 10.1016/0167-2789(92)90242-F; Block, Uecker, Frahm (2007), Undersampled radial
    MRI with multiple coils, 10.1002/mrm.21236; the method is Condat (2013), A primal-dual splitting method,
    10.1007/s10957-012-0245-9, algorithm 3.1.
    """
    operator, y = encode(kspace, sensitivities, mask, trajectory)
    start = _back_project(operator, y)
    size = image_scale(start) if scale is None else torch.as_tensor(scale, dtype=start.real.dtype, device=start.device)
    size = size.reshape(-1, 1, 1, 1).clamp(min=torch.finfo(start.real.dtype).tiny)
    x, b = start / size, operator.adjoint(y) / size
    dual = torch.zeros(2, *x.shape, dtype=x.dtype, device=x.device)
    # Converges for 1 / step - 8 DUAL_STEP >= L / 2: 8 bounds the difference operator, L the data term.
    step = 1 / (_largest_eigenvalue(operator, b) / 2 + 8 * DUAL_STEP)
    for _ in range(iterations):
        after = x - step * (operator.normal(x) - b + divergence(dual))
        dual.add_(gradient(2 * after - x), alpha=DUAL_STEP)
        length = torch.view_as_real(dual).square().sum((0, -1)).sqrt_()
        dual.mul_(weight / length.clamp_(min=weight) if weight > 0 else 0)
        x = after
    return x * size


def image_scale(images: Tensor) -> Tensor:
    """The 99th percentile of each slice's magnitude over (slices, sets, readout, phase), (slices,)."""
    return torch.stack([image.abs().flatten().kthvalue(max(1, round(0.99 * image.numel()))).values for image in images])


def gradient(x: Tensor) -> Tensor:
    """Differences to the next pixel along readout and phase, 0 at the last: (2, ...) from (..., readout, phase)."""
    g = torch.zeros(2, *x.shape, dtype=x.dtype, device=x.device)
    torch.sub(x[..., 1:, :], x[..., :-1, :], out=g[0, ..., :-1, :])
    torch.sub(x[..., 1:], x[..., :-1], out=g[1, ..., :-1])
    return g


def divergence(g: Tensor) -> Tensor:
    """The adjoint of `gradient`, (..., readout, phase) from (2, ...)."""
    x = torch.zeros_like(g[0])
    x[..., :-1, :] -= g[0, ..., :-1, :]
    x[..., 1:, :] += g[0, ..., :-1, :]
    x[..., :-1] -= g[1, ..., :-1]
    x[..., 1:] += g[1, ..., :-1]
    return x


def _back_project(operator: LinearOperator, y: Tensor) -> Tensor:
    return operator.adjoint(y * operator.density if isinstance(operator, NonCartesian) else y)


def _largest_eigenvalue(operator: LinearOperator, like: Tensor) -> Tensor | float:
    """An upper bound of A^H A's eigenvalues: 1 on a grid, where maps are unit vectors; by power iteration elsewhere."""
    if not isinstance(operator, NonCartesian):
        return 1.0
    x = like[:1]
    for _ in range(20):
        x = x / inner(x, x).sqrt().clamp(min=1e-30).reshape(-1, 1, 1, 1)
        x = operator.normal(x)
    return 1.1 * inner(x, x).sqrt().max()
