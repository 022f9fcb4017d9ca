"""Soft value-based decoding of discrete diffusion: of several next states the one that promises the most goes on."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ornstein.core.discrete.denoisers import CategoricalDenoiser, States
from ornstein.core.discrete.samplers import Ancestral, GridSampler, Progress, Sampler, held, laws, start
from ornstein.core.noise import KeyedUniform
from ornstein.core.particles import select

Value = Callable[[dict[str, Tensor], bool], Tensor]
"""Of data by name, (rows, positions), and whether they are final (or a guess), gives float64 (rows,); NaN where there is none."""

CHOICE = 1024
"""The stream of the numbers that choose, apart from those of the samplers."""


@torch.no_grad()
def sample_valued(
    denoiser: CategoricalDenoiser,
    masks: States,
    value: Value,
    sampler: Sampler = Ancestral(),
    *,
    steps: int = 100,
    candidates: int = 8,
    alpha: float = 0.0,
    span: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
    items: Sequence[int] | None = None,
    known: States | None = None,
    temperature: float = 1.0,
    begun: tuple[States, float] | None = None,
    **conditions: Tensor,
) -> dict[str, Tensor]:
    """Samples of the law p(x0) exp(value(x0) / alpha), nearly, for a value of any kind: it needs no derivative.

    In every step within the span each item draws several candidates x_r of its reverse law, the value of each is taken
    from the likeliest data given it, and one is chosen with probability proportional to exp(value / alpha). The exact
    method weighs by E[exp(value(x0) / alpha) | x_r]; the likeliest data stand for that law. With one step, and so no
    guess, it is exact in the limit of many candidates. A candidate without a value (NaN) is chosen only where none has one.

    Args:
        denoiser, masks, sampler, steps, seed, items, known, temperature, conditions: see `sample`.
        value: what is wanted; asked about `candidates` rows an item and guided step.
        candidates: at least 1; 1 is `sample`.
        alpha: at least 0, in units of the value; 0 takes the best.
        span: the times (low, high) between which candidates are drawn.
        begun: data (batch, positions) by name and a time: the run goes on from these data, noised up to this time, and
            not from noise. It is how a result is refined: noised a part of the way and decoded again.

    Returns:
        int64 (batch, positions) by name.

    Raises:
        ValueError: where the paths do not allow the sampler, or a setting is out of range.

    Source: Li et al. (2024), Derivative-free guidance in continuous and discrete diffusion models with soft value-based
    decoding, arXiv:2408.08252, algorithm 1, with the values of its section on posterior means (SVDD-PM). Refinement: Uehara
    et al. (2025), Reward-guided iterative refinement in diffusion models at test-time, arXiv:2502.14944.
    """
    paths = denoiser.paths
    sampler.refuse(paths)
    if temperature <= 0 or candidates < 1 or alpha < 0:
        raise ValueError(f"temperature {temperature}, candidates {candidates}, alpha {alpha}: out of range")
    batch = len(next(iter(masks.values())))
    numbers = list(range(batch)) if items is None else [int(item) for item in items]
    single = KeyedUniform(seed, numbers)
    # Step 0 draws by the item, later steps by the candidate: no key is used twice.
    many = KeyedUniform(seed, [number * candidates + m for number in numbers for m in range(candidates)])
    first = KeyedUniform(seed, [number * candidates for number in numbers])
    if begun is None:
        progress = sampler.begin(paths, start(paths, masks, single, known), steps, single)
    else:
        progress = _resumed(denoiser, sampler, *begun, masks, known, steps, single)
    wide_masks, wide_conditions = _repeated(masks, candidates), _repeated(conditions, candidates)
    wide_known = None if known is None else _repeated(known, candidates)
    logits: Mapping[str, Tensor] = {}
    while not sampler.done(progress, steps):
        if not logits:
            logits = denoiser(progress.x, progress.t, masks, **conditions)
        p0 = laws(paths, logits, progress.x, known, temperature)
        guided = (progress.t >= span[0]) & (progress.t <= span[1])
        if candidates == 1 or not guided.any():
            progress, logits = sampler.step(paths, progress, p0, masks, steps, first), {}
            progress = progress._replace(x=held(progress.x, known))
            continue
        drawn = sampler.step(paths, _spread(progress, candidates), _repeated(p0, candidates), wide_masks, steps, many)
        drawn = drawn._replace(x=held(drawn.x, wide_known))
        final = sampler.done(drawn, steps)
        wide_logits: Mapping[str, Tensor] = {}
        guess = dict(drawn.x)
        if not final:
            wide_logits = denoiser(drawn.x, drawn.t, wide_masks, **wide_conditions)
            law = laws(paths, wide_logits, drawn.x, wide_known, temperature)
            guess = {name: part.argmax(-1) * wide_masks[name] for name, part in law.items()}
        values = value(guess, final).to(torch.float64).cpu().reshape(batch, candidates)
        choice = select(_log_weights(values, alpha), _choice(single, progress.step + 1)).to(progress.t.device)
        choice = torch.where(guided, choice, 0)  # the first candidate is what plain sampling draws
        pick = torch.arange(batch, device=choice.device) * candidates + choice
        progress = Progress(drawn.step, drawn.t[pick], {name: x[pick] for name, x in drawn.x.items()})
        logits = {name: part[pick] for name, part in wide_logits.items()}
    return progress.x


def _resumed(
    denoiser: CategoricalDenoiser,
    sampler: Sampler,
    data: States,
    time: float,
    masks: States,
    known: States | None,
    steps: int,
    uniform: KeyedUniform,
) -> Progress:
    """The progress of a run at data that are noised up to a time, of the sampler's grid where it has one."""
    if not 0 < time <= 1:
        raise ValueError(f"time {time}: must be above 0, at most 1")
    done = 0
    if isinstance(sampler, GridSampler):
        done = min(steps - 1, round(steps * (1 - time ** (1 / sampler.power))))
        time = (1 - done / steps) ** sampler.power
    x = {}
    for stream, (name, path) in enumerate(denoiser.paths.items()):
        numbers = uniform(0, masks[name].shape, CHOICE + 1 + stream, masks[name].device)
        x[name] = path.mix(data[name], time, numbers) * masks[name]
    x = held(x, known)
    if not isinstance(sampler, GridSampler):
        return sampler.begin(denoiser.paths, x, steps, uniform)  # what is masked is what is left to do
    first = next(iter(x.values()))
    return Progress(done, torch.full((len(first),), time, dtype=torch.float64, device=first.device), x)


def _choice(uniform: KeyedUniform, step: int) -> Tensor:
    """The number in (0, 1) by which each item chooses, (batch,)."""
    return uniform(step, (len(uniform.items), 1), CHOICE)[:, 0]


def _log_weights(values: Tensor, alpha: float) -> Tensor:
    """Of values (batch, candidates); -inf for NaN."""
    values = values.nan_to_num(nan=-math.inf)
    if alpha > 0:
        return values / alpha
    return torch.where(values == values.max(dim=1, keepdim=True).values, 0.0, -math.inf)


def _spread(progress: Progress, candidates: int) -> Progress:
    return Progress(progress.step, progress.t.repeat_interleave(candidates), _repeated(progress.x, candidates))


def _repeated(state: Mapping[str, Tensor], candidates: int) -> dict[str, Tensor]:
    return {name: part.repeat_interleave(candidates, dim=0) for name, part in state.items()}
