"""A configuration is a typed value or a UsageError that names its field."""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from ornstein.core.configuration import from_mapping
from ornstein.core.errors import UsageError
from ornstein.core.training.loop import TrainingSettings


@dataclass(frozen=True)
class Part:
    name: str
    weight: float = 1.0
    kind: Literal["flat", "round"] = "flat"


@dataclass(frozen=True)
class Whole:
    parts: tuple[Part, ...]
    count: int = 1
    flag: bool = False
    limit: float | None = None
    notes: dict[str, str] = field(default_factory=dict)
    training: TrainingSettings = field(default_factory=TrainingSettings)


def test_nested_values_are_followed():
    whole = from_mapping(
        Whole,
        {
            "parts": [{"name": "a"}, {"name": "b", "weight": 2, "kind": "round"}],
            "limit": 3,
            "notes": {"x": "y"},
            "training": {"steps": 5},
        },
    )
    assert whole.parts == (Part("a"), Part("b", 2.0, "round")) and isinstance(whole.parts[1].weight, float)
    assert whole.limit == 3.0 and whole.notes == {"x": "y"} and whole.training == TrainingSettings(steps=5)
    assert from_mapping(Whole, {"parts": [], "limit": None}).limit is None


def test_numbers_that_yaml_reads_as_text_are_numbers():
    yaml = pytest.importorskip("yaml")
    values = yaml.safe_load("{learning_rate: 1e-3}")
    assert values == {"learning_rate": "1e-3"}  # YAML 1.1
    assert from_mapping(TrainingSettings, values).learning_rate == 0.001


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, 2], "configuration: .* no mapping"),
        ({}, "configuration: the field 'parts' is missing"),
        ({"parts": [], "count": 1, "colour": 2}, "no field 'colour'"),
        ({"parts": "text"}, "configuration.parts: 'text' is not a list"),
        ({"parts": [{"name": "a"}, {"weight": 1}]}, r"configuration.parts\[1\]: the field 'name' is missing"),
        ({"parts": [{"name": 5}]}, r"configuration.parts\[0\].name: 5 is not text"),
        ({"parts": [{"name": "a", "kind": "oval"}]}, r"configuration.parts\[0\].kind: 'oval' is none of flat, round"),
        ({"parts": [], "count": 1.5}, "configuration.count: 1.5 is not a whole number"),
        ({"parts": [], "count": True}, "configuration.count: True is not a whole number"),
        ({"parts": [], "flag": "yes"}, "configuration.flag: 'yes' is not"),
        ({"parts": [], "limit": "much"}, "configuration.limit: 'much' is not a number"),
        ({"parts": [], "limit": True}, "configuration.limit: True is not a number"),
        ({"parts": [], "notes": ["a"]}, "configuration.notes: .* is not a mapping"),
        ({"parts": [], "training": None}, "configuration.training: None is no mapping"),
        ({"parts": [], "training": {"steps": 0}}, "configuration.training: .*steps 0"),
    ],
)
def test_what_is_wrong_is_named(values, message: str):
    with pytest.raises(UsageError, match=message) as caught:
        from_mapping(Whole, values)
    assert caught.value.code == 2
