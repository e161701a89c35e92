"""Interleave frames, captions and transcripts into one document of tokens, and parse a document back.

    book     bos  text  eos
    image    bos  <vision> frame eov </vision>  caption  eos        (or the caption first)
    video    bos  <vision> frame eof … frame eov </vision>  cue  <vision> frame eof … eov </vision>  caption  eos
    qa       bos  context and question  answer  question  answer  eos

A hash chooses the order of caption and video, as in LWM (arXiv 2402.08268, section 4.2). A cue of a transcript precedes
the first frame at or after its start; cues at the same position are joined by newlines. `<vision>` and `</vision>` are
text. A document is a sequence of spans, each with one modality and one weight; in a vision span each frame is its P
codes and <eof> or <eov>, so that a span can be cut at every multiple of P + 1.

Frames are processed as one array: a film of two hours, 28,800 frames of 256 codes, takes about 10 ms, and 0.3 s with
1,500 cues to encode.

Axes: T frames, P codes of a frame, n tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.text.transcripts.cues import Cue
from schemas.errors import ConfigError, DatasetError, InputError, Reason, VocabularyMismatch
from schemas.fingerprint import bucket
from schemas.rows import DocumentSpan
from schemas.vocab import TEXT, VISION, Vocabulary
from tokenizer.text.tokenizer import TextTokenizer

_DRAWS = 1 << 32


@dataclass(frozen=True, kw_only=True)
class InterleaveConfig:
    """The order of text and frames."""

    caption_first: float = 0.5
    """Fraction of videos and images, 0 to 1, with the caption before the frames; the others have it after them."""
    seed: int = 0
    """Random seed for the order of caption and frames. The order also depends on the content of the item."""

    def __post_init__(self) -> None:
        if not 0 <= self.caption_first <= 1:
            raise ConfigError(f"caption_first must lie in 0..1, got {self.caption_first}")


@dataclass(frozen=True)
class Document:
    """Tokens [n] in the vocabulary's type, and the spans that cover them in order without gaps."""

    tokens: NDArray[Any]
    spans: list[DocumentSpan]
    frame_tokens: int  # codes per frame + 1; 0 without frames


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


class _Times(NamedTuple):
    start_s: float | None
    end_s: float | None


class _Run(NamedTuple):
    tokens: NDArray[Any]
    modality: int
    times: _Times
    weight: float = 1.0


_TIMELESS = _Times(None, None)
_TextsByFrame = dict[int, list[tuple[str, _Times]]]  # by index of the following frame; T: after the last frame


def book_document(ids: NDArray[Any], *, vocabulary: Vocabulary) -> Document:
    """Return the document of a book's text ids [n]; raises InputError (EMPTY) if there are none."""
    return text_document([(ids, 1.0)], vocabulary=vocabulary)


def text_document(parts: Iterable[tuple[NDArray[Any], float]], *, vocabulary: Vocabulary) -> Document:
    """Return the document of text ids [n] and their weights as targets; raises InputError (EMPTY) if all weights are 0.

    bos has the weight of the first part and eos that of the last, so that the model also learns where an answer ends.
    """
    runs = [_Run(ids, TEXT, _TIMELESS, weight) for ids, weight in parts if len(ids)]
    if not any(run.weight for run in runs):
        raise InputError(Reason.EMPTY, "the text gave no tokens to learn")
    bos, eos = np.array([vocabulary.bos_id]), np.array([vocabulary.eos_id])
    runs = [runs[0]._replace(tokens=bos), *runs, runs[-1]._replace(tokens=eos)]
    return _document(runs, vocabulary, frame_tokens=0)


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
    after its last; a cue's span has the cue's own times; captions have none. Blank captions and cues are omitted.
    Raises InputError (EMPTY) if there are no frames, VocabularyMismatch if codes or text belong to another vocabulary.
    """
    _check(codes, frame_rate, vocabulary, text)
    times = start_s + np.arange(len(codes)) / frame_rate
    texts = _texts_by_frame(cues, times)
    if caption := "\n".join(c for c in captions if c.strip()):
        is_first = bucket(f"{config.seed}:{seed_identity}", _DRAWS) < config.caption_first * _DRAWS
        frame = 0 if is_first else len(codes)
        texts[frame].insert(0 if is_first else len(texts[frame]), (caption, _TIMELESS))

    frames = _frame_tokens(codes, sorted(texts)[1:], vocabulary)
    runs: list[_Run] = []
    for first, end in pairwise([*sorted(texts), len(codes)]):
        runs += _text_runs(texts[first], frame=first, frame_count=len(codes), vocabulary=vocabulary, text=text)
        if first < end:
            span = _Times(float(times[first]), float(times[end - 1]) + 1 / frame_rate)
            runs.append(_Run(frames[first:end].reshape(-1), VISION, span))
    return _document(runs, vocabulary, frame_tokens=frames.shape[1])


def parse_document(
    tokens: NDArray[Any], *, vocabulary: Vocabulary, frame_tokens: int
) -> list[TextSegment | VisionSegment]:
    """Return the segments of a document of tokens [n] in order; the inverse of the functions above.

    `frame_tokens` is the number of codes per frame + 1, or 0 for a document without frames. Raises DatasetError with
    the position of the first token that violates the layout.
    """
    _require(len(tokens) > 0, "is empty", at=0)
    _require(
        bool(np.all(tokens < vocabulary.size)),
        "is not an id of the vocabulary",
        at=int(np.argmax(tokens >= vocabulary.size)),
    )
    vision = vocabulary.is_vision(tokens)
    edges = [0, *(np.flatnonzero(np.diff(vision)) + 1).tolist(), len(tokens)]
    segments: list[TextSegment | VisionSegment] = []
    for start, end in pairwise(edges):
        if vision[start]:
            segments.append(_parse_vision(tokens, start, end, vocabulary=vocabulary, frame_tokens=frame_tokens))
        elif len((segment := _parse_text(tokens, start, end, vocabulary=vocabulary)).ids):
            segments.append(segment)
    return segments


def _check(codes: NDArray[Any], frame_rate: float, vocabulary: Vocabulary, text: TextTokenizer) -> None:
    if codes.ndim != 2 or codes.dtype.kind not in "iu":
        raise ConfigError(f"codes must be integers [T, P], got {codes.dtype} {list(codes.shape)}")
    if not (math.isfinite(frame_rate) and frame_rate > 0):
        raise ConfigError(f"frame_rate must be above 0, got {frame_rate}")
    if not codes.size:
        raise InputError(Reason.EMPTY, "it has no frames")
    if not vocabulary.begin_vision:
        raise ConfigError("the text tokenizer has no pieces for <vision>, so documents cannot have frames")
    if text.sha256 != vocabulary.text_sha256:
        raise VocabularyMismatch(
            f"the vocabulary was made with text model {vocabulary.text_sha256[:12]}…, "
            f"but the loaded text model is {text.sha256[:12]}…"
        )
    low, high = int(codes.min()), int(codes.max())
    if low < 0 or high >= vocabulary.codebook_size:
        raise VocabularyMismatch(f"codes lie in {low}..{high}, but the codebook has {vocabulary.codebook_size} entries")


def _texts_by_frame(cues: Sequence[Cue], times: NDArray[np.float64]) -> _TextsByFrame:
    """Join the cues that precede the same frame; the keys 0 and T always exist."""
    not_blank = sorted((cue for cue in cues if cue.text.strip()), key=lambda cue: (cue.start_s, cue.end_s))
    following = np.searchsorted(times, [cue.start_s for cue in not_blank], side="left").tolist()
    texts: _TextsByFrame = {0: [], len(times): []}
    for frame, group in groupby(zip(following, not_blank, strict=True), key=itemgetter(0)):
        joined = [cue for _, cue in group]
        span = _Times(joined[0].start_s, max(cue.end_s for cue in joined))
        texts[frame] = [("\n".join(cue.text for cue in joined), span)]
    return texts


def _frame_tokens(codes: NDArray[Any], ends: Sequence[int], vocabulary: Vocabulary) -> NDArray[Any]:
    """Return [T, P + 1]: the codes of each frame as ids, then <eov> if a vision span ends there, otherwise <eof>."""
    frames = np.empty((codes.shape[0], codes.shape[1] + 1), vocabulary.dtype)
    frames[:, :-1] = codes
    frames[:, :-1] += vocabulary.dtype.type(vocabulary.text_size)
    frames[:, -1] = vocabulary.eof
    frames[np.asarray(ends) - 1, -1] = vocabulary.eov
    return frames


def _text_runs(
    texts: list[tuple[str, _Times]], *, frame: int, frame_count: int, vocabulary: Vocabulary, text: TextTokenizer
) -> Iterator[_Run]:
    """Yield the texts before `frame` with their markers.

    A vision marker has the times of the adjacent text; bos and eos have none.
    """
    is_first, is_last = frame == 0, frame == frame_count
    opening_times = _TIMELESS if is_first or not texts else texts[0][1]
    closing_times = _TIMELESS if is_last or not texts else texts[-1][1]
    lines = [line + "\n" for line, _ in texts[:-1]] + [line for line, _ in texts[-1:]]
    yield _Run(np.asarray([vocabulary.bos_id] if is_first else vocabulary.end_vision), TEXT, opening_times)
    for ids, (_, times) in zip(text.encode_parts(lines), texts, strict=True):
        yield _Run(ids, TEXT, times)
    yield _Run(np.asarray([vocabulary.eos_id] if is_last else vocabulary.begin_vision), TEXT, closing_times)


def _document(runs: Iterable[_Run], vocabulary: Vocabulary, *, frame_tokens: int) -> Document:
    """Concatenate the runs; adjacent runs of equal modality, times and weight become one span."""
    tokens: list[NDArray[Any]] = []
    spans: list[DocumentSpan] = []
    start = 0
    for (modality, times, weight), group in groupby(runs, key=lambda run: run[1:]):
        parts = [run.tokens.astype(vocabulary.dtype, copy=False) for run in group]
        length = sum(map(len, parts))
        tokens += parts
        spans.append(DocumentSpan(start, length, modality, times.start_s, times.end_s, weight))
        start += length
    return Document(np.concatenate(tokens), spans, frame_tokens)


def _parse_text(tokens: NDArray[Any], start: int, end: int, *, vocabulary: Vocabulary) -> TextSegment:
    head, head_name = ((vocabulary.bos_id,), "bos") if start == 0 else (vocabulary.end_vision, "</vision>")
    tail, tail_name = ((vocabulary.eos_id,), "eos") if end == len(tokens) else (vocabulary.begin_vision, "<vision>")
    body, stop = start + len(head), end - len(tail)
    _require(tuple(tokens[start:body].tolist()) == head, f"is not the start of {head_name}", at=start)
    has_tail = body <= stop and tuple(tokens[stop:end].tolist()) == tail
    _require(has_tail, f"is not the start of {tail_name}", at=max(stop, start))
    ids = tokens[body:stop]
    for special in ((vocabulary.bos_id,), (vocabulary.eos_id,), vocabulary.begin_vision, vocabulary.end_vision):
        found = _find(ids, special) if special else None
        _require(
            found is None, f"is the start of {special}, which is not allowed within a text", at=body + (found or 0)
        )
    return TextSegment(body, ids)


def _parse_vision(
    tokens: NDArray[Any], start: int, end: int, *, vocabulary: Vocabulary, frame_tokens: int
) -> VisionSegment:
    _require(frame_tokens > 1, f"is a vision token, but the document has {frame_tokens} tokens per frame", at=start)
    whole = (end - start) // frame_tokens * frame_tokens
    frames = tokens[start : start + whole].reshape(-1, frame_tokens)
    codes, frame_ends = frames[:, :-1], frames[:, -1]
    wrong = np.empty(frames.shape, np.bool_)
    wrong[:, :-1] = codes >= vocabulary.eof
    wrong[:, -1] = frame_ends != vocabulary.eof
    wrong[-1:, -1] = frame_ends[-1:] != vocabulary.eov
    at = int(np.argmax(wrong)) if wrong.any() else whole
    rule = f"violates the layout of frames: {frame_tokens - 1} codes, then <eof>, or <eov> after the last frame"
    _require(at == end - start, rule, at=start + at)
    return VisionSegment(start, codes - vocabulary.dtype.type(vocabulary.text_size))


def _find(ids: NDArray[Any], special: tuple[int, ...]) -> int | None:
    """Return the position of the first occurrence of `special` in ids [n], or None."""
    positions = len(ids) - len(special) + 1
    if positions < 1:
        return None
    match = np.logical_and.reduce([ids[i : i + positions] == token for i, token in enumerate(special)])
    return int(np.argmax(match)) if match.any() else None


def _require(holds: bool, message: str, *, at: int) -> None:
    if not holds:
        raise DatasetError(f"the document is malformed: token {at} {message}")
