"""Noise keyed by (seed, item, step): the same item gets the same noise however the work was batched or tiled."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


def key(*parts: int) -> int:
    """A 63-bit seed from non-negative integers below 2^32: different tuples of one length give independent streams."""
    return int(np.random.SeedSequence([int(p) for p in parts]).generate_state(1, np.uint64)[0]) >> 1


@dataclass(frozen=True)
class KeyedNoise:
    """Unit Gaussian noise that depends on the seed, the item's number and the step, and on nothing else.

    Args:
        seed: the user's seed, at least 0.
        items: one number a batch row, at least 0: the slice, the sample, the file.

    Example:
        >>> whole = KeyedNoise(0, range(4))(7, (4, 2))
        >>> part = KeyedNoise(0, range(2, 4))(7, (2, 2))
        >>> torch.equal(whole[2:], part)
        True
    """

    seed: int = 0
    items: Sequence[int] = (0,)

    def __call__(
        self, step: int, shape: Sequence[int], dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
    ) -> Tensor:
        """Noise of `shape` (batch, ...) with unit variance (complex: real and imaginary part each 1/2 of it).

        The generator lives on the CPU, so that the noise does not depend on the device.
        """
        assert shape[0] == len(self.items), f"{shape[0]} rows, {len(self.items)} items"
        draw = torch.float64 if dtype in (torch.float64, torch.complex128) else torch.float32
        draw = {torch.float32: torch.complex64, torch.float64: torch.complex128}[draw] if dtype.is_complex else draw
        rows = [
            torch.randn(
                tuple(shape[1:]), dtype=draw, generator=torch.Generator().manual_seed(key(self.seed, item, step))
            )
            for item in self.items
        ]
        return torch.stack(rows).to(device=device, dtype=dtype, non_blocking=True)
