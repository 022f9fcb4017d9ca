"""Categorical draws from uniform numbers, in float64."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ornstein.core.noise import KeyedUniform

SIZES = 2048
"""The stream of the numbers that choose sizes, apart from those of the samplers."""


def race(weights: Tensor, uniform: Tensor) -> Tensor:
    """argmax_k w_k / E_k with E_k = -log u_k: class k wins with probability w_k / sum w.

    This is the Gumbel-max draw, argmax_k log w_k + G_k with G_k = -log E_k, without its second logarithm. Of float32 numbers u
    the largest is 1 - 2^-24, so that no G_k passes 16.6: classes that are rare one by one, and frequent together, lose, as if
    the temperature were below 1. Hence float64.

    Args:
        weights: at least 0, of any sum above 0, (..., classes), float64.
        uniform: in (0, 1), like weights, float64.

    Returns:
        int64 (...).

    Source: Zheng et al. (2024), Masked diffusion models are secretly time-agnostic masked models and exploit inaccurate
    categorical sampling, arXiv:2409.02908, section 5.
    """
    assert weights.dtype == uniform.dtype == torch.float64, f"{weights.dtype} weights, {uniform.dtype} uniform numbers"
    return (weights / -torch.log(uniform)).argmax(-1)


def one_hot(x: Tensor, classes: int) -> Tensor:
    """float64 (..., classes) of int64 (...)."""
    return torch.nn.functional.one_hot(x, classes).double()


def draw_sizes(law: Tensor, seed: int, items: Sequence[int]) -> Tensor:
    """How many positions each item has, which depends on its number and the seed alone: int64 (items,).

    Args:
        law: the share of each number from 0 on, summing to 1, float64.
    """
    cumulative = law.cumsum(0)
    uniform = KeyedUniform(seed, [int(item) for item in items])(0, (len(items), 1), SIZES)[:, 0]
    return torch.searchsorted(cumulative, uniform.clamp(max=float(cumulative[-1]) - 1e-12), right=True)
