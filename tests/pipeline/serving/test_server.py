"""The server starts at an address that it prints, and ends at a signal when its replies are complete."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time

import httpx
import pytest

from pipeline.serving.config import Access, Limits
from pipeline.serving.server import serve
from schemas.errors import ConfigError
from tests.support.serving import Tiny

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_when_its_replies_are_complete(
    tiny: Tiny, number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    replies: list[httpx.Response] = []
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def ask() -> None:
        body = {
            "messages": [{"role": "user", "content": "Who?"}],
            "max_tokens": 150,
            "temperature": 1.0,
            "stream": True,
        }
        with httpx.stream("POST", f"http://127.0.0.1:{port}/v1/chat/completions", json=body, timeout=60) as reply:
            for n, _ in enumerate(reply.iter_lines()):
                if n == 1:
                    os.kill(os.getpid(), number)
            replies.append(reply)

    def when_started() -> None:
        for _ in range(1000):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        ask()

    client = threading.Thread(target=when_started)
    client.start()
    serve(tiny.served(), Access(port=port), Limits(), grace_s=20)
    client.join()
    assert [reply.status_code for reply in replies] == [200]
    printed = capsys.readouterr()
    assert f"tiny: chat at http://127.0.0.1:{port}/" in printed.out
    assert "serve: stopping when 1 running request is complete, at most 20 s" in printed.err
    assert printed.err.endswith("serve: stopped\n")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_port_in_use_and_an_open_server_without_a_key_are_told(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(ConfigError, match="choose another --port"):
            serve(tiny.served(), Access(port=taken.getsockname()[1]), Limits(), grace_s=1)
        monkeypatch.delenv("LONGREEL_API_KEY", raising=False)
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
        serve(tiny.served(), Access(host="0.0.0.0", port=0), Limits(), grace_s=1)
    assert "everyone who can reach 0.0.0.0 can use this server" in capsys.readouterr().err
