"""Samplers of masked paths that unmask chosen positions: first-hitting, which is exact, and confident unmasking."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ornstein.core.discrete.denoisers import States
from ornstein.core.discrete.draws import race
from ornstein.core.discrete.paths import CategoricalPath, Masked
from ornstein.core.discrete.sampler import Progress, Sampler
from ornstein.core.noise import KeyedUniform


@dataclass(frozen=True)
class MaskedSampler(Sampler):
    """Samplers of masked paths that unmask chosen positions; all tensors of the state share one schedule."""

    def refuse(self, paths: Mapping[str, CategoricalPath]) -> None:
        if not all(isinstance(path, Masked) for path in paths.values()):
            found = ", ".join(sorted({type(path).__name__.lower() for path in paths.values()}))
            raise ValueError(f"{type(self).__name__} unmasks positions: its paths are masked ones, not {found}")
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
