"""The decoder process: reads requests from its parent, decodes, and puts frames into memory that both see.

It is a fresh interpreter (never a fork: JAX lives in the parent) that imports the decoders and little else. Messages
are JSON, one a packet, over a socket; nothing is unpickled on either side.

    parent -> child   {"id", "op": "probe" | "thumbnails" | "subtitles" | "frames", "path", …}
                      {"free": slot}   a batch was taken out; {"stop": id}   no more frames are wanted
    child -> parent   {"ready"}   {"id", "begun"}   {"id", "batch": slot, "count"}
                      {"id", "result"}   {"id", "error", "message"}

Frames lie in a ring of `slots` batches. A full ring makes the child wait, so decoding runs ahead by that much only.

The child ends when its parent does, however that ends: a thread waits on a pipe that only the parent holds open.
(PR_SET_PDEATHSIG would not do: it fires when the *thread* that started the child ends, and Beam's threads do.)
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import mmap
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn, Protocol, Self

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.decode_container import is_picture
from pipeline.decode_info import DecodeConfig, DecodeReport, VideoInfo
from pipeline.decode_pyav import PyAVSource
from pipeline.decode_subtitles import read_subtitles
from pipeline.sampling import Shown, Timed, Timeline, epsilon_s, grid_count, on_grid
from schemas.errors import InputError, Reason

_HEAD_BYTES = 32
_LISTEN_EVERY_S = 0.02


class Source(Protocol):
    """One open video, whatever decodes it; `timed_frames` yields what `render` makes squares of."""

    info: VideoInfo
    decode_errors: int
    corrupt_frames: int
    interlaced: bool
    detail: str

    @property
    def tick_s(self) -> float: ...  # noqa: D102
    @property
    def typical_s(self) -> float: ...  # noqa: D102
    @property
    def clock_may_jump(self) -> bool: ...  # noqa: D102
    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> None: ...
    def timed_frames(self) -> Iterator[Timed[Any]]: ...  # noqa: D102
    def render(self, content: Any, /) -> NDArray[np.uint8]: ...  # noqa: D102


class Stopped(Exception):
    """The parent wants no more of this request."""


class Child:
    """Serves one parent, one request at a time. `ring` is uint8 [slots, batch, size, size, 3]."""

    def __init__(self, pipe: Connection, ring: NDArray[np.uint8], config: DecodeConfig) -> None:
        self._pipe, self._ring, self._config = pipe, ring, config
        self._request = 0
        self._free: list[int] = []
        self._heard_at = 0.0

    def run(self) -> NoReturn:
        """Serve until the parent is gone."""
        self._pipe.send_bytes(b'{"ready": true}')
        while True:
            request = self._hear()
            if "op" in request:  # else it belongs to a request that has ended
                self._serve(request)

    def _serve(self, request: dict[str, Any]) -> None:
        self._request = request["id"]
        self._say(begun=True)
        try:
            self._answer(request["op"], Path(request["path"]), request)
        except InputError as e:
            self._say(error=e.reason, message=str(e))
        except (av.FFmpegError, OSError) as e:
            self._say(error=Reason.UNREADABLE, message=f"{request['path']}: {e}")
        except MemoryError:
            self._say(error=Reason.MEMORY, message=f"{request['path']}: decoding ran out of memory")
        except Stopped:
            self._say(result=None)

    def _answer(self, op: str, path: Path, request: dict[str, Any]) -> None:
        head = _head(path)
        if op == "frames":
            self._say(result=dataclasses.asdict(self._frames(path, head)))
        elif op == "probe":
            self._say(result=dataclasses.asdict(self._probe(path, head)))
        elif op == "subtitles":
            info, limit = self._probe(path, head), self._config.max_pixels
            some = info.subtitle_streams > 0
            self._say(result=read_subtitles(path, video_start_s=info.start_s, max_pixels=limit) if some else [])
        elif op == "thumbnails":
            with self._open(path, head, size=request["size"]) as source:
                pictures = list(source.thumbnails(request["count"]))
            self._say(result=len(pictures))
            self._pipe.send_bytes(np.stack(pictures).tobytes())
        else:
            raise ValueError(f"unknown request {op!r}")

    def _open(self, path: Path, head: bytes, *, size: int | None = None, backend: str = "pyav") -> Any:
        kind: Any = PyAVSource
        # Pillow and decord cost start-up time and are imported when they are first needed.
        if is_picture(path, head):
            from pipeline.decode_picture import PictureSource as kind
        elif backend == "decord":
            from pipeline.decode_decord import DecordSource as kind
        return kind(path, size=size or self._config.size, max_pixels=self._config.max_pixels)

    def _probe(self, path: Path, head: bytes) -> VideoInfo:
        with self._open(path, head) as source:
            info: VideoInfo = source.info
        return info

    def _frames(self, path: Path, head: bytes) -> DecodeReport:
        config = self._config
        self._free = list(range(config.slots))
        with self._open(path, head, backend=config.backend) as source:
            timeline = Timeline(typical_s=source.typical_s, jumps=source.clock_may_jump)
            epsilon = epsilon_s(source.tick_s, config.fps)
            frames = self._put(self._squares(source, timeline, epsilon, path))
            info = source.info
            promised = grid_count(info.duration_s, config.fps, epsilon) if info.duration_s > 0 else frames
            return DecodeReport(
                frames=frames,
                frames_promised=1 if info.is_picture else promised,
                duration_s=0.0 if info.is_picture else timeline.end_s,
                duration_promised_s=info.duration_s,
                source_frames=timeline.frames,
                corrupt_frames=source.corrupt_frames,
                decode_errors=source.decode_errors,
                passed_over=timeline.passed_over,
                resets=timeline.resets,
                interlaced=source.interlaced or info.interlaced,
                detail=source.detail,
            )

    def _squares(self, source: Source, timeline: Timeline, epsilon: float, path: Path) -> Iterator[NDArray[np.uint8]]:
        fps, most = self._config.fps, self._config.duration_limit_s * self._config.fps
        for shown in on_grid(self._listening(source.timed_frames()), timeline, fps=fps, epsilon=epsilon):
            if source.info.is_picture:
                shown = Shown(0, 1, shown.content)
            if shown.first + shown.count > most:
                limit = f"longer than {self._config.duration_limit_s:g} s (duration_limit_s)"
                raise InputError(Reason.TOO_LONG, f"{path}: {limit}, or its time stamps are broken")
            square = source.render(shown.content)
            for _ in range(shown.count):
                yield square

    def _listening(self, frames: Iterator[Timed[Any]]) -> Iterator[Timed[Any]]:
        for frame in frames:
            if time.monotonic() - self._heard_at > _LISTEN_EVERY_S:
                self._heard_at = time.monotonic()
                while self._pipe.poll():
                    self._note(self._hear())
            yield frame

    def _put(self, squares: Iterator[NDArray[np.uint8]]) -> int:
        total = count = slot = 0
        for square in squares:
            if count == 0:
                slot = self._free_slot()
            self._ring[slot, count] = square
            count, total = count + 1, total + 1
            if count == self._config.batch:
                self._say(batch=slot, count=count)
                count = 0
        if count:
            self._say(batch=slot, count=count)
        return total

    def _free_slot(self) -> int:
        while not self._free:
            self._note(self._hear())
        return self._free.pop(0)

    def _note(self, message: dict[str, Any]) -> None:
        if "free" in message:
            self._free.append(message["free"])
        elif message.get("stop") == self._request:
            raise Stopped

    def _hear(self) -> dict[str, Any]:
        try:
            message: dict[str, Any] = json.loads(self._pipe.recv_bytes())
        except (EOFError, OSError):
            os._exit(0)  # the parent is gone, and with it all that this process is for
        return message

    def _say(self, **message: Any) -> None:
        try:
            self._pipe.send_bytes(json.dumps({"id": self._request, **message}).encode())
        except OSError:
            os._exit(0)


def _head(path: Path) -> bytes:
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode) and status.st_size:
            with path.open("rb") as f:
                return f.read(_HEAD_BYTES)
    except (FileNotFoundError, NotADirectoryError) as e:
        raise InputError(Reason.MISSING, f"{path}: no such file") from e
    if not stat.S_ISREG(status.st_mode):
        raise InputError(Reason.UNREADABLE, f"{path}: a folder or device, not a file")
    raise InputError(Reason.EMPTY, f"{path}: the file has no bytes")


def _end_with_parent(lifeline: int) -> None:
    def wait() -> None:
        os.read(lifeline, 1)  # nothing is ever written: this returns when the last writer is gone
        os._exit(0)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def main() -> NoReturn:
    """Run as `python -m pipeline.decode_child SETTINGS`, by `pipeline.decode_process` only."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    settings = json.loads(sys.argv[1])
    _end_with_parent(settings["lifeline"])
    with contextlib.suppress(OSError):  # Linux: where memory runs out, this process goes before its parent
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    config = DecodeConfig(**settings["config"])
    if config.backend == "decord":
        import pipeline.decode_decord  # noqa: F401  # where it is not installed, fail before the first video
    shape = (config.slots, config.batch, config.size, config.size, 3)
    ring = np.frombuffer(mmap.mmap(settings["ring"], int(np.prod(shape))), np.uint8).reshape(shape)
    Child(Connection(settings["pipe"]), ring, config).run()


if __name__ == "__main__":
    main()
