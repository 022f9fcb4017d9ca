"""Sampling towards a reward that is a black box: soft value decoding, and particles whose weights are the reward's.

Both sample p(x) exp(reward(x) / temperature), the particles exactly as they grow in number, the decoding nearly. The reward
is asked about x0_hat on the way, and about the sample itself at the end; nothing is differentiated.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ornstein.core.denoisers import Denoiser
from ornstein.core.grids import Explicit, Grid
from ornstein.core.levels import Levels
from ornstein.core.noise import KeyedUniform
from ornstein.core.particles import Particles, feynman_kac, select, take

Reward = Callable[[Tensor], Tensor]


@torch.no_grad()
def decode_soft_value(
    denoiser: Denoiser,
    reward: Reward,
    *,
    shape: Sequence[int],
    candidates: int = 8,
    temperature: float = 1.0,
    steps: int = 50,
    error: Callable[[float], float] | None = None,
    grid: Grid | Explicit | None = None,
    seed: int = 0,
    items: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    **conditions: Tensor,
) -> Tensor:
    """SVDD: at each step every item draws some candidates for its next state, and one of them goes on,

        with probability proportional to exp(value / temperature),     value = reward(E[x0 | candidate]).

    Exact as candidates and steps grow where that is the soft value, temperature log E[exp(reward / temperature) |
    candidate], but for a constant (a linear reward of a Gaussian); elsewhere less is spread than should be. Items never meet,
    so that variety is kept.

    Args:
        denoiser: on a Gaussian path without y.
        reward: x (rows, ...) -> (rows,), any function; NaN counts as none.
        shape: (batch, ...) of the samples, real.
        candidates: of each item and step, at least 1; each costs an evaluation and a reward.
        temperature: in the reward's units, at least 0; 0 takes the best.
        steps, grid, seed, items, dtype, device, conditions: as for `sample`.
        error: of x0_hat by sigma, with which the steps are right also where few, see `Levels.kernel`.

    Returns: (batch, ...).

    Source: Li et al. (2024), Derivative-free guidance in continuous and discrete diffusion models with soft value-based
    decoding, arXiv:2408.08252, algorithm 1 with values from the posterior mean (SVDD-PM).
    """
    _check(temperature, candidates)
    batch, size = shape[0], torch.Size(shape[1:])
    plain = Levels(denoiser, grid, steps, None, conditions)
    levels = Levels(denoiser, grid, steps, None, _each(conditions, candidates))
    keyed = KeyedUniform(seed, list(range(batch) if items is None else items))
    x = plain.sigma[0] * _white(keyed, 0, 1, size, dtype, device)[:, 0]
    x0 = plain(0, x)
    for i in range(levels.steps):
        q, v = levels.kernel(i, error)
        mean = q * x + (1 - q) * x0
        drawn = mean[:, None] + math.sqrt(v) * _white(keyed, i + 1, candidates, size, dtype, device)
        rows = drawn.flatten(0, 1)
        promise = levels(i + 1, rows) if i + 1 < levels.steps else rows
        value = _values(reward, promise).reshape(batch, candidates)
        if temperature > 0:
            chosen = select(value / temperature, keyed(i, (batch, 1), 1, value.device)[:, 0])
        else:
            chosen = value.nan_to_num(nan=-math.inf).argmax(1)
        x, x0 = take(drawn, chosen), take(promise.reshape(drawn.shape), chosen)
    return plain.state(plain.steps, x)


@torch.no_grad()
def tilted(
    denoiser: Denoiser,
    reward: Reward,
    *,
    shape: Sequence[int],
    particles: int,
    temperature: float = 1.0,
    steps: int = 100,
    error: Callable[[float], float] | None = None,
    threshold: float = 0.5,
    grid: Grid | Explicit | None = None,
    seed: int = 0,
    items: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    **conditions: Tensor,
) -> Particles:
    """Weighted samples of p(x) exp(reward(x) / temperature), by sequential Monte Carlo: particles move as the prior has
    them, their weights on the way are exp(reward(x0_hat) / temperature), at the end those of the reward itself.

    Exact as particles and steps grow, whatever x0_hat's reward is worth on the way. A guided denoiser in place of the prior
    samples that one's own tilt.

    Args:
        denoiser: on a Gaussian path without y.
        reward: x (rows, ...) -> (rows,), any function; a particle of NaN has no weight.
        shape: (problems, ...) of one sample for each problem, real.
        particles: of each problem, at least 1; they compete among themselves.
        temperature: in the reward's units, above 0.
        steps: evaluations for each particle.
        error: of x0_hat by sigma, with which the steps are right also where few, see `Levels.kernel`.
        threshold: share of the particles that their effective number falls below before they are resampled.
        grid, seed, items, dtype, device, conditions: as for `sample`, by problem.

    Returns: x (problems, particles, ...) with log-weights, whose evidence is log E[exp(reward / temperature)].

    Source: Wu et al. (2023), arXiv:2306.17775 (the scheme); Singhal et al. (2025), A general framework for inference-time
    scaling and steering of diffusion models, arXiv:2501.06848 (without gradients).
    """
    _check(temperature, particles)
    if temperature == 0:
        raise ValueError("temperature 0 has no density: decode_soft_value takes the best")
    problems, size = shape[0], torch.Size(shape[1:])
    levels = Levels(denoiser, grid, steps, None, _each(conditions, particles))
    keyed = KeyedUniform(seed, list(range(problems) if items is None else items))

    def worth(x: Tensor) -> Tensor:
        return _values(reward, x.flatten(0, 1)).reshape(problems, particles) / temperature

    def look(i: int, x: Tensor) -> tuple[Mapping[str, Tensor], Tensor]:
        x0 = levels(i, x.flatten(0, 1)).reshape(x.shape)
        value = worth(x0)
        return {"x0": x0, "value": value}, value

    def move(i: int, of: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        q, v = levels.kernel(i, error)
        fresh = math.sqrt(v) * _white(keyed, i + 1, particles, size, dtype, device)
        # What died of NaN stays dead: nothing is taken back from a weight of none.
        return q * of["x"] + (1 - q) * of["x0"] + fresh, -of["value"]

    def uniforms(i: int) -> Tensor:
        return keyed(i, (problems, 1), 1, device)[:, 0]

    start = levels.sigma[0] * _white(keyed, 0, particles, size, dtype, device)
    cloud = feynman_kac(start, look, move, levels.steps, uniforms, threshold)
    x = levels.state(levels.steps, cloud.x)
    return Particles(x, cloud.log_weights + worth(cloud.x))


def _check(temperature: float, count: int) -> None:
    if not temperature >= 0 or count < 1:
        raise ValueError(f"temperature {temperature} is at least 0, candidates or particles ({count}) at least 1")


def _values(reward: Reward, x: Tensor) -> Tensor:
    """The rewards of rows, (rows,) float64."""
    value = torch.as_tensor(reward(x))
    assert value.shape == (len(x),), f"a reward of shape {tuple(value.shape)} for {len(x)} rows"
    return value.to(device=x.device, dtype=torch.float64)


def _white(
    keyed: KeyedUniform, step: int, count: int, size: torch.Size, dtype: torch.dtype, device: str | torch.device
) -> Tensor:
    """White noise (items, count, ...)."""
    draw = keyed.normal(step, (len(keyed.items), count * size.numel()), 0, device)
    return draw.reshape(len(keyed.items), count, *size).to(dtype)


def _each(conditions: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """The conditions of each item's candidates."""
    return {name: value.repeat_interleave(count, dim=0) for name, value in conditions.items()}
