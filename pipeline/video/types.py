"""What goes into decoding and what is said about it: configuration, a look at a video, the report on its frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from schemas.errors import ConfigError

Backend = Literal["pyav", "decord"]

# Raised when the same file would give other pixels or other times than before.
_VERSION = 1
STORAGE = "storage"  # the child's word for a StorageError; its other errors are reasons


@dataclass(frozen=True)
class DecodeConfig:
    """How videos become frames, and what one video may cost."""

    size: int = 128  # pixels: short side, then the side of the square that is cut out
    fps: float = 4.0  # grid points a second; a source that is slower repeats its frames
    backend: Backend = "pyav"  # decord is a second opinion; the frames are the same
    batch: int = 16  # frames handed over together
    slots: int = 4  # batches decoded ahead, at most
    time_limit_s: float = 1800.0  # for one video: seconds that the caller spends waiting for the decoder
    memory_limit_bytes: int = 4 << 30  # resident memory of the decoder process
    max_pixels: int = 100_000_000  # of one coded frame
    duration_limit_s: float = 43_200.0  # a longer video is an error: a broken clock can claim centuries

    def __post_init__(self) -> None:
        if self.backend not in get_args(Backend):
            raise ConfigError(f"backend must be one of {', '.join(get_args(Backend))}; got {self.backend!r}")
        if not 8 <= self.size <= 4096:
            raise ConfigError(f"size must be from 8 to 4096 pixels, got {self.size}")
        if not 0 < self.fps <= 1000:
            raise ConfigError(f"fps must be above 0 and at most 1000, got {self.fps}")
        if self.batch < 1:
            raise ConfigError(f"batch must be at least 1 frame, got {self.batch}")
        if self.slots < 2:
            raise ConfigError(f"slots must be at least 2, so that decoding and use overlap; got {self.slots}")
        for name in ("time_limit_s", "memory_limit_bytes", "max_pixels", "duration_limit_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be above 0, got {getattr(self, name)}")

    @property
    def fingerprint_fields(self) -> dict[str, object]:
        """The part that the frames of a video depend on, for fingerprints; limits and buffers are not in it."""
        return {"size": self.size, "fps": self.fps, "backend": self.backend, "version": _VERSION}


@dataclass(frozen=True)
class VideoInfo:
    """What a file says about its video, checked against its first frames."""

    container: str  # FFmpeg's name of the format; for pictures Pillow's
    codec: str
    pix_fmt: str
    width: int  # as shown: square pixels, turned
    height: int
    coded_width: int
    coded_height: int
    rotation: int  # degrees clockwise that the coded picture is turned for showing: 0, 90, 180, 270
    flipped: bool  # mirrored left to right before that
    sar: float  # width of a coded pixel over its height
    frame_rate: float  # average, frames a second; 0 for a still picture
    duration_s: float  # as the container promises it for the video stream; 0 for a still picture
    start_s: float  # presentation time of the first frame on the file's own clock
    bit_depth: int
    full_range: bool
    hdr: bool  # a PQ or HLG transfer curve; frames are not tone mapped
    interlaced: bool  # frames are not deinterlaced
    has_audio: bool
    subtitle_streams: int  # those that hold text
    is_picture: bool  # a still picture: one frame, at time 0


@dataclass(frozen=True)
class DecodeReport:
    """What came out of a video, beside what its container promised."""

    frames: int  # on the grid
    frames_promised: int  # on the grid, from the container's duration; more than `frames`: a loss
    duration_s: float  # from the first frame to the end of the last
    duration_promised_s: float
    source_frames: int  # decoded
    corrupt_frames: int  # decoded with errors that the decoder painted over
    decode_errors: int  # packets that gave no frame
    passed_over: int  # frames whose time ran backwards
    resets: int  # breaks in the clock that were closed
    interlaced: bool
    detail: str  # what went wrong, in words; empty when nothing did
    shots: Sequence[float] = ()  # when each shot begins, in seconds from the first frame; empty where none was sought
    shot_frames: Sequence[int] = ()  # the first frame on the grid of each shot; those between two grid points share one

    @property
    def shortfall(self) -> int:
        """Grid frames that the container promised and that did not come."""
        return max(0, self.frames_promised - self.frames)
