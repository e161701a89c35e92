from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from schemas.errors import ConfigError
from trainer.published.configs.fields import Fields


def test_values_are_read_with_their_types_and_defaults() -> None:
    values = {"n": 3, "x": 2, "f": True, "t": "s", "l": [1, 2.5], "o": {"n": 4}, "z": None}
    fields = Fields({f"a.{name}": value for name, value in values.items()}, prefix="a.")
    assert (fields.size("n"), fields.number("x"), fields.flag("f", default=False)) == (3, 2.0, True)
    assert (fields.text("t"), fields.numbers("l"), fields.below("o").size("n")) == ("s", (1.0, 2.5), 4)
    assert (fields.size("z", 7), fields.has("z"), fields.below("z").has("n")) == (7, False, False)


def test_the_first_of_several_token_ids_is_used() -> None:
    fields = Fields({"one": 5, "many": [7, 8], "none": None, "empty": []})
    assert [fields.first_id(name) for name in ("one", "many", "none", "empty", "absent")] == [5, 7, None, None, None]


@pytest.mark.parametrize(
    ("read", "value", "message"),
    [
        (lambda f: f.size("x"), None, "the field x is missing"),
        (lambda f: f.size("x"), 0, "x must be a positive integer, got 0"),
        (lambda f: f.size("x"), True, "x must be a positive integer, got True"),
        (lambda f: f.size("x"), 1 << 50, "x must be a positive integer"),
        (lambda f: f.size("x"), [1], "x must be a positive integer, got a list"),
        (lambda f: f.number("x"), float("inf"), "x must be a number, got inf"),
        (lambda f: f.number("x"), float("nan"), "x must be a number, got nan"),
        (lambda f: f.flag("x", default=False), 1, "x must be true or false, got 1"),
        (lambda f: f.text("x"), 1, "x must be a string, got 1"),
        (lambda f: f.numbers("x"), ["a"], "x must be a list of numbers"),
        (lambda f: f.first_id("x"), -1, "x must be a token id"),
        (lambda f: f.first_id("x"), ["a"], "x must be a token id"),
        (lambda f: f.below("x"), [1], "x must be an object, got a list"),
    ],
)
def test_a_wrong_value_is_named(read: Callable[[Fields], Any], value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(Fields({"x": value}))
