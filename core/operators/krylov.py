"""Iterative solution of linear systems, each item of a batch by itself, and small eigenproblems."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor


def eigen(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (..., n), ascending, and eigenvectors (..., n, n) of many small Hermitian matrices (..., n, n).

    On a CPU each thread takes matrices of its own: several that share out a single small one mostly wait for each other.
    """
    if matrices.device.type != "cpu" or matrices.ndim == 2:
        values, vectors = torch.linalg.eigh(matrices)
        return values, vectors
    threads = torch.get_num_threads()
    flat = matrices.flatten(0, -3)
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            parts = list(pool.map(torch.linalg.eigh, flat.chunk(4 * threads)))
    finally:
        torch.set_num_threads(threads)
    values, vectors = (torch.cat(part) for part in zip(*parts, strict=True))
    return values.reshape(matrices.shape[:-1]), vectors.reshape(matrices.shape)


def inner(u: Tensor, v: Tensor) -> Tensor:
    """Re <u, v> of each item, (batch,) from two (batch, ...)."""
    assert u.shape == v.shape, f"{tuple(u.shape)} against {tuple(v.shape)}"
    return torch.linalg.vecdot(u.flatten(1), v.flatten(1)).real


def conjugate_gradient(
    normal: Callable[[Tensor], Tensor],
    b: Tensor,
    x: Tensor | None = None,
    *,
    iterations: int,
    tolerance: float = 0.0,
    shift: Tensor | float = 0.0,
    preconditioner: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """x with (N + shift I) x = b, for a Hermitian positive (semi-)definite N: each item has its own steps.

    An item that has reached its tolerance stays as it is, so that its result does not depend on the batch around it.
    With tolerance 0 nothing is read back from the device.

    Args:
        normal: x -> N x on (batch, ...), `operator.normal` say.
        b: the right side (batch, ...), real or complex.
        x: where to start, like b; zero otherwise.
        iterations: steps at most, at least 0.
        tolerance: stop an item where |residual| <= tolerance |b|; 0 takes all the steps.
        shift: at least 0, of shape () or (batch,).
        preconditioner: r -> M r, Hermitian and positive definite, near the inverse of N + shift I.

    Returns:
        x like b.

    Source: Hestenes and Stiefel (1952), Methods of conjugate gradients for solving linear systems, section 3.
    """
    real = b.real.dtype if b.is_complex() else b.dtype
    column = (-1, *[1] * (b.ndim - 1))
    shift = torch.as_tensor(shift, dtype=real, device=b.device)
    assert shift.ndim == 0 or shift.shape == (len(b),), f"shift {tuple(shift.shape)} for {len(b)} items"
    shift = shift.reshape(column) if shift.ndim else shift

    def apply(v: Tensor) -> Tensor:
        return torch.addcmul(normal(v), shift, v)

    residual = b.clone() if x is None else b - apply(x)
    x = torch.zeros_like(b) if x is None else x.clone()
    near = residual if preconditioner is None else preconditioner(residual)
    direction = near.clone()
    power = inner(residual, near)
    size = power if preconditioner is None else inner(residual, residual)
    target = tolerance**2 * inner(b, b)
    for _ in range(iterations):
        if tolerance > 0 and bool((size <= target).all()):
            break
        image = apply(direction)
        curvature = inner(direction, image)
        # A solved item has power = curvature = 0 and takes no step; neither does one below its tolerance.
        step = torch.where((curvature > 0) & (size > target), power / curvature, 0)
        x.addcmul_(direction, step.reshape(column))
        residual.addcmul_(image, step.reshape(column), value=-1)
        near = residual if preconditioner is None else preconditioner(residual)
        before, power = power, inner(residual, near)
        size = power if preconditioner is None else inner(residual, residual)
        ratio = torch.where(before > 0, power / before, 0)
        direction = torch.addcmul(near, direction, ratio.reshape(column))
    return x


def gmres(
    apply: Callable[[Tensor], Tensor],
    b: Tensor,
    *,
    iterations: int,
    preconditioner: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """x that makes |N x - b| least among the Krylov vectors b, N b, ...: for an N that need not be Hermitian.

    Each item has its own; one that is solved early stays so. Real or complex; memory of `iterations` vectors.

    Args:
        apply: x -> N x on (batch, ...).
        b: the right side (batch, ...).
        iterations: how often N is applied, at least 1.
        preconditioner: r -> M r, near N^-1: what is solved is N M u = b, and x = M u.

    Returns:
        x like b.

    Source: Saad and Schultz (1986), GMRES: a generalized minimal residual algorithm for solving nonsymmetric linear
    systems, SIAM Journal on Scientific and Statistical Computing 7 (by Arnoldi's basis, orthogonalised twice).
    """
    assert iterations >= 1, f"{iterations} iterations"
    flat = b.flatten(1)
    batch = len(flat)
    beta = flat.norm(dim=1)
    tiny = torch.finfo(beta.dtype).eps
    basis = [flat / beta.clamp(min=torch.finfo(beta.dtype).tiny)[:, None]]
    hessenberg = flat.new_zeros(batch, iterations + 1, iterations)
    near = []
    for k in range(iterations):
        v = basis[k].reshape(b.shape)
        near.append((v if preconditioner is None else preconditioner(v)).flatten(1))
        w = apply(near[k].reshape(b.shape)).flatten(1)
        length = w.norm(dim=1)
        known = torch.stack(basis, dim=1)
        for _ in range(2):  # once would lose orthogonality to rounding
            along = torch.linalg.vecdot(known, w[:, None])
            w = w - (along[:, :, None] * known).sum(1)
            hessenberg[:, : k + 1, k] += along
        left = w.norm(dim=1)
        found = left > 100 * tiny * length  # or else the space is complete, and the solution within it
        hessenberg[:, k + 1, k] = torch.where(found, left, 0)
        basis.append(torch.where(found[:, None], w / torch.where(found, left, 1)[:, None], 0))
    right = torch.zeros_like(hessenberg[:, :, 0])
    right[:, 0] = beta
    # By the pseudo-inverse: columns after the space is complete are 0.
    weights = (torch.linalg.pinv(hessenberg) @ right[..., None])[..., 0]
    return (weights[:, :, None] * torch.stack(near, dim=1)).sum(1).reshape(b.shape)
