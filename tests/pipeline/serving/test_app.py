"""The server as its clients see it: the `openai` package, unmodified, against a tiny model."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from pipeline.serving.config import Access, Limits
from tests.support.serving import CONTEXT, ROWS, RunningServer, Tiny, running_server
from trainer.inference.requests import Progress

pytestmark = pytest.mark.slow

QUESTION: Any = [{"role": "user", "content": "Who was there?"}]


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_the_model_is_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").id == "tiny"
    with pytest.raises(openai.NotFoundError, match="'other' is not served, only 'tiny'"):
        client.models.retrieve("other")


def test_a_reply_in_pieces_is_the_whole_reply_with_the_same_counts(client: openai.OpenAI) -> None:
    for seed in (1, 2):
        options = {"model": "tiny", "messages": QUESTION, "max_tokens": 24, "temperature": 1.0, "seed": seed}
        whole = client.chat.completions.create(**options)
        pieces = list(client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True}))
        text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
        assert text == whole.choices[0].message.content
        assert pieces[-1].usage == whole.usage
        assert pieces[0].choices[0].delta.role == "assistant"
        assert pieces[-2].choices[0].finish_reason == whole.choices[0].finish_reason
        assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens


def test_a_seed_gives_the_same_reply_and_another_seed_another(client: openai.OpenAI) -> None:
    def reply(seed: int | None) -> str | None:
        found = client.chat.completions.create(
            model="tiny", messages=QUESTION, max_tokens=16, temperature=1.0, seed=seed
        )
        return found.choices[0].message.content

    assert reply(7) == reply(7) != reply(-7)
    assert reply(None) != reply(None)


def test_replies_of_one_batch_are_those_of_requests_alone(client: openai.OpenAI) -> None:
    def reply(seed: int) -> str | None:
        messages: Any = [{"role": "user", "content": "Who? " * (1 + seed % 3)}]
        found = client.chat.completions.create(model="tiny", messages=messages, max_tokens=10 + seed, seed=seed)
        return found.choices[0].message.content

    alone = [reply(seed) for seed in range(6)]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(reply, range(6))) == alone


def test_a_stop_text_ends_the_reply_before_it(client: openai.OpenAI) -> None:
    options = {"model": "tiny", "messages": QUESTION, "max_tokens": 24, "seed": 3}
    whole = client.chat.completions.create(**options).choices[0].message.content
    stop = re.findall("[a-z ]{3}", whole)[-1]
    found = client.chat.completions.create(**options, stop=[stop, "never seen"])
    assert found.choices[0].message.content == whole[: whole.index(stop)]
    assert found.choices[0].finish_reason == "stop"
    pieces = client.chat.completions.create(**options, stop=stop, stream=True)
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces)
    assert text == whole[: whole.index(stop)]


def test_log_probabilities_have_alternatives_and_the_bytes_of_the_reply(client: openai.OpenAI) -> None:
    options = {"model": "tiny", "messages": QUESTION, "max_tokens": 8, "temperature": 0, "logprobs": True}
    choice = client.chat.completions.create(**options, top_logprobs=3).choices[0]
    tokens = choice.logprobs.content
    assert all(len(token.top_logprobs) == 3 and token.top_logprobs[0].logprob == token.logprob for token in tokens)
    said = b"".join(bytes(token.bytes or ()) for token in tokens).decode("utf-8", "replace")
    assert said.strip() == choice.message.content.strip()
    pieces = client.chat.completions.create(**options, top_logprobs=3, stream=True)
    streamed = [token for piece in pieces if piece.choices[0].logprobs for token in piece.choices[0].logprobs.content]
    assert [token.token for token in streamed] == [token.token for token in tokens]


def test_a_text_is_continued_with_offsets_of_tokens(client: openai.OpenAI, tiny: Tiny) -> None:
    found = client.completions.create(model="tiny", prompt="Once upon", max_tokens=6, temperature=0, logprobs=2)
    choice = found.choices[0]
    assert len(choice.logprobs.tokens) == found.usage.completion_tokens
    assert choice.logprobs.text_offset[0] == 0
    assert all(len(top) <= 2 for top in choice.logprobs.top_logprobs)
    ids = tiny.prompts.text("Once upon")
    assert found.usage.prompt_tokens == len(ids)
    same = client.completions.create(model="tiny", prompt=ids, max_tokens=6, temperature=0)
    assert same.choices[0].text == choice.text
    pieces = client.completions.create(model="tiny", prompt="Once upon", max_tokens=6, temperature=0, stream=True)
    assert "".join(piece.choices[0].text for piece in pieces) == choice.text


def test_a_reply_satisfies_its_schema(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}, "kind": {"enum": ["a", "b"]}},
        "required": ["n", "kind"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    for seed in range(3):
        found = client.chat.completions.create(
            model="tiny", messages=QUESTION, max_tokens=60, seed=seed, top_p=0.2, response_format=form
        )
        if found.choices[0].finish_reason == "stop":
            value = json.loads(found.choices[0].message.content)
            assert isinstance(value["n"], int)
            assert value["kind"] in "ab"
        else:
            assert found.choices[0].message.content.startswith('{"n": ')
    form["json_schema"]["schema"] = {"type": "nonsense"}
    with pytest.raises(openai.BadRequestError, match="schema of response_format is not supported"):
        client.chat.completions.create(model="tiny", messages=QUESTION, response_format=form)


def test_a_prompt_that_leaves_no_room_is_refused(client: openai.OpenAI) -> None:
    for size in (CONTEXT, 1_000_000):
        with pytest.raises(openai.BadRequestError, match=f"trained on contexts of {CONTEXT}") as found:
            client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "Who? " * size}])
        assert found.value.code == "context_length_exceeded"


def test_a_full_queue_answers_429_and_a_client_that_goes_away_frees_its_place(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    continues, step = threading.Event(), tiny.engine.step

    def held_step() -> list[Progress]:
        continues.wait(30)
        return step()

    most = ROWS + 1  # one waits
    with running_server(tiny, limits=Limits(queue=1)) as server:
        monkeypatch.setattr(tiny.engine, "step", held_step)
        gone = [_connected(server, max_tokens=300, stream=n > 0) for n in range(most)]
        server.wait_for(lambda: server.in_progress() == most)
        refused = server.chat()
        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) > 0
        assert refused.json()["error"]["type"] == "rate_limit_error"
        for connection in gone:
            connection.close()
        server.wait_for(lambda: server.in_progress() == 0)
        continues.set()
        server.wait_until_idle()
        before = tiny.engine.speed.generated_tokens
        assert server.chat().status_code == 200
        assert tiny.engine.speed.generated_tokens - before < 20  # nothing of the others was generated


def _connected(server: RunningServer, **fields: Any) -> socket.socket:
    """Send a request and return its connection, without reading a reply."""
    body = json.dumps({"messages": QUESTION, **fields}).encode()
    connection = socket.create_connection(("127.0.0.1", server.port))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    connection.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
    return connection


def test_a_key_is_asked_for_and_pages_of_other_sites_are_refused(tiny: Tiny) -> None:
    with running_server(tiny, Access(api_key="sécret")) as server:
        assert server.chat().status_code == 401
        assert server.chat(headers=None).status_code == 401
        body = json.dumps({"messages": QUESTION, "max_tokens": 1}).encode()

        def status(**changed: bytes) -> int:
            headers = {"Authorization": "Bearer sécret".encode(), "Content-Type": b"application/json"}
            sent = [(name.encode(), value) for name, value in (headers | changed).items()]
            post = f"{server.address}/v1/chat/completions"
            return httpx.post(post, content=body, headers=sent, timeout=60).status_code

        assert status() == 200
        assert status(Authorization=b"Bearer secret") == 401
        assert status(**{"Content-Type": b"text/plain"}) == 415
        assert status(Host=b"evil.example") == 403
        assert httpx.get(f"{server.address}/metrics").status_code == 401
        assert httpx.get(f"{server.address}/health").json() == {"status": "ok"}
        assert httpx.get(f"{server.address}/").status_code == 200


def test_the_time_of_a_request_is_limited(tiny: Tiny) -> None:
    with running_server(tiny, limits=Limits(timeout_s=0.001)) as server:
        found = server.chat(max_tokens=300)
        assert (found.status_code, found.json()["error"]["code"]) == (504, "timeout")
        server.wait_until_idle()
        assert httpx.get(f"{server.address}/health").status_code == 200
