"""The thread that owns the engine: it steps the batch while there are requests, and new ones join between two steps.

Handlers of the event loop talk to it through queues, so nothing of the engine is shared.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from schemas.errors import JobError
from trainer.inference.engine import Engine
from trainer.inference.requests import Progress, Request

_log = logging.getLogger(__name__)


class Generation:
    """One request in the engine: an iterator over its progress, for one handler."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._inbox: asyncio.Queue[Progress | Exception] = asyncio.Queue()
        self.accepted: asyncio.Future[int] = self._loop.create_future()

    def tell(self, news: Progress | Exception) -> None:
        """Deliver progress, or the error that ends it; called by the engine's thread."""
        self._call(self._inbox.put_nowait, news)

    def accept(self, ticket: int | Exception) -> None:
        """Deliver the ticket, or why there is none; called by the engine's thread."""
        self._call(self._settle, ticket)

    async def __aiter__(self) -> AsyncIterator[Progress]:
        finished = False
        while not finished:
            news = await self._inbox.get()
            if isinstance(news, Exception):
                raise news
            finished = news.finished is not None
            yield news

    def _settle(self, ticket: int | Exception) -> None:
        if self.accepted.done():  # cancelled: the client has gone
            return
        if isinstance(ticket, Exception):
            self.accepted.set_exception(ticket)
        else:
            self.accepted.set_result(ticket)

    def _call(self, function: Callable[..., None], value: object) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(function, value)


class EngineWorker:
    """Runs the requests of several handlers in one engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.failure: Exception | None = None  # an error of the engine, after which no request is answered
        self._commands: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._running: dict[int, Generation] = {}
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its current step."""
        self._commands.put(None)
        self._thread.join()

    @asynccontextmanager
    async def generating(self, request: Request) -> AsyncIterator[Generation]:
        """Submit a request; its place in the engine is free again at the end of the block.

        Raises ConfigError if the engine refuses it, JobError if the engine has failed.
        """
        generation = Generation()
        self._commands.put(lambda: self._submit(request, generation))
        try:
            await generation.accepted
            yield generation
        finally:
            self._commands.put(lambda: self._cancel(generation))

    def _submit(self, request: Request, generation: Generation) -> None:
        if self.failure is not None:
            generation.accept(_failed(self.failure))
            return
        try:
            ticket = self.engine.submit(request)
        except Exception as e:  # noqa: BLE001 - the handler tells its client
            generation.accept(e)
        else:
            self._running[ticket] = generation
            generation.accept(ticket)

    def _cancel(self, generation: Generation) -> None:
        for ticket in [ticket for ticket, one in self._running.items() if one is generation]:
            self.engine.cancel(ticket)
            del self._running[ticket]

    def _run(self) -> None:
        try:
            while self._obey():
                for progress in self.engine.step():
                    self._deliver(progress)
        except Exception as e:  # noqa: BLE001 - the handlers tell their clients
            _log.exception("the engine failed")
            self._fail(e)

    def _obey(self) -> bool:
        """Carry out the commands; wait for one if there is nothing else to do. Return False at the end."""
        while True:
            try:
                command = self._commands.get(block=not self.engine.busy)
            except queue.Empty:
                return True
            if command is None:
                return False
            command()

    def _deliver(self, progress: Progress) -> None:
        generation = self._running.get(progress.ticket)
        if progress.finished is not None:
            self._running.pop(progress.ticket, None)
        if generation is not None:
            generation.tell(progress)

    def _fail(self, error: Exception) -> None:
        """Tell everyone: the state of an engine after an error is unknown."""
        self.failure = error
        for generation in self._running.values():
            generation.tell(_failed(error))
        self._running.clear()
        while (command := self._commands.get()) is not None:
            command()  # a request is refused from now on


def _failed(error: Exception) -> JobError:
    return JobError(f"the engine failed: {type(error).__name__}; restart the server, whose log has the details")
