"""Samplers that move all positions at once along a grid of times: ancestral ones and tau-leaping."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ornstein.core.discrete.denoisers import States
from ornstein.core.discrete.draws import one_hot, race
from ornstein.core.discrete.paths import CategoricalPath
from ornstein.core.discrete.sampler import Progress, Sampler
from ornstein.core.noise import KeyedUniform

Kernel = Literal["reversal", "flow"]


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
