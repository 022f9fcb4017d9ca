"""Categorical denoisers: the law of the data at each position, given the noisy state of all."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ornstein.core.discrete.paths import CategoricalPath

States = Mapping[str, Tensor]
"""Tensors of a joint state by name, each (batch, positions)."""


class CategoricalDenoiser(nn.Module, ABC):
    """Answers p(x0 | x_t) at each position of a joint state, whose named tensors each have their own path.

    Calling it: `denoiser(x, t, masks)` with x by name int64 (batch, positions), t float64 (batch,) in [0, 1] and masks by name,
    bool (batch, positions), true where a position exists, gives logits by name, (batch, positions, classes). Conditions go
    by keyword.

    Args:
        paths: of the tensors, by name.
    """

    def __init__(self, paths: Mapping[str, CategoricalPath]) -> None:
        super().__init__()
        self.paths = dict(paths)

    @abstractmethod
    def forward(self, x: States, t: Tensor, masks: States, **conditions: Tensor) -> dict[str, Tensor]:
        """The logits of x0."""


class NetworkCategorical(CategoricalDenoiser):
    """A network's output, what each position says of itself, and how frequent classes are: F(x_t, t) + log q(x_t | x0) + log prior.

    By Bayes' rule p(x0 | x_t) is q(x_t | x0) times what all other positions say of this one, so that the network need not
    learn when to copy: with F = 0 it is already the best that knows each position alone. On a masked path what
    is not masked is kept.

    Args:
        network: called as network(x, t, masks, **conditions), gives (batch, positions, classes) by name.
        paths: of the tensors, by name.
        frequencies: of the classes in the data, above 0, by name; where none are given, all alike.
    """

    def __init__(
        self,
        network: nn.Module,
        paths: Mapping[str, CategoricalPath],
        frequencies: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        super().__init__(paths)
        self.network = network
        self.prior = {name: [math.log(share) for share in shares] for name, shares in (frequencies or {}).items()}

    def forward(self, x: States, t: Tensor, masks: States, **conditions: Tensor) -> dict[str, Tensor]:
        out = self.network(x, t, masks, **conditions)
        logits = {}
        for name, path in self.paths.items():
            said = out[name].float() + path.evidence(x[name], t).float()
            logits[name] = said + torch.tensor(self.prior[name], device=said.device) if name in self.prior else said
        return logits


def paths_of(model: nn.Module) -> dict[str, CategoricalPath]:
    """The paths of a denoiser, also where it is wrapped for several processes."""
    inner: Any = model.module if isinstance(model, DistributedDataParallel) else model
    assert isinstance(inner, CategoricalDenoiser), f"{type(inner).__name__} is no categorical denoiser"
    return inner.paths
