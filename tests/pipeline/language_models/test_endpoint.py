"""A model behind a server: what is sent, what is read, and what goes wrong."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.language_models.chat import ChatRequest, Media, Message, RequestRefused, user_request
from pipeline.language_models.endpoint import Endpoint, EndpointConfig
from schemas.errors import ConfigError, JobError
from tests.support.servers.chat_server import Answer, chat_server

QUICK = EndpointConfig(retries=0, timeout_s=10)


def test_a_question_is_sent_and_the_reply_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with chat_server(lambda body: Answer("Paris.")) as server:
        reply = Endpoint(server.address, QUICK).ask(
            user_request("The capital of France?", max_tokens=7, system="Brief.")
        )
    assert (reply.text, reply.finish_reason, reply.prompt_tokens, reply.reply_tokens) == ("Paris.", "stop", 4, 3)
    assert server.requests == [
        {
            "messages": [
                {"role": "system", "content": "Brief."},
                {"role": "user", "content": "The capital of France?"},
            ],
            "model": "m",
            "max_tokens": 7,
            "seed": 0,
            "temperature": 0.0,
        }
    ]
    assert server.keys == ["Bearer secret"]


def test_the_schema_of_a_reply_is_sent() -> None:
    request = replace(user_request("Which?", max_tokens=7), json_schema='{"type": "object"}')
    with chat_server(lambda body: Answer("{}")) as server:
        Endpoint(server.address, QUICK).ask(request)
    form = {"name": "reply", "strict": True, "schema": {"type": "object"}}
    assert server.requests[0]["response_format"] == {"type": "json_schema", "json_schema": form}


def test_media_are_sent_with_their_content(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"picture")
    (tmp_path / "b.mp4").write_bytes(b"video")
    parts = ("Look:", Media("image", tmp_path / "a.png"), Media("video", tmp_path / "b.mp4"))
    with chat_server(lambda body: Answer("yes")) as server:
        Endpoint(server.address, QUICK).ask(ChatRequest(messages=(Message("user", parts),), max_tokens=1))
    picture, video = base64.b64encode(b"picture").decode(), base64.b64encode(b"video").decode()
    assert server.requests[0]["messages"][0]["content"] == [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
        {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{video}"}},
    ]


def test_choices_get_the_log_probability_of_the_first_token() -> None:
    logprobs = {" B": -0.2, "A": -2.0, "B": -3.0, "the": -4.0}
    with chat_server(lambda body: Answer("B", logprobs=logprobs)) as server:
        found = Endpoint(server.address, QUICK).choose(user_request("Which?", max_tokens=9), ("A", "B", "C"))
    assert found == (-2.0, -0.2, -float("inf"))
    assert (server.requests[0]["max_tokens"], server.requests[0]["logprobs"]) == (1, True)


def test_a_server_without_log_probabilities_cannot_choose() -> None:
    with (
        chat_server(lambda body: Answer("B")) as server,
        pytest.raises(JobError, match="returns no log-probabilities"),
    ):
        Endpoint(server.address, QUICK).choose(user_request("Which?", max_tokens=1), ("A", "B"))


def test_a_refused_request_is_told_from_a_server_that_fails() -> None:
    request = user_request("x", max_tokens=1)
    with (
        chat_server(lambda body: Answer("too long\x1b[2J", status=400)) as server,
        pytest.raises(RequestRefused, match=r"answers 400: .*too long\\u001b"),
    ):
        Endpoint(server.address, QUICK).ask(request)
    with chat_server(lambda body: Answer("down", status=500)) as server:
        with pytest.raises(JobError, match="answers 500") as raised:
            Endpoint(server.address, QUICK).ask(request)
        assert not isinstance(raised.value, RequestRefused)
    with pytest.raises(JobError, match="cannot be reached"):
        Endpoint(server.address, EndpointConfig(served_model="m", retries=0)).ask(request)


def test_a_redirect_is_not_followed() -> None:
    with (
        chat_server(lambda body: Answer("from elsewhere")) as other,
        chat_server(lambda body: Answer(status=307, location=f"{other.address}/chat/completions")) as server,
        pytest.raises(JobError, match="answers 307"),
    ):
        Endpoint(server.address, QUICK).ask(user_request("x", max_tokens=1))
    assert other.requests == []


def test_halves_of_surrogate_pairs_in_a_reply_are_replaced() -> None:
    with chat_server(lambda body: Answer("a\ud83d\ude00 b\ud800")) as server:
        reply = Endpoint(server.address, QUICK).ask(user_request("x", max_tokens=1))
    assert reply.text == "a\U0001f600 b\ufffd"


def test_a_failure_that_passes_is_retried() -> None:
    answers = [Answer("slow down", status=429), Answer("busy", status=503), Answer("here")]
    with chat_server(lambda body: answers.pop(0)) as server:
        assert Endpoint(server.address, EndpointConfig(retries=2)).ask(user_request("x", max_tokens=1)).text == "here"


@pytest.mark.parametrize("raw", [b"<html>", b"[]", b'{"choices": []}', b"{}"])
def test_another_server_is_reported(raw: bytes) -> None:
    with chat_server(lambda body: Answer(raw=raw)) as server, pytest.raises(JobError):
        Endpoint(server.address, QUICK).ask(user_request("x", max_tokens=1))


def test_the_only_model_is_asked_and_of_several_one_has_to_be_chosen() -> None:
    with chat_server(lambda body: Answer("x"), models=("a", "b")) as server:
        with pytest.raises(JobError, match=r"serves 2 models \(a, b\); choose one with --served-model"):
            _ = Endpoint(server.address, QUICK).name
        chosen = Endpoint(server.address, EndpointConfig(served_model="b"))
        assert chosen.name == f"b at {server.address}"


@pytest.mark.parametrize("address", ["127.0.0.1:80", "ftp://x/v1", "file:///etc", "http://"])
def test_a_wrong_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="must be an address such as"):
        Endpoint(address)


def test_credentials_in_an_address_are_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError, match="OPENAI_API_KEY") as raised:
        Endpoint("http://user:password@host/v1")
    assert "password" not in str(raised.value)
