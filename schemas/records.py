"""Arrow schemas of the tables that the jobs write.

manifest     one row per item, as the user lists it, or the reason why it cannot be read from the list
survey       one row per item: its measured properties, or the reason for its rejection
signatures   one row per item: the samples by which near-duplicates are found
pairs        one row per pair of items that share content
selection    one row per kept item, with its split; rejected items are in `quarantine`
tokens       one row per tokenized document, without its tokens (the index of the token store)
quarantine   one row per rejected item, with the reason
ledger       one row per span of a packed sequence: its document, source, license and time range
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
        pa.field("caption_file", pa.string()),  # path or URI of a text file, which the survey adds to the captions
        pa.field("transcript", pa.string()),  # path or URI of a subtitle file, or "embedded"
        pa.field("transcript_language", pa.string()),  # BCP 47
        pa.field("title", pa.string()),
        pa.field("source", pa.string()),
        pa.field("license", pa.string()),
        pa.field("split", pa.string()),  # null: assigned by a hash of the content
        pa.field("metadata", pa.string()),  # the user's other columns, as a JSON object
        pa.field("reason", pa.string()),  # null: not rejected; else the item is not read
        pa.field("detail", pa.string()),
    ]
)
USER_COLUMNS = tuple(name for name in MANIFEST.names if name not in ("reason", "detail"))  # of a manifest file

CUT = pa.struct(
    [
        pa.field("start", pa.int64(), nullable=False),  # in characters of the cleaned text
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
        pa.field("content_id", pa.string()),  # hash of a video's packets or a book's cleaned text
        pa.field("size_bytes", pa.int64()),
        pa.field("container", pa.string()),
        pa.field("codec", pa.string()),
        pa.field("width", pa.int32()),  # as displayed: rotated, with square pixels
        pa.field("height", pa.int32()),
        pa.field("duration_s", pa.float64()),
        pa.field("start_s", pa.float64()),  # of the first frame, in seconds after the start of the container
        pa.field("frame_rate", pa.float64()),
        pa.field("bit_depth", pa.int32()),
        pa.field("interlaced", pa.bool_()),
        pa.field("crop", pa.list_(pa.int32())),  # left, top, width, height without black bars, as displayed
        pa.field("encoding", pa.string()),  # of a book's bytes
        pa.field("language", pa.string()),  # of a book, ISO 639
        pa.field("transcript_sha256", pa.string()),  # of the transcript file's bytes; null if there is none
        pa.field("measures", pa.map_(pa.string(), pa.float64())),  # by name; limits apply to these
        pa.field("cuts", pa.list_(CUT)),  # ranges of a book's cleaned text that are not tokenized
        pa.field("cluster", pa.string()),  # smallest content_id of the items that share content; null before select
        pa.field("kept_content_id", pa.string()),  # content_id of the copy that is kept instead of this item
        pa.field("text_from", pa.list_(pa.string())),  # rejected copies that captions and transcript come from
        pa.field("transcript_shift_s", pa.float64()),  # to add to the times of a copy's transcript; null: its own
    ]
)

# An item as a sequence of samples (frames of a video, passages of a book), by which near-duplicates are found.
SIGNATURES = pa.schema(
    [
        pa.field("content_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("starts", pa.list_(pa.float64()), nullable=False),  # in seconds, or characters of the cleaned text
        pa.field(
            "lengths", pa.list_(pa.float64()), nullable=False
        ),  # the extent that each sample represents, same unit
        pa.field("samples", pa.list_(pa.binary()), nullable=False),  # see pipeline.video.analysis.frame_signature
        pa.field("activity", pa.binary(), nullable=False),  # see pipeline.video.analysis.activity; empty if unknown
        pa.field("thumbnail", pa.binary()),  # WebP of a few frames side by side, for the report; null for books
    ]
)

RANGE = pa.struct([pa.field("start", pa.float64(), nullable=False), pa.field("end", pa.float64(), nullable=False)])

# Two items that share content; a is the smaller content_id. Items with the same content_id have the same pairs.
PAIRS = pa.schema(
    [
        pa.field("a", pa.string(), nullable=False),
        pa.field("b", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("containment_a", pa.float64(), nullable=False),  # fraction of a that is also in b, 0 to 1
        pa.field("containment_b", pa.float64(), nullable=False),
        pa.field("similarity", pa.float64(), nullable=False),  # of the shared content, 0 to 1
        pa.field(
            "shared_a", pa.list_(RANGE), nullable=False
        ),  # ranges of a, in seconds or characters of the cleaned text
        pa.field("shared_b", pa.list_(RANGE), nullable=False),
        pa.field("mirrored", pa.bool_(), nullable=False),  # one shows the pictures of the other flipped horizontally
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
        pa.field("start", pa.int64(), nullable=False),  # in tokens, from the start of the document
        pa.field("length", pa.int64(), nullable=False),
        pa.field("modality", pa.int8(), nullable=False),
        pa.field("start_s", pa.float64()),  # of the video; null for text without a time
        pa.field("end_s", pa.float64()),
        pa.field(
            "weight", pa.float32(), nullable=False
        ),  # loss weight of its tokens as targets: 0 for a question, otherwise 1
    ]
)

TOKENS = pa.schema(
    [
        pa.field("document_id", pa.string(), nullable=False),  # of the item, or of a clip: see `clip_id`
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
        pa.field("frame_tokens", pa.int32(), nullable=False),  # codes per frame + 1; 0 if there are no frames
        pa.field("frames", pa.int64(), nullable=False),
        pa.field(
            "frames_promised", pa.int64(), nullable=False
        ),  # declared by the container; more than `frames` means a loss
        pa.field("cues", pa.int64(), nullable=False),  # of the transcript, in this document
        pa.field("cues_outside", pa.int64(), nullable=False),  # left out, because they are outside the video
        pa.field("clip", RANGE),  # range of the item, in seconds; null: the whole item
        pa.field("shots", pa.list_(pa.float64())),  # start of each shot, in seconds of the item; null: not detected
        pa.field("crop", pa.list_(pa.int32())),  # as in the survey; null: the whole picture
        pa.field("spans", pa.list_(SPAN), nullable=False),
        pa.field("reason", pa.string()),  # null: the tokens are stored; otherwise there are none, and length is 0
        pa.field("detail", pa.string()),
    ]
)

LEDGER = pa.schema(
    [
        pa.field("sequence", pa.string(), nullable=False),  # KEY in the shard
        pa.field("shard", pa.string(), nullable=False),
        pa.field("span", pa.int32(), nullable=False),
        pa.field("start", pa.int32(), nullable=False),  # in tokens of the sequence
        pa.field("length", pa.int32(), nullable=False),
        pa.field("modality", pa.int8(), nullable=False),
        pa.field("weight", pa.float32(), nullable=False),
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("copy", pa.int32(), nullable=False),  # from 0; a mixture can repeat a document
        pa.field("document_start", pa.int64(), nullable=False),  # in tokens of the document
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
    """Return the document id of a clip of an item; `number` counts from 0."""
    return f"{item_id}#{number:05d}"


def item_of(document_id: str) -> str:
    """Return the id of the item of a document: of a clip, the item's; otherwise the document's own."""
    return document_id.partition("#")[0]
