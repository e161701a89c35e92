"""The options of the dedup job, and the registry of searches by kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.dedup.book_similarity import BookSimilarity
from pipeline.dedup.image_similarity import ImageSimilarity
from pipeline.dedup.similarity import Similarity
from pipeline.dedup.video_similarity import VideoSimilarity
from schemas.errors import ConfigError

SIMILARITY: Mapping[str, Similarity] = {
    "video": VideoSimilarity(),
    "image": ImageSimilarity(),
    "book": BookSimilarity(),
}


@dataclass(frozen=True, kw_only=True)
class DedupConfig:
    """How near-duplicates are searched."""

    kinds: tuple[str, ...] = tuple(SIMILARITY)
    """Kinds of items to search."""
    max_bucket: int = 32
    """Items with one hash key in common that are all compared with each other. If more items share it (a title card),
    each is compared with a few of them."""

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.kinds) - set(SIMILARITY)):
            raise ConfigError(f"kinds must be among {', '.join(SIMILARITY)}, got {unknown[0]!r}")
        if self.max_bucket < 2:
            raise ConfigError(f"max_bucket must be at least 2, got {self.max_bucket}")
