from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from schemas.field_types import require_types


@dataclass
class _Config:
    count: int
    rate: float
    name: str
    kind: Literal["a", "b"]
    sizes: tuple[int, ...]
    pair: tuple[int, str]
    limit: int | None = None
    on: bool = False


VALUES: dict[str, Any] = {
    "count": 3,
    "rate": 2,
    "name": "x",
    "kind": "b",
    "sizes": (1, 2),
    "pair": (1, "y"),
    "limit": None,
    "on": True,
}


def test_values_of_the_declared_types_are_accepted() -> None:
    require_types(_Config, VALUES)
    require_types(_Config, {"rate": 2.5, "limit": 4, "unknown": object()})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("count", 2.0),
        ("count", True),
        ("count", "3"),
        ("rate", "2"),
        ("name", 3),
        ("kind", "c"),
        ("kind", ["a"]),
        ("sizes", 3),
        ("sizes", (1, 2.5)),
        ("pair", (1, 2)),
        ("pair", (1, "y", 3)),
        ("limit", "4"),
        ("on", 1),
    ],
)
def test_a_value_of_another_type_names_its_field(field: str, value: object) -> None:
    with pytest.raises(TypeError, match=rf"^{field} = .* is not of the type "):
        require_types(_Config, VALUES | {field: value})


def test_deeply_nested_values_are_no_problem() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(TypeError, match="count = a list"):
        require_types(_Config, {"count": nested})
    while nested:  # so that the interpreter does not free it recursively
        nested = nested[0]
