"""Sampling a joint discrete state: how a categorical denoiser's answers become a sample."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ornstein.core.discrete.chains import Ancestral, GridSampler, TauLeaping
from ornstein.core.discrete.denoisers import CategoricalDenoiser, States
from ornstein.core.discrete.draws import one_hot
from ornstein.core.discrete.paths import CategoricalPath
from ornstein.core.discrete.sampler import Progress, Sampler
from ornstein.core.discrete.unmasking import ConfidentUnmasking, FirstHitting, MaskedSampler
from ornstein.core.noise import KeyedUniform

__all__ = [
    "Ancestral",
    "ConfidentUnmasking",
    "FirstHitting",
    "GridSampler",
    "MaskedSampler",
    "Progress",
    "Project",
    "Sampler",
    "TauLeaping",
    "held",
    "laws",
    "sample",
    "start",
]


Project = Callable[[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]], dict[str, Tensor]]
PROJECTION = 4096
"""The stream of a projection's numbers, apart from those of the samplers."""


@torch.no_grad()
def sample(
    denoiser: CategoricalDenoiser,
    masks: States,
    sampler: Sampler = Ancestral(),
    *,
    steps: int = 100,
    seed: int = 0,
    items: Sequence[int] | None = None,
    known: States | None = None,
    temperature: float = 1.0,
    progress: Progress | None = None,
    callback: Callable[[Progress, dict[str, Tensor]], None] | None = None,
    project: Project | None = None,
    **conditions: Tensor,
) -> dict[str, Tensor]:
    """Takes noise to a sample of a joint discrete state.

    Args:
        denoiser: p(x0 | x_t) of the named tensors.
        masks: which positions of each exist, bool (batch, positions) by name; what does not comes out 0.
        sampler: how; see each.
        steps: at least 1; `FirstHitting` takes as many as there are positions.
        seed: at least 0.
        items: each row's number, which its noise depends on (with the seed, the step and the position); 0, 1, ... by default.
        known: what is given of the sample, int64 by name, -1 where it is not; it is data from the start. On masked paths the
            rest follows its law given that; on others approximately, as the denoiser takes the known for noise
            while there is much (renewal brings it nearer).
        temperature: of p(x0 | x_t), above 0; 1 is the model's own law.
        progress: a saved one, to go on from.
        callback: called after every step with the progress and the law of the data that it was made from.
        project: holds every state to a constraint: project(before, after, chance) gives the state that takes the place of
            `after`, with a number in (0, 1) at each position, by name, for what it leaves to chance.
        conditions: passed to the denoiser by keyword.

    Returns:
        int64 (batch, positions) by name.

    Raises:
        ValueError: where the paths do not allow the sampler, or a setting is out of range.
    """
    paths = denoiser.paths
    sampler.refuse(paths)
    if temperature <= 0:
        raise ValueError(f"temperature {temperature}: must be above 0")
    batch = len(next(iter(masks.values())))
    uniform = KeyedUniform(seed, range(batch) if items is None else items)
    if progress is None:
        progress = sampler.begin(paths, start(paths, masks, uniform, known), steps, uniform)
    while not sampler.done(progress, steps):
        logits = denoiser(progress.x, progress.t, masks, **conditions)
        p0 = laws(paths, logits, progress.x, known, temperature)
        before = progress.x
        progress = sampler.step(paths, progress, p0, masks, steps, uniform)
        after = held(progress.x, known)
        if project is not None:
            streams = enumerate(paths, PROJECTION)
            chance = {name: uniform(progress.step, after[name].shape, n, after[name].device) for n, name in streams}
            after = project(before, after, chance)
        progress = progress._replace(x=after)
        if callback is not None:
            callback(progress, p0)
    return progress.x


def start(
    paths: Mapping[str, CategoricalPath], masks: States, uniform: KeyedUniform, known: States | None = None
) -> dict[str, Tensor]:
    """The state at t = 1: noise, but for what is known, which is data from the start."""
    x = {}
    for stream, (name, path) in enumerate(paths.items()):
        mask = masks[name]
        x[name] = path.start(uniform(0, mask.shape, 2 * len(paths) + 1 + stream, mask.device)) * mask
    return held(x, known)


def held(x: States, known: States | None) -> dict[str, Tensor]:
    """The state, in which what is known is data."""
    given = known or {}
    return {name: torch.where(given[name] >= 0, given[name], v) if name in given else v for name, v in x.items()}


def laws(
    paths: Mapping[str, CategoricalPath],
    logits: Mapping[str, Tensor],
    x: States,
    known: States | None = None,
    temperature: float = 1.0,
) -> dict[str, Tensor]:
    """The law of the data that a step is made from, float64 (batch, positions, classes): the known is certain."""
    p0 = {}
    for name, path in paths.items():
        law = torch.softmax(logits[name].double() / temperature, dim=-1)
        if known is not None and name in known:
            given = known[name]
            law = torch.where((given >= 0)[..., None], one_hot(given.clamp_min(0), path.classes), law)
        p0[name] = law
    return p0
