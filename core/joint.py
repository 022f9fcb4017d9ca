"""Joint continuous states: named tensors, each with its own Gaussian path, denoised and sampled as one system."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ornstein.core.denoisers import NetworkDenoiser, Prediction
from ornstein.core.grids import Grid, Uniform
from ornstein.core.noise import KeyedUniform
from ornstein.core.paths import Path, expand, time
from ornstein.core.solvers.langevin import PredictorCorrector
from ornstein.core.solvers.solver import add, combine

Values = Mapping[str, Tensor]
"""Tensors of a joint state by name, each (batch, positions, channels); of pairs of nodes as `core/pairs.py` orders them,
which makes them, their scores and their noise symmetric."""
MOST_DRAWS = 256
"""Draws of noise that one tensor may take in one step."""


class JointDenoiser(nn.Module, ABC):
    """Answers E[x0 | x_t] of all tensors of a joint state, from all of them.

    Calling it: `denoiser(x, t, masks)` with x by name (batch, positions, channels), t () or (batch,) in [0, 1], masks by name,
    bool (batch, positions), true where a position exists, gives x0_hat by name. Conditions go by keyword.

    Args:
        paths: of the tensors, by name.
    """

    def __init__(self, paths: Mapping[str, Path]) -> None:
        super().__init__()
        assert not any(path.drifts for path in paths.values()), "a joint state has no y"
        self.paths = dict(paths)

    @abstractmethod
    def forward(self, x: Values, t: Tensor, masks: Values, **conditions: Tensor) -> dict[str, Tensor]:
        """x0_hat by name."""


class _Preconditioning(NetworkDenoiser):
    """What `NetworkDenoiser` does around its network, for one tensor of several that share one."""

    def before(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The network's input and its label (batch,)."""
        scale, label = self._inputs(t, self.path.coefficients(t))
        return expand(scale, x_t) * x_t, label.to(device=x_t.device, dtype=torch.float32).expand(len(x_t))

    def after(self, x_t: Tensor, out: Tensor, t: Tensor) -> Tensor:
        """x0_hat from the network's output."""
        skip, weight = self._weights(self.path.coefficients(t))
        return expand(skip, x_t) * x_t + expand(weight, x_t) * out.to(x_t.dtype)


class NetworkJoint(JointDenoiser):
    """One network's outputs turned into x0_hat of every tensor, as `NetworkDenoiser` does it.

    Args:
        network: called as network(x, labels, masks, **conditions), labels (batch,) by name; gives tensors like x by name.
        paths: of the tensors, by name.
        prediction: what the network predicts; GDSS: "noise", that is -s times the score.
        sigma_data: standard deviation of each tensor, by name.
    """

    def __init__(
        self,
        network: nn.Module,
        paths: Mapping[str, Path],
        prediction: Prediction = "edm",
        sigma_data: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(paths)
        self.network = network
        self.parts = {
            name: _Preconditioning(nn.Identity(), path, prediction, (sigma_data or {}).get(name, 0.5))
            for name, path in paths.items()
        }

    def forward(self, x: Values, t: Tensor, masks: Values, **conditions: Tensor) -> dict[str, Tensor]:
        t = time(t)
        inputs = {name: part.before(x[name], t) for name, part in self.parts.items()}
        out = self.network(
            {name: value for name, (value, _) in inputs.items()},
            {name: label for name, (_, label) in inputs.items()},
            masks,
            **conditions,
        )
        return {name: part.after(x[name], out[name], t) * masks[name][..., None] for name, part in self.parts.items()}


def joint_score_loss(
    model: nn.Module,
    x0: Values,
    masks: Values,
    t: Tensor,
    generator: torch.Generator,
    weights: Mapping[str, float] | None = None,
    **conditions: Tensor,
) -> Tensor:
    """The sum over tensors of E |s score + z|^2, a mean over what exists: (batch,).

    With the partial scores of GDSS, score_k = grad log p(x_k | all x), and lambda(t) = s^2, its losses: each score is matched to the one
    of its own transition, -z / s, from the noisy state of all. In terms of x0_hat, s score + z = a (x0_hat - x0) / s.

    Args:
        model: a `JointDenoiser`, also as `torchrun` wraps it.
        x0, masks: data and which positions exist, by name.
        t: times (batch,), above 0 where s(0) = 0.
        generator: of the noise.
        weights: of the tensors, by name; 1 where it says nothing.

    Source: Jo, Lee, Hwang (2022), Score-based generative modeling of graphs via the system of SDEs, arXiv:2202.02514, eq. 5.
    """
    inner: Any = model.module if isinstance(model, DistributedDataParallel) else model
    assert isinstance(inner, JointDenoiser), f"{type(inner).__name__} is no joint denoiser"
    x_t = {}
    for name, path in inner.paths.items():
        z = torch.randn(x0[name].shape, generator=generator).to(x0[name].device)
        x_t[name] = path.mix(x0[name], z, t) * masks[name][..., None]
    guess = model(x_t, t, masks, **conditions)
    total = torch.zeros(len(t), device=t.device)
    for name, path in inner.paths.items():
        c = path.coefficients(t)
        error = (expand(c.a / c.s, x0[name]) * (guess[name] - x0[name])).float().square() * masks[name][..., None]
        count = masks[name].sum(1).clamp_min(1) * x0[name].shape[-1]
        total = total + error.flatten(1).sum(1) / count * (1.0 if weights is None else weights.get(name, 1.0))
    return total


class JointSolver(ABC):
    """A frozen dataclass of settings that takes a joint state down a grid of times."""

    @abstractmethod
    def evaluations(self, steps: int) -> int:
        """How often the denoiser is called in so many steps."""

    @abstractmethod
    def solve(
        self,
        denoise: Callable[[Values, Tensor], Values],
        paths: Mapping[str, Path],
        times: Tensor,
        x: dict[str, Tensor],
        noise: Callable[[int, int, str], Tensor],
    ) -> dict[str, Tensor]:
        """The state at the last time.

        Args:
            denoise: x0_hat by name, of the state at a time.
            paths: of the tensors.
            times: (steps + 1,), descending.
            x: the state at the first time.
            noise: noise(step, draw, name), unit noise like x[name] and 0 where nothing is.
        """


@dataclass(frozen=True)
class JointPredictorCorrector(JointSolver):
    """`PredictorCorrector` of each tensor, in step: all are corrected from one state, then all predicted from one.

    Args:
        solvers: settings of each tensor by name, of equal `corrections`; GDSS: predictor "reverse-diffusion" or
            "euler-maruyama", step_size "norm", snr and noise_scale of the data set.

    Raises:
        ValueError: where the numbers of corrections differ.

    Source: Jo et al. (2022), GDSS, arXiv:2202.02514, algorithm 1 (predictor-corrector).
    """

    solvers: Mapping[str, PredictorCorrector] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len({solver.corrections for solver in self.solvers.values()}) > 1:
            raise ValueError(f"all tensors are corrected equally often: {dict(self.solvers)}")

    def evaluations(self, steps: int) -> int:
        return steps * (1 + next(iter(self.solvers.values())).corrections)

    def solve(
        self,
        denoise: Callable[[Values, Tensor], Values],
        paths: Mapping[str, Path],
        times: Tensor,
        x: dict[str, Tensor],
        noise: Callable[[int, int, str], Tensor],
    ) -> dict[str, Tensor]:
        plans = {name: self.solvers[name].plan(path, times) for name, path in paths.items()}
        corrections = next(iter(self.solvers.values())).corrections
        for i in range(len(times) - 1):
            for k in range(corrections):
                x0, moved = denoise(x, times[i]), {}
                for name, plan in plans.items():
                    of_score = plan[i].score
                    if of_score is None:
                        moved[name] = x[name]
                        continue
                    score = combine(x[name], of_score[0], (of_score[1],), (x0[name],))
                    moved[name] = self.solvers[name].correct(x[name], score, noise(i, k, name), plan[i].s)
                x = moved
            x0, moved = denoise(x, times[i]), {}
            for name, plan in plans.items():
                of_x, of_x0, _ = plan[i].predictor
                moved[name] = combine(x[name], of_x, (of_x0,), (x0[name],))
                spread = plan[i].z
                if i < len(times) - 2 and spread is not None:
                    moved[name] = add(moved[name], spread, noise(i, corrections, name))
            x = moved
        return x


@dataclass(frozen=True)
class S4(JointSolver):
    """The symmetric splitting of a system of SDEs: one evaluation a step, for the corrector and for the predictor.

    With the score at (x, t): a Langevin step as `PredictorCorrector` takes it by the norm of the score; half a step of the forward
    SDE's drift and noise, run backwards, which has a closed form, x_m = (a_m / a_t) x + a_m sqrt(sigma_t^2 - sigma_m^2) z, sigma = s / a;
    x + g^2 score (t - r) with the score from before; the other half. The last half adds no noise.

    (The published code takes 1 - exp(-2c) for the variance exp(2c) - 1 of half a step on VP, c = log(a_m / a_t); they agree as c
    vanishes.)

    Args:
        snr: of the corrector, by name, above 0.
        noise_scale: of its noise (scale_eps), by name, at least 0.

    Source: Jo et al. (2022), GDSS, arXiv:2202.02514, section 3.3, algorithm 2.
    """

    snr: Mapping[str, float] = field(default_factory=dict)
    noise_scale: Mapping[str, float] = field(default_factory=dict)

    def evaluations(self, steps: int) -> int:
        return steps

    def solve(
        self,
        denoise: Callable[[Values, Tensor], Values],
        paths: Mapping[str, Path],
        times: Tensor,
        x: dict[str, Tensor],
        noise: Callable[[int, int, str], Tensor],
    ) -> dict[str, Tensor]:
        correctors = {
            name: PredictorCorrector(
                self.snr.get(name, 0.2), step_size="norm", noise_scale=self.noise_scale.get(name, 1.0)
            )
            for name in paths
        }
        for i, (t, r) in enumerate(pairwise(times)):
            x0, moved = denoise(x, t), {}
            last = i == len(times) - 2
            for name, path in paths.items():
                c = path.coefficients(t)
                s, middle = float(c.s), (t + r) / 2
                score = combine(x[name], -1 / s, (float(c.a) / s,), (x0[name],))  # s times the score
                value = correctors[name].correct(x[name], score, noise(i, 0, name), s)
                value = self._drift(path, value, t, middle, noise(i, 1, name))
                value = add(value, float(path.diffusion(t)[2] * (t - r)) / s, score)
                moved[name] = self._drift(path, value, middle, r, None if last else noise(i, 2, name))
            x = moved
        return x

    @staticmethod
    def _drift(path: Path, x: Tensor, t: Tensor, r: Tensor, z: Tensor | None) -> Tensor:
        """The forward SDE without its score, backwards from t to r."""
        here, there = path.coefficients(t), path.coefficients(r)
        moved = x * float(there.a / here.a)
        if z is None:
            return moved
        spread = there.a * torch.sqrt(((here.s / here.a) ** 2 - (there.s / there.a) ** 2).clamp_min(0))
        return add(moved, float(spread), z)


@torch.no_grad()
def sample_joint(
    denoiser: JointDenoiser,
    masks: Values,
    channels: Mapping[str, int],
    solver: JointSolver,
    *,
    steps: int = 1000,
    grid: Grid = Uniform(end=1e-3),
    seed: int = 0,
    items: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float32,
    **conditions: Tensor,
) -> dict[str, Tensor]:
    """Takes noise to a sample of a joint continuous state.

    Noise is keyed by seed, item, step and position, and is 0 where nothing is: neither the batch nor padding changes an
    item. Pairs of nodes have one noise in both directions.

    Args:
        denoiser: E[x0 | x_t] of the named tensors.
        masks: which positions of each exist, bool (batch, positions).
        channels: of each tensor.
        solver: see `JointPredictorCorrector`, `S4`.
        steps: at least 1.
        grid: one for all tensors; GDSS ends at 1e-3 (1e-5 on VE), where x is returned as it is.
        seed, items: see `KeyedUniform`.
        dtype: of the state.
        conditions: passed to the denoiser by keyword.

    Returns:
        (batch, positions, channels) by name.
    """
    paths = denoiser.paths
    first = next(iter(masks.values()))
    uniform = KeyedUniform(seed, range(len(first)) if items is None else items)
    streams = {name: stream for stream, name in enumerate(paths)}

    def noise(step: int, draw: int, name: str) -> Tensor:
        assert draw < MOST_DRAWS, f"draw {draw} of a step"
        mask, stream = masks[name], streams[name] * MOST_DRAWS + draw
        z = uniform.normal(step + 1, (*mask.shape, channels[name]), stream, mask.device)
        return z.to(dtype) * mask[..., None]

    times = grid(next(iter(paths.values())), steps)
    x = {name: path.start(noise(-1, 0, name), None, times[0]) for name, path in paths.items()}
    return solver.solve(lambda state, t: denoiser(state, t, masks, **conditions), paths, times, x, noise)
