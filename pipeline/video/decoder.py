"""The one door to decoding: videos and pictures in, square RGB frames on a time grid out.

    with Decoder(DecodeConfig(size=128, fps=4)) as decoder:
        info = decoder.probe(path)
        for frames, times_s in decoder.frames(path):  # uint8 [n, 128, 128, 3], float64 [n]
            ...
        decoder.report  # what came out, beside what the container promised

Decoding happens in one child process (pipeline/video/child.py), started with the first request, kept for the next
videos, and started anew after it died. A video that hangs, grows beyond its memory or brings the decoder down costs
its own InputError and nothing else. Frames are chosen by presentation time (pipeline/video/time_grid.py), scaled on the
short side and cropped to the middle square (pipeline/video/scale.py). Nothing in this process touches a video.

Cost: that of decoding every frame (benchmarks/decode.py), however coarse the grid, and of scaling those on it. The
child starts in about 0.3 s, once, and takes 50 MB; where shots are sought, OpenCV comes on top.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.video.analysis.types import AnalysisConfig, VideoStats
from pipeline.video.process import Allowance, DecoderProcess
from pipeline.video.shots.detector import Shots
from pipeline.video.time_grid import Crop
from pipeline.video.types import STORAGE, Backend, DecodeConfig, DecodeReport, VideoInfo
from schemas.errors import InputError, LongreelError, Reason, StorageError

__all__ = ["AnalysisConfig", "Backend", "Batch", "DecodeConfig", "DecodeReport", "Decoder", "VideoInfo", "VideoStats"]

Batch = tuple[NDArray[np.uint8], NDArray[np.float64]]

_STOP_LIMIT_S = 2.0


class Decoder:
    """Decodes one video at a time. A context manager; belongs to the thread that made it and is never shared.

    Every method raises InputError: MISSING, EMPTY, UNREADABLE, NO_VIDEO, TOO_LARGE, TOO_LONG, TIMEOUT, MEMORY or
    CRASHED; the next request then works again. JobError means that no decoder process can be started at all.

    `time_limit_s` counts the seconds that the caller waits for the decoder, from the request to its end; what the
    caller does with the frames between two batches is not counted.
    """

    def __init__(self, config: DecodeConfig | None = None) -> None:
        self.config = config or DecodeConfig()
        self.report: DecodeReport | None = None
        self._process: DecoderProcess | None = None
        self._finalizer: weakref.finalize[[], Decoder] | None = None
        self._requests = 0
        self._streaming = 0  # the request whose frames are still coming
        self._owner = os.getpid()

    def __enter__(self) -> Decoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> None:
        raise TypeError("a Decoder owns a process and cannot be sent to another; send its config and make one there")

    def close(self) -> None:
        """End the child process. The decoder can be used again afterwards."""
        if self._process is not None:
            self._process.close()
        if self._finalizer is not None:
            self._finalizer.detach()
        self._process, self._streaming = None, 0

    def probe(self, path: Path) -> VideoInfo:
        """Say what a video or picture is, from its container and first frames."""
        return VideoInfo(**self._ask("probe", path, self._allowance(path)))

    def subtitles(self, path: Path) -> list[tuple[float, float, str]]:
        """Return the lines of a text subtitle stream inside the file: (start, end, text), seconds from the start.

        Empty where there is none, or only pictures of text. Reads the whole file.
        """
        lines = self._ask("subtitles", path, self._allowance(path))
        return [(float(start), float(end), str(text)) for start, end, text in lines]

    def analyze(self, path: Path, config: AnalysisConfig | None = None) -> VideoStats:
        """Compute a survey's statistics of a video or picture (pipeline/video/analysis/frame_schedule.py).

        Always through PyAV. Also raises StorageError where the temporary folder is full.
        """
        allowance = self._allowance(path)
        found = self._ask("analyze", path, allowance, config=asdict(config or AnalysisConfig()))
        at, lasts, samples, thumbnail, frames = (self._running().receive_bytes(allowance) for _ in range(5))
        count = len(at) // 8
        size = len(samples) // count
        return VideoStats(
            info=VideoInfo(**found["info"]),
            content_id=found["content_id"],
            crop=tuple(found["crop"]),
            measures=found["measures"],
            times_s=np.frombuffer(at, np.float64),
            durations_s=np.frombuffer(lasts, np.float64),
            signatures=tuple(samples[i * size : (i + 1) * size] for i in range(count)),
            thumbnail=thumbnail,
            frames=np.frombuffer(frames, np.uint8).reshape(found["frames"]),
        )

    def frames(self, path: Path, *, crop: Crop | None = None, shots: Shots = "none") -> Iterator[Batch]:
        """Decode a video onto the grid t_k = k / fps from its first frame; of a picture, one frame at time 0.

        With `crop` (left, top, width, height of the picture without its bars, as shown) squares are taken of that part.
        With `shots` the report says where shots begin (pipeline/video/shots/detector.py), found in all
        frames, not only those yielded.

        Yields (frames uint8 [n, size, size, 3], times float64 [n] in seconds), n = `batch` but for the last. The
        arrays are the caller's. `report` is set when the iterator ends. Damage in the file ends nothing: what can
        be decoded comes, and the report says what did not. Closing the iterator early stops the decoder; so does any
        other request, after which the iterator raises LongreelError.
        """
        self.report = None
        allowance = self._allowance(path)
        request = self._streaming = self._send("frames", path, allowance, crop=crop, shots=shots)
        done = 0
        try:
            while True:
                message = self._hear(request, allowance)
                if "batch" not in message:
                    self._streaming = 0
                    self.report = DecodeReport(**message["result"])
                    return
                frames = self._running().taken(message["batch"], message["count"])
                times_s = np.arange(done, done + len(frames)) / self.config.fps
                done += len(frames)
                yield frames, times_s
                if self._streaming != request:
                    raise LongreelError(f"{path}: another request to the same Decoder has ended this iterator")
        finally:
            if self._streaming == request:
                self._stop()

    def _allowance(self, path: Path) -> Allowance:
        return Allowance(str(path), self.config.time_limit_s)

    def _ask(self, op: str, path: Path, allowance: Allowance, **details: Any) -> Any:
        return self._hear(self._send(op, path, allowance, **details), allowance)["result"]

    def _send(self, op: str, path: Path, allowance: Allowance, **details: Any) -> int:
        if os.getpid() != self._owner:
            raise RuntimeError("this Decoder came here by a fork; make one in the process that uses it")
        if self._streaming:
            self._stop()
        self._requests += 1
        request = {"id": self._requests, "op": op, "path": os.fspath(Path(path).absolute()), **details}
        try:
            self._ready().begin(request, allowance)
        except InputError as e:
            self.close()
            if e.reason is not Reason.CRASHED:
                raise
            self._ready().begin(request, allowance)  # it died before it touched this video: not the video's fault
        return self._requests

    def _hear(self, request: int, allowance: Allowance) -> dict[str, Any]:
        try:
            while (message := self._running().receive(allowance))["id"] != request:
                pass  # the end of a request that was stopped
        except InputError:
            self.close()
            raise
        if "error" in message:
            self._streaming = 0
            if message["error"] == STORAGE:
                raise StorageError(message["message"])
            raise InputError(Reason(message["error"]), message["message"])
        return message

    def _stop(self) -> None:
        """Have the child drop the running request; one that does not answer soon is killed."""
        request, self._streaming = self._streaming, 0
        process = self._process
        if process is None or process.is_closed:  # closed while its frames were read, perhaps at the program's end
            return
        process.send({"stop": request})
        allowance = Allowance("", _STOP_LIMIT_S)
        try:
            while "batch" in process.receive(allowance):
                pass
        except InputError:
            self.close()

    def _ready(self) -> DecoderProcess:
        if self._process is not None and not self._process.is_fit():
            self.close()
        if self._process is None:
            self._process = DecoderProcess(self.config)
            self._finalizer = weakref.finalize(self, self._process.close)
        return self._process

    def _running(self) -> DecoderProcess:
        if self._process is None:
            raise LongreelError("the Decoder was closed while its frames were read")
        return self._process
