"""Options of the survey."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.sources.inputs import MAX_BYTES
from schemas.errors import ConfigError
from schemas.storage.option import Address


@dataclass(frozen=True, kw_only=True)
class BookSurveyConfig:
    """What the survey removes from books."""

    cut_passages: bool = True
    """Cut passages of about 2,000 words that fail a quality rule or are in another language than the book."""
    decontaminate: tuple[Address, ...] = ()
    """Evaluation sets (.txt or .jsonl). Text that shares 13 consecutive words with one is cut, with some context."""


@dataclass(frozen=True, kw_only=True)
class SurveyConfig:
    """How closely items are examined."""

    thumbnails: int = 5
    """Frames per video for the thumbnails of the report and for scores, evenly spaced."""
    decode_below_s: float = 60.0
    """Decode a shorter video in full if its key frames give fewer than 16 sampled frames, in seconds. Longer videos are
    decoded in full only if they have no key frame for a minute."""
    scores: tuple[str, ...] = ()
    """Scores from 0 to 1 to compute for every video and image: `nsfw` (nudity), `text` (share of the frame covered by
    text), or the name of an entry point in `longreel.scores`. Scores cost more than the rest of the survey. Limits on
    them: `longreel select --limit`."""
    max_bytes: int = MAX_BYTES
    """Reject larger files, in bytes."""
    books: BookSurveyConfig = field(default_factory=BookSurveyConfig)

    def __post_init__(self) -> None:
        for name, least in (("thumbnails", 1), ("decode_below_s", 0), ("max_bytes", 1)):
            if not getattr(self, name) >= least:
                raise ConfigError(f"{name} must be at least {least}, got {getattr(self, name)}")
