"""What every solver is: a value that takes a state down a grid of times."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from ornstein.core.denoisers import Denoiser
from ornstein.core.paths import Path


class State(NamedTuple):
    """A run between two steps: with the solver, the grid and the noise's seed it determines the rest of the run.

    Args:
        step: how many steps are done.
        x: the state at the time number `step` of the grid, (batch, ...).
        x0: the last x0_hat, like x; None before the first evaluation.
        history: what a multistep solver remembers, newest first.
        anchor: the state before, where a solver goes on from two: a corrector, `BDIA`.
    """

    step: int
    x: Tensor
    x0: Tensor | None = None
    history: tuple[Tensor, ...] = ()
    anchor: Tensor | None = None

    def turned(self) -> "State":
        """The last state of a run as the first of a run in the other direction; of `BDIA`, the last two."""
        return State(0, self.x) if self.anchor is None else State(1, self.anchor, anchor=self.x)


class Noise(Protocol):
    """Unit noise for a step: `KeyedNoise`, or anything that is called as it is."""

    def __call__(self, step: int, shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Tensor: ...


class Solver(ABC):
    """A frozen dataclass of settings; a run's history lives in local variables, so one object serves any runs."""

    @property
    @abstractmethod
    def stochastic(self) -> bool:
        """Whether steps add noise of their own, which a path has to allow."""

    @abstractmethod
    def evaluations(self, steps: int) -> int:
        """How often the denoiser is called in so many steps, at most."""

    @abstractmethod
    def solve(
        self,
        denoiser: Denoiser,
        times: Tensor,
        state: State,
        noise: Noise,
        y: Tensor | None = None,
        callback: Callable[[State], None] | None = None,
        conditions: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """The state at the last time.

        Args:
            denoiser: E[x0 | x_t] on its path.
            times: (steps + 1,), or (steps + 1, batch) for items that each have their own, float64 on the CPU, strictly
                descending in [0, 1]; strictly ascending for an inversion.
            state: where to go on from; `State(0, x)` for a whole run.
            noise: called with a number above 0, another one for each noise that is added; 0 is the start's.
            y: what the path drifts to, (batch, ...), where it drifts.
            callback: called after every step.
            conditions: passed to the denoiser.

        Raises:
            ValueError: if the path does not allow this solver, or the items' own times ask for steps of different kinds.
        """


def refuse_unless_gaussian(solver: Solver, path: Path) -> None:
    """Refuses by name what the path does not allow: fresh Gaussian noise is none of a path that is not Gaussian."""
    if solver.stochastic and not path.gaussian:
        raise ValueError(f"{path} does not allow {solver}: its noise is not Gaussian, so its solvers are deterministic")


def combine(
    x: Tensor,
    weight: float | Tensor,
    weights: Sequence[float | Tensor],
    values: Sequence[Tensor],
    y: Tensor | None = None,
    of_y: float | Tensor = 0.0,
) -> Tensor:
    """weight x + sum_j weights_j values_j + of_y y, the weights as `per_item` made them."""
    total = torch.mul(x, weight)
    if isinstance(weight, Tensor):
        for w, value in zip(weights, values, strict=False):
            total = add(total, w, value)
        return total if y is None else add(total, of_y, y)
    # The same with numbers, without a call for each: it is most of a step's cost.
    for w, value in zip(weights, values, strict=False):
        total.add_(value, alpha=w)  # type: ignore[arg-type]
    return total if y is None else total.add_(y, alpha=of_y)  # type: ignore[arg-type]


def add(x: Tensor, weight: float | Tensor, value: Tensor) -> Tensor:
    """x + weight value, in the place of x, which a step has just made."""
    return x.addcmul_(value, weight) if isinstance(weight, Tensor) else x.add_(value, alpha=weight)


Plan = TypeVar("Plan")


def per_item(plan: Callable[[Tensor], Plan], times: Tensor, x: Tensor) -> Plan:
    """plan(times); for times (steps + 1, batch) the items' plans in one, whose weights are tensors that multiply x.

    Raises:
        ValueError: where the items' plans are of different kinds: some start without signal, say, and others not.
    """
    if times.ndim == 1:
        return plan(times)
    assert times.shape[1] == len(x), f"times of shape {tuple(times.shape)} for a batch of {len(x)}"
    made: Plan = _stack([plan(column) for column in times.unbind(1)], x)
    return made


def _stack(parts: Sequence[Any], x: Tensor) -> Any:
    first = parts[0]
    if isinstance(first, float):
        return torch.tensor(parts, dtype=torch.float64).to(x).reshape(-1, *[1] * (x.ndim - 1))
    if isinstance(first, Tensor):
        return torch.stack(list(parts), dim=-1)
    if isinstance(first, list | tuple) and all(part is not None and len(part) == len(first) for part in parts):
        made = [_stack(columns, x) for columns in zip(*parts, strict=True)]
        return type(first)(*made) if hasattr(first, "_fields") else type(first)(made)
    if any(part != first for part in parts):
        raise ValueError(
            "the items' times ask for steps of different kinds; let all begin (and end) with some noise and signal"
        )
    return first
