"""Decodes videos and pictures: square RGB frames on a time grid, descriptions, statistics and subtitles.

    with Decoder(DecodeConfig(size=128, fps=4)) as decoder:
        info = decoder.probe(path)
        for frames, times_s in decoder.frames(path):  # uint8 [n, 128, 128, 3], float64 [n]
            ...
        decoder.report  # decoded frames, compared with what the container declares

Decoding runs in one child process (pipeline/video/child.py), which starts with the first request, serves the following
videos, and is replaced when it dies. A video that hangs, uses too much memory or crashes the decoder raises an
InputError and does not affect other videos. Frames are selected by presentation time (pipeline/video/time_grid.py) and
scaled and cropped to a square (pipeline/video/scale.py).

Cost: decoding every frame (benchmarks/decode.py), however coarse the grid, and scaling those on the grid. The child
starts in about 0.3 s, once, and takes 50 MB, and 25 MB more with shot detection.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.video.analysis.types import AnalysisConfig, VideoStats
from pipeline.video.geometry import Crop
from pipeline.video.message_codec import (
    PAYLOAD_PARTS,
    stats_from,
)
from pipeline.video.messages import (
    Analyzed,
    AnalyzeRequest,
    Failed,
    FramesDecoded,
    FramesReady,
    FramesRequest,
    Probed,
    ProbeRequest,
    Request,
    StopRequest,
    StorageFailed,
    SubtitlesRead,
    SubtitlesRequest,
    ToParent,
)
from pipeline.video.process import DecoderProcess, TimeBudget
from pipeline.video.shots.detector import Shots
from pipeline.video.types import DecodeConfig, DecodeReport, SubtitleLine, VideoInfo
from schemas.errors import InputError, InternalError, LongreelError, Reason, StorageError

__all__ = ["AnalysisConfig", "Batch", "DecodeConfig", "DecodeReport", "Decoder", "VideoInfo", "VideoStats"]

Batch = tuple[NDArray[np.uint8], NDArray[np.float64]]
_Result = TypeVar("_Result", Probed, SubtitlesRead, Analyzed)

_STOP_LIMIT_S = 2.0


class Decoder:
    """Decodes one video at a time. A context manager; belongs to the thread that created it.

    Every method raises InputError: MISSING, EMPTY, UNREADABLE, NO_VIDEO, TOO_LARGE, TOO_LONG, TIMEOUT, MEMORY or
    CRASHED; the decoder can be used again afterwards. JobError means that no decoder process can be started.

    `time_limit_s` limits the seconds that the caller waits for the decoder during one request; the time that the
    caller spends between two batches does not count.
    """

    def __init__(self, config: DecodeConfig | None = None) -> None:
        self.config = config or DecodeConfig()
        self.report: DecodeReport | None = None
        self._process: DecoderProcess | None = None
        self._finalizer: weakref.finalize[[], Decoder] | None = None
        self._requests = 0
        self._streaming = 0  # id of the request whose frames are being read
        self._owner = os.getpid()

    def __enter__(self) -> Decoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> None:
        raise TypeError("a Decoder owns a process and cannot be pickled; send its config and create a Decoder there")

    def close(self) -> None:
        """End the child process. The decoder can be used again afterwards."""
        if self._process is not None:
            self._process.close()
        if self._finalizer is not None:
            self._finalizer.detach()
        self._process, self._streaming = None, 0

    def probe(self, path: Path) -> VideoInfo:
        """Describe a video or picture from its container and first frames."""
        request = ProbeRequest(self._next_id(), _absolute(path))
        return self._ask(request, self._budget(path), Probed).info

    def subtitles(self, path: Path) -> list[SubtitleLine]:
        """Return the lines of a text subtitle stream of the file, with times in seconds from the first frame.

        Empty if there is none, or only bitmap subtitles. Reads the whole file.
        """
        request = SubtitlesRequest(self._next_id(), _absolute(path))
        return list(self._ask(request, self._budget(path), SubtitlesRead).lines)

    def analyze(self, path: Path, config: AnalysisConfig | None = None) -> VideoStats:
        """Compute the statistics of a video or picture from sampled frames (pipeline/video/analysis/analyze.py).

        Uses PyAV with every backend. Also raises StorageError if the temporary folder is full.
        """
        budget = self._budget(path)
        request = AnalyzeRequest(self._next_id(), _absolute(path), config or AnalysisConfig())
        header = self._ask(request, budget, Analyzed)
        payload = [self._running().receive_bytes(budget) for _ in range(PAYLOAD_PARTS)]
        return stats_from(header, payload)

    def frames(self, path: Path, *, crop: Crop | None = None, shots: Shots = "none") -> Iterator[Batch]:
        """Decode a video onto the grid t_k = k / fps from its first frame; a picture is one frame at time 0.

        `crop` (left, top, width, height in displayed pixels) restricts frames to the picture without black bars. With
        `shots`, the report contains the start of each shot (pipeline/video/shots/detector.py), detected in all source
        frames.

        Yields (frames uint8 [n, size, size, 3], times float64 [n] in seconds); n is `batch` except for the last. The
        caller owns the arrays. `report` is set when the iterator ends. Damaged files do not raise: what can be decoded
        is yielded, and the report describes the loss. Closing the iterator early stops the decoder. So does another
        request, after which the iterator raises LongreelError.
        """
        self.report = None
        budget = self._budget(path)
        request = FramesRequest(self._next_id(), _absolute(path), crop, shots)
        self._start(request, budget)
        self._streaming = request.id
        done = 0
        try:
            while True:
                message = self._receive(request.id, budget)
                if isinstance(message, FramesDecoded):
                    self._streaming = 0
                    self.report = message.report
                    return
                if not isinstance(message, FramesReady):
                    raise _unexpected(message)
                frames = self._running().take_frames(message.slot, message.count)
                times_s = np.arange(done, done + len(frames)) / self.config.fps
                done += len(frames)
                yield frames, times_s
                if self._streaming != request.id:
                    raise LongreelError(f"{path}: another request to the same Decoder has ended this iterator")
        finally:
            if self._streaming == request.id:
                self._stop()

    def _next_id(self) -> int:
        self._requests += 1
        return self._requests

    def _budget(self, path: Path) -> TimeBudget:
        return TimeBudget(str(path), self.config.time_limit_s)

    def _ask(self, request: Request, budget: TimeBudget, expected: type[_Result]) -> _Result:
        self._start(request, budget)
        reply = self._receive(request.id, budget)
        if not isinstance(reply, expected):
            raise _unexpected(reply)
        return reply

    def _start(self, request: Request, budget: TimeBudget) -> None:
        if os.getpid() != self._owner:
            raise RuntimeError("this Decoder was inherited by a fork; create one in the process that uses it")
        if self._streaming:
            self._stop()
        try:
            self._ready().start_request(request, budget)
        except InputError as e:
            self.close()
            if e.reason is not Reason.CRASHED:
                raise
            self._ready().start_request(request, budget)  # the child died before it opened this video

    def _receive(self, request: int, budget: TimeBudget) -> ToParent:
        """Return the next message for a request; raises the error that the child reports."""
        try:
            while getattr(message := self._running().receive(budget), "id", None) != request:
                pass  # replies to a request that was stopped
        except InputError:
            self.close()
            raise
        if isinstance(message, Failed | StorageFailed):
            self._streaming = 0
            if isinstance(message, StorageFailed):
                raise StorageError(message.message)
            failure = InputError(Reason(message.reason), message.message)
            if message.traceback:
                failure.add_note(message.traceback)
            raise failure
        return message

    def _stop(self) -> None:
        """Stop the running request; kill a child that does not answer in time."""
        request, self._streaming = self._streaming, 0
        process = self._process
        if process is None or process.is_closed:  # closed while frames were read, or at interpreter exit
            return
        process.send(StopRequest(request))
        budget = TimeBudget("", _STOP_LIMIT_S)
        try:
            while isinstance(process.receive(budget), FramesReady):
                pass
        except InputError:
            self.close()

    def _ready(self) -> DecoderProcess:
        if self._process is not None and not self._process.is_reusable():
            self.close()
        if self._process is None:
            self._process = DecoderProcess(self.config)
            self._finalizer = weakref.finalize(self, self._process.close)
        return self._process

    def _running(self) -> DecoderProcess:
        if self._process is None:
            raise LongreelError("the Decoder was closed while its frames were read")
        return self._process


def _absolute(path: Path) -> str:
    return os.fspath(Path(path).absolute())


def _unexpected(message: object) -> InternalError:
    return InternalError(f"internal error: unexpected message from the decoder process: {message}. Please report this")
