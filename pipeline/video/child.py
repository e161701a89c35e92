"""The decoder process: reads requests from its parent, decodes, and puts frames into memory that both see.

It is a fresh interpreter (never a fork: JAX lives in the parent) that imports the decoders and little else. Messages
are JSON, one a packet, over a socket; nothing is unpickled on either side.

    parent -> child   {"id", "op": "probe" | "analyze" | "subtitles" | "frames", "path", …}
                      {"free": slot}   a batch was taken out; {"stop": id}   no more frames are wanted
    child -> parent   {"ready"}   {"id", "begun"}   {"id", "batch": slot, "count"}
                      {"id", "result"}   {"id", "error", "message"}   after the result of "analyze" five times bytes

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
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.video.analysis.types import AnalysisConfig, VideoStats
from pipeline.video.backends.source import Walk, open_for_frames, open_for_look
from pipeline.video.shots.detector import open_detector
from pipeline.video.subtitles import read_subtitles
from pipeline.video.types import STORAGE, DecodeConfig
from schemas.errors import InputError, Reason, StorageError

_LISTEN_EVERY_S = 0.02


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
        except StorageError as e:
            self._say(error=STORAGE, message=str(e))
        except MemoryError:
            self._say(error=Reason.MEMORY, message=f"{request['path']}: decoding ran out of memory")
        except Stopped:
            self._say(result=None)

    def _answer(self, op: str, path: Path, request: dict[str, Any]) -> None:
        size, max_pixels = self._config.size, self._config.max_pixels
        if op == "frames":
            with open_for_frames(path, size=size, max_pixels=max_pixels, backend=self._config.backend) as source:
                detector = None if source.info.is_picture else open_detector(request["shots"])
                walk = Walk(source, self._config, self._listen, crop=request["crop"], detector=detector)
                self._put(walk.squares())
                self._say(result=dataclasses.asdict(walk.report()))
        elif op == "analyze":
            from pipeline.video.analysis.frame_schedule import (
                analyze_video,  # with all that it needs: loaded when the first look is asked for
            )

            self._show(analyze_video(path, AnalysisConfig(**request["config"]), self._config))
        else:
            with open_for_look(path, size=size, max_pixels=max_pixels) as source:
                info = source.info
            if op == "probe":
                self._say(result=dataclasses.asdict(info))
            elif info.subtitle_streams == 0:
                self._say(result=[])
            else:
                self._say(result=read_subtitles(path, video_start_s=info.start_s, max_pixels=max_pixels))

    def _show(self, look: VideoStats) -> None:
        self._say(
            result={
                "info": dataclasses.asdict(look.info),
                "content_id": look.content_id,
                "crop": look.crop,
                "measures": look.measures,
                "frames": look.frames.shape,
            }
        )
        samples = b"".join(look.signatures)
        for part in (
            look.times_s.tobytes(),
            look.durations_s.tobytes(),
            samples,
            look.thumbnail,
            look.frames.tobytes(),
        ):
            self._pipe.send_bytes(part)

    def _listen(self) -> None:
        """Hear the parent now and then while decoding; raises Stopped."""
        now = time.monotonic()
        if now - self._heard_at > _LISTEN_EVERY_S:
            self._heard_at = now
            while self._pipe.poll():
                self._note(self._hear())

    def _put(self, squares: Iterator[NDArray[np.uint8]]) -> None:
        self._free = list(range(self._config.slots))
        slot = count = 0
        for square in squares:
            if count == 0:
                slot = self._free_slot()
            self._ring[slot, count] = square
            count += 1
            if count == self._config.batch:
                self._say(batch=slot, count=count)
                count = 0
        if count:
            self._say(batch=slot, count=count)

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


def _end_with_parent(lifeline: int) -> None:
    def wait() -> None:
        os.read(lifeline, 1)  # nothing is ever written: this returns when the last writer is gone
        os._exit(0)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def main() -> NoReturn:
    """Run as `python -m pipeline.video.child SETTINGS`, by `pipeline.video.process` only."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    settings = json.loads(sys.argv[1])
    _end_with_parent(settings["lifeline"])
    with contextlib.suppress(OSError):  # Linux: where memory runs out, this process goes before its parent
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    config = DecodeConfig(**settings["config"])
    if config.backend == "decord":
        import pipeline.video.backends.decord  # noqa: F401  # where it is not installed, fail before the first video
    shape = (config.slots, config.batch, config.size, config.size, 3)
    ring = np.frombuffer(mmap.mmap(settings["ring"], int(np.prod(shape))), np.uint8).reshape(shape)
    Child(Connection(settings["pipe"]), ring, config).run()


if __name__ == "__main__":
    main()
