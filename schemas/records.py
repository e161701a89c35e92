"""Arrow schemas of everything that is written, and the words their columns are filled with.

manifest     one row an item, as the user lists it
survey       one row an item: what a cheap look found, or the reason it is set aside
signatures   one row an item: what near-duplicates are found by
pairs        one row a pair of items that share content
selection    one row an item that goes on, with its split; the others stand in `quarantine`
tokens       one row a tokenized document, without payload (the token store's index)
quarantine   one row an item that does not go on, and why
ledger       one row a span of a packed sequence, back to document, source, license and time range
"""

from __future__ import annotations

from typing import Literal, get_args

import pyarrow as pa

Split = Literal["train", "val"]
SPLITS: tuple[str, ...] = get_args(Split)

MANIFEST = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("captions", pa.list_(pa.string())),
        pa.field("transcript", pa.string()),  # path of a .srt or .vtt, or "embedded"
        pa.field("title", pa.string()),
        pa.field("source", pa.string()),
        pa.field("license", pa.string()),
        pa.field("split", pa.string()),  # null: chosen by a hash of the content
        pa.field("metadata", pa.string()),  # the user's other columns, as a JSON object
    ]
)

CUT = pa.struct(
    [
        pa.field("start", pa.int64(), nullable=False),  # in characters of the clean text
        pa.field("end", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string()),
    ]
)

SURVEY = pa.schema(
    [
        *MANIFEST,
        pa.field("fingerprint", pa.string()),
        pa.field("document_id", pa.string()),  # SHA-256 of the file's bytes; null when it could not be read
        pa.field("content_id", pa.string()),  # equal for equal content: of a video's packets, of a book's clean text
        pa.field("size_bytes", pa.int64()),
        pa.field("container", pa.string()),
        pa.field("codec", pa.string()),
        pa.field("width", pa.int32()),  # as shown: rotated, square pixels
        pa.field("height", pa.int32()),
        pa.field("duration_s", pa.float64()),
        pa.field("frame_rate", pa.float64()),
        pa.field("bit_depth", pa.int32()),
        pa.field("interlaced", pa.bool_()),
        pa.field("crop", pa.list_(pa.int32())),  # left, top, width, height of the picture without its bars, as shown
        pa.field("encoding", pa.string()),  # of a book's bytes
        pa.field("language", pa.string()),  # of a book, ISO 639-1
        pa.field("transcript_sha256", pa.string()),  # of the sidecar's bytes; null where there is none
        pa.field("measures", pa.map_(pa.string(), pa.float64())),  # every number that a limit can be set on
        pa.field("cuts", pa.list_(CUT)),  # of a book's clean text: what is left out of it
        pa.field("cluster", pa.string()),  # smallest content_id of all that share content; null before select
        pa.field("kept_content_id", pa.string()),  # content_id of the copy that is kept instead
        pa.field("reason", pa.string()),  # null: usable
        pa.field("detail", pa.string()),
    ]
)

# What near-duplicates are found by: an item as a run of samples, frames of a video or passages of a book.
SIGNATURES = pa.schema(
    [
        pa.field("content_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("starts", pa.list_(pa.float64()), nullable=False),  # seconds, or characters of the clean text
        pa.field("lengths", pa.list_(pa.float64()), nullable=False),  # what a sample stands for, in the same unit
        pa.field("samples", pa.list_(pa.binary()), nullable=False),  # see pipeline.video.analysis.frame_signature
        pa.field("thumbnail", pa.binary()),  # WebP, some frames side by side, for the report; null for books
    ]
)

RANGE = pa.struct([pa.field("start", pa.float64(), nullable=False), pa.field("end", pa.float64(), nullable=False)])

# Two items that share content; a is the smaller content_id. Items of equal content_id stand for each other.
PAIRS = pa.schema(
    [
        pa.field("a", pa.string(), nullable=False),
        pa.field("b", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("containment_a", pa.float64(), nullable=False),  # share of a that b has too, 0 to 1
        pa.field("containment_b", pa.float64(), nullable=False),
        pa.field("similarity", pa.float64(), nullable=False),  # of what they share, 0 to 1
        pa.field("shared_a", pa.list_(RANGE), nullable=False),  # where in a, seconds or characters of the clean text
        pa.field("shared_b", pa.list_(RANGE), nullable=False),
    ]
)

QUARANTINE = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("document_id", pa.string()),
        pa.field("job", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string()),
    ]
)

SPAN = pa.struct(
    [
        pa.field("start", pa.int64(), nullable=False),  # in tokens, from the document's first
        pa.field("length", pa.int64(), nullable=False),
        pa.field("modality", pa.int8(), nullable=False),
        pa.field("start_s", pa.float64()),  # of the video; null for text that belongs to no time
        pa.field("end_s", pa.float64()),
        pa.field("weight", pa.float32(), nullable=False),  # of its tokens as targets: 0 for a question, else 1
    ]
)

TOKENS = pa.schema(
    [
        pa.field("document_id", pa.string(), nullable=False),  # the item's, or that of a clip: see `clip_id`
        pa.field("fingerprint", pa.string(), nullable=False),
        pa.field("unit", pa.int32(), nullable=False),
        pa.field("batch", pa.int32(), nullable=False),
        pa.field("row", pa.int32(), nullable=False),
        pa.field("length", pa.int64(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("title", pa.string()),
        pa.field("source", pa.string()),
        pa.field("license", pa.string()),
        pa.field("frame_tokens", pa.int32(), nullable=False),  # codes of a frame + 1; 0 where there is none
        pa.field("frames", pa.int64(), nullable=False),
        pa.field("frames_promised", pa.int64(), nullable=False),  # by the container; more than `frames`: a loss
        pa.field("clip", RANGE),  # seconds of the item that this document is; null: all of it
        pa.field("shots", pa.list_(pa.float64())),  # where shots begin, in seconds of the item; null: not sought
        pa.field("crop", pa.list_(pa.int32())),  # the part of the picture that was taken, as in the survey; null: all
        pa.field("spans", pa.list_(SPAN), nullable=False),
        pa.field("reason", pa.string()),  # null: tokens are there; else none are, and length is 0
        pa.field("detail", pa.string()),
    ]
)

LEDGER = pa.schema(
    [
        pa.field("sequence", pa.string(), nullable=False),  # KEY in the tar
        pa.field("shard", pa.string(), nullable=False),
        pa.field("span", pa.int32(), nullable=False),
        pa.field("start", pa.int32(), nullable=False),  # in the sequence
        pa.field("length", pa.int32(), nullable=False),
        pa.field("modality", pa.int8(), nullable=False),
        pa.field("weight", pa.float32(), nullable=False),
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("copy", pa.int32(), nullable=False),  # of the document, from 0: a mixture may take it several times
        pa.field("document_start", pa.int64(), nullable=False),  # in the document
        pa.field("kind", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("title", pa.string()),
        pa.field("source", pa.string()),
        pa.field("license", pa.string()),
        pa.field("start_s", pa.float64()),
        pa.field("end_s", pa.float64()),
    ]
)


def clip_id(item_id: str, number: int) -> str:
    """Return the id of a document that is one clip of an item, counted from 0."""
    return f"{item_id}#{number:05d}"


def item_of(document_id: str) -> str:
    """Return the id of the item that a document was made of: its own, where it is the whole item."""
    return document_id.partition("#")[0]
