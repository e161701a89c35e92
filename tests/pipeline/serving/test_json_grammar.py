"""Masks of schemas: what they allow is JSON of the schema, and an impossible schema is refused or ends the reply."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.serving.bodies import ResponseFormat
from pipeline.serving.errors import ApiError
from pipeline.serving.json_grammar import AllowedJson, JsonGrammars
from tests.support.text_tokenizers import text_tokenizer
from tests.support.texts import story
from tokenizer.text.tokenizer import TextTokenizer

MORE = 7  # ids of the model behind those of the tokenizer


@pytest.fixture(scope="module", params=["own", "llama"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    return text_tokenizer(request.param, [story(1, 60)], tmp_path_factory.mktemp("t") / "t.model")


@pytest.fixture(scope="module")
def grammars(tokenizer: TextTokenizer) -> JsonGrammars:
    return JsonGrammars(tokenizer, size=tokenizer.size + MORE)


def allowed(grammars: JsonGrammars, schema: dict[str, Any]) -> AllowedJson:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    found = grammars.allowed(ResponseFormat.model_validate(form))
    assert found is not None
    return found


def test_json_of_the_schema_is_allowed_and_then_only_the_end(grammars: JsonGrammars, tokenizer: TextTokenizer) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    mask, text = allowed(grammars, schema), '{"a": "é \U0001f600"}'
    ids = [int(i) for i in tokenizer.encode(text, adds_prefix=False)]
    for n, token in enumerate(ids):
        found = mask(ids[:n])
        assert found.shape == (tokenizer.size + MORE,)
        assert found[token], (text, n)
        assert not found[tokenizer.size :].any()
        assert not found[tokenizer.eos_id]
    assert np.flatnonzero(mask(ids)).tolist() == [tokenizer.eos_id]


def test_what_the_schema_forbids_is_not_allowed(grammars: JsonGrammars, tokenizer: TextTokenizer) -> None:
    letters = [int(tokenizer.encode(letter, adds_prefix=False)[0]) for letter in "ab["]
    assert not allowed(grammars, {"type": "integer"})([])[letters].any()
    any_object = grammars.allowed(ResponseFormat(type="json_object"))
    assert any_object is not None
    assert not any_object([])[letters].any()
    assert grammars.allowed(ResponseFormat(type="text")) is None
    assert grammars.allowed(None) is None


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"enum": []},
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"type": "string", "pattern": "("},
    ],
    ids=str,
)
def test_a_schema_that_is_not_valid_is_refused(grammars: JsonGrammars, schema: dict[str, Any]) -> None:
    with pytest.raises(ApiError, match="schema of response_format is not supported") as found:
        allowed(grammars, schema)
    assert len(str(found.value)) < 400


def test_a_schema_that_nothing_satisfies_ends_the_reply(grammars: JsonGrammars, tokenizer: TextTokenizer) -> None:
    mask = allowed(grammars, {"$ref": "#"})
    assert np.flatnonzero(mask([])).tolist() == [tokenizer.eos_id]
    assert mask.error
