"""A joint law of two named tensors, small enough to enumerate, with its exact denoiser and the exact laws of samplers."""

import itertools
from collections.abc import Mapping

import torch
from torch import Tensor

from ornstein.core.discrete.denoisers import CategoricalDenoiser
from ornstein.core.discrete.paths import Absorbing, CategoricalPath, Marginal, Masked, Schedule, Uniform
from ornstein.core.discrete.samplers import GridSampler, laws

SHAPE = {"a": (2, 3), "b": (1, 2)}
"""Positions and classes of each tensor."""
MASKS = {name: torch.ones(1, positions, dtype=torch.bool) for name, (positions, _) in SHAPE.items()}


def table(seed: int = 0) -> Tensor:
    """Strongly dependent probabilities of the 3 * 3 * 2 data."""
    weights = torch.rand(18, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 4 + 0.01
    return weights / weights.sum()


def paths(kind: type[CategoricalPath], schedule: Schedule) -> dict[str, CategoricalPath]:
    if kind is Marginal:
        return {
            "a": Marginal(probabilities=(0.5, 0.3, 0.2), schedule=schedule),
            "b": Marginal(probabilities=(0.6, 0.4), schedule=schedule),
        }
    assert kind in (Absorbing, Masked, Uniform)
    return {name: kind(classes, schedule) for name, (_, classes) in SHAPE.items()}


def joint(values: Tensor) -> dict[str, Tensor]:
    """Rows (count, 3) of the two tensors by name."""
    return {"a": values[:, :2], "b": values[:, 2:]}


def states(of: Mapping[str, CategoricalPath], data: bool = False) -> Tensor:
    """All states, or all data, (count, 3)."""
    sizes = [path.classes if data else path.states for path in of.values()]
    return torch.tensor(list(itertools.product(*[range(k) for k in (sizes[0], sizes[0], sizes[1])])))


class Exact(CategoricalDenoiser):
    """The marginals of p(x0 | x_t) by Bayes' rule over all data; `blur` mixes them with uniform ones, to err."""

    def __init__(self, of: Mapping[str, CategoricalPath], probabilities: Tensor, blur: float = 0.0) -> None:
        super().__init__(of)
        self.probabilities, self.blur, self.calls = probabilities, blur, 0

    def forward(self, x, t, masks, **conditions):
        self.calls += 1
        data = states(self.paths, data=True)
        log = self.probabilities.log().expand(len(t), -1).clone()
        for name, columns in joint(data).items():
            seen = self.paths[name].evidence(x[name], t)  # (batch, positions, classes)
            for position in range(columns.shape[1]):
                log += seen[:, position][:, columns[:, position]]
        posterior = log.softmax(-1)
        out = {}
        for name, columns in joint(data).items():
            classes = self.paths[name].classes
            chosen = torch.nn.functional.one_hot(columns, classes).double()  # (data, positions, classes)
            law = torch.einsum("bd,dpc->bpc", posterior, chosen)
            out[name] = ((1 - self.blur) * law + self.blur / classes).log()
        return out


def transition(denoiser: CategoricalDenoiser, sampler: GridSampler, t: float, r: float, steps: int) -> Tensor:
    """The step from t to r of the joint state, (states, states), rows sum to 1."""
    all_states = states(denoiser.paths)
    x, times = joint(all_states), torch.full((len(all_states),), t, dtype=torch.float64)
    p0 = laws(denoiser.paths, denoiser(x, times, MASKS), x)
    parts = [sampler.law(path, x[name], p0[name], times, r, steps) for name, path in denoiser.paths.items()]
    a, b = parts
    return torch.einsum("si,sj,sk->sijk", a[:, 0], a[:, 1], b[:, 0]).flatten(1)


def sampled_law(denoiser: CategoricalDenoiser, sampler: GridSampler, steps: int) -> Tensor:
    """The exact law of the data that a grid sampler makes, (18,)."""
    pi = [torch.tensor(path.stationary, dtype=torch.float64) for path in denoiser.paths.values()]
    law = torch.einsum("i,j,k->ijk", pi[0], pi[0], pi[1]).flatten()
    times = [(1 - i / steps) ** sampler.power for i in range(steps + 1)]
    for t, r in itertools.pairwise(times):
        law = law @ transition(denoiser, sampler, t, r, steps)
    return data_part(denoiser.paths, law)


def data_part(of: Mapping[str, CategoricalPath], law: Tensor) -> Tensor:
    """The probabilities of the data among those of all states."""
    sizes = [path.states for path in of.values()]
    kept = law.reshape(sizes[0], sizes[0], sizes[1])[: of["a"].classes, : of["a"].classes, : of["b"].classes]
    return kept.flatten()


def frequencies(found: Mapping[str, Tensor]) -> Tensor:
    """How often each of the 18 data was drawn."""
    index = found["a"][:, 0] * 6 + found["a"][:, 1] * 2 + found["b"][:, 0]
    return torch.bincount(index, minlength=18).double() / len(index)
