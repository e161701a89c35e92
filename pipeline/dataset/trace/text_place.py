"""The position of a text token in its document: the sentence around it, character, line and page.

A text is a run of consecutive text spans of one document: a whole book, or the text between two runs of frames. Its
chunks can be in several sequences, so the ledger is used to read its tokens from the shards. Characters, lines and
pages (form feeds) are counted in the UTF-8 that the tokens decode to, from the start of the text.

Axes: n tokens of a text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.dataset.reader import Sequences
from schemas.errors import DatasetError
from schemas.printable import printable
from schemas.rows import LedgerRow
from schemas.vocab import TEXT, Vocabulary
from tokenizer.text.tokenizer import TextTokenizer

_BATCH = 1 << 20  # tokens that are decoded at a time
_WINDOW = 1024  # tokens on either side that are searched for the ends of the sentence
_SIDE = 300  # most characters of the sentence shown on either side of the token
_SENTENCE_END = re.compile("[.!?…。！？][\"'”’»)\\]]*(\\s+|$)|\\n\\s*\\n|\\f")
_OPEN, _CLOSE = "⟦", "⟧"
_NEWLINE, _FORM_FEED = 10, 12


class TextPlace(NamedTuple):
    """The sentence with the token marked, and the position of the token; `character` is None for a structural token."""

    sentence: str
    character: int | None = None  # from 0
    line: int = 1
    page: int = 1
    pages: int = 1


def place_in_text(
    row: LedgerRow,
    offset: int,
    document: list[LedgerRow],
    sequences: Sequences,
    vocabulary: Vocabulary,
    text: TextTokenizer,
) -> TextPlace:
    """Return the position of token `offset` of the span `row`; `document` has all rows of its document, in order.

    Raises DatasetError if the shards differ from the ledger.
    """
    run = _run(row, document)
    tokens = np.concatenate([sequences.tokens(r.shard, r.sequence, r.start, r.length) for r in run])
    if tokens.max() >= vocabulary.text_size:
        raise DatasetError(f"document {row.document_id} has a vision token in a text span; run `longreel verify`")
    at = row.document_start - run[0].document_start + offset
    begins, ends = run[0].document_start == 0, run[-1] is document[-1]
    head = (vocabulary.bos_id,) if begins else vocabulary.end_vision
    tail = (vocabulary.eos_id,) if ends else vocabulary.begin_vision
    first = len(head) if tuple(tokens[: len(head)].tolist()) == head else 0
    end = len(tokens) - (len(tail) if tuple(tokens[-len(tail) :].tolist()) == tail else 0)
    if at < first:
        return TextPlace("start of the document" if begins else "</vision>, the marker after frames")
    if at >= end:
        return TextPlace("end of the document" if ends else "<vision>, the marker before frames")
    return place_in_tokens(tokens[first:end], at - first, text)


def place_in_tokens(tokens: NDArray[Any], at: int, text: TextTokenizer) -> TextPlace:
    """Return the position of token `at` of the `tokens` [n] of a text."""
    before, token, after = tokens[:at], text.surface(tokens[at : at + 1]), tokens[at + 1 :]
    characters = lines = feeds = feeds_after = 0
    for data in _bytes(before, text):
        characters += int(np.count_nonzero(~_is_continuation(data)))
        lines += int(np.count_nonzero(data == _NEWLINE))
        feeds += int(np.count_nonzero(data == _FORM_FEED))
    for data in _bytes(tokens[at:], text):
        feeds_after += int(np.count_nonzero(data == _FORM_FEED))
    left, right = text.surface(before[-_WINDOW:]), text.surface(after[:_WINDOW])
    added = len(text.prefix) if text.surface(tokens[:1]).startswith(text.prefix.encode()) else 0
    if added and len(before) <= _WINDOW:  # remove the space that the model adds before the first word
        left, token = (left[added:], token) if left else (left, token[added:])
    continues = bool(token) and bool(_is_continuation(np.frombuffer(token[:1], np.uint8))[0])
    return TextPlace(
        sentence=mark(left, token, right),
        character=max(
            0, characters - added - continues
        ),  # a token within a character is at the start of that character
        line=lines + 1,
        page=feeds + 1,
        pages=feeds + feeds_after + 1,
    )


def mark(left: bytes, token: bytes, right: bytes) -> str:
    """Return the sentence that contains `token`, with the token in brackets. `left` and `right` are the bytes around.

    If the token is a part of a character, the whole character is in the brackets.
    """
    data = np.frombuffer(left + token + right, np.uint8)
    starts = np.flatnonzero(~_is_continuation(data))  # of characters
    start, end = len(left), len(left) + len(token)
    if token:
        start = (
            int(starts[np.searchsorted(starts, start, side="right") - 1]) if len(starts) and starts[0] <= start else 0
        )
        end = int(starts[i]) if (i := np.searchsorted(starts, end)) < len(starts) else len(data)
    first = int(starts[0]) if len(starts) and starts[0] <= start else 0  # the window can begin within a character
    parts = [data[a:b].tobytes().decode(errors="replace") for a, b in ((first, start), (start, end), (end, None))]
    begin, stop = _sentence(*parts)
    before, after = parts[0][begin:], parts[2][:stop]
    before = "… " + before[-_SIDE:] if len(before) > _SIDE else before
    after = after[:_SIDE] + " …" if len(after) > _SIDE else after
    flat = (re.sub(r"\s+", " ", part) for part in (before, after))
    shown_before, shown_after = (printable(part) for part in flat)
    return f"{shown_before}{_OPEN}{printable(parts[1])}{_CLOSE}{shown_after}".strip()


def _run(row: LedgerRow, document: list[LedgerRow]) -> list[LedgerRow]:
    """Return the consecutive text spans around `row`."""
    at = next(i for i, r in enumerate(document) if r.document_start == row.document_start)
    first, end = at, at + 1
    while first and document[first - 1].modality == TEXT:
        first -= 1
    while end < len(document) and document[end].modality == TEXT:
        end += 1
    return document[first:end]


def _bytes(tokens: NDArray[Any], text: TextTokenizer) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(tokens), _BATCH):
        yield np.frombuffer(text.surface(tokens[start : start + _BATCH]), np.uint8)


def _is_continuation(data: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which bytes are the second or a later byte of a UTF-8 character."""
    return (data & 0xC0) == 0x80


def _sentence(left: str, token: str, right: str) -> tuple[int, int]:
    """Return the start of the token's sentence in `left` and its end in `right`."""
    whole = left + token + right
    ends = [m.end() for m in _SENTENCE_END.finditer(whole)]
    spaces = len(token) - len(token.lstrip())
    begin = max((e for e in ends if e <= len(left) + (spaces if spaces < len(token) else 0)), default=0)
    stop = min((e for e in ends if e >= len(left) + len(token)), default=len(whole))
    return min(begin, len(left)), stop - len(left) - len(token)
