"""What every sampler of discrete diffusion is: a value that takes a state from noise to data, step by step."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from ornstein.core.discrete.denoisers import States
from ornstein.core.discrete.paths import CategoricalPath
from ornstein.core.noise import KeyedUniform


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
