"""Types of the decoder: its configuration, the description of a video, and the report on decoded frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.video.backends.registry import require_backend
from schemas.errors import ConfigError

_VERSION = 2  # increment when the same file gives other pixels or other times than before


SubtitleLine = tuple[float, float, str]
"""Start and end in seconds from the video's first frame, and the text in FFmpeg's form of SubStation."""


@dataclass(frozen=True)
class DecodeConfig:
    """How videos become frames, and the resources that one video may use."""

    size: int = 128
    """Side of the square frames in pixels. The short side is scaled to it, and the center is cut out."""
    fps: float = 4.0
    """Output frames per second. A source with fewer frames per second repeats frames."""
    backend: str = "pyav"
    """Decoder of videos: pyav (FFmpeg) or decord. Both give the same frames."""
    batch: int = 16
    """Frames per batch that the decoder process returns."""
    slots: int = 4
    """Maximum number of batches that are decoded ahead."""
    time_limit_s: float = 1800.0
    """Time limit per video in seconds, counted while the caller waits for the decoder."""
    memory_limit_bytes: int = 4 << 30
    """Resident memory limit of the decoder process."""
    max_pixels: int = 100_000_000
    """Maximum number of pixels of a coded frame."""
    duration_limit_s: float = 43_200.0
    """Maximum duration of a video in seconds. Broken timestamps can claim centuries."""

    def __post_init__(self) -> None:
        require_backend(self.backend)
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
        """The settings that decoded frames depend on; limits and buffers do not change them."""
        return {"size": self.size, "fps": self.fps, "backend": self.backend, "version": _VERSION}


@dataclass(frozen=True)
class VideoInfo:
    """Description of a video from its container and its first frames."""

    container: str  # FFmpeg's name of the format; Pillow's for pictures
    codec: str
    pix_fmt: str
    width: int  # as displayed: square pixels, rotated
    height: int
    coded_width: int
    coded_height: int
    rotation: int  # clockwise rotation of the coded picture for display: 0, 90, 180 or 270 degrees
    flipped: bool  # mirrored left to right before the rotation
    sar: float  # sample aspect ratio: width of a coded pixel over its height
    frame_rate: float  # average frames per second; 0 for a still picture
    duration_s: float  # of the video stream, according to the container; 0 for a still picture
    start_s: float  # presentation time of the first frame on the file's own clock
    bit_depth: int
    full_range: bool
    hdr: bool  # PQ or HLG transfer curve; frames are not tone mapped
    interlaced: bool  # frames are not deinterlaced
    has_audio: bool
    subtitle_streams: int  # text subtitles only
    is_picture: bool  # a still picture: one frame, at time 0
    container_start_s: float = 0.0  # where players begin: the first time of any stream, on the file's own clock


@dataclass(frozen=True)
class DecodeReport:
    """Decoded frames of one video, compared with what its container declares."""

    frames: int  # on the grid
    frames_promised: int  # on the grid, from the container's duration; frames are missing where this is larger
    duration_s: float  # from the first frame to the end of the last
    duration_promised_s: float  # according to the container
    source_frames: int  # decoded
    corrupt_frames: int  # decoded with errors that the decoder concealed
    decode_errors: int  # packets that gave no frame
    skipped_frames: int  # frames whose time ran backwards
    discontinuities: int  # jumps of the clock that were closed
    interlaced: bool
    detail: str  # description of the errors; empty without any
    start_s: float = 0.0  # of the first frame, in seconds after the start of the container
    shots: Sequence[float] = ()  # start time of each shot, in seconds from the first frame; empty without detection
    shot_frames: Sequence[int] = ()  # grid index of the first frame of each shot

    @property
    def shortfall(self) -> int:
        """Number of grid frames that the container declares and that could not be decoded."""
        return max(0, self.frames_promised - self.frames)
