"""A server with OpenAI's chat interface whose replies a function gives, for tests of clients."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What the server sends: a text, or a status with a message."""

    text: str = ""
    status: int = 200
    logprobs: dict[str, float] | None = None
    raw: bytes | None = None
    location: str | None = None  # of a redirect


@dataclass
class ChatServer:
    """The address, and the bodies of the requests so far."""

    address: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)


@contextmanager
def chat_server(reply: Callable[[dict[str, Any]], Answer], models: tuple[str, ...] = ("m",)) -> Iterator[ChatServer]:
    """Serve replies; `reply` is called with the body of each request, by several threads."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self._send(
                200, json.dumps({"object": "list", "data": [{"id": m, "object": "model"} for m in models]}).encode()
            )

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.requests.append(body)
            found.keys.append(self.headers["Authorization"])
            answer = reply(body)
            self._send(answer.status, answer.raw or json.dumps(_body(answer, body)).encode(), answer.location)

        def _send(self, status: int, data: bytes, location: str | None = None) -> None:
            self.send_response(status)
            if location is not None:
                self.send_header("Location", location)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = ChatServer(f"http://127.0.0.1:{server.server_port}/v1")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


def prompt_of(body: dict[str, Any]) -> str:
    """Return the text of the last message."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _body(answer: Answer, body: dict[str, Any]) -> dict[str, Any]:
    if answer.status != 200:
        return {"error": {"message": answer.text, "type": "invalid_request_error"}}
    words = len(prompt_of(body).split())
    choice: dict[str, Any] = {
        "index": 0,
        "message": {"role": "assistant", "content": answer.text},
        "finish_reason": "stop",
    }
    if answer.logprobs is not None:
        top = [{"token": token, "logprob": value, "bytes": None} for token, value in answer.logprobs.items()]
        choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}], "refusal": None}
    usage = {"prompt_tokens": words, "completion_tokens": 3, "total_tokens": words + 3}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [choice],
        "usage": usage,
    }
