"""Requests to language models, and their hashes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.language_models.chat import ChatRequest, Media, Message, user_request
from schemas.errors import ConfigError


def test_the_digest_covers_everything_that_a_reply_depends_on(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"one")
    request = ChatRequest(messages=(Message("user", ("What?", Media("image", picture))),), max_tokens=5)
    changed = [
        replace(request, max_tokens=6),
        replace(request, temperature=0.5),
        replace(request, seed=1),
        replace(request, stop=(".",)),
        replace(request, json_schema="{}"),
        replace(request, messages=(Message("system", ("What?", Media("image", picture))),)),
        replace(request, messages=(Message("user", ("What?", Media("video", picture))),)),
        replace(request, messages=(Message("user", ("Wha", "t?", Media("image", picture))),)),
    ]
    digests = {request.digest(), request.digest("m"), *(other.digest() for other in changed)}
    assert len(digests) == len(changed) + 2
    before = request.digest()
    moved = tmp_path / "b.png"
    moved.write_bytes(b"one")
    assert replace(request, messages=(Message("user", ("What?", Media("image", moved))),)).digest() == before
    picture.write_bytes(b"two")
    assert request.digest() != before


def test_a_user_request_has_a_system_message_if_one_is_given() -> None:
    request = user_request("Hello?", max_tokens=3, system="Be brief.")
    assert [(message.role, message.text) for message in request.messages] == [
        ("system", "Be brief."),
        ("user", "Hello?"),
    ]
    assert len(user_request("Hello?", max_tokens=3).messages) == 1


def test_an_empty_request_raises() -> None:
    with pytest.raises(ConfigError, match="at least one message"):
        ChatRequest(messages=(), max_tokens=1)
    with pytest.raises(ConfigError, match="max_tokens must be at least 1, got 0"):
        user_request("x", max_tokens=0)
