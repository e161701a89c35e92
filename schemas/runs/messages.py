"""What commands say on stderr while they work: lines of text, or one JSON object a line, and a log file of the same.

Every object has these fields; an event can have more, which docs/logging.md lists:

    time      UTC, ISO 8601 with milliseconds
    level     debug, info, warning or error
    command   the name of the command, such as run or eval loss
    event     start (in files), message, progress, job, compiling, compiled, download, library or error
    message   the line that `--log-format text` prints

With `--log-level debug`, the messages of JAX, Beam, Orbax and others are the events `library`, with their `logger`.

A log file that has reached LOG_BYTES becomes EARLIER_LOG and a new one is begun, so that both together stay below twice
this size, apart from the lines of one command in a bucket.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any, Literal

from rich.console import Console
from rich.text import Text

from schemas.errors import LongreelError
from schemas.printable import printable
from schemas.storage.location import Location
from schemas.storage.regular import open_appending

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["text", "json"]
LIBRARIES = ("absl", "apache_beam", "jax", "orbax")
LOG = "log.jsonl"
EARLIER_LOG = f"{LOG}.1"
LOG_BYTES = 16 * 2**20
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class DataConsole(Console):
    """A console whose strings are data: file names and messages, in which no control and no markup takes effect."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, soft_wrap=True, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string, which may be a cell of a table, as it is printed."""
        return super().render_str(printable(text), **options)


console = DataConsole(stderr=True)


class Messages:
    """Where messages go; one instance, `messages`, serves a process."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._command, self._level, self._format = "", _LEVELS["info"], "text"
        self._files: list[_LogFile] = []
        self._said: set[str] = set()

    def configure(self, command: str, *, level: Level, format: Format) -> None:
        """Set what stderr shows from now on, also of the messages of libraries."""
        self._command, self._level, self._format = command, _LEVELS[level], format
        self._said.clear()
        shown = logging.INFO if level == "debug" else logging.ERROR
        for name in LIBRARIES:
            logging.getLogger(name).setLevel(shown)
        root = logging.getLogger()
        for handler in [handler for handler in root.handlers if isinstance(handler, _LibraryHandler)]:
            root.removeHandler(handler)
        for earlier in [earlier for earlier in root.filters if isinstance(earlier, _LibraryFilter)]:
            root.removeFilter(earlier)
        root.addFilter(_LibraryFilter(shown))
        if level == "debug" or format == "json":
            root.addHandler(_LibraryHandler(self))

    @property
    def is_json(self) -> bool:
        """Whether stderr shows JSON lines."""
        return self._format == "json"

    @property
    def shows_bars(self) -> bool:
        """Whether progress is shown as a bar: text on a terminal."""
        return console.is_terminal and self._format == "text" and self._level <= _LEVELS["info"]

    def info(self, text: str, *, event: str = "message", **fields: Any) -> None:
        """Say what happens."""
        self.emit("info", text, event, fields)

    def info_in_handler(self, text: str) -> None:
        """Say what happens in the handler of a signal, which may have come while the same stream was written."""
        with contextlib.suppress(RuntimeError, OSError):
            self.info(text)

    def warning(self, text: str, *, event: str = "message", **fields: Any) -> None:
        """Say what the user should know although the command continues."""
        self.emit("warning", text, event, fields)

    def warning_once(self, about: str, text: str) -> None:
        """Warn unless the command, or the process of a notebook, has done so `about` the same thing."""
        with self._lock:
            is_new = about not in self._said
            self._said.add(about)
        if is_new:
            self.warning(text)

    def error(self, text: str, **fields: Any) -> None:
        """Say why the command ends."""
        self.emit("error", text, "error", fields)

    def emit(self, level: Level, text: str, event: str, fields: dict[str, Any]) -> None:
        """Show a message if its level is shown, and add it to the log files, which have all levels but debug."""
        line = self._line(level, text, event, fields)
        with self._lock:
            for file in self._files if level != "debug" else ():
                file.add(line)
            if _LEVELS[level] < self._level:
                return
            if self._format == "json":
                print(line, file=sys.stderr, flush=True)
            else:
                console.print(text)

    @contextlib.contextmanager
    def recorded(self, place: Location) -> Iterator[None]:
        """Add all messages of the body to the log file at `place`."""
        file = _LogFile(place)
        self._files.append(file)
        file.add(self._line("info", f"{self._command} starts", "start", {}))
        try:
            yield
        except BaseException as e:
            file.add(self._line("error", str(e) or type(e).__name__, "error", {}))
            raise
        finally:
            self._files.remove(file)
            file.close()

    def _line(self, level: Level, text: str, event: str, fields: dict[str, Any]) -> str:
        row = {"time": _now(), "level": level, "command": self._command, "event": event, "message": text, **fields}
        return printable(json.dumps(row, allow_nan=False, default=str))


class _LogFile:
    """A log file: lines are appended in the file system; in a bucket, the object is written at the end of a command.

    A log that cannot be written does not end a command. A file of LOG_BYTES or more is renamed before the next line.
    """

    def __init__(self, place: Location) -> None:
        self._place, self._lines = place, list[str]()

    def add(self, line: str) -> None:
        if not self._place.is_local:
            self._lines.append(line)
            return
        with contextlib.suppress(OSError, LongreelError):
            self._begin_anew_when_full()
            with open_appending(self._place.local()) as file:
                file.write(line.encode() + b"\n")

    def close(self) -> None:
        if self._lines:
            with contextlib.suppress(OSError, LongreelError):
                before = self._place.read() if self._place.exists() else b""
                if len(before) >= LOG_BYTES:
                    self._earlier().write(before)
                    before = b""
                self._place.write(before + "".join(f"{line}\n" for line in self._lines).encode())

    def _begin_anew_when_full(self) -> None:
        found = self._place.stat()
        if found is not None and found.size >= LOG_BYTES:
            self._earlier().put(self._place.local())

    def _earlier(self) -> Location:
        return self._place.with_name(EARLIER_LOG)


class _LibraryFilter(logging.Filter):
    """Drops what libraries log at the root logger, as Beam does, below the level that is shown of their own loggers."""

    def __init__(self, shown: int) -> None:
        super().__init__()
        self._shown = shown

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= self._shown or not set(LIBRARIES) & set(PurePath(record.pathname).parts)


class _LibraryHandler(logging.Handler):
    """Passes the messages of libraries on."""

    def __init__(self, receiver: Messages) -> None:
        super().__init__()
        self._receiver = receiver

    def emit(self, record: logging.LogRecord) -> None:
        level: Level = "error" if record.levelno >= logging.ERROR else "debug"
        self._receiver.emit(level, record.getMessage(), "library", {"logger": record.name})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


messages = Messages()
