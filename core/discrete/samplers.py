"""Samplers of discrete diffusion: how a categorical denoiser's answers become a sample."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ornstein.core.discrete.denoisers import CategoricalDenoiser, States
from ornstein.core.discrete.draws import one_hot, race
from ornstein.core.discrete.paths import CategoricalPath, Masked
from ornstein.core.noise import KeyedUniform

Kernel = Literal["reversal", "flow"]


class Progress(NamedTuple):
    """A run between two steps.

    Args:
        step: how many steps are done.
        t: where each item is, float64 (batch,).
        x: the state by name, int64 (batch, positions).
    """

    step: int
    t: Tensor
    x: dict[str, Tensor]


class Sampler(ABC):
    """A frozen dataclass of settings; what a run remembers is its `Progress`."""

    @abstractmethod
    def evaluations(self, steps: int, positions: int) -> int:
        """How often the denoiser is called, at most, for items of so many positions in all."""

    def refuse(self, paths: Mapping[str, CategoricalPath]) -> None:  # noqa: B027 (most allow all)
        """Raises ValueError where the paths do not allow this sampler."""

    @abstractmethod
    def begin(
        self, paths: Mapping[str, CategoricalPath], x: dict[str, Tensor], steps: int, uniform: KeyedUniform
    ) -> Progress:
        """The first progress of a run from the state x."""

    @abstractmethod
    def done(self, progress: Progress, steps: int) -> bool:
        """Whether nothing is left to do."""

    @abstractmethod
    def step(
        self,
        paths: Mapping[str, CategoricalPath],
        progress: Progress,
        p0: Mapping[str, Tensor],
        masks: States,
        steps: int,
        uniform: KeyedUniform,
    ) -> Progress:
        """The next progress, from the denoiser's law of the data, float64 (batch, positions, classes) by name."""


@dataclass(frozen=True)
class GridSampler(Sampler):
    """Samplers that move all positions at once, each by its own law, along the times t_i = (1 - i / steps)^power.

    Args:
        power: above 0; above 1 the steps shorten towards the data.

    Source: Qin et al. (2024), DeFoG, arXiv:2410.04263, whose "polydec" distortion is power 2.
    """

    power: float = 1.0

    def __post_init__(self) -> None:
        if self.power <= 0:
            raise ValueError(f"power {self.power}: must be above 0")

    def evaluations(self, steps: int, positions: int) -> int:
        return steps

    def begin(
        self, paths: Mapping[str, CategoricalPath], x: dict[str, Tensor], steps: int, uniform: KeyedUniform
    ) -> Progress:
        if steps < 1:
            raise ValueError(f"steps {steps}: must be at least 1")
        first = next(iter(x.values()))
        return Progress(0, torch.ones(len(first), dtype=torch.float64, device=first.device), x)

    def done(self, progress: Progress, steps: int) -> bool:
        return progress.step >= steps

    def step(
        self,
        paths: Mapping[str, CategoricalPath],
        progress: Progress,
        p0: Mapping[str, Tensor],
        masks: States,
        steps: int,
        uniform: KeyedUniform,
    ) -> Progress:
        r = (1 - (progress.step + 1) / steps) ** self.power
        x = {}
        for stream, (name, path) in enumerate(paths.items()):
            law = self.law(path, progress.x[name], p0[name], progress.t, r, steps)
            drawn = race(law, uniform(progress.step + 1, law.shape, stream, law.device))
            x[name] = drawn * masks[name]
        return Progress(progress.step + 1, torch.full_like(progress.t, r), x)

    @abstractmethod
    def law(self, path: CategoricalPath, x_t: Tensor, p0: Tensor, t: Tensor, r: float, steps: int) -> Tensor:
        """The law of x_r at each position, float64 (batch, positions, states)."""


@dataclass(frozen=True)
class Ancestral(GridSampler):
    """Every step draws x_r from the mean over p(x0 | x_t) of a kernel that keeps the path's marginals.

    | kernel | q(x_r given x_t, x0) | |
    |---|---|---|
    | reversal | q(x_r given x_t, x0) | the reverse chain: D3PM, DiGress; on masked paths MDLM and MD4 |
    | flow | x0 with probability j, else x_t | the fewest jumps: discrete flow matching |

    Independent draws of positions that depend on each other err; with more steps less of them falls into one, and the law
    of the data is reached (tested). `renewal` adds jumps that leave the marginals as they are and let errors be mended: a position
    is drawn anew, noised x0 of p(x0 | x_t), this often in a run, on average. In many steps that is exact too; infinity
    renews all positions in every step, which is not, however many steps there are (approximate), and does well.

    Args:
        power: see `GridSampler`.
        kernel: see above.
        renewal: at least 0; none on masked paths, but for infinity.

    Source: Austin et al. (2021), D3PM, arXiv:2107.03006, eq. 4; Vignac et al. (2022), DiGress, arXiv:2209.14734; Gat et al. (2024),
    arXiv:2407.15595; Boget (2025), Simple and critical iterative denoising (renewal infinity), arXiv:2503.21592.
    """

    kernel: Kernel = "reversal"
    renewal: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel not in get_args(Kernel):
            raise ValueError(f"kernel {self.kernel!r}; known: {', '.join(get_args(Kernel))}")
        if self.renewal < 0:
            raise ValueError(f"renewal {self.renewal}: must be at least 0")

    def law(self, path: CategoricalPath, x_t: Tensor, p0: Tensor, t: Tensor, r: float, steps: int) -> Tensor:
        if self.renewal == math.inf:
            return path.renewed(x_t, p0, r)
        kept = (path.posterior if self.kernel == "reversal" else path.flow)(x_t, p0, t, r)
        if self.renewal == 0:
            return kept
        anew = -math.expm1(-self.renewal / steps)
        return (1 - anew) * kept + anew * path.renewed(x_t, p0, r)


@dataclass(frozen=True)
class TauLeaping(GridSampler):
    """The rates of the reverse process are held over a step: a position jumps with probability 1 - exp(-(t - r) sum R), to k by R(k).

    Of several jumps in a step the first counts (Campbell et al. reject them). The last step draws x0 of p(x0 | x_t), and the
    first, at whose time the rates are infinite, is an ancestral one.

    Source: Campbell et al. (2022), A continuous time framework for discrete denoising models, arXiv:2205.14987, section 4.3.
    """

    def law(self, path: CategoricalPath, x_t: Tensor, p0: Tensor, t: Tensor, r: float, steps: int) -> Tensor:
        if r == 0 or bool((t >= 1).any()):
            return path.posterior(x_t, p0, t, r)
        rates = path.reverse_rates(x_t, p0, t)
        total = rates.sum(-1, keepdim=True)
        jump = -torch.expm1(-total * (t[:, None, None] - r))
        return jump * rates / total.clamp_min(1e-300) + (1 - jump) * one_hot(x_t, path.states)


@dataclass(frozen=True)
class MaskedSampler(Sampler):
    """Samplers of masked paths that unmask chosen positions; all tensors of the state share one schedule."""

    def refuse(self, paths: Mapping[str, CategoricalPath]) -> None:
        if not all(isinstance(path, Masked) for path in paths.values()):
            raise ValueError(f"{self} unmasks positions: its paths are masked ones, not {list(paths.values())}")
        if len({path.schedule for path in paths.values()}) > 1:
            raise ValueError(f"{self} needs one schedule for all tensors, not {list(paths.values())}")

    def done(self, progress: Progress, steps: int) -> bool:
        return not bool((progress.t > 0).any())

    @staticmethod
    def _open(paths: Mapping[str, CategoricalPath], x: States) -> Tensor:
        """Which positions are masked, bool (batch, all positions)."""
        return torch.cat([x[name] == path.classes for name, path in paths.items()], dim=1)

    @staticmethod
    def _unmask(paths: Mapping[str, CategoricalPath], x: States, chosen: Tensor, values: States) -> dict[str, Tensor]:
        """The state with the values at the chosen ones (batch, all positions) of all tensors' positions."""
        parts = chosen.split([x[name].shape[1] for name in paths], dim=1)
        return {name: torch.where(part, values[name], x[name]) for name, part in zip(paths, parts, strict=True)}


@dataclass(frozen=True)
class FirstHitting(MaskedSampler):
    """The reverse process of masked paths in continuous time, exactly: one position is unmasked a call, and no more calls.

    With n positions masked at t the next is unmasked at tau, where 1 - alpha_tau = (1 - alpha_t) u^(1 / n), every one of them alike, to a
    draw of p(x0 | x_t) at tau. An item of n positions takes n calls, however many steps are asked for; a denoiser that does
    not depend on time takes the same ones.

    Source: Zheng et al. (2024), arXiv:2409.02908, section 4, algorithm 1.
    """

    def evaluations(self, steps: int, positions: int) -> int:
        return positions

    def begin(
        self, paths: Mapping[str, CategoricalPath], x: dict[str, Tensor], steps: int, uniform: KeyedUniform
    ) -> Progress:
        waiting = self._open(paths, x)
        ones = torch.ones(len(waiting), dtype=torch.float64, device=waiting.device)
        return Progress(0, self._next(paths, ones, waiting, uniform, 0), x)

    def step(
        self,
        paths: Mapping[str, CategoricalPath],
        progress: Progress,
        p0: Mapping[str, Tensor],
        masks: States,
        steps: int,
        uniform: KeyedUniform,
    ) -> Progress:
        x, number = progress.x, progress.step + 1
        values, places = {}, []
        for stream, (name, law) in enumerate(p0.items()):
            values[name] = race(law, uniform(number, law.shape, stream, law.device))
            places.append(uniform(number, x[name].shape, len(paths) + stream, law.device))
        waiting = self._open(paths, x)
        rank = torch.cat(places, dim=1).masked_fill(~waiting, 2.0)
        chosen = torch.zeros_like(waiting).scatter(1, rank.argmin(1, keepdim=True), True) & waiting
        x = self._unmask(paths, x, chosen, values)
        return Progress(number, self._next(paths, progress.t, self._open(paths, x), uniform, number), x)

    @staticmethod
    def _next(
        paths: Mapping[str, CategoricalPath], t: Tensor, waiting: Tensor, uniform: KeyedUniform, step: int
    ) -> Tensor:
        """When the next position is unmasked, (batch,); 0 where none is left."""
        schedule = next(iter(paths.values())).schedule
        left = waiting.sum(1)
        u = uniform(step, (len(t), 1), 2 * len(paths), t.device)[:, 0]
        masked = (1 - schedule.alpha(t)) * u ** (1 / left.clamp_min(1))
        return torch.where(left > 0, schedule.time_of(1 - masked).clamp(1e-12, 1.0), 0.0)


@dataclass(frozen=True)
class ConfidentUnmasking(MaskedSampler):
    """Approximate: in every step the positions of whose draws the denoiser is surest are unmasked together.

    All masked positions are drawn; those of the largest log p(drawn) + temperature r G stay, G Gumbel noise and r falling with t,
    as many as the schedule says at r. What comes first is what is sure, not what is random: the law is not that of the
    reverse process (GenMol and MaskGIT trade it for few calls).

    Args:
        temperature: at least 0: of the choice of positions; 0 takes the surest.

    Source: Chang et al. (2022), MaskGIT, arXiv:2202.04200; Lee et al. (2025), GenMol, arXiv:2501.06158.
    """

    temperature: float = 0.5

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError(f"temperature {self.temperature}: must be at least 0")

    def evaluations(self, steps: int, positions: int) -> int:
        return min(steps, positions)

    def begin(
        self, paths: Mapping[str, CategoricalPath], x: dict[str, Tensor], steps: int, uniform: KeyedUniform
    ) -> Progress:
        if steps < 1:
            raise ValueError(f"steps {steps}: must be at least 1")
        waiting = self._open(paths, x)
        return Progress(0, waiting.any(1).double(), x)

    def step(
        self,
        paths: Mapping[str, CategoricalPath],
        progress: Progress,
        p0: Mapping[str, Tensor],
        masks: States,
        steps: int,
        uniform: KeyedUniform,
    ) -> Progress:
        x, number = progress.x, progress.step + 1
        waiting = self._open(paths, x)
        schedule = next(iter(paths.values())).schedule
        r = torch.full_like(progress.t, max(1 - number / steps, 0.0))
        share = (1 - schedule.alpha(r)) / (1 - schedule.alpha(progress.t)).clamp_min(1e-300)
        count = waiting.sum(1)
        left = torch.minimum((share * count + 1e-9).floor().long(), count - 1).clamp_min(0)  # no call is without effect
        values, scores = {}, []
        for stream, (name, law) in enumerate(p0.items()):
            values[name] = race(law, uniform(number, law.shape, stream, law.device))
            sure = law.gather(-1, values[name][..., None])[..., 0].clamp_min(1e-300).log()
            gumbel = -torch.log(-torch.log(uniform(number, values[name].shape, len(paths) + stream, law.device)))
            scores.append(sure + self.temperature * r[:, None] * gumbel)
        score = torch.cat(scores, dim=1).masked_fill(~waiting, -math.inf)
        order = score.argsort(1, descending=True).argsort(1)
        chosen = (order < (count - left)[:, None]) & waiting
        x = self._unmask(paths, x, chosen, values)
        return Progress(number, torch.where(self._open(paths, x).any(1), r, 0.0), x)


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
        progress = sampler.step(paths, progress, p0, masks, steps, uniform)
        progress = progress._replace(x=held(progress.x, known))
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
