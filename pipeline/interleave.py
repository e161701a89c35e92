"""Interleave: frames, captions and what is said become one document of tokens, and back.

    book     bos  text  eos
    image    bos  <vision> frame eov </vision>  caption  eos        (or the caption first)
    video    bos  <vision> frame eof … frame eov </vision>  cue  <vision> frame eof … eov </vision>  caption  eos

The order of caption and video is drawn by a hash, as in LWM (arXiv 2402.08268, section 4.2). A cue of a transcript
stands before the first frame that is not before its start; cues that fall on one place are joined by newlines.
`<vision>` and `</vision>` are text. A document is a row of spans of one modality; in a vision span each frame is
exactly its P codes and <eof> or <eov>, so a span can be cut at every multiple of P + 1.

Frames are handled as one array: a film of two hours at 4 frames a second and 256 codes takes some 30 ms.

Axes: T frames, P codes of a frame, n tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.transcript import Cue
from schemas.errors import ConfigError, DatasetError, InputError, Reason, VocabularyMismatch
from schemas.fingerprint import bucket
from schemas.vocab import TEXT, VISION, Vocabulary
from tokenizer.text import TextTokenizer

_DRAWS = 1 << 32


@dataclass(frozen=True, kw_only=True)
class InterleaveConfig:
    """How text is set beside pictures."""

    caption_first: float = 0.5
    """Share of videos and images whose captions stand before them; after the others."""
    seed: int = 0
    """Of the draw, which depends on nothing else but the item's identity."""

    def __post_init__(self) -> None:
        if not 0 <= self.caption_first <= 1:
            raise ConfigError(f"caption_first must lie in 0..1, got {self.caption_first}")


@dataclass(frozen=True)
class DocumentSpan:
    """A run of tokens of one modality; the times of text that belongs to no time are None."""

    start: int
    length: int
    modality: int
    start_s: float | None
    end_s: float | None


@dataclass(frozen=True)
class Document:
    """Tokens [n] in the vocabulary's type, and the spans that cover them in order and without a gap."""

    tokens: NDArray[Any]
    spans: list[DocumentSpan]
    frame_tokens: int  # codes of a frame + 1; 0 where there is no frame


@dataclass(frozen=True)
class TextSegment:
    """Text ids [n] of a document, from token `start`, without bos, eos and the vision markers."""

    start: int
    ids: NDArray[np.uint32]


@dataclass(frozen=True)
class VisionSegment:
    """Codes [T, P] of the frames between one `<vision>` and `</vision>`, from token `start`."""

    start: int
    codes: NDArray[np.uint32]


_Run = tuple[NDArray[Any], int, float | None, float | None]  # tokens, modality, start_s, end_s
_Times = tuple[float | None, float | None]


def book_document(ids: NDArray[Any], *, vocabulary: Vocabulary) -> Document:
    """Return the document of a book's text ids [n]; raises InputError (EMPTY) where there are none."""
    if not len(ids):
        raise InputError(Reason.EMPTY, "the book gave no tokens")
    return _document([_text_run([_ends(vocabulary)[0], ids, _ends(vocabulary)[1]])], vocabulary, frame_tokens=0)


def video_document(
    codes: NDArray[Any],
    *,
    frame_rate: float,
    start_s: float = 0.0,
    captions: Sequence[str] = (),
    cues: Sequence[Cue] = (),
    vocabulary: Vocabulary,
    text: TextTokenizer,
    config: InterleaveConfig,
    seed_identity: str,
) -> Document:
    """Return the document of a video's codes [T, P]; an image is a video of one frame.

    Frame t is at `start_s + t / frame_rate` seconds. A vision span lasts from its first frame to one frame's time
    after its last; a cue's span has the cue's own times; captions have none. Blank captions and cues are left out.
    Raises InputError (EMPTY) where there is no frame, VocabularyMismatch where codes or text are of another
    vocabulary.
    """
    _check(codes, frame_rate, vocabulary, text)
    times = start_s + np.arange(len(codes)) / frame_rate
    spoken = _spoken(cues, times)
    caption = "\n".join(c for c in captions if c.strip())
    is_first = bucket(f"{config.seed}:{seed_identity}", _DRAWS) < config.caption_first * _DRAWS

    before: list[tuple[str, _Times]] = [(caption, (None, None))] if caption and is_first else []
    after: list[tuple[str, _Times]] = [(caption, (None, None))] if caption and not is_first else []
    texts = {place: [said] for place, said in spoken.items()}
    texts[0] = before + texts.get(0, [])
    texts[len(codes)] = texts.get(len(codes), []) + after
    runs = _runs(codes, texts, times=times, frame_s=1 / frame_rate, vocabulary=vocabulary, text=text)
    return _document(runs, vocabulary, frame_tokens=codes.shape[1] + 1)


def parse_document(tokens: NDArray[Any], *, vocabulary: Vocabulary, frame_tokens: int) -> list[TextSegment | VisionSegment]:
    """Return what a document of tokens [n] holds, in order; the inverse of the functions above.

    `frame_tokens` is codes of a frame + 1, 0 for a book. Raises DatasetError that says at which token the rules are
    broken.
    """
    bos, eos = vocabulary.bos_id, vocabulary.eos_id
    _require(len(tokens) >= 2 and tokens[0] == bos, 0, f"a document begins with bos ({bos})")
    _require(tokens[-1] == eos, len(tokens) - 1, f"a document ends with eos ({eos})")
    _require(bool(np.all(tokens < vocabulary.size)), int(np.argmax(tokens >= vocabulary.size)), "no such id")
    vision = vocabulary.is_vision(tokens)
    edges = [0, *(np.flatnonzero(np.diff(vision)) + 1).tolist(), len(tokens)]
    segments: list[TextSegment | VisionSegment] = []
    for start, end in pairwise(edges):
        if vision[start]:
            segments.append(_vision_segment(tokens, start, end, vocabulary, frame_tokens))
        elif (segment := _text_segment(tokens, start, end, vocabulary)) is not None:
            segments.append(segment)
    return segments
