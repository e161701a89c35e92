"""Where a token of text stands in its document: the sentence around it, character, line and page.

A text is a run of text spans of one document: a whole book, or what stands between two runs of frames. It may be cut
into chunks in several sequences, so its tokens are read from the shards by way of the ledger. Characters and lines are
counted in the UTF-8 that the tokens spell, from its first character; pages by form feeds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.dataset.reader import Sequences
from pipeline.runtime.progress import readable
from schemas.errors import DatasetError
from schemas.vocab import TEXT, Vocabulary
from tokenizer.text.sentencepiece import TextTokenizer

_CHUNK = 1 << 20  # tokens whose bytes are counted at a time
_WINDOW = 1024  # tokens on either side among which the sentence's ends are looked for
_SIDE = 300  # characters shown of a sentence on either side of the token, at most
_SENTENCE_END = re.compile("[.!?…。！？][\"'”’»)\\]]*(\\s+|$)|\\n\\s*\\n|\\f")
_OPEN, _CLOSE = "⟦", "⟧"
_NEWLINE, _FORM_FEED = 10, 12


class TextPlace(NamedTuple):
    """The sentence with the token marked, and where the token begins; `character` is None for a mark of structure."""

    sentence: str
    character: int | None = None  # from 0
    line: int = 1
    page: int = 1
    pages: int = 1


def place_in_text(
    row: Mapping[str, Any],
    offset: int,
    document: list[Mapping[str, Any]],
    sequences: Sequences,
    vocabulary: Vocabulary,
    text: TextTokenizer,
) -> TextPlace:
    """Return where the token `offset` of the span `row` stands; `document` are the rows of its document, in order.

    Raises DatasetError where a shard does not hold what the ledger says.
    """
    run = _run(row, document)
    tokens = np.concatenate([sequences.tokens(r["shard"], r["sequence"], r["start"], r["length"]) for r in run])
    if tokens.max() >= vocabulary.text_size:
        raise DatasetError(f"document {row['document_id']} has a span of text with a code in it; run `longreel verify`")
    at = row["document_start"] - run[0]["document_start"] + offset
    begins, ends = run[0]["document_start"] == 0, run[-1] is document[-1]
    head = (vocabulary.bos_id,) if begins else vocabulary.end_vision
    tail = (vocabulary.eos_id,) if ends else vocabulary.begin_vision
    first = len(head) if tuple(tokens[: len(head)].tolist()) == head else 0
    end = len(tokens) - (len(tail) if tuple(tokens[-len(tail) :].tolist()) == tail else 0)
    if at < first:
        return TextPlace("the document begins here" if begins else "the mark </vision>, which ends frames")
    if at >= end:
        return TextPlace("the document ends here" if ends else "the mark <vision>, which begins frames")
    return place_in_tokens(tokens[first:end], at - first, text)


def place_in_tokens(tokens: NDArray[Any], at: int, text: TextTokenizer) -> TextPlace:
    """Return where token `at` of a text's `tokens` [n] stands."""
    before, token, after = tokens[:at], text.surface(tokens[at : at + 1]), tokens[at + 1 :]
    characters = lines = feeds = feeds_after = 0
    for data in _bytes(before, text):
        characters += int(np.count_nonzero(~_is_inner(data)))
        lines += int(np.count_nonzero(data == _NEWLINE))
        feeds += int(np.count_nonzero(data == _FORM_FEED))
    for data in _bytes(tokens[at:], text):
        feeds_after += int(np.count_nonzero(data == _FORM_FEED))
    left, right = text.surface(before[-_WINDOW:]), text.surface(after[:_WINDOW])
    added = len(text.prefix) if text.surface(tokens[:1]).startswith(text.prefix.encode()) else 0
    if added and len(before) <= _WINDOW:  # the space that the model put before the first word
        left, token = (left[added:], token) if left else (left, token[added:])
    inner = bool(token) and bool(_is_inner(np.frombuffer(token[:1], np.uint8))[0])
    return TextPlace(
        sentence=mark(left, token, right),
        character=max(0, characters - added - inner),  # a token within a character stands where that one begins
        line=lines + 1,
        page=feeds + 1,
        pages=feeds + feeds_after + 1,
    )


def mark(left: bytes, token: bytes, right: bytes) -> str:
    """Return the sentence that `token` is in, the token between brackets; `left` and `right` are what is around it.

    Of a character that is spelled in several tokens the whole is marked.
    """
    data = np.frombuffer(left + token + right, np.uint8)
    whole = np.flatnonzero(~_is_inner(data))  # where characters begin
    start, end = len(left), len(left) + len(token)
    if token:
        start = int(whole[np.searchsorted(whole, start, side="right") - 1]) if len(whole) and whole[0] <= start else 0
        end = int(whole[i]) if (i := np.searchsorted(whole, end)) < len(whole) else len(data)
    first = int(whole[0]) if len(whole) and whole[0] <= start else 0  # the window may begin within a character
    parts = [data[a:b].tobytes().decode(errors="replace") for a, b in ((first, start), (start, end), (end, None))]
    begin, stop = _sentence(*parts)
    before, after = parts[0][begin:], parts[2][:stop]
    before = "… " + before[-_SIDE:] if len(before) > _SIDE else before
    after = after[:_SIDE] + " …" if len(after) > _SIDE else after
    flat = (re.sub(r"\s+", " ", part) for part in (before, after))
    shown_before, shown_after = (readable(part) for part in flat)
    return f"{shown_before}{_OPEN}{readable(parts[1])}{_CLOSE}{shown_after}".strip()


def _run(row: Mapping[str, Any], document: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the spans of text around `row`, up to frames or the document's ends."""
    at = next(i for i, r in enumerate(document) if r["document_start"] == row["document_start"])
    first, end = at, at + 1
    while first and document[first - 1]["modality"] == TEXT:
        first -= 1
    while end < len(document) and document[end]["modality"] == TEXT:
        end += 1
    return document[first:end]


def _bytes(tokens: NDArray[Any], text: TextTokenizer) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(tokens), _CHUNK):
        yield np.frombuffer(text.surface(tokens[start : start + _CHUNK]), np.uint8)


def _is_inner(data: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell the second and later bytes of a character in UTF-8."""
    return (data & 0xC0) == 0x80


def _sentence(left: str, token: str, right: str) -> tuple[int, int]:
    """Return where in `left` the token's sentence begins, and where in `right` it ends."""
    whole = left + token + right
    ends = [m.end() for m in _SENTENCE_END.finditer(whole)]
    spaces = len(token) - len(token.lstrip())
    begin = max((e for e in ends if e <= len(left) + (spaces if spaces < len(token) else 0)), default=0)
    stop = min((e for e in ends if e >= len(left) + len(token)), default=len(whole))
    return min(begin, len(left)), stop - len(left) - len(token)
