"""Noise keyed by (seed, item, step, position): the same item gets the same noise however the work was batched or tiled."""

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


@dataclass(frozen=True)
class KeyedUniform:
    """Uniform numbers in (0, 1) that depend on (seed, item, step, stream, position), and on nothing else.

    A number is a hash of its key, so that neither the batch, nor padding behind an item's own positions, nor the device
    changes it, and one call makes those of a whole batch. They are float64 with all of its 53 bits: the 24 bits of float32
    distort categorical draws (see `core/discrete/draws.py`).

    Args:
        seed: the user's seed, at least 0.
        items: one number a batch row, at least 0.

    Source: Steele, Lea, Flood (2014), Fast splittable pseudorandom number generators (SplitMix64).
    """

    seed: int = 0
    items: Sequence[int] = (0,)

    def __call__(self, step: int, shape: Sequence[int], stream: int = 0, device: str | torch.device = "cpu") -> Tensor:
        """float64 numbers of `shape`, (batch, positions) or (batch, positions, classes).

        Args:
            step: the step's number, at least 0.
            shape: at most 2^32 positions and 65536 classes.
            stream: tells draws of one step apart, the variables of a joint state, say.
        """
        assert shape[0] == len(self.items), f"{shape[0]} rows, {len(self.items)} items"
        assert len(shape) in (2, 3) and (len(shape) == 2 or shape[2] <= 65536), f"shape {tuple(shape)}"
        state = torch.tensor(list(self.items), dtype=torch.int64, device=device)
        for part in (self.seed, step, stream):
            state = _scramble(state + _signed(_GOLDEN * (part + 1)))
        place = torch.arange(1, shape[1] + 1, dtype=torch.int64, device=device)
        if len(shape) == 3:
            place = (place << 16)[:, None] + torch.arange(shape[2], dtype=torch.int64, device=device)
        bits = _scramble(state.reshape(-1, *[1] * (len(shape) - 1)) + place * _signed(_GOLDEN))
        return (_shifted(bits, 11).double() + 0.5) * 2.0**-53

    def normal(self, step: int, shape: Sequence[int], stream: int = 0, device: str | torch.device = "cpu") -> Tensor:
        """Unit Gaussian numbers of the same keys, float64."""
        return torch.special.ndtri(self(step, shape, stream, device))


_GOLDEN = 0x9E3779B97F4A7C15


def _signed(number: int) -> int:
    """The low 64 bits of a number as int64, in which sums and products wrap as those of unsigned numbers do."""
    number &= 2**64 - 1
    return number - 2**64 if number >= 2**63 else number


def _shifted(x: Tensor, bits: int) -> Tensor:
    """A logical right shift of int64."""
    return (x >> bits) & (2 ** (64 - bits) - 1)


def _scramble(x: Tensor) -> Tensor:
    """SplitMix64's bijection of 64 bits, in which every bit of the input changes half of the output's."""
    x = (x ^ _shifted(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shifted(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shifted(x, 31)
