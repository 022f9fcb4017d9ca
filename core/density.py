"""Log-densities of data under a denoiser: by the probability flow and by Ito's formula."""

import math
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from ornstein.core.analytic import GaussianDenoiser
from ornstein.core.denoisers import Denoiser
from ornstein.core.grids import Explicit, Grid, LogOnePlus
from ornstein.core.levels import Levels, log_normal
from ornstein.core.noise import KeyedNoise
from ornstein.core.paths import time
from ornstein.core.solvers.solver import Noise

Trace = Literal["exact", "hutchinson"]


def flow_log_density(
    denoiser: Denoiser,
    x: Tensor,
    *,
    steps: int = 100,
    grid: Grid | Explicit | None = None,
    trace: Trace = "exact",
    probes: int = 1,
    seed: int = 0,
    items: Sequence[int] | None = None,
    y: Tensor | None = None,
    gaussian: GaussianDenoiser | None = None,
    **conditions: Tensor,
) -> Tensor:
    """log p(x) by the probability flow, up which x goes to noise: the noise's density, and what the divergence adds.

    In the angle theta = atan(sigma / c), c half the data's scale, and with v = x / sqrt(sigma^2 + c^2),

        dv / dtheta = -F,                           F = (x0_hat - cos(theta)^2 x) / (c sin(theta))
        log p(x) = log p(v_1) - d log sqrt(sigma_0^2 + c^2) + integral of -div_v F dtheta,

    by Heun's method. F is what an EDM network predicts: it is 0 for N(0, c^2 I), and bounded at both ends. What is found is
    the density of data with the least noise of the grid, sigma_0.

    Args:
        denoiser: E[x0 | x_t], through which gradients flow.
        x: data, (batch, ...), real.
        steps: at least 1; each costs two evaluations.
        grid: by default `LogOnePlus` in units of the data's scale.
        trace: of the denoiser's Jacobian: "exact" by as many vector-Jacobian products as an item has values, or "hutchinson"
            by `probes` of them, v^T J v with random signs v, whose result is unbiased but noisy.
        probes: at least 1.
        seed, items: of the random signs, as for `sample`.
        y: what the path drifts to, like x, on a path that does.
        gaussian: the data's mean and covariance: gives the density at the noisiest time where noise does not hide the data.
        conditions: passed to the denoiser by keyword.

    Returns: log p(x) in nats, (batch,), float64.

    Source: Chen et al. (2018), Neural ordinary differential equations, arXiv:1806.07366; Grathwohl et al. (2018), FFJORD,
    arXiv:1810.01367 (Hutchinson's trace); Song et al. (2021), arXiv:2011.13456, section 4.3; Karras et al. (2022),
    arXiv:2206.00364 (F).
    """
    if trace not in get_args(Trace):
        raise ValueError(f"trace {trace!r}; known: {', '.join(get_args(Trace))}")
    assert not x.is_complex(), "log-densities are of real data: give complex data as two channels"
    scale, d = denoiser.scale / 2, x[0].numel()
    levels = Levels(denoiser, LogOnePlus(scale=scale) if grid is None else grid, steps, y, conditions)
    signs = None
    if trace == "hutchinson":
        noise = KeyedNoise(seed, range(len(x)) if items is None else items)
        signs = torch.sign(noise(1, (len(x), probes, *x.shape[1:]), x.dtype, x.device)).transpose(0, 1)

    def slope(i: int, v: Tensor) -> tuple[Tensor, Tensor]:
        """dv / dtheta (batch, ...) and its divergence (batch,)."""
        theta = math.atan(levels.sigma[i] / scale)
        sine, cosine = math.sin(theta), math.cos(theta)
        x = v * (scale / cosine)
        x0, jacobian = _with_trace(lambda x: levels(i, x), x, signs)
        return (cosine**2 * x - x0) / (scale * sine), (cosine**2 * d - jacobian) / (sine * cosine)

    theta = [math.atan(sigma / scale) for sigma in levels.sigma]
    v = x * (math.cos(theta[-1]) / scale)
    total = torch.full((len(x),), d * math.log(math.cos(theta[-1]) / scale), dtype=torch.float64, device=x.device)
    for i in range(levels.steps, 0, -1):
        h = theta[i - 1] - theta[i]
        first, divergence = slope(i, v)
        second, ahead = slope(i - 1, v + h * first)
        v, total = v + h / 2 * (first + second), total + h / 2 * (divergence + ahead)
    x, total = v * (scale / math.cos(theta[0])), total + d * math.log(scale / math.cos(theta[0]))
    if gaussian is None:
        with torch.no_grad():
            return total + levels.noisiest(x)
    t, of_state = time(levels.times[0]), d * math.log(levels.a[0])
    return total + of_state + gaussian.on(denoiser.path).log_density(levels.state(0, x), t, y)


@torch.no_grad()
def ito_log_density(
    denoiser: Denoiser,
    x: Tensor,
    *,
    steps: int = 100,
    grid: Grid | Explicit | None = None,
    seed: int = 0,
    items: Sequence[int] | None = None,
    noise: Noise | None = None,
    y: Tensor | None = None,
    **conditions: Tensor,
) -> Tensor:
    """log p(x) along one noising path of each item, without any derivative of the denoiser: by Ito's formula, down the
    levels of noise,

        log p(x) = log q(x) + sum of d log p - d log q,     d log p = score . dx - |score|^2 D / 2     (`ito_step`)

    q is N(0, (c^2 + sigma^2) I) with c half the data's scale, which is known at both ends and takes most of the error with
    it: at high noise p and q are nearly the same. The bias falls as 1 / steps, the scatter as 1 / sqrt(steps); a mean over seeds
    has less scatter and the same bias. One evaluation a step.

    Args:
        denoiser, x, steps, grid, y, conditions: as for `flow_log_density`.
        seed, items, noise: of the noising path, as for `sample`.

    Returns: log p(x) in nats, (batch,), float64.

    Source: Skreta et al. (2024), The superposition of diffusion models using the Ito density estimator, arXiv:2412.17762,
    theorem 1. It holds for any process with noise of variance D; here that is the reverse of a noising path.
    """
    assert not x.is_complex(), "log-densities are of real data: give complex data as two channels"
    scale = denoiser.scale / 2
    levels = Levels(denoiser, LogOnePlus(scale=scale) if grid is None else grid, steps, y, conditions)
    if noise is None:
        noise = KeyedNoise(seed, range(len(x)) if items is None else items)
    states = [x]
    for i in range(levels.steps, 0, -1):
        z = noise(i, x.shape, x.dtype, x.device)
        states.append(states[-1] + math.sqrt(levels.variance(i - 1)) * z)
    total = log_normal(x, scale**2 + levels.sigma[-1] ** 2)
    total += levels.noisiest(states[-1]) - log_normal(states[-1], scale**2 + levels.sigma[0] ** 2)
    for i in range(levels.steps):
        here, variance = states.pop(), levels.variance(i)
        step = states[-1] - here
        total += ito_step(levels.score(i, here), step, variance)
        total -= ito_step(-here / (scale**2 + levels.sigma[i] ** 2), step, variance)
    return total


def ito_step(score: Tensor, step: Tensor, variance: float) -> Tensor:
    """What log p grows by in a step of a process with noise of this variance, whatever its drift,

        d log p = score . dx - |score|^2 D / 2,

    for x = x0 + sigma z while sigma^2 falls by D.

    Args:
        score: the gradient of log p before the step, (batch, ...).
        step: dx, like it.
        variance: D, at least 0.

    Returns: (batch,), float64.

    Source: Skreta et al. (2024), arXiv:2412.17762, theorem 1.
    """
    score, step = score.flatten(1).double(), step.flatten(1).double()
    return (score * step).sum(1) - score.square().sum(1) * (variance / 2)


def bits_per_dimension(log_density: Tensor, size: int, width: float = 1.0) -> Tensor:
    """-log2 of the probability of a value's cell, a value: (nats, so -log p / (d log 2) - log2 of the cell's width).

    Args:
        log_density: log p in nats, any shape.
        size: d, the number of values of an item.
        width: of the cells that the values were rounded to, in the data's units: 2 / 256 for bytes scaled to [-1, 1].

    Source: Theis, van den Oord, Bethge (2016), A note on the evaluation of generative models, arXiv:1511.01844.
    """
    return -(log_density / size + math.log(width)) / math.log(2)


def _with_trace(function: Callable[[Tensor], Tensor], x: Tensor, signs: Tensor | None) -> tuple[Tensor, Tensor]:
    """f(x) (batch, ...) and the trace of its Jacobian for each item, (batch,) float64; the mean of v^T J v over signs v."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = function(x)
        trace = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        if signs is None:
            size = x[0].numel()
            for j in range(size):
                # One value of every item at a time: items do not see each other, so that one product serves the batch.
                (row,) = torch.autograd.grad(value.reshape(len(x), -1)[:, j].sum(), x, retain_graph=j < size - 1)
                trace += row.reshape(len(x), -1)[:, j].double()
        else:
            for j, v in enumerate(signs):
                (row,) = torch.autograd.grad(value, x, v, retain_graph=j < len(signs) - 1)
                trace += (row * v).flatten(1).double().sum(1) / len(signs)
    return value.detach(), trace
