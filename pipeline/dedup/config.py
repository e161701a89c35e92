"""The options of the dedup job, and the searches of the kinds that have one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.dedup.similarity import Similarity
from pipeline.kinds.registry import kinds
from schemas.errors import ConfigError


def similarities() -> Mapping[str, Similarity]:
    """Return the near-duplicate searches by kind, in the order of the kinds."""
    found = ((name, kind.similarity()) for name, kind in kinds().items())
    return {name: similarity for name, similarity in found if similarity is not None}


@dataclass(frozen=True, kw_only=True)
class DedupConfig:
    """How near-duplicates are searched."""

    kinds: tuple[str, ...] = ()
    """Kinds of items to search. Default: all kinds that have a search (video, image, book)."""
    max_bucket: int = 32
    """Items with one hash key in common that are all compared with each other. If more items share it (a title card),
    each is compared with a few of them."""

    def __post_init__(self) -> None:
        if self.kinds and (unknown := sorted(set(self.kinds) - set(similarities()))):
            raise ConfigError(f"kinds must be among {', '.join(similarities())}, got {unknown[0]!r}")
        if self.max_bucket < 2:
            raise ConfigError(f"max_bucket must be at least 2, got {self.max_bucket}")

    @property
    def searches(self) -> Mapping[str, Similarity]:
        """The searches to run, by kind."""
        return {name: found for name, found in similarities().items() if not self.kinds or name in self.kinds}
