"""The frame that a token belongs to: its number and time in the document, and its picture.

Axes: P codes of a frame.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray
from PIL import Image

from schemas.dataset import DatasetCard
from schemas.errors import DatasetError
from schemas.files import atomic
from schemas.rows import LedgerRow
from schemas.vocab import VISION


class FramePlace(NamedTuple):
    """The position of a frame in its document and of its codes in the sequence."""

    number: int  # in the document, from 0
    frames: int  # in the document
    time_s: float
    start: int  # of its codes, in tokens of the sequence


def frame_place(row: LedgerRow, document: list[LedgerRow], token: int, card: DatasetCard) -> FramePlace:
    """Return the frame of `token` of a sequence; `row` is its span, `document` the rows of its document, in order.

    Raises DatasetError if a span of the document ends within a frame, or the span has no time.
    """
    per_frame = card.frame_grid[0] * card.frame_grid[1] + 1
    vision = [r for r in document if r.modality == VISION]
    if any(r.length % per_frame for r in vision) or row.start_s is None or row.end_s is None:
        raise DatasetError(
            f"document {row.document_id} has incomplete frames or frames without a time; run `longreel verify`"
        )
    index = (token - row.start) // per_frame
    previous = sum(r.length for r in vision if r.document_start < row.document_start) // per_frame
    frame_s = (row.end_s - row.start_s) / (row.length // per_frame)
    return FramePlace(
        number=previous + index,
        frames=sum(r.length for r in vision) // per_frame,
        time_s=row.start_s + index * frame_s,
        start=row.start + index * per_frame,
    )


def write_frame(path: Path, codes: NDArray[Any], card: DatasetCard, *, vision: str) -> None:
    """Decode the tokens [P] of a frame and write it as a PNG.

    Raises VocabularyMismatch if `vision` is not the VQGAN that encoded the frames, DatasetError if a token is not a
    code.
    """
    from tokenizer.codec import FrameCodec  # imports JAX, which takes seconds: only when a picture is requested

    codec, vocabulary = FrameCodec.load(vision), card.vocabulary
    codec.require_encoder_of(vocabulary)
    if not (vocabulary.is_vision(codes) & (codes < vocabulary.eof)).all():
        raise DatasetError("the frame contains a token that is not a code; run `longreel verify`")
    frame = codec.decode((codes - vocabulary.dtype.type(vocabulary.text_size))[None], grid=card.frame_grid)[0]
    with atomic(path) as temporary:
        Image.fromarray(frame).save(temporary, format="PNG")
