"""Weighted particles: effective size, systematic resampling and selection, for states of any kind.

A state is a tensor (problems, particles, ...), or a mapping of such tensors: the fields of a volume, the nodes and the
edges of a graph. Each problem has its own particles, which never meet those of another.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

State = TypeVar("State", Tensor, Mapping[str, Tensor])


class Particles(NamedTuple):
    """Weighted samples, x with weights exp(log_weights) up to a factor for each problem.

    Args:
        x: (problems, particles, ...).
        log_weights: (problems, particles), float64. The mean of their exponentials is the evidence, where the method that
            made them knows it.
    """

    x: Tensor
    log_weights: Tensor

    @property
    def weights(self) -> Tensor:
        """Normalised weights, (problems, particles), float64."""
        return weights(self.log_weights)

    @property
    def log_evidence(self) -> Tensor:
        """The log of the weights' mean, (problems,)."""
        return torch.logsumexp(self.log_weights, dim=1) - math.log(self.log_weights.shape[1])

    def mean(self) -> Tensor:
        """The weighted mean of each problem, (problems, ...)."""
        w = self.weights.reshape(*self.log_weights.shape, *[1] * (self.x.ndim - 2))
        return (w * self.x).sum(1).to(self.x.dtype)

    def covariance(self) -> Tensor:
        """The weighted covariance of each problem's values, (problems, d, d), float64."""
        offset = (self.x - self.mean()[:, None]).flatten(2).double()
        return torch.einsum("pk,pki,pkj->pij", self.weights, offset, offset)

    def equal(self, u: Tensor) -> Tensor:
        """As many samples of equal weight, (problems, particles, ...), by systematic resampling with u (problems,)."""
        return take(self.x, systematic(self.log_weights, u))


def weights(log_weights: Tensor) -> Tensor:
    """Weights that sum to 1 over the last axis, float64; a particle whose log-weight is NaN has none, and particles that
    have none altogether share them equally."""
    log_weights = log_weights.double().nan_to_num(nan=-math.inf, posinf=torch.finfo(torch.float64).max)
    alive = log_weights.isfinite().any(dim=-1, keepdim=True)
    return torch.softmax(torch.where(alive, log_weights, 0.0), dim=-1)


def effective_size(log_weights: Tensor) -> Tensor:
    """1 / sum of the squared weights, from 1 to the number of particles: (problems,) from (problems, particles).

    Source: Kong, Liu, Wong (1994), Sequential imputations and Bayesian missing data problems, JASA 89.
    """
    return 1 / weights(log_weights).square().sum(dim=-1)


def systematic(log_weights: Tensor, u: Tensor) -> Tensor:
    """For each problem the numbers of the particles that go on, (problems, particles): each either the floor or the
    ceiling of its expected number of times.

    Args:
        log_weights: (problems, particles).
        u: one number in (0, 1) for each problem, (problems,).

    Source: Kitagawa (1996), Monte Carlo filter and smoother for non-Gaussian nonlinear state space models, JCGS 5.
    """
    assert u.shape == log_weights.shape[:-1], f"u {tuple(u.shape)} for log-weights {tuple(log_weights.shape)}"
    n = log_weights.shape[-1]
    position = (torch.arange(n, dtype=torch.float64, device=u.device) + u.double()[:, None]) / n
    return _inverse(log_weights, position)


def select(log_weights: Tensor, u: Tensor) -> Tensor:
    """One candidate for each row with the probability of its weight: (rows,) from (rows, candidates) and u (rows,)."""
    assert u.shape == log_weights.shape[:-1], f"u {tuple(u.shape)} for log-weights {tuple(log_weights.shape)}"
    return _inverse(log_weights, u.double()[:, None])[:, 0]


def take(state: State, indices: Tensor) -> State:
    """The particles with these numbers: (problems, m, ...) from (problems, particles, ...), for indices (problems, m).

    With indices (problems,) it is one particle for each problem, and the axis of particles goes.
    """
    if not isinstance(state, Tensor):
        return {name: take(part, indices) for name, part in state.items()}
    row = torch.arange(len(indices), device=indices.device).reshape(-1, *[1] * (indices.ndim - 1))
    return state[row, indices]


def resample(state: State, log_weights: Tensor, u: Tensor, threshold: float = 0.5) -> tuple[State, Tensor]:
    """Systematic resampling of those problems whose effective size is below `threshold` times their particles.

    Their log-weights become the log of their mean weight, so that the evidence is kept.

    Args:
        state: (problems, particles, ...), or a mapping of such tensors.
        log_weights: (problems, particles).
        u: one number in (0, 1) for each problem, (problems,).
        threshold: from 0 (never) to 1 (whenever weights differ).
    """
    n = log_weights.shape[1]
    needy = (effective_size(log_weights) < threshold * n * (1 - 1e-9))[:, None]
    stay = torch.arange(n, device=log_weights.device).expand_as(log_weights)
    indices = torch.where(needy, systematic(log_weights, u), stay)
    mean = torch.logsumexp(log_weights.nan_to_num(nan=-math.inf), dim=1, keepdim=True) - math.log(n)
    return take(state, indices), torch.where(needy, mean, log_weights)


def feynman_kac(
    x: Tensor,
    look: Callable[[int, Tensor], tuple[Mapping[str, Tensor], Tensor]],
    move: Callable[[int, Mapping[str, Tensor]], tuple[Tensor, Tensor]],
    steps: int,
    uniforms: Callable[[int], Tensor],
    threshold: float = 0.5,
) -> Particles:
    """Sequential Monte Carlo: at each step particles are looked at, weighed, resampled where weights have spread, and moved.

    Args:
        x: the particles at the start, (problems, particles, ...).
        look: (i, x) -> what the move needs of x, as tensors (problems, particles, ...), and a gain of the log-weights
            (problems, particles).
        move: (i, what was looked at and went on, with x itself as "x") -> the new x, and a gain of their log-weights.
        steps: how many.
        uniforms: i -> one number in (0, 1) for each problem, (problems,).
        threshold: share of the particles that their effective number falls below before they are resampled.
    """
    log_weights = torch.zeros(x.shape[:2], dtype=torch.float64, device=x.device)
    for i in range(steps):
        seen, gain = look(i, x)
        kept, log_weights = resample({**seen, "x": x}, log_weights + gain, uniforms(i), threshold)
        x, gain = move(i, kept)
        log_weights = log_weights + gain
    return Particles(x, log_weights)


def _inverse(log_weights: Tensor, position: Tensor) -> Tensor:
    """The first particle at which the weights add up to each position, like `position`."""
    cumulative = weights(log_weights).cumsum(dim=-1)
    # Rounding may leave the last sum below a position: scaled, the last particle with a weight is at 1 exactly.
    return torch.searchsorted(cumulative / cumulative[..., -1:], position).clamp(max=log_weights.shape[-1] - 1)
