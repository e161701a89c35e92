from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.qa_generation.chunks import split_chunks
from tests.support.texts import story


def test_chunks_are_the_text_and_end_with_lines() -> None:
    text = story(1, 40)
    chunks = list(split_chunks(text, words=120))
    assert "".join(chunk.text for chunk in chunks) == text
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    assert all(text[chunk.start : chunk.end] == chunk.text for chunk in chunks)
    assert all(chunk.words >= 120 for chunk in chunks[:-1])
    assert len(chunks) > 3


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 60))
def test_no_word_is_lost_and_only_a_single_chunk_is_short(lines: list[int], words: int) -> None:
    text = "".join("word " * count + "\n" for count in lines)
    chunks = list(split_chunks(text, words=words))
    assert "".join(chunk.text for chunk in chunks) == text
    assert sum(chunk.words for chunk in chunks) == sum(lines)
    assert all(chunk.words >= words // 2 for chunk in chunks) or len(chunks) == 1


def test_a_text_without_words_has_no_chunks() -> None:
    assert list(split_chunks("\n\n * * *\n", words=10)) == []
