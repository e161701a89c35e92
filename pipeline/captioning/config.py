"""Options of `longreel caption`."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.errors import ConfigError

_PROMPT = (
    "These are {frames} frames of a video, in order. Describe what the video shows and what happens in it, in at most "
    "{words} words. Do not mention frames. Reply with the description and nothing else."
)
_PICTURE_PROMPT = "Describe this picture in at most {words} words. Reply with the description and nothing else."
_MAX_BYTES = 512 << 20  # of the frames of a request
_TOKENS_PER_WORD = 4  # enough for most languages


@dataclass(frozen=True, kw_only=True)
class CaptionConfig:
    """What the model sees, and what it is asked."""

    frames: int = 8
    """Largest number of frames of a video that the model sees, at equal distances."""
    size: int = 336
    """Side of the frames in pixels; the short side is scaled to it, and the center is cut out."""
    words: int = 60
    """Largest number of words that is asked for."""
    prompt: str | None = None
    """What the model is asked, instead of the built-in question."""
    temperature: float = 0.0
    """Temperature of the replies."""
    seed: int = 0
    """Random seed of the replies, for servers that have one."""
    max_requests: int | None = None
    """Maximum number of requests to send in this run; replies that are kept cost none. The next run continues.
    Default: no maximum."""

    def __post_init__(self) -> None:
        for name in ("frames", "words"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 8 <= self.size <= 4096:
            raise ConfigError(f"size must be from 8 to 4096 pixels, got {self.size}")
        if self.frames * self.frame_bytes > _MAX_BYTES:
            raise ConfigError(
                f"{self.frames} frames of {self.size} pixels take more than {_MAX_BYTES >> 20} MiB; "
                "use fewer or smaller ones"
            )
        if self.prompt is not None and not self.prompt.strip():
            raise ConfigError("prompt must not be blank")
        if not self.temperature >= 0:
            raise ConfigError(f"temperature must not be negative, got {self.temperature}")
        if self.max_requests is not None and self.max_requests < 0:
            raise ConfigError(f"max_requests must not be negative, got {self.max_requests}")

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame in memory."""
        return 3 * self.size**2

    @property
    def max_tokens(self) -> int:
        """Maximum number of tokens of a reply."""
        return _TOKENS_PER_WORD * self.words

    def question(self, kind: str, frames: int) -> str:
        """Return what is asked about an image, or a video of which so many frames are shown."""
        built_in = _PICTURE_PROMPT if kind == "image" else _PROMPT
        return self.prompt or built_in.format(frames=frames, words=self.words)
