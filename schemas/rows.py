"""The rows of the tables in `schemas.records` as frozen dataclasses.

Jobs use these classes; Arrow tables exist only where a file is read or written. `SurveyRow` covers all kinds of items:
properties of videos and images are in `visual`, properties of texts in `text`. In the file, the columns that do not
apply to a kind are null.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import pyarrow as pa

from schemas.records import LEDGER, MANIFEST, SIGNATURES, SURVEY, TOKENS

EMBEDDED = "embedded"  # the transcript is a subtitle stream of the video


class Cut(NamedTuple):
    """A range of a book's cleaned text that is not tokenized, in characters."""

    start: int
    end: int
    reason: str  # a schemas.errors.Reason, or "boilerplate"
    detail: str | None = None

    @property
    def range(self) -> tuple[int, int]:
        """Start and end."""
        return self.start, self.end


class Crop(NamedTuple):
    """The part of a picture without black bars, in pixels as displayed."""

    left: int
    top: int
    width: int
    height: int


class TimeRange(NamedTuple):
    """A part of a video, in seconds."""

    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class ManifestItem:
    """A row of schemas.records.MANIFEST: one item as the user lists it."""

    uri: str
    kind: str
    captions: tuple[str, ...] = ()
    caption_file: str | None = None  # the path or URI of a text file, which the survey adds to the captions
    transcript: str | None = None  # the path or URI of a subtitle file, or EMBEDDED
    transcript_language: str | None = None  # BCP 47
    title: str | None = None
    source: str | None = None
    license: str | None = None
    split: str | None = None  # None: assigned by a hash of the content
    metadata: str | None = None  # the user's other columns, as a JSON object
    reason: str | None = None  # of a rejection, by the list or by a later job; None: kept
    detail: str | None = None

    @property
    def sidecar(self) -> str | None:
        """The path or URI of the transcript file; None if there is none or it is embedded."""
        return self.transcript if self.transcript and self.transcript != EMBEDDED else None


@dataclass(frozen=True, kw_only=True)
class VisualFacts:
    """Properties of a video or image that the survey measures."""

    codec: str | None = None
    width: int | None = None  # as displayed: rotated, with square pixels
    height: int | None = None
    duration_s: float | None = None
    start_s: float | None = None  # of the first frame, in seconds after the start of the container
    frame_rate: float | None = None  # frames per second
    bit_depth: int | None = None
    interlaced: bool | None = None
    crop: Crop | None = None


@dataclass(frozen=True, kw_only=True)
class TextFacts:
    """Properties of a text that the survey measures."""

    encoding: str | None = None  # of the file's bytes
    language: str | None = None  # ISO 639


@dataclass(frozen=True, kw_only=True)
class SurveyRow(ManifestItem):
    """A row of schemas.records.SURVEY; select adds the cluster. `reason` is the verdict of the job, None: kept."""

    fingerprint: str | None = None
    document_id: str | None = None  # SHA-256 of the file's bytes; None if they could not be read
    content_id: str | None = None  # hash of a video's packets or a book's cleaned text
    size_bytes: int | None = None
    container: str | None = None
    transcript_sha256: str | None = None
    visual: VisualFacts | None = None
    text: TextFacts | None = None
    measures: Mapping[str, float | None] = field(default_factory=dict)  # by name; limits apply to these
    cuts: tuple[Cut, ...] = ()
    cluster: str | None = None  # smallest content_id of all items that share content; None before select
    kept_content_id: str | None = None  # of the copy that is kept instead of this item
    text_from: tuple[str, ...] = ()  # addresses of the rejected copies that captions and transcript come from
    transcript_shift_s: float | None = None  # to add to the times of a copy's transcript; None: the item's own

    @property
    def duration_s(self) -> float | None:
        """The duration of a video; None for other kinds."""
        return self.visual.duration_s if self.visual else None

    @classmethod
    def of(cls, item: ManifestItem, **changes: Any) -> Self:
        """Return the row of an item with `changes` to its fields."""
        return cls(**{f.name: getattr(item, f.name) for f in dataclasses.fields(ManifestItem)} | changes)

    def with_item(self, item: ManifestItem) -> Self:
        """Return the row with the columns of a manifest row."""
        return dataclasses.replace(self, **{f.name: getattr(item, f.name) for f in dataclasses.fields(ManifestItem)})

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Return the row of a dict of Arrow values by column; missing columns are null."""
        columns = dict.fromkeys(SURVEY.names) | dict(row)
        visual, text = ({name: columns.pop(name) for name in names} for names in (_VISUAL, _TEXT))
        if visual["crop"]:
            visual["crop"] = Crop(*visual["crop"])
        return cls(
            **columns
            | {
                "captions": tuple(columns["captions"] or ()),
                "visual": VisualFacts(**visual) if any(v is not None for v in visual.values()) else None,
                "text": TextFacts(**text) if any(v is not None for v in text.values()) else None,
                "measures": dict(columns["measures"] or {}),
                "cuts": tuple(Cut(**cut) for cut in columns["cuts"] or ()),
                "text_from": tuple(columns["text_from"] or ()),
            }
        )

    def to_row(self) -> dict[str, Any]:
        """Return the row as a dict of Arrow values by column."""
        columns = _fields(self)
        visual, text = columns.pop("visual") or VisualFacts(), columns.pop("text") or TextFacts()
        columns |= _fields(visual) | _fields(text)
        return columns | {
            "captions": list(self.captions) or None,
            "crop": visual.crop and list(visual.crop),
            "measures": dict(self.measures) or None,
            "cuts": [cut._asdict() for cut in self.cuts] or None,
            "text_from": list(self.text_from) or None,
        }

    @property
    def identity(self) -> str:
        """The document_id, or the URI of an item that could not be read."""
        return self.document_id or self.uri


@dataclass(frozen=True, kw_only=True)
class SignatureRow:
    """A row of schemas.records.SIGNATURES: an item as a sequence of n samples."""

    content_id: str
    kind: str
    starts: Sequence[float]  # [n], in seconds, or in characters of the cleaned text
    lengths: Sequence[float]  # [n], the extent that each sample represents, same unit
    samples: Sequence[bytes]  # [n]
    activity: bytes = b""  # of a video, see pipeline.video.analysis.activity
    thumbnail: bytes | None = None  # WebP


@dataclass(frozen=True)
class DocumentSpan:
    """A run of tokens of one modality and weight. Times are in seconds of the video, None for text without a time."""

    start: int  # in tokens, from the first of the document
    length: int
    modality: int
    start_s: float | None
    end_s: float | None
    weight: float = 1.0  # loss weight of its tokens as targets


@dataclass(frozen=True, kw_only=True)
class DocumentRow:
    """A row of schemas.records.TOKENS: the index entry of one tokenized document."""

    document_id: str  # of the item, or of a clip: see schemas.records.clip_id
    fingerprint: str
    kind: str
    split: str
    uri: str
    title: str | None = None
    source: str | None = None
    license: str | None = None
    unit: int = -1
    batch: int = -1
    row: int = -1
    length: int = 0  # tokens
    frame_tokens: int = 0  # codes per frame + 1; 0 if there are no frames
    frames: int = 0
    frames_promised: int = 0  # declared by the container; more than `frames` means a loss
    cues: int = 0  # of the transcript, in this document
    cues_outside: int = 0  # of the item's transcript, outside the video and left out; counted in the first document
    clip: TimeRange | None = None  # None: the whole item
    shots: tuple[float, ...] | None = None  # start of each shot, in seconds of the item; None: not detected
    crop: Crop | None = None  # None: the whole picture
    spans: tuple[DocumentSpan, ...] = ()
    reason: str | None = None  # None: the tokens are stored
    detail: str | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Return the row of a dict of Arrow values by column."""
        clip, shots, crop = row["clip"], row["shots"], row["crop"]
        return cls(
            **dict(row)
            | {
                "clip": clip and TimeRange(**clip),
                "shots": tuple(shots) if shots is not None else None,
                "crop": crop and Crop(*crop),
                "spans": tuple(DocumentSpan(**span) for span in row["spans"]),
            }
        )

    def to_row(self) -> dict[str, Any]:
        """Return the row as a dict of Arrow values by column."""
        return _fields(self) | {
            "clip": self.clip and self.clip._asdict(),
            "shots": list(self.shots) if self.shots is not None else None,
            "crop": self.crop and list(self.crop),
            "spans": [_fields(span) for span in self.spans],
        }


@dataclass(frozen=True, kw_only=True)
class LedgerRow:
    """A row of schemas.records.LEDGER: one span of a packed sequence and the document that it is a part of."""

    sequence: str  # key
    shard: str  # file name
    span: int  # index in the sequence, from 0
    start: int  # in tokens of the sequence
    length: int
    modality: int
    weight: float
    document_id: str
    copy: int  # from 0; a mixture can repeat a document
    document_start: int  # in tokens of the document
    kind: str
    split: str
    uri: str
    title: str | None = None
    source: str | None = None
    license: str | None = None
    start_s: float | None = None  # in seconds of the video; None for text without a time
    end_s: float | None = None

    @property
    def end(self) -> int:
        """The token of the sequence after the last of the span."""
        return self.start + self.length


_VISUAL = tuple(f.name for f in dataclasses.fields(VisualFacts))
_TEXT = tuple(f.name for f in dataclasses.fields(TextFacts))


def manifest_items(table: pa.Table) -> list[ManifestItem]:
    """Return the rows of a table of MANIFEST."""
    return [ManifestItem(**row | {"captions": tuple(row["captions"] or ())}) for row in table.to_pylist()]


def manifest_table(items: Iterable[ManifestItem]) -> pa.Table:
    """Return items as a table of MANIFEST."""
    rows = list(items)
    columns = {name: [getattr(row, name) for row in rows] for name in MANIFEST.names}
    columns["captions"] = [captions or None for captions in columns["captions"]]
    return pa.table(columns, MANIFEST)


def survey_rows(table: pa.Table) -> list[SurveyRow]:
    """Return the rows of a table of SURVEY."""
    return [SurveyRow.from_row(row) for row in table.to_pylist(maps_as_pydicts="strict")]


def survey_table(rows: Iterable[SurveyRow]) -> pa.Table:
    """Return rows as a table of SURVEY."""
    return pa.Table.from_pylist([row.to_row() for row in rows], SURVEY)


def signature_rows(table: pa.Table) -> list[SignatureRow]:
    """Return the rows of a table of SIGNATURES."""
    return [SignatureRow(**row) for row in table.to_pylist()]


def signature_table(rows: Iterable[SignatureRow]) -> pa.Table:
    """Return rows as a table of SIGNATURES."""
    return pa.Table.from_pylist([{**_fields(row), "samples": list(row.samples)} for row in rows], SIGNATURES)


def document_rows(table: pa.Table) -> list[DocumentRow]:
    """Return the rows of a table of TOKENS."""
    return [DocumentRow.from_row(row) for row in table.to_pylist()]


def document_table(rows: Iterable[DocumentRow]) -> pa.Table:
    """Return rows as a table of TOKENS."""
    return pa.Table.from_pylist([row.to_row() for row in rows], TOKENS)


def ledger_rows(table: pa.Table) -> list[LedgerRow]:
    """Return the rows of a table of LEDGER."""
    return [LedgerRow(**row) for row in table.to_pylist()]


def ledger_table(rows: Iterable[LedgerRow]) -> pa.Table:
    """Return rows as a table of LEDGER."""
    return pa.Table.from_pylist([_fields(row) for row in rows], LEDGER)


def _fields(row: Any) -> dict[str, Any]:
    """Return the fields of a dataclass by name, not recursively."""
    return {f.name: getattr(row, f.name) for f in dataclasses.fields(row)}
