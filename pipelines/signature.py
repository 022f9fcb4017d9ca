"""Options read from a function's typed signature: what the command line offers and what a Python call may pass.

A pipeline is a function whose keyword-only parameters are its options. The type says what a value may be (`int`,
`float | None`, `Literal[...]`, `bool`, `str`), `Annotated[..., Option(...)]` its range and its spelling, the default the
default, and the `Args` block of the docstring the help. Nothing else is written down for the command line.
"""

import difflib
import inspect
import math
import operator
import re
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin


@dataclass(frozen=True)
class Option:
    """What a parameter's type cannot say of an option.

    Args:
        help: one line; the parameter's line in the docstring's `Args` block wins over it.
        low: smallest allowed value of a number.
        high: largest allowed value of a number.
        above: a limit that a number must exceed.
        flag: the option's spelling where it is not the parameter's name (`-n`).
        metavar: the placeholder in the help.
        none: the word that means None on the command line, such as `auto`.
        parse: turns a word, or a value from Python, into the value; raises ValueError.
        file: the value is the path of an input file, which must exist and is hashed into the sidecar.
        hidden: for Python only, not on the command line.
    """

    help: str = ""
    low: float | None = None
    high: float | None = None
    above: float | None = None
    flag: str | None = None
    metavar: str | None = None
    none: str | None = None
    parse: Callable[[Any], Any] | None = None
    file: bool = False
    hidden: bool = False


@dataclass(frozen=True)
class Parameter:
    """One option: how it is spelt, what it may be, and what it is when nothing is said.

    Args:
        name: the parameter's name in Python.
        kind: bool, int, float or str.
        choices: the allowed values of a `Literal`, else empty.
        optional: whether None is a value.
        default: the default, or `inspect.Parameter.empty` where the option must be given.
        option: range and spelling.
        help: one line for the help.
        many: whether one or more words stand for it (`*files`).
    """

    name: str
    kind: type
    choices: tuple[Any, ...]
    optional: bool
    default: Any
    option: Option
    help: str
    many: bool = False

    @property
    def flag(self) -> str:
        """The spelling on the command line: `center_fraction` is `--center-fraction`."""
        return self.option.flag or "--" + self.name.replace("_", "-")

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty

    @property
    def metavar(self) -> str:
        """The placeholder in the help."""
        if self.choices:
            return "{" + ",".join(map(str, self.choices)) + "}"
        return self.option.metavar or {int: "N", float: "X"}.get(self.kind, "FILE" if self.option.file else "TEXT")

    def read(self, word: str) -> Any:
        """The value that a word of the command line means. Raises: ValueError, saying what was wanted."""
        if self.optional and word == self.option.none:
            return None
        for choice in self.choices:
            if word == str(choice):
                return choice
        return self.check(word, from_word=True)

    def check(self, value: Any, from_word: bool = False) -> Any:
        """The value in its own type. Raises: ValueError, saying what was found and what was wanted."""
        if value is None and self.optional:
            return None
        if self.choices:
            if value in self.choices:
                return value
            close = difflib.get_close_matches(str(value), map(str, self.choices), 1)
            raise ValueError(
                f"{value!r} is not one of {', '.join(map(str, self.choices))}"
                + (f" (did you mean {close[0]}?)" if close else "")
            )
        if self.option.parse is not None:
            return self.option.parse(value)
        if self.kind is str:
            return value
        if self.kind is bool:
            if not isinstance(value, (bool, int)) and type(value).__name__ != "bool_":
                raise ValueError(f"{value!r} is neither True nor False")
            return bool(value)
        return self._number(value, from_word)

    def _number(self, value: Any, from_word: bool) -> int | float:
        wanted = "a whole number" if self.kind is int else "a number"
        try:
            if isinstance(value, str) and not from_word:
                raise ValueError
            number: int | float
            if self.kind is float:
                number = float(value)
            else:
                number = int(value) if from_word else operator.index(value)
        except (TypeError, ValueError):
            raise ValueError(f"{value!r} is not {wanted}") from None
        if not math.isfinite(number):
            raise ValueError(f"{value!r} is not a finite number")
        low, high, above = self.option.low, self.option.high, self.option.above
        if (
            (low is not None and number < low)
            or (high is not None and number > high)
            or (above is not None and number <= above)
        ):
            raise ValueError(f"{value!r} is outside its range, {self.range}")
        return number

    @property
    def range(self) -> str:
        """The allowed range in words, empty where there is none."""
        low, high, above = self.option.low, self.option.high, self.option.above
        start = f"at least {low:g}" if low is not None else f"above {above:g}" if above is not None else ""
        end = f"at most {high:g}" if high is not None else ""
        return (
            f"{low:g} to {high:g}" if low is not None and high is not None else " and ".join(filter(None, (start, end)))
        )


def parameters(function: Callable[..., Any]) -> list[Parameter]:
    """The options of a function: its keyword-only parameters, in their order.

    Example:
        >>> def blur(image, *, width: Annotated[float, Option("standard deviation in mm", above=0)] = 2.0): ...
        >>> [(p.flag, p.default, p.range) for p in parameters(blur)]
        [('--width', 2.0, 'above 0')]
    """
    said = argument_help(function.__doc__ or "")
    return [
        _parameter(p, said.get(p.name, ""))
        for p in inspect.signature(function).parameters.values()
        if p.kind is inspect.Parameter.KEYWORD_ONLY and not isinstance(p.annotation, str)
    ]


def positionals(function: Callable[..., Any]) -> list[Parameter]:
    """The words that a command takes before its options: its positional parameters, those with a default optional."""
    said = argument_help(function.__doc__ or "")
    return [
        Parameter(
            p.name,
            str,
            (),
            p.default is None,
            p.default,
            Option(),
            said.get(p.name, "").rstrip("."),
            many=p.kind is inspect.Parameter.VAR_POSITIONAL,
        )
        for p in inspect.signature(function).parameters.values()
        if p.kind is not inspect.Parameter.KEYWORD_ONLY
    ]


def argument_help(docstring: str) -> dict[str, str]:
    """The `Args` block of a docstring as {name: text}, each text on one line."""
    found: dict[str, str] = {}
    block = re.search(r"^( *)Args:\n((?:\1 +.*\n?|[ \t]*\n)*)", inspect.cleandoc(docstring), re.MULTILINE)
    name = ""
    for line in block.group(2).splitlines() if block else ():
        if match := re.match(r"^    (\w+): (.*)", line):
            name = match.group(1)
            found[name] = match.group(2).strip()
        elif name and line.strip():
            found[name] += " " + line.strip()
    return found


def _parameter(p: inspect.Parameter, said: str) -> Parameter:
    annotation, option = p.annotation, Option()
    if get_origin(annotation) is Annotated:
        annotation, *extra = get_args(annotation)
        option = next((e for e in extra if isinstance(e, Option)), option)
    optional = False
    if get_origin(annotation) in (Union, types.UnionType):
        optional = type(None) in get_args(annotation)
        members = [a for a in get_args(annotation) if a is not type(None)]
        annotation = members[0] if len(members) == 1 else str
    choices = get_args(annotation) if get_origin(annotation) is Literal else ()
    kind = str if choices else annotation
    if kind is Path:
        kind = str
    assert kind in (bool, int, float, str) or option.parse or option.hidden, (
        f"{p.name}: no option is made of {p.annotation}"
    )
    return Parameter(p.name, kind, choices, optional, p.default, option, (said or option.help).rstrip("."))
