"""Arrow schemas of everything that is written, and the words their columns are filled with.

manifest     one row an item, as the user lists it
survey       one row an item: what a cheap look found, or the reason it is set aside
selection    one row an item that goes on, with its split; the others stand in `quarantine`
tokens       one row a tokenized document, without payload (the token store's index)
quarantine   one row an item that does not go on, and why
ledger       one row a span of a packed sequence, back to document, source, licence and time range
"""

from __future__ import annotations

from typing import Literal, get_args

import pyarrow as pa

Kind = Literal["video", "image", "book", "qa"]
Split = Literal["train", "val"]
KINDS: tuple[str, ...] = get_args(Kind)
SPLITS: tuple[str, ...] = get_args(Split)

MANIFEST = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("captions", pa.list_(pa.string())),
        pa.field("transcript", pa.string()),  # path of a .srt or .vtt, or "embedded"
        pa.field("title", pa.string()),
        pa.field("source", pa.string()),
        pa.field("licence", pa.string()),
        pa.field("split", pa.string()),  # null: chosen by a hash of the content
        pa.field("metadata", pa.string()),  # the user's other columns, as a JSON object
    ]
)

SURVEY = pa.schema(
    [
        *MANIFEST,
        pa.field("fingerprint", pa.string()),
        pa.field("document_id", pa.string()),  # SHA-256 of the content; null when it could not be read
        pa.field("size_bytes", pa.int64()),
        pa.field("codec", pa.string()),
        pa.field("width", pa.int32()),  # as shown: rotated, square pixels
        pa.field("height", pa.int32()),
        pa.field("duration_s", pa.float64()),
        pa.field("frame_rate", pa.float64()),
        pa.field("bit_depth", pa.int32()),
        pa.field("interlaced", pa.bool_()),
        pa.field("brightness", pa.float32()),  # mean of the brightest frame looked at, 0-255
        pa.field("transcript_sha256", pa.string()),  # of the sidecar's bytes; null where there is none
        pa.field("reason", pa.string()),  # null: usable
        pa.field("detail", pa.string()),
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
        pa.field("document_id", pa.string(), nullable=False),
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
        pa.field("licence", pa.string()),
        pa.field("frame_tokens", pa.int32(), nullable=False),  # codes of a frame + 1; 0 where there is none
        pa.field("frames", pa.int64(), nullable=False),
        pa.field("frames_promised", pa.int64(), nullable=False),  # by the container; more than `frames`: a loss
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
        pa.field("licence", pa.string()),
        pa.field("start_s", pa.float64()),
        pa.field("end_s", pa.float64()),
    ]
)
