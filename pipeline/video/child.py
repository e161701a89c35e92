"""The decoder process: receives requests from its parent, decodes, and puts frames into shared memory.

It is a fresh interpreter (never a fork, because JAX runs in the parent) that imports the decoders and little else.
Messages (pipeline/video/messages.py) are JSON over a socket; neither side unpickles anything.

Frames are written to a ring of `slots` batches. While the ring is full the child waits, which limits how far it decodes
ahead.

The child ends when its parent ends for any reason: a thread waits on a pipe that only the parent holds open.
(PR_SET_PDEATHSIG would not work: it fires when the *thread* that started the child ends, as Beam's threads do.)
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn, get_args

import numpy as np
from numpy.typing import NDArray

from pipeline.video.analysis.analyze import analyze_video
from pipeline.video.backends.opening import open_for_analysis, open_for_frames
from pipeline.video.grid_frames import GridFrames
from pipeline.video.message_codec import (
    decode,
    decode_settings,
    encode,
    stats_header,
    stats_payload,
)
from pipeline.video.messages import (
    AnalyzeRequest,
    Failed,
    FramesDecoded,
    FramesReady,
    FramesRequest,
    FreeSlot,
    Probed,
    ProbeRequest,
    Ready,
    Request,
    Started,
    Stopped,
    StopRequest,
    StorageFailed,
    SubtitlesRead,
    SubtitlesRequest,
    ToChild,
    ToParent,
)
from pipeline.video.shots.detector import open_detector
from pipeline.video.subtitles import read_subtitles
from pipeline.video.types import DecodeConfig, SubtitleLine, VideoInfo
from schemas.errors import InputError, Interrupted, Reason, StorageError
from schemas.record_errors import record_errors

_POLL_INTERVAL_S = 0.02


class RequestStopped(Interrupted):
    """The parent stopped the running request."""


class Child:
    """Serves one parent, one request at a time. `ring` is uint8 [slots, batch, size, size, 3]."""

    def __init__(self, pipe: Connection, ring: NDArray[np.uint8], config: DecodeConfig) -> None:
        self._pipe, self._ring, self._config = pipe, ring, config
        self._request = 0
        self._free_slots: list[int] = []
        self._polled_at = 0.0

    def run(self) -> NoReturn:
        """Serve requests until the parent is gone."""
        self._send(Ready())
        while True:
            message = self._receive()
            if isinstance(message, get_args(Request)):  # other messages belong to a request that has ended
                self._serve(message)

    def _serve(self, request: Request) -> None:
        self._request = request.id
        self._send(Started(request.id))
        try:
            with record_errors(request.path):
                self._answer(request)
        except InputError as e:
            trace = "".join(traceback.format_exception(e)) if e.reason is Reason.FAILED else ""
            self._send(Failed(request.id, e.reason, str(e), trace))
        except StorageError as e:
            self._send(StorageFailed(request.id, str(e)))
        except MemoryError:
            self._send(Failed(request.id, Reason.MEMORY, f"{request.path}: decoding ran out of memory"))
        except RequestStopped:
            self._send(Stopped(request.id))

    def _answer(self, request: Request) -> None:
        path = Path(request.path)
        match request:
            case FramesRequest():
                self._decode_frames(path, request)
            case AnalyzeRequest():
                stats = analyze_video(path, request.config, self._config)
                self._send(stats_header(request.id, stats))
                for part in stats_payload(stats):
                    self._pipe.send_bytes(part)
            case ProbeRequest():
                self._send(Probed(request.id, self._probe(path)))
            case SubtitlesRequest():
                self._send(SubtitlesRead(request.id, tuple(self._read_subtitles(path))))

    def _probe(self, path: Path) -> VideoInfo:
        with open_for_analysis(path, size=self._config.size, max_pixels=self._config.max_pixels) as source:
            return source.info

    def _read_subtitles(self, path: Path) -> list[SubtitleLine]:
        info = self._probe(path)
        if info.subtitle_streams == 0:
            return []
        return read_subtitles(path, video_start_s=info.start_s, max_pixels=self._config.max_pixels)

    def _decode_frames(self, path: Path, request: FramesRequest) -> None:
        config = self._config
        with open_for_frames(path, size=config.size, max_pixels=config.max_pixels, backend=config.backend) as source:
            detector = None if source.info.is_picture else open_detector(request.shots)
            frames = GridFrames(source, config, self._check_stop, crop=request.crop, detector=detector)
            self._send_frames(frames.read())
            self._send(FramesDecoded(request.id, frames.report()))

    def _check_stop(self) -> None:
        """Process the parent's messages from time to time while decoding; raises RequestStopped."""
        now = time.monotonic()
        if now - self._polled_at > _POLL_INTERVAL_S:
            self._polled_at = now
            while self._pipe.poll():
                self._process(self._receive())

    def _send_frames(self, frames: Iterator[NDArray[np.uint8]]) -> None:
        self._free_slots = list(range(self._config.slots))
        slot = count = 0
        for frame in frames:
            if count == 0:
                slot = self._wait_for_slot()
            self._ring[slot, count] = frame
            count += 1
            if count == self._config.batch:
                self._send(FramesReady(self._request, slot, count))
                count = 0
        if count:
            self._send(FramesReady(self._request, slot, count))

    def _wait_for_slot(self) -> int:
        while not self._free_slots:
            self._process(self._receive())
        return self._free_slots.pop(0)

    def _process(self, message: ToChild) -> None:
        if isinstance(message, FreeSlot):
            self._free_slots.append(message.slot)
        elif isinstance(message, StopRequest) and message.id == self._request:
            raise RequestStopped

    def _receive(self) -> ToChild:
        try:
            message: ToChild = decode(self._pipe.recv_bytes())
        except (EOFError, OSError):
            os._exit(0)  # the parent is gone
        return message

    def _send(self, message: ToParent) -> None:
        try:
            self._pipe.send_bytes(encode(message))
        except OSError:
            os._exit(0)  # the parent is gone


def _end_with_parent(lifeline: int) -> None:
    def wait() -> None:
        os.read(lifeline, 1)  # nothing is ever written: this returns when the parent has ended
        os._exit(0)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def main() -> NoReturn:
    """Run as `python -m pipeline.video.child SETTINGS`, started by `pipeline.video.process` only."""
    settings = decode_settings(sys.argv[1])
    _end_with_parent(settings.lifeline)
    with contextlib.suppress(OSError):  # on Linux, the kernel kills this process before its parent if memory runs out
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    settings.backend.load()  # fail before the first video if its library is not installed
    config = settings.config
    shape = (config.slots, config.batch, config.size, config.size, 3)
    ring = np.frombuffer(mmap.mmap(settings.ring, int(np.prod(shape))), np.uint8).reshape(shape)
    Child(Connection(settings.pipe), ring, config).run()


if __name__ == "__main__":
    main()
