"""A verb: a pipeline function with what the command line needs to know of it, checked the same from both sides."""

import functools
import inspect
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar

from ornstein.core.errors import UsageError
from ornstein.pipelines import runtime, signature
from ornstein.pipelines.provenance import Provenance, hash_input
from ornstein.pipelines.results import Result

P = ParamSpec("P")
R = TypeVar("R", bound=Result)


class Verb(Generic[P, R]):
    """Calls a pipeline function with checked options and notes where its result comes from.

    Calling it is calling the function: `reconstruct("k.h5", steps=10)`.

    Args:
        function: positional parameters are inputs, keyword-only parameters options; gives a `Result`.
        inputs: suffixes of the files that it reads, with the dot; empty where it takes no file.
        outputs: suffixes of the files that it writes; the first is the one of a batch.
        medical: whether results carry the research-use line.
    """

    def __init__(
        self, function: Callable[P, R], inputs: tuple[str, ...], outputs: tuple[str, ...], medical: bool
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.name = function.__name__
        self.domain = function.__module__.rpartition(".")[2]
        self.inputs = inputs
        self.outputs = outputs
        self.medical = medical
        everything = signature.parameters(function)
        self.parameters = [p for p in everything if not p.option.hidden]
        self.takes_progress = any(p.name == "progress" for p in everything)

    @property
    def input_name(self) -> str:
        """The name of the function's first parameter."""
        return next(iter(inspect.signature(self.function).parameters))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        bound = inspect.signature(self.function).bind(*args, **kwargs)
        bound.apply_defaults()
        options = self.check(bound.arguments)
        bound.arguments.update(options)
        command = f"ornstein.{self.domain}.{self.name}({', '.join(self._shown(bound.arguments))})"
        return self.run(bound, options, command)

    def call(self, source: Any, options: Mapping[str, Any], command: str, **hidden: Any) -> R:
        """The result for one input, with options that were checked; `command` is what the sidecar tells."""
        arguments = (source,) if self.inputs else ()
        bound = inspect.signature(self.function).bind(*arguments, **options, **hidden)
        bound.apply_defaults()
        return self.run(bound, dict(options), command)

    def check(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The options among the values, each in its own type.

        Raises:
            UsageError: for a value outside an option's choices or range.
        """
        checked = {}
        for parameter in self.parameters:
            value = values.get(parameter.name, parameter.default)
            try:
                checked[parameter.name] = parameter.check(value)
            except ValueError as error:
                raise UsageError(f"{self.name}: {parameter.name}: {error}") from None
        return checked

    def run(self, bound: inspect.BoundArguments, options: dict[str, Any], command: str) -> R:
        inputs = [
            entry
            for name, value in bound.arguments.items()
            if value is not None and (name in self._positional() or name in self._files())
            for entry in hash_input(value, name)
        ]
        device = runtime.describe_device(options["device"]) if "device" in options else "cpu"
        runtime.reset_peak_memory()
        start = time.perf_counter()
        result = self.function(*bound.args, **bound.kwargs)
        result.suffixes = result.suffixes or self.outputs
        result.provenance = Provenance(
            command=command,
            inputs=inputs,
            parameters=options,
            seed=options.get("seed"),
            device=str(device),
            seconds=time.perf_counter() - start,
            peak_memory_bytes=runtime.peak_memory(),
            medical=self.medical,
        )
        return result

    def _positional(self) -> list[str]:
        return [
            p.name
            for p in inspect.signature(self.function).parameters.values()
            if p.kind is not inspect.Parameter.KEYWORD_ONLY
        ]

    def _files(self) -> list[str]:
        return [p.name for p in self.parameters if p.option.file]

    def _shown(self, arguments: Mapping[str, Any]) -> list[str]:
        """The arguments as a reader would type them; arrays by their type, defaults left out."""
        shown = []
        defaults = {p.name: p.default for p in inspect.signature(self.function).parameters.values()}
        for name, value in arguments.items():
            if name not in self._positional() and (name == "progress" or value is None or value == defaults.get(name)):
                continue
            text = repr(os.fspath(value)) if isinstance(value, (str, Path)) else repr(value)
            text = text if isinstance(value, (str, Path, int, float, tuple)) else f"<{type(value).__name__}>"
            shown.append(text if name in self._positional() else f"{name}={text}")
        return shown


def verb(
    inputs: tuple[str, ...], outputs: tuple[str, ...], medical: bool = False
) -> Callable[[Callable[P, R]], Verb[P, R]]:
    """Makes a `Verb` of the function below it."""
    return lambda function: Verb(function, inputs, outputs, medical)
