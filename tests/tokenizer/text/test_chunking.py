from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer.text.chunking import BLOCK_CHARS, blocks

SYMBOLS = ["<vision>", "</vision>", "<", "vision>", "\u2581", " ", "  ", "\n", "\r\n", "漢字", "the", "argument"]
texts = st.lists(st.sampled_from(SYMBOLS) | st.text(max_size=8), max_size=12).map("".join)
long_texts = st.lists(texts.map(lambda text: text * 200), max_size=3).map("".join)


@given(text=long_texts)
@settings(deadline=None, max_examples=30)
def test_blocks_are_short_and_their_concatenation_is_the_text(text: str) -> None:
    pieces = list(blocks([text]))
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= BLOCK_CHARS for piece in pieces)


@given(text=long_texts, cuts=st.lists(st.integers(0, 20_000), max_size=8))
@settings(deadline=None, max_examples=30)
def test_blocks_do_not_depend_on_the_chunks(text: str, cuts: list[int]) -> None:
    edges = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    chunks = [text[start:end] for start, end in itertools.pairwise(edges)]
    assert list(blocks([*chunks, ""])) == list(blocks([text]))


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("a\nb c\n" + "x" * 2000, "a\nb c\n"),  # after the last newline
        ("a b" + "x" * 2000, "a"),  # before the last space
        ("x" * 2000, "x" * BLOCK_CHARS),
        ("x" * (BLOCK_CHARS - 3) + "<vision>", "x" * (BLOCK_CHARS - 3)),  # before a possible marker
        ("short", "short"),
    ],
)
def test_a_block_ends_at_the_best_boundary(text: str, first: str) -> None:
    assert next(blocks([text])) == first


def test_no_text_has_no_blocks() -> None:
    assert list(blocks([])) == list(blocks(["", ""])) == []
