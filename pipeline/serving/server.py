"""Starts the server and ends it: on SIGTERM and Ctrl-C it takes no more requests and completes those that run."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from pipeline.inference.loading import text_only
from pipeline.serving.app import Served, make_app
from pipeline.serving.config import Access, Limits
from pipeline.serving.connections import LimitedProtocol
from schemas.counted import counted
from schemas.errors import ConfigError
from schemas.runs.messages import messages
from trainer.inference.engine import Engine
from trainer.inference.requests import Request

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LARGEST_HEADER = 1 << 16


def serve(served: Served, access: Access, limits: Limits, *, grace_s: float) -> None:
    """Answer requests until a signal ends the process. Prints the address when requests are answered.

    Raises ConfigError if the address cannot be used.
    """
    _warm_up(served.worker.engine)
    listener = _listen(access)
    served.worker.start()
    try:
        server = _Server(server_config(make_app(served, access, limits), limits, grace_s=grace_s))
        _announce(access, listener, served.name)
        asyncio.run(server.serve([listener]))
    finally:
        listener.close()
        served.worker.stop()
    messages.info("serve: stopped")


def server_config(app: ASGIApp, limits: Limits, *, grace_s: float) -> uvicorn.Config:
    """Return how uvicorn serves the application."""
    return uvicorn.Config(
        app,
        http=LimitedProtocol,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=_LARGEST_HEADER,
        limit_concurrency=limits.connections,
        timeout_graceful_shutdown=max(int(grace_s), 1),
    )


class _Server(uvicorn.Server):
    """uvicorn without its way to end: it sends the signal to the process once more, which would kill it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End on the first signal when the running requests are complete, at once on the second."""
        before = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note a signal, and say what follows."""
        self.force_exit = self.should_exit
        self.should_exit = True
        running = len(self.server_state.tasks)
        if self.force_exit or not running:
            messages.info_in_handler("serve: stopping")
        else:
            messages.info_in_handler(
                f"serve: stopping when {counted(running, 'running request')} is complete, at most "
                f"{self.config.timeout_graceful_shutdown} s; once more to stop at once"
            )


def _listen(access: Access) -> socket.socket:
    family = socket.AF_INET6 if ":" in access.host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((access.host, access.port))
    except OSError as e:
        listener.close()
        raise ConfigError(f"cannot listen at {access.host} port {access.port}: {e}; choose another --port") from e
    return listener


def _announce(access: Access, listener: socket.socket, name: str) -> None:
    if not access.is_loopback and access.key is None:
        messages.warning(
            f"serve: warning: everyone who can reach {access.host} can use this server; give it an API key "
            "(LONGREEL_API_KEY) or the address 127.0.0.1"
        )
    host = f"[{access.host}]" if ":" in access.host else access.host
    print(f"{name}: chat at http://{host}:{listener.getsockname()[1]}/ (for clients: …/v1)", flush=True)


def _warm_up(engine: Engine) -> None:
    """Compile what every request needs, so that an error shows now and the first client does not wait."""
    engine.generate([Request(prompt=[0] * 20, max_tokens=2, frames=text_only(engine))])
