"""Fields with wrong values, fields that are unknown and fields that cannot be honored are errors that name them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.serving.bodies import ChatBody, CompletionBody, ImagePart, TextPart, parse_body
from pipeline.serving.errors import ApiError

CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Who?"}]}


def chat(**fields: Any) -> ChatBody:
    return parse_body(json.dumps({**CHAT, **fields}).encode(), ChatBody)


def test_values_of_clients_are_understood() -> None:
    body = chat(stop="x", max_completion_tokens=3, logprobs=True, stream_options={"include_usage": True}, user="u")
    assert (body.stops, body.reply_tokens, body.alternatives, body.includes_usage) == (("x",), 3, 0, True)
    assert chat(stop=["a", "b"], tools=[], n=1, logit_bias={}, presence_penalty=0).stops == ("a", "b")
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    [message] = chat(messages=[{"role": "user", "content": parts}]).messages
    assert [type(part) for part in message.parts] == [TextPart, ImagePart]
    for prompt, found in (("a", "a"), (["a"], "a"), ([1, 2], [1, 2]), ([[1, 2]], [1, 2]), ([5], [5])):
        assert parse_body(json.dumps({"prompt": prompt}).encode(), CompletionBody).the_prompt == found


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"seed": 1 << 64}, "seed"),
        ({"stop": ""}, "stop"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"n": 2}, "n"),
        ({"tools": [{}]}, "tools"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "audio"}]}]}, "messages.0.content"),
        ({"unknown_field": 1}, "unknown_field"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as found:
        chat(**fields)
    assert found.value.status == 400
    assert (found.value.param or "").startswith(param)
    assert str(found.value).startswith(param)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nothing",
        b"[]",
        b"\xff\xfe",
        b'{"messages": [',
        b'{"messages": "\\ud800"}',
        b'{"a":' * 100_000,
        b"[" * 1_000_000,
        b'{"temperature": NaN}',
        b'{"temperature": 1e999}',
        b'{"seed": ' + b"9" * 10_000 + b"}",
    ],
    ids=lambda body: repr(body[:20]),
)
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(ApiError) as found:
        parse_body(body, ChatBody)
    assert found.value.status == 400
    assert len(str(found.value)) < 600


@pytest.mark.parametrize(
    "fields",
    [{"top_logprobs": 3}, {"max_tokens": 3, "max_completion_tokens": 3}, {"logprobs": True, "top_logprobs": 21}],
)
def test_fields_that_contradict_each_other_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ApiError):
        chat(**fields)


@pytest.mark.parametrize("prompt", ["", [], ["a", "b"], [[1], [2]], [["a"]], None, 3])
def test_a_completion_has_one_prompt(prompt: Any) -> None:
    with pytest.raises(ApiError):
        parse_body(json.dumps({"prompt": prompt}).encode(), CompletionBody)
