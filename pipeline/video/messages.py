"""Messages between a Decoder and its child process: frozen dataclasses.

    parent -> child   ProbeRequest, SubtitlesRequest, AnalyzeRequest, FramesRequest
                      FreeSlot (a batch was copied), StopRequest (no more frames are needed)
    child -> parent   Ready (once), Started (a request was taken)
                      FramesReady (a batch is in shared memory)
                      Probed, SubtitlesRead, Analyzed, FramesDecoded, Stopped, Failed, StorageFailed (end of a request)

`Analyzed` is followed by messages of raw bytes, see pipeline/video/message_codec.py. All sequences are tuples.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.video.analysis.types import AnalysisConfig
from pipeline.video.backends.registry import Backend
from pipeline.video.geometry import Crop
from pipeline.video.shots.detector import Shots
from pipeline.video.types import DecodeConfig, DecodeReport, SubtitleLine, VideoInfo


@dataclass(frozen=True)
class ProbeRequest:
    """Describe a video."""

    id: int
    path: str


@dataclass(frozen=True)
class SubtitlesRequest:
    """Read a text subtitle stream."""

    id: int
    path: str


@dataclass(frozen=True)
class AnalyzeRequest:
    """Analyze a video from sampled frames."""

    id: int
    path: str
    config: AnalysisConfig


@dataclass(frozen=True)
class FramesRequest:
    """Decode a video onto the time grid."""

    id: int
    path: str
    crop: Crop | None
    shots: Shots


Request = ProbeRequest | SubtitlesRequest | AnalyzeRequest | FramesRequest


@dataclass(frozen=True)
class FreeSlot:
    """A slot of the shared memory can be written again."""

    slot: int


@dataclass(frozen=True)
class StopRequest:
    """Stop the request `id`, if it still runs."""

    id: int


@dataclass(frozen=True)
class Ready:
    """The child has started."""


@dataclass(frozen=True)
class Started:
    """The child has taken the request `id`."""

    id: int


@dataclass(frozen=True)
class FramesReady:
    """A slot of the shared memory holds the next `count` frames."""

    id: int
    slot: int
    count: int


@dataclass(frozen=True)
class Probed:
    """Result of a ProbeRequest."""

    id: int
    info: VideoInfo


@dataclass(frozen=True)
class SubtitlesRead:
    """Result of a SubtitlesRequest."""

    id: int
    lines: tuple[SubtitleLine, ...]


@dataclass(frozen=True)
class Analyzed:
    """Result of an AnalyzeRequest; the arrays follow as bytes."""

    id: int
    info: VideoInfo
    content_id: str | None
    crop: Crop
    measures: dict[str, float]
    frames_shape: tuple[int, ...]


@dataclass(frozen=True)
class FramesDecoded:
    """Result of a FramesRequest, after its last batch."""

    id: int
    report: DecodeReport


@dataclass(frozen=True)
class Stopped:
    """A request was stopped."""

    id: int


@dataclass(frozen=True)
class Failed:
    """The request failed because of its input; `reason` is a `schemas.errors.Reason`."""

    id: int
    reason: str
    message: str
    traceback: str = ""  # of a defect


@dataclass(frozen=True)
class StorageFailed:
    """The request failed because the disk is full or not writable."""

    id: int
    message: str


Reply = FramesReady | Probed | SubtitlesRead | Analyzed | FramesDecoded | Stopped | Failed | StorageFailed
ToChild = Request | FreeSlot | StopRequest
ToParent = Ready | Started | Reply


@dataclass(frozen=True)
class ChildSettings:
    """What the child process is started with: inherited file descriptors and its configuration."""

    pipe: int
    lifeline: int
    ring: int
    backend: Backend
    config: DecodeConfig
