"""Several denoisers as one: their mixture (OR), where they agree (AND), and the product of their densities.

AND is not the product: it samples points that are equally likely under all, wherever that is, while the product samples
where the product of the densities is high. Two Gaussians N(-1, 1) and N(1, 1) have the product N(0, 1/2), and equal
densities at the one point 0.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ornstein.core.denoisers import Denoiser
from ornstein.core.density import ito_step
from ornstein.core.grids import Explicit, Grid
from ornstein.core.levels import Levels
from ornstein.core.noise import KeyedNoise
from ornstein.core.particles import Particles, resample
from ornstein.core.solvers.solver import Noise

Rule = Literal["or", "and"]


class Superposed(NamedTuple):
    """Samples x (batch, ...), and the Ito estimates of their log-density under each denoiser, (models, batch), float64."""

    x: Tensor
    log_densities: Tensor


@torch.no_grad()
def superpose(
    denoisers: Sequence[Denoiser],
    rule: Rule,
    *,
    shape: Sequence[int],
    weights: Sequence[float] | None = None,
    temperature: float = 1.0,
    steps: int = 200,
    grid: Grid | Explicit | None = None,
    seed: int = 0,
    items: Sequence[int] | None = None,
    noise: Noise | None = None,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    y: Tensor | None = None,
    **conditions: Tensor,
) -> Superposed:
    """Samples by the reverse SDE with the score sum of k_i score_i, by each item's log-densities log q_i:

        or     k = softmax(log q_i / temperature + log w_i), which samples the mixture sum of w_i q_i at temperature 1
        and    k = 1/M, and after each step a move along the score_i - score_0 to where all log q_i are equal

    The log q_i are known for pure noise, and go on by Ito's formula, without a derivative (`ito_step`): their error falls as
    1 / sqrt(steps), that of their differences, and with it the gap that AND leaves, sooner. One denoiser alone gives samples
    with their log-densities. OR costs one evaluation a step, AND two.

    The paper's AND makes the log q_i equal by a k that depends on the noise of its own step. That takes the noise out of one
    direction, where Ito's formula then does not hold: between Gaussians of different variance a gap remains at any number of
    steps. Here the move is a second step, whose change of log q_i is that of the scores at both its ends.

    Args:
        denoisers: at least one; asked on the path of the first.
        rule: see above.
        shape: (batch, ...) of the samples, real.
        weights: w_i of OR, above 0; equal by default.
        temperature: of OR, above 0; near 0 the likeliest denoiser has each item for itself.
        steps, grid, seed, items, noise, dtype, device, y, conditions: as for `sample`; the grid ends with noise left.

    Raises:
        ValueError: for an unknown rule, weights or a temperature not above 0, or a grid that ends without noise.

    Source: Skreta et al. (2024), The superposition of diffusion models using the Ito density estimator, arXiv:2412.17762,
    algorithm 1.
    """
    if rule not in get_args(Rule):
        raise ValueError(f"rule {rule!r}; known: {', '.join(get_args(Rule))}")
    logits = [math.log(w) if w > 0 else math.nan for w in (weights or [1.0] * len(denoisers))]
    if len(logits) != len(denoisers) or any(math.isnan(w) for w in logits) or not temperature > 0:
        raise ValueError(f"{len(denoisers)} denoisers need as many weights above 0, and a temperature above 0")
    ladder = _ladder(denoisers, grid, steps, y, conditions)
    noise = noise or KeyedNoise(seed, range(shape[0]) if items is None else items)
    size, device, one = torch.Size(shape), torch.device(device), ladder[0]
    x = one.sigma[0] * noise(0, size, dtype, device)
    column = (-1, *[1] * (len(size) - 1))
    scores = _scores(ladder, 0, x)
    log_q = torch.stack([levels.noisiest(x) for levels in ladder])
    prior = torch.tensor(logits, dtype=torch.float64, device=device)[:, None]
    for i in range(one.steps):
        variance = one.variance(i)
        # The fresh noise of the ancestral step, which keeps the variance of pure noise exactly.
        fresh = math.sqrt(variance) * one.sigma[i + 1] / one.sigma[i] * noise(i + 1, size, dtype, device)
        k = torch.softmax(log_q / temperature + prior, dim=0) if rule == "or" else torch.ones_like(log_q) / len(ladder)
        step = variance * (k.reshape(len(k), *column).to(dtype) * scores).sum(0) + fresh
        log_q = log_q + torch.stack([ito_step(score, step, variance) for score in scores])
        x = x + step
        if i + 1 == one.steps and rule == "or":
            break
        scores = _scores(ladder, i + 1, x)
        if rule == "and" and len(ladder) > 1:
            move = _equalising(scores, log_q)
            before, x = scores, x + move
            scores = _scores(ladder, i + 1, x)
            log_q = log_q + torch.stack([ito_step(score, move, 0.0) for score in (before + scores) / 2])
    return Superposed(one.state(one.steps, x), log_q)


@torch.no_grad()
def product(
    denoisers: Sequence[Denoiser],
    *,
    shape: Sequence[int],
    particles: int,
    exponents: Sequence[float] | None = None,
    errors: Sequence[Callable[[float], float]] | None = None,
    steps: int = 200,
    threshold: float = 0.5,
    grid: Grid | Explicit | None = None,
    seed: int = 0,
    items: Sequence[int] | None = None,
    noise: Noise | None = None,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    y: Tensor | None = None,
    **conditions: Tensor,
) -> Particles:
    """Weighted samples of the density proportional to the product of q_i^(b_i): exact as particles and steps grow.

    The reverse SDE with the score sum of b_i score_i does not have that marginal. Feynman-Kac weights say by how much: while
    sigma^2 falls by D,

        dx = D sum of b_i score_i + sqrt(D) z,      d log w = (|sum of b_i score_i|^2 - sum of b_i |score_i|^2) D / 2.

    Steps are not small, so that here both come from the Gaussian kernels themselves: the product of the reverse kernels
    N(x_r; x + D score_i, v_i), to the powers b_i, over that of the noising kernel N(x; x_r, D), to the power sum of b_i - 1,
    is a Gaussian in x_r (the move) times its integral (the weight), and as D vanishes it is the above. And where noise hides
    the data the product of the densities is narrower than the noise that it came from, by which weights lose their variance:
    the densities on the way are therefore those of the product times

        exp(tau |x - m|^2 / 2),     tau = (sum of b_i - 1) sigma^2 / (sigma^2 + c^2)^2,

    m the mean of the denoisers' data and c half their scale, which gives pure noise its width back and is 1 at the data.
    Weights spread with the number of values: this is for few values, or many particles. Exponents (w, 1 - w) of a conditional and an
    unconditional denoiser are classifier-free guidance made exact.

    Args:
        denoisers: at least one; asked on the path of the first.
        shape: (problems, ...) of one sample for each problem, real.
        particles: of each problem, at least 1.
        exponents: b_i, of a sum above 0; all 1 by default.
        errors: of each denoiser by sigma, see `Levels.kernel`: no error of the steps is left for round Gaussians. Without
            them the result is too narrow, the less so the more steps there are.
        steps: evaluations of each denoiser for each particle.
        threshold: particles are resampled where their effective number falls below this share of them.
        grid, seed, dtype, device, y, conditions: as for `sample`, by problem; the grid ends with noise left.
        items, noise: key the noise of each problem, which is drawn for all its particles at once: (problems, particles, ...).

    Returns: x (problems, particles, ...) and log-weights, whose evidence is the log of the integral of the product.

    Raises:
        ValueError: for exponents of another number, or of a sum that is not above 0.

    Source: Skreta et al. (2025), Feynman-Kac correctors in diffusion: annealing, guidance, and product of experts,
    arXiv:2503.02819.
    """
    b = [float(e) for e in exponents or [1.0] * len(denoisers)]
    total = sum(b)
    if len(b) != len(denoisers) or not total > 0:
        raise ValueError(f"{len(denoisers)} denoisers need as many exponents, of a sum above 0, not {b}")
    known: Sequence[Callable[[float], float] | None] = errors or [None] * len(b)
    y, conditions = _each(y, particles), {name: _each(value, particles) for name, value in conditions.items()}
    ladder = _ladder(denoisers, grid, steps, y, conditions)
    one, problems, device = ladder[0], shape[0], torch.device(device)
    noise = noise or KeyedNoise(seed, range(problems) if items is None else items)
    size, d = torch.Size((problems, particles, *shape[1:])), torch.Size(shape[1:]).numel()
    widest = max(denoiser.scale for denoiser in denoisers) / 2
    tau = [(total - 1) * sigma**2 / (sigma**2 + widest**2) ** 2 for sigma in one.sigma]
    start = one.sigma[0] ** 2
    precision = total / start - tau[0]
    x = noise(0, size, dtype, device) / math.sqrt(precision)
    evidence = -d / 2 * (total * math.log(2 * math.pi * start) + math.log(precision / (2 * math.pi)))
    log_weights, center = torch.full((problems, particles), evidence, dtype=torch.float64, device=device), x
    for i in range(one.steps):
        flat = x.flatten(0, 1)
        scores = [levels.score(i, flat).reshape(size) for levels in ladder]
        if i == 0:  # at the most noise x0_hat is the data's mean
            center = x.mean(1, keepdim=True) + start * torch.stack(scores).mean(0).mean(1, keepdim=True)
        variance = one.variance(i)
        spread = [one.kernel(i, error)[1] for error in known]
        precision = sum(e / v for e, v in zip(b, spread, strict=True)) - (total - 1) / variance - tau[i + 1]
        if not precision > 0:
            raise ValueError(f"exponents {b} make no density of the kernels at noise level {one.sigma[i]:.3g}")
        move = tau[i + 1] * (x - center)
        log_weights = log_weights + (tau[i + 1] - tau[i]) / 2 * _energy(x - center)
        log_volume = math.log(precision) - (total - 1) * math.log(variance)
        for e, v, score in zip(b, spread, scores, strict=True):
            move = move + (e * variance / v) * score
            log_weights = log_weights - e * variance**2 / (2 * v) * _energy(score)
            log_volume += e * math.log(v)
        log_weights = log_weights + _energy(move) / (2 * precision) - d / 2 * log_volume
        x = x + move / precision + noise(2 * i + 1, size, dtype, device) / math.sqrt(precision)
        u = torch.special.ndtr(noise(2 * i + 2, torch.Size((problems, 1)), torch.float64, device)[:, 0])
        x, log_weights = resample(x, log_weights, u, threshold)
    log_weights = log_weights - tau[-1] / 2 * _energy(x - center)
    return Particles(one.state(one.steps, x.flatten(0, 1)).reshape(size), log_weights)


def _ladder(
    denoisers: Sequence[Denoiser],
    grid: Grid | Explicit | None,
    steps: int,
    y: Tensor | None,
    conditions: Mapping[str, Tensor],
) -> list[Levels]:
    """All denoisers on the levels of the first."""
    if not denoisers:
        raise ValueError("there is no denoiser")
    path = denoisers[0].path
    ladder = [Levels(denoiser.on(path), grid, steps, y, conditions) for denoiser in denoisers]
    if ladder[0].sigma[-1] == 0:
        raise ValueError(f"the grid ends without noise, where {path} has no score: end it above")
    return ladder


def _scores(ladder: Sequence[Levels], i: int, x: Tensor) -> Tensor:
    """The scores at time number i, (models, batch, ...)."""
    return torch.stack([levels.score(i, x) for levels in ladder])


def _equalising(scores: Tensor, log_q: Tensor) -> Tensor:
    """The least move (batch, ...) along the differences of scores (models, batch, ...) that makes log q_i + score_i . move
    equal. Where scores agree nothing can be done, and the pseudo-inverse does nothing."""
    flat = scores.flatten(2).double()
    apart = (flat[1:] - flat[0]).transpose(0, 1)  # (batch, models - 1, d)
    inverse = torch.linalg.pinv(apart @ apart.mT, rtol=1e-9, hermitian=True)
    gap = (log_q[1:] - log_q[0]).mT[..., None]
    return -(apart.mT @ (inverse @ gap))[..., 0].reshape(scores.shape[1:]).to(scores.dtype)


def _each(value: Tensor | None, particles: int) -> Tensor:
    """(problems * particles, ...) from (problems, ...)."""
    return value if value is None else value.repeat_interleave(particles, dim=0)  # type: ignore[return-value]


def _energy(x: Tensor) -> Tensor:
    """|x|^2 of each particle, (problems, particles), float64."""
    return x.flatten(2).double().square().sum(2)
