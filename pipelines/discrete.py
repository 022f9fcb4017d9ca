"""What the pipelines of discrete models share: samplers by name, attempts in batches."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from ornstein.pipelines import runtime
from ornstein.pipelines.signature import Option

if TYPE_CHECKING:
    import torch

    from ornstein.core.discrete.samplers import Sampler

Solver = Annotated[
    Literal["auto", "ancestral", "flow", "tau-leaping", "first-hitting", "confident"],
    Option("how the model is sampled; auto is what serves it best (docs/discrete.md)"),
]
ModelSteps = Annotated[int | None, Option("sampling steps", low=1, high=100_000, none="auto")]
Count = Annotated[int, Option("attempts", flag="-n", low=1, high=10_000_000)]

LARGEST_BATCH = 256


def sampler_named(name: str) -> "Sampler | None":
    """The sampler of this name, None for `auto`."""
    from ornstein.core.discrete.samplers import Ancestral, ConfidentUnmasking, FirstHitting, TauLeaping

    known: dict[str, Callable[[], Any]] = {
        "auto": lambda: None,
        "ancestral": Ancestral,
        "flow": lambda: Ancestral(kernel="flow"),
        "tau-leaping": TauLeaping,
        "first-hitting": FirstHitting,
        "confident": ConfidentUnmasking,
    }
    made: Sampler | None = known[name]()
    return made


def batch_size(nodes: int, copies: int, max_memory: float | None, device: "torch.device") -> int:
    """How many attempts fit in memory together.

    Args:
        nodes: the most nodes of one.
        copies: how many of each are in memory at once.
        max_memory: the user's limit in GB, or None.
        device: where the model is.

    Raises:
        TooLargeError: where the limit is used up already.
    """
    one = copies * nodes * nodes * 4096  # some thirty numbers of 32 channels for each pair
    return max(1, min(LARGEST_BATCH, runtime.memory_budget(max_memory, device) // one))
