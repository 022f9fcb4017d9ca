"""The options that every domain has, as types: a pipeline's parameter of such a type is the same option everywhere."""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from ornstein.pipelines.signature import Option


def device_name(value: Any) -> str:
    """`auto`, `cpu`, `cuda` or `cuda:N`. Raises: ValueError for anything else."""
    name = str(value)
    if re.fullmatch(r"auto|cpu|cuda(:\d+)?", name) is None:
        raise ValueError(f"{name!r} is not one of auto, cpu, cuda, cuda:N")
    return name


def slice_range(value: Any) -> tuple[int | None, int | None]:
    """`a:b` (or a Python slice, or a pair) as (a, b): from a to before b, counted from 0, either end left out at will.

    Example:
        >>> slice_range("10:20"), slice_range(":5"), slice_range(slice(3, None))
        ((10, 20), (None, 5), (3, None))
    """
    if isinstance(value, slice) and value.step in (None, 1):
        value = (value.start, value.stop)
    if isinstance(value, str):
        match = re.fullmatch(r"(-?\d+)?:(-?\d+)?", value.strip())
        if match is None:
            raise ValueError(f"{value!r} is not a range a:b, such as 60:80")
        value = tuple(None if part is None else int(part) for part in match.groups())
    try:
        first, last = value
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is not a range a:b, such as 60:80") from None
    return (None if first is None else int(first), None if last is None else int(last))


Progress = Annotated[
    Callable[[float, float], None] | None, Option("called with (done, total) as the work goes on", hidden=True)
]

Model = Annotated[str | None, Option("a shipped model or a checkpoint folder", metavar="NAME", none="auto")]
Device = Annotated[
    str, Option("auto (a GPU where there is one), cpu, cuda or cuda:N", metavar="DEVICE", parse=device_name)
]
Precision = Annotated[Literal["fp32", "bf16", "fp16"], Option("arithmetic of the network")]
Seed = Annotated[int, Option("the same seed gives the same result", low=0)]
Steps = Annotated[int, Option("sampling steps", low=1, high=100_000)]
Samples = Annotated[
    int,
    Option(
        "posterior samples; their mean is OUTPUT and, with more than one, their deviation OUTPUT-std",
        low=1,
        high=10_000,
    ),
]
KeepSamples = Annotated[bool, Option("write every sample too, as OUTPUT-sample-1 and so on")]
MaxMemory = Annotated[float | None, Option("stay under this much memory", above=0, metavar="GB", none="auto")]
Force = Annotated[bool, Option("go on where the input is far from what the model was made for, and mark the result")]
InputFile = Annotated[str | None, Option(file=True, metavar="FILE")]
