"""A cache of replies on disk, so that no request is made twice."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from pipeline.language_models.chat import ChatModel, ChatRequest, Reply, RequestRefused
from schemas.checksums import checksum
from schemas.errors import storage_errors
from schemas.storage.location import located
from schemas.storage.regular import open_appending

Value = TypeVar("Value")


class CachedModel:
    """A `ChatModel` whose replies are kept in a file of JSON lines, by the hash of the request and the model's name.

    A refusal is kept as well. Equal requests of several threads are sent once. A line that a killed process left
    incomplete, or that was altered since, is ignored. One process at a time may use the file; its threads may share the
    object.
    """

    def __init__(self, model: ChatModel, path: Path) -> None:
        self._model, self._path, self._lock = model, path, threading.Lock()
        self._kept, self._is_torn = _read(path)
        self._running: dict[str, Future[dict[str, Any]]] = {}

    @property
    def name(self) -> str:
        """The name of the model."""
        return self._model.name

    def ask(self, request: ChatRequest) -> Reply:
        """Return the kept reply, or the model's; see `ChatModel.ask`."""
        return Reply(**self._once(request.digest("ask", self.name), lambda: asdict(self._model.ask(request))))

    def choose(self, request: ChatRequest, choices: tuple[str, ...]) -> tuple[float, ...]:
        """Return the kept log-probabilities, or the model's; see `ChatModel.choose`."""
        key = request.digest("choose", self.name, *choices)
        found = self._once(key, lambda: {"logprobs": list(self._model.choose(request, choices))})
        return tuple(found["logprobs"])

    def _once(self, key: str, ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        mine: Future[dict[str, Any]] = Future()
        with self._lock:
            value = self._kept.get(key)
            running = mine if value is not None else self._running.setdefault(key, mine)
        if value is None:
            value = self._asked(key, ask, mine) if running is mine else running.result()
        if "refused" in value:
            raise RequestRefused(value["refused"])
        return value

    def _asked(self, key: str, ask: Callable[[], dict[str, Any]], result: Future[dict[str, Any]]) -> dict[str, Any]:
        """Ask, keep the reply, and give it, or the error, to the threads that wait for `result`."""
        try:
            try:
                value = ask()
            except RequestRefused as e:
                value = {"refused": str(e)}
            self._keep(key, value)
        except BaseException as e:
            result.set_exception(e)
            raise
        else:
            result.set_result(value)
            return value
        finally:
            with self._lock:
                del self._running[key]

    def _keep(self, key: str, value: dict[str, Any]) -> None:
        line = json.dumps({"key": key, "value": value, "checksum": _checksum(key, value)}).encode() + b"\n"
        with self._lock, storage_errors(self._path), open_appending(self._path) as file:
            file.write(b"\n" + line if self._is_torn else line)
            self._kept[key], self._is_torn = value, False


def _read(path: Path) -> tuple[dict[str, dict[str, Any]], bool]:
    """Return the kept replies, and whether the last line is incomplete."""
    kept: dict[str, dict[str, Any]] = {}
    line = b"\n"
    for line in located(path).read().splitlines(keepends=True) if path.exists() else ():
        try:
            row = json.loads(line)
            if row["checksum"] == _checksum(row["key"], row["value"]):
                kept[row["key"]] = row["value"]
        except (ValueError, KeyError, TypeError, RecursionError):  # of a process that was killed, or damaged
            continue
    return kept, not line.endswith(b"\n")


def _checksum(key: str, value: dict[str, Any]) -> str:
    return checksum(json.dumps([key, value], sort_keys=True).encode())
