"""TODO."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.sources.inputs import MAX_BYTES
from pipeline.survey.book_worker import BookLook
from schemas.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class SurveyConfig:
    """How closely to look."""

    thumbnails: int = 5
    """Frames of a video, spread over its length, that the report shows and that scores are given to see."""
    decode_below_s: float = 60.0
    """A video shorter than this is decoded whole, where its key frames alone would give fewer than 16 looks. (A longer
    one only where it has no key frame for a minute.)"""
    scores: tuple[str, ...] = ()
    """Scores to give every video and image, from 0 to 1: `nsfw` (nudity), `text` (share of the frame that is text), or
    what another package registers. They cost more than all the rest of the survey. For limits on them see
    `longreel select --limit`."""
    max_bytes: int = MAX_BYTES
    """Files larger than this are set aside."""
    books: BookLook = field(default_factory=BookLook)

    def __post_init__(self) -> None:
        for name, least in (("thumbnails", 1), ("decode_below_s", 0), ("max_bytes", 1)):
            if not getattr(self, name) >= least:
                raise ConfigError(f"{name} must be at least {least}, got {getattr(self, name)}")
