"""Requests that no client should send: what is wrong with each, and what tells whether something got out.

`watched` reports files of a folder that any process opens; `canary` connections that any process makes.
"""

from __future__ import annotations

import base64
import ctypes
import io
import json
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from PIL import Image

CHAT, TEXTS, PICTURES = "/v1/chat/completions", "/v1/completions", "/v1/images/generations"
_FIELDS = (
    *(
        "model",
        "messages",
        "max_tokens",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "repetition_penalty",
        "seed",
        "stop",
    ),
    *("stream", "stream_options", "response_format", "n", "frequency_penalty", "presence_penalty", "logit_bias"),
    *("logprobs", "top_logprobs", "tools", "max_completion_tokens", "modalities"),
)
_WRONG: tuple[Any, ...] = ({"a": 1}, [[]], "wrong\x00", -5, 1.5e300)
_RIGHT = (("stop", "wrong\x00"), ("seed", -5))  # of their combinations
_TEXT_FIELDS = ("prompt", "max_tokens", "temperature", "top_p", "logprobs", "echo", "best_of", "suffix", "stream", "n")
_PICTURE_FIELDS = (
    *("prompt", "n", "frames", "frame_rate", "guidance", "negative_prompt", "prompt_style", "size", "quality"),
    *("response_format", "output_format", "temperature", "top_k", "seed", "model", "stream"),
)
_RIGHT_ELSEWHERE = (("prompt", "wrong\x00"), ("seed", -5))
_IN_OPEN = 0x20


@dataclass(frozen=True)
class Hostile:
    """One request: the bytes of its body, or all that is sent."""

    name: str
    body: bytes = b""
    raw: bytes | None = None
    path: str = CHAT


def hostile_requests(root: Path, *, port: int) -> list[Hostile]:
    """Return requests; their URLs name files outside of `root`, and a server at `port` of this machine."""
    chats = [*_bodies(), *_wrong_fields(), *_urls(root, port), *_media(root, port), *_schemas(port), *_raw()]
    return [*chats, *_texts(), *_pictures(port)]


def chat(content: Any = "Who?", **fields: Any) -> bytes:
    """Return the body of a chat."""
    return json.dumps({"messages": [{"role": "user", "content": content}], "max_tokens": 2, **fields}).encode()


def _bodies() -> Iterator[Hostile]:
    bodies = {
        "empty": b"",
        "no JSON": b"who?",
        "UTF-16": "{}".encode("utf-16"),
        "not UTF-8": b'{"messages": "\xff\xfe"}',
        "zeros": b"\x00" * 10_000,
        "truncated": chat()[:-5],
        "two objects": chat() * 2,
        "array": b"[]",
        "number": b"1e5",
        "null": b"null",
        "deep arrays": b"[" * 500_000,
        "deep objects": b'{"a":' * 200_000,
        "deep and closed": b'{"messages":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        "deep metadata": b'{"messages":[],"metadata":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        "NaN": chat().replace(b'"max_tokens": 2', b'"temperature": NaN'),
        "infinity": chat().replace(b'"max_tokens": 2', b'"temperature": 1e999'),
        "long number": chat().replace(b"2", b"9" * 100_000),
        "half a surrogate": b'{"messages":[{"role":"user","content":"\\ud800"}]}',
        "many messages": json.dumps({"messages": [{"role": "user", "content": "a"}] * 10_000}).encode(),
        "many parts": chat([{"type": "text", "text": "a"}] * 10_000),
        "many fields": json.dumps({f"field{n}": n for n in range(20_000)}).encode(),
        "long prompt": chat("word " * 200_000),
        "no messages": b'{"model": "tiny"}',
        "empty messages": b'{"messages": []}',
        "unknown role": chat().replace(b"user", b"root"),
        "unknown part": chat([{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]),
        "part without text": chat([{"type": "text"}]),
        "null content": chat(None),
        "reply beyond the context": chat(max_tokens=10**9),
        "many stops": chat(stop=["a"] * 100_000),
        "long stop": chat(stop="a" * 1_000_000),
        "many alternatives": chat(logprobs=True, top_logprobs=10**6),
    }
    yield from (Hostile(name, body) for name, body in bodies.items())


def _wrong_fields() -> Iterator[Hostile]:
    for field, value in product(_FIELDS, _WRONG):
        if (field, value) not in _RIGHT:
            yield Hostile(f"{field}: {value!r}", chat(**{field: value}))


def _texts() -> Iterator[Hostile]:
    bodies = {
        "empty": b"",
        "no prompt": b"{}",
        "deep prompt": b'{"prompt":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        "empty prompt": b'{"prompt": []}',
        "two prompts": b'{"prompt": ["a", "b"]}',
        "two lists": b'{"prompt": [[1], [2]]}',
        "mixed prompt": b'{"prompt": [1, "a"]}',
        "id below 0": b'{"prompt": [-1]}',
        "id beyond the vocabulary": b'{"prompt": [1, 1000000000]}',
        "id of 30 digits": b'{"prompt": [' + b"9" * 30 + b"]}",
        "fraction of an id": b'{"prompt": [1.5]}',
        "a million ids": b'{"prompt": [' + b"1," * 900_000 + b"1]}",
        "half a surrogate": b'{"prompt": "\\ud800"}',
        "messages": chat(),
    }
    yield from (Hostile(f"text: {name}", body, path=TEXTS) for name, body in bodies.items())
    yield from _wrong(TEXTS, _TEXT_FIELDS, {"prompt": "a", "max_tokens": 2})


def _pictures(port: int) -> Iterator[Hostile]:
    fields: dict[str, dict[str, Any]] = {
        "many": {"n": 10**9},
        "many frames": {"frames": 1 << 16},
        "frames beyond a word": {"frames": 1 << 40},
        "many frames of many samples": {"frames": 60_000, "n": 16},
        "frame rate 0": {"frame_rate": 0},
        "guidance below 0": {"guidance": -1.0},
        "long description": {"prompt": "boat " * 100_000},
        "blank description": {"prompt": " \n\t"},
        "description beyond the context": {"prompt": "boat " * 6_000},
        "long other description": {"negative_prompt": "rain " * 6_000, "guidance": 2.0},
        "other description without guidance": {"negative_prompt": "rain"},
        "URL in place of bytes": {"response_format": "url"},
        "a size": {"size": "100000x100000"},
        "a mask": {"mask": f"http://127.0.0.1:{port}/mask.png"},
        "an image": {"image": "file:///etc/passwd"},
        "a model": {"model": "../../etc/passwd"},
    }
    for name, changed in fields.items():
        yield Hostile(f"picture: {name}", json.dumps({"prompt": "a boat", **changed}).encode(), path=PICTURES)
    bodies = {
        "empty": b"",
        "deep": b"[" * 500_000,
        "no prompt": b"{}",
        "messages": chat(),
        "not UTF-8": b'{"prompt":"\xff"}',
    }
    yield from (Hostile(f"picture: {name}", body, path=PICTURES) for name, body in bodies.items())
    yield from _wrong(PICTURES, _PICTURE_FIELDS, {"prompt": "a boat"})


def _wrong(path: str, fields: tuple[str, ...], right: dict[str, Any]) -> Iterator[Hostile]:
    for field, value in product(fields, _WRONG):
        if (field, value) not in _RIGHT_ELSEWHERE:
            yield Hostile(f"{path} {field}: {value!r}", json.dumps({**right, field: value}).encode(), path=path)


def _urls(root: Path, port: int) -> Iterator[Hostile]:
    secret = root.parent / "outside" / "secret.png"
    urls = [
        *(
            f"{scheme}://127.0.0.1:{port}/a.png"
            for scheme in ("http", "https", "HTTP", "ftp", "gopher", "tcp", "rtsp", "tls")
        ),
        *(f"http://localhost:{port}/", f"//127.0.0.1:{port}/a.png", f"hls+http://127.0.0.1:{port}/a", "http://[::1]/"),
        *("file:///etc/passwd", f"file://{secret}", f"file://{root}/../outside/secret.png", str(secret), "file:"),
        *(f"file://{root}/%2e%2e/outside/secret.png", f"file://{root}/..%2foutside%2fsecret.png", "file://["),
        *(f"file://{root}/link.png", f"file://{root}/folder/secret.png", f"file://{root}/pipe", "file:///dev/zero"),
        *(f"file://127.0.0.1:{port}{root}/picture.png", "file:///proc/self/environ", f"file://{root}", "", "data:"),
        *("data:image/png;base64,!!!", "data:text/html;base64,YQ==", "data:image/png,a", f"concat:{secret}", "pipe:0"),
    ]
    for url, kind in product(urls, ("image_url", "video_url")):
        yield Hostile(f"{kind} {url}", chat([{"type": kind, kind: {"url": url}}]))


def _media(root: Path, port: int) -> Iterator[Hostile]:
    secret, address = root.parent / "outside" / "secret.png", f"http://127.0.0.1:{port}/a.mp4"
    png = io.BytesIO()
    Image.new("RGB", (64, 64)).save(png, "PNG")
    picture = png.getvalue()
    contents = {
        "empty": b"",
        "random": bytes(range(256)) * 64,
        "text": b"a picture of a cat",
        "half a picture": picture[: len(picture) // 2],
        "only a signature": picture[:8],
        "huge picture": picture[:16] + struct.pack(">II", 60_000, 60_000) + picture[24:],
        "playlist": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n".encode(),
        "playlist of a file": f"#EXTM3U\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n".encode(),
        "concat script": f"ffconcat version 1.0\nfile '{secret}'\n".encode(),
        "session": f"v=0\nc=IN IP4 127.0.0.1\nm=video {port} RTP/AVP 96\n".encode(),
        "SVG": f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{address}"/></svg>'.encode(),
        "DASH": f'<?xml version="1.0"?><MPD><BaseURL>{address}</BaseURL></MPD>'.encode(),
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) (r) file\n",
        "zip": b"PK\x03\x04" + bytes(1000),
    }
    for (name, content), kind in product(contents.items(), ("image_url", "video_url")):
        url = f"data:{kind[:5]}/png;base64,{base64.b64encode(content).decode()}"
        yield Hostile(f"{kind} with {name}", chat([{"type": kind, kind: {"url": url}}]))


def _schemas(port: int) -> Iterator[Hostile]:
    schemas: dict[str, Any] = {
        "elsewhere": {"$ref": f"http://127.0.0.1:{port}/schema.json"},
        "a file": {"$ref": "file:///etc/passwd"},
        "unknown type": {"type": "nonsense"},
        "nothing": {"enum": []},
        "no pattern": {"type": "string", "pattern": "(((("},
        "itself": {"$ref": "#"},
    }
    for name, schema in schemas.items():
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        yield Hostile(f"schema: {name}", chat(response_format=form))


def _raw() -> Iterator[Hostile]:
    post = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    body = chat()
    length = b"Content-Length: %d\r\n" % len(body)
    requests = {
        "no HTTP": b"who are you?\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "no host": post.replace(b"Host: localhost\r\n", b"") + length + b"\r\n" + body,
        "other host": post.replace(b"localhost", b"evil.example") + length + b"\r\n" + body,
        "two lengths": post + length + b"Content-Length: 3\r\n\r\n" + body,
        "negative length": post + b"Content-Length: -1\r\n\r\n",
        "huge length": post + b"Content-Length: 99999999999999999999\r\n\r\n",
        "length and chunks": post + length + b"Transfer-Encoding: chunked\r\n\r\n" + body,
        "bad chunk": post + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n" + body,
        "bad encoding": post + b"Transfer-Encoding: gzip\r\n\r\n" + body,
        "long header": post + b"X-Long: " + b"a" * 200_000 + b"\r\n\r\n",
        "many headers": post + b"".join(b"X-%d: 1\r\n" % n for n in range(20_000)) + b"\r\n",
        "folded header": post + b"X: a\r\n b\x00c\r\n\r\n",
        "compressed": post + length + b"Content-Encoding: gzip\r\n\r\n" + body,
        "form": post.replace(b"application/json", b"text/plain") + length + b"\r\n" + body,
        "form data": post.replace(b"application/json", b"multipart/form-data; boundary=x") + length + b"\r\n" + body,
        **{
            f"path {path.decode()}": b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path
            for path in (
                *(b"/../../etc/passwd", b"/%2e%2e/%2e%2e/etc/passwd", b"//etc/passwd", b"/chat.js/../../app.py"),
                *(b"/page/chat.js", b"/..%5c..%5capp.py", b"/%00", b"/v1/models/..%2f..%2fetc%2fpasswd", b"/docs"),
                b"/" + b"a" * 20_000,
            )
        },
        **{
            f"method {method.decode()}": b"%s /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            % method
            for method in (b"PUT", b"DELETE", b"TRACE", b"CONNECT", b"NONSENSE")
        },
    }
    yield from (Hostile(name, raw=raw) for name, raw in requests.items())


def write_root(root: Path) -> Path:
    """Write a folder with a picture, and links to a file outside of it."""
    root.mkdir()
    outside = root.parent / "outside"
    outside.mkdir()
    for path in (root / "picture.png", outside / "secret.png"):
        Image.new("RGB", (64, 64), "red").save(path)
    (root / "link.png").symlink_to(outside / "secret.png")
    (root / "folder").symlink_to(outside)
    os.mkfifo(root / "pipe")
    return root


@contextmanager
def canary() -> Iterator[tuple[int, list[str]]]:
    """Listen at a port; yield it, and the addresses of those that connect."""
    found: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    connection, address = server.accept()
                except OSError:
                    return
                found.append(str(address))
                connection.close()

        threading.Thread(target=listen, daemon=True).start()
        yield server.getsockname()[1], found
        server.shutdown(socket.SHUT_RDWR)


@contextmanager
def watched(folder: Path) -> Iterator[list[bytes]]:
    """Collect what any process opens in a folder; complete after the block (Linux)."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK)
    assert libc.inotify_add_watch(descriptor, os.fsencode(folder), _IN_OPEN) > 0
    found: list[bytes] = []
    try:
        yield found
        with suppress(BlockingIOError):  # nothing was opened
            found.append(os.read(descriptor, 1 << 16))
    finally:
        os.close(descriptor)
