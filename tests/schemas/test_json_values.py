"""JSON with more values than memory should hold is refused before it is parsed."""

from __future__ import annotations

import json

import pytest

from schemas.errors import InputError, Reason
from schemas.json_values import load_json


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that a test reaches sooner."""
    monkeypatch.setattr("schemas.json_values._MAX_PARTS", 4_000)


@pytest.mark.parametrize("part", ["{}", "1.5", '"\\""'])
def test_millions_of_values_are_refused_before_they_are_parsed(part: str) -> None:
    with pytest.raises(InputError, match="more than 4,000 brackets, commas and texts") as caught:
        load_json("[" + ",".join([part] * 4_001) + "]")
    assert caught.value.reason is Reason.MEMORY


def test_characters_within_a_text_are_no_values() -> None:
    values = {"text": '{[,"\\' * 1_500, "more": ["a, b", "\\"]}
    assert load_json(json.dumps(values)) == values


@pytest.mark.parametrize("text", ['{"a": ' + "[" * 4_100, '{"a": "' + "," * 4_100, '"' * 4_101])
def test_a_document_that_is_not_closed_is_an_error(text: str) -> None:
    with pytest.raises((InputError, ValueError)):
        load_json(text)


def test_objects_are_made_by_the_hook() -> None:
    assert load_json('{"a": 1, "a": 2}', object_pairs_hook=list) == [("a", 1), ("a", 2)]
