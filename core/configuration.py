"""From the mapping of a configuration file to a typed value, checked before any work starts."""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self, TypeVar, Union, get_args, get_origin, get_type_hints

from ornstein.core.errors import UsageError

T = TypeVar("T")


def from_mapping(cls: type[T], values: Any, where: str = "configuration", hint: str = "") -> T:
    """A dataclass from a mapping of its fields; nested dataclasses, tuples and dictionaries are followed.

    Args:
        cls: a dataclass whose fields are bool, int, float, str, dataclasses, `Literal[...]`, `tuple[X, ...]`, `dict[str, X]`, or one of
            these or None.
        values: what the file holds there.
        where: the name of that place, for messages.
        hint: what to do about an error that has no better advice of its own.

    Raises:
        UsageError: for a name that is no field, a field that is missing, a value of another type, or one that the
            dataclass itself refuses with a ValueError; each by its full name.

    Example:
        >>> from ornstein.core.training.loop import TrainingSettings
        >>> from_mapping(TrainingSettings, {"steps": 10, "learning_rate": "1e-4"}).learning_rate
        0.0001
    """
    try:
        return _checked(cls, values, where)
    except UsageError as error:
        raise UsageError(str(error), error.hint or hint) from error


class Configuration:
    """Base of the dataclasses that `ornstein train` reads from YAML: what makes a model of one domain.

    Attributes:
        hint: where its fields are told, for errors that have no better advice.
    """

    hint: ClassVar[str] = ""

    @classmethod
    def parse(cls, values: dict[str, Any]) -> Self:
        """From the mapping of a YAML file, its names, types and ranges checked before any work starts.

        Raises:
            UsageError: for what is not a configuration, by the name of the field.
        """
        return from_mapping(cls, values, hint=cls.hint)

    @property
    def recorded(self) -> dict[str, Any]:
        """What a model card keeps of it: all but the output's place and the card's own text."""
        assert dataclasses.is_dataclass(self)
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in ("output", "card")}


def _checked(cls: type[T], values: Any, where: str) -> T:
    assert dataclasses.is_dataclass(cls), f"{cls} is no dataclass"
    if not isinstance(values, Mapping):
        raise UsageError(f"{where}: {values!r} is no mapping of fields")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for name in values:
        if name not in fields:
            raise UsageError(f"{where}: there is no field {name!r}", f"known: {', '.join(fields)}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise UsageError(f"{where}: the field {name!r} is missing")
    kinds = get_type_hints(cls)
    checked = {name: _value(kinds[name], value, f"{where}.{name}") for name, value in values.items()}
    try:
        return cls(**checked)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error


def _value(kind: Any, value: Any, where: str) -> Any:
    """The value as its annotated type."""
    if get_origin(kind) in (Union, types.UnionType):
        if value is None:
            return None
        kind = next(k for k in get_args(kind) if k is not type(None))
    if dataclasses.is_dataclass(kind):
        assert isinstance(kind, type)
        return _checked(kind, value, where)
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise UsageError(f"{where}: {value!r} is none of {', '.join(map(str, get_args(kind)))}")
        return value
    if get_origin(kind) is tuple and isinstance(value, list | tuple):
        return tuple(_value(get_args(kind)[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if get_origin(kind) is dict and isinstance(value, Mapping):
        return {str(k): _value(get_args(kind)[1], v, f"{where}.{k}") for k, v in value.items()}
    if kind is float and isinstance(value, int | str) and not isinstance(value, bool):
        try:
            return float(value)  # YAML 1.1 reads 1e-3, which has no point, as text
        except ValueError:
            pass
    if isinstance(kind, type) and isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    names = {"tuple": "a list", "dict": "a mapping", "str": "text", "int": "a whole number", "float": "a number"}
    wanted = (get_origin(kind) or kind).__name__
    raise UsageError(f"{where}: {value!r} is not {names.get(wanted, wanted)}")
