"""Categorical draws from uniform numbers, in float64."""

import torch
from torch import Tensor


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
