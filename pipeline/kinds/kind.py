"""The protocol of an item kind: everything that the jobs need to know about videos, images, books, and kinds to come.

A kind is an object that the registry (`pipeline.kinds.registry`) finds by name. Jobs never compare the names of kinds;
they ask the kind. `BaseKind` has the answers that most kinds give, so a new kind defines `name`, `endings`, `survey`
and `tokenize`, and overrides what differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from schemas.rows import Cut, SurveyRow, TextFacts, TimeRange, VisualFacts

if TYPE_CHECKING:  # types of what the jobs hand to a kind; the protocol itself depends on no job
    from pipeline.dedup.similarity import Similarity
    from pipeline.survey.tools import SurveyTools
    from pipeline.text.options import TextOptions
    from pipeline.tokenize.config import TokenizeConfig
    from pipeline.tokenize.interleave import Document
    from pipeline.tokenize.tools import TokenizeTools


DEFAULT_TIME_LIMIT_S = 1800.0


@dataclass(frozen=True, kw_only=True)
class Samples:
    """An item as a sequence of n samples, by which near-duplicates are found."""

    starts: Sequence[float]  # [n], in the kind's `position_unit`
    lengths: Sequence[float]  # [n], what each sample represents
    samples: Sequence[bytes]  # [n]
    activity: bytes = b""  # of a video, see pipeline.video.analysis.activity
    thumbnail: bytes | None = None  # WebP, for the report


@dataclass(frozen=True, kw_only=True)
class Surveyed:
    """What the survey of one item finds."""

    kind: str | None = None  # the kind that the content shows; None: the listed one
    content_id: str | None = None  # None: the hash of the file
    container: str | None = None
    visual: VisualFacts | None = None
    text: TextFacts | None = None
    measures: Mapping[str, float] = field(default_factory=dict)
    cuts: tuple[Cut, ...] = ()
    signature: Samples | None = None  # None: the item takes no part in dedup


@dataclass(frozen=True, kw_only=True)
class TokenizedDocument:
    """One document of an item."""

    document: Document
    clip_number: int | None = None  # None: the document is the whole item
    clip: TimeRange | None = None
    frames: int = 0
    frames_promised: int = 0  # by the container
    cues: int = 0  # of the transcript, in this document
    cues_outside: int = 0  # of the item's transcript, outside the video and left out; in the first document only
    shots: tuple[float, ...] | None = None  # seconds; None: not detected
    crop: tuple[int, int, int, int] | None = None  # left, top, width, height; None: the whole picture
    detail: str | None = None


class ItemKind(Protocol):
    """One kind of items."""

    @property
    def name(self) -> str:
        """The name in manifests and tables."""
        ...

    @property
    def endings(self) -> tuple[str, ...]:
        """Endings of the names of its files, in lower case, such as ".mp4" or ".qa.json"."""
        ...

    @property
    def takes_captions(self) -> bool:
        """Whether a text file that is named like an item is its caption; see pipeline.sources.sidecars."""
        ...

    @property
    def takes_transcripts(self) -> bool:
        """Whether a subtitle file that is named like an item is its transcript."""
        ...

    @property
    def is_text(self) -> bool:
        """Whether its items are text rather than pictures, for the share of text in a mixture and in the report."""
        ...

    @property
    def is_splittable(self) -> bool:
        """Whether the packer may split its documents at any token, to fill free space."""
        ...

    @property
    def position_unit(self) -> str:
        """The unit of positions within an item: "s" or "characters"."""
        ...

    def similarity(self) -> Similarity | None:
        """Return the near-duplicate search of this kind, None if there is none."""
        ...

    def max_bytes(self, options: TextOptions) -> int | None:
        """Return the size above which files are rejected, None for the survey's own limit."""
        ...

    def time_limit_s(self, options: TextOptions) -> float | None:
        """Return the seconds after which `schemas.deadline.checkpoint` raises in the survey or tokenization of an item.

        Long loops call it, which also lets the user stop them. None: no limit but that of the decoder process.
        """
        ...

    def survey_fingerprint(self, tools: SurveyTools) -> Any:
        """Return the settings and versions that the result of `survey` depends on, besides the file."""
        ...

    def survey(self, path: Path, tools: SurveyTools) -> Surveyed:
        """Examine a file without decoding it in full; raises InputError if it cannot be used."""
        ...

    def token_fingerprint(self, row: SurveyRow, config: TokenizeConfig) -> Any:
        """Return the settings and facts that the result of `tokenize` depends on, besides the file."""
        ...

    def tokenize(self, path: Path, row: SurveyRow, tools: TokenizeTools) -> list[TokenizedDocument]:
        """Return the documents of an item, at least one; raises InputError."""
        ...

    def texts(self, path: Path, row: SurveyRow, options: TextOptions) -> Iterator[str]:
        """Yield the text on which a text tokenizer is trained; raises InputError."""
        ...


class BaseKind:
    """Defaults: unsplittable text without sidecars, near-duplicates and text for the tokenizer's training."""

    takes_captions = False
    takes_transcripts = False
    is_text = True
    is_splittable = False
    position_unit = "characters"

    def similarity(self) -> Similarity | None:
        """See ItemKind."""
        return None

    def max_bytes(self, options: TextOptions) -> int | None:
        """See ItemKind."""
        return None

    def time_limit_s(self, options: TextOptions) -> float | None:
        """See ItemKind."""
        return DEFAULT_TIME_LIMIT_S

    def survey_fingerprint(self, tools: SurveyTools) -> Any:
        """See ItemKind."""
        return None

    def token_fingerprint(self, row: SurveyRow, config: TokenizeConfig) -> Any:
        """See ItemKind."""
        return None

    def texts(self, path: Path, row: SurveyRow, options: TextOptions) -> Iterator[str]:
        """See ItemKind."""
        yield from ()
