"""A domain of a few lines, which the tests of the driver and the command line run: it multiplies a list of numbers."""

import json
import random
import time
from pathlib import Path
from typing import Annotated, Literal

from ornstein.core.errors import InputError, ModelError, RefusedError
from ornstein.pipelines import outputs
from ornstein.pipelines.answers import Answer
from ornstein.pipelines.evaluate import answer
from ornstein.pipelines.options import Device, Force, InputFile, Progress, Samples, Seed, Steps
from ornstein.pipelines.results import Result
from ornstein.pipelines.signature import Option
from ornstein.pipelines.verbs import verb


class Scaled(Result):
    def __init__(self, values, std, **rest):
        super().__init__(**rest)
        self.values, self.std = values, std

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(self.values))
        if self.std is not None:
            outputs.sibling(path, "std").write_text(json.dumps(self.std))
        if self.values and self.values[0] == 666:
            raise RuntimeError("the writer broke half way")

    def describe(self, report) -> None:
        report.section("Values").table({"first": self.values[0]})


@verb(inputs=(".num",), outputs=(".out", ".txt"), medical=True)
def scale(
    numbers: "str | list[float]",
    *,
    factor: Annotated[float, Option(above=0, high=100)] = 2.0,
    mode: Literal["exact", "noisy"] = "exact",
    offsets: InputFile = None,
    steps: Steps = 1,
    samples: Samples = 1,
    seed: Seed = 0,
    force: Force = False,
    progress: Progress = None,
) -> Scaled:
    """Multiplies numbers.

    Args:
        numbers: a file that holds a JSON list, or a list
        factor: what to multiply with.
        mode: exact, or with noise
            that the seed decides.
    """
    if isinstance(numbers, str):
        try:
            values = json.loads(Path(numbers).read_text())
        except ValueError:
            raise InputError(f"{numbers}: not a list of numbers", "write one such as [1, 2]") from None
    else:
        values = list(numbers)
    import warnings

    warnings.warn("a library complains", stacklevel=1)
    print("a library prints")
    match values[:1]:
        case [13]:
            raise RuntimeError("boom\nand more")
        case [14]:
            raise MemoryError
        case [15]:
            raise ModelError("no such model")
        case [99] if not force:
            raise RefusedError(f"{numbers}: far from everything", "--force goes on")
    for i in range(steps):
        if steps > 1:
            time.sleep(0.01)
        if progress:
            progress(i + 1, steps)
    noise = random.Random(seed)
    made = [v * factor + (noise.random() if mode == "noisy" else 0) for v in values]
    return Scaled(
        made,
        [0.0] * len(made) if samples > 1 else None,
        measures={"sum": sum(made)},
        warnings=["forced"] if force else [],
    )


@verb(inputs=(".num",), outputs=(".out",))
def locate(numbers: str, *, device: Device = "auto") -> Scaled:
    """Copies numbers on a device."""
    return Scaled(json.loads(Path(numbers).read_text()), None)


def evaluate(result: str, reference: str, *, mask: InputFile = None) -> Answer:
    """Compares two lists."""
    a, b = (json.loads(Path(name).read_text()) for name in (result, reference))
    return answer(result, reference, {"largest": max(abs(x - y) for x, y in zip(a, b, strict=True))})


VERBS = (scale, locate)
