"""Blocks of pixels folded into channels and back, in any number of space dimensions."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def pad(x: Tensor, multiple: int) -> Tensor:
    """x (batch, channels, *space) continued at its far ends, so that `multiple` divides every side."""
    missing = [-n % multiple for n in x.shape[2:]]
    if not any(missing):
        return x
    # Reflection keeps the noise what it is; where the size is too small for it, the edge is repeated.
    mode = "reflect" if all(m < n for m, n in zip(missing, x.shape[2:], strict=True)) else "replicate"
    return F.pad(x, [p for m in reversed(missing) for p in (0, m)], mode=mode)


def crop(x: Tensor, space: Sequence[int]) -> Tensor:
    """x (batch, channels, *) cut to its first `space` positions: the inverse of `pad`."""
    for axis, n in enumerate(space):
        x = x.narrow(2 + axis, 0, n)
    return x


def fold(x: Tensor, patch: int) -> Tensor:
    """(batch, channels, *space) to (batch, channels patch^dims, *space / patch); `patch` divides every side."""
    if patch == 1:
        return x
    dims = x.ndim - 2
    shape = [k for n in x.shape[2:] for k in (n // patch, patch)]
    x = x.reshape(*x.shape[:2], *shape)
    outer, inner = range(2, x.ndim, 2), range(3, x.ndim, 2)
    return x.permute(0, 1, *inner, *outer).flatten(1, 1 + dims)


def unfold(x: Tensor, patch: int) -> Tensor:
    """The inverse of `fold`."""
    if patch == 1:
        return x
    dims = x.ndim - 2
    x = x.unflatten(1, (-1, *[patch] * dims))
    pairs = [k for d in range(dims) for k in (2 + dims + d, 2 + d)]
    x = x.permute(0, 1, *pairs)
    for d in range(dims):
        x = x.flatten(2 + d, 3 + d)
    return x
