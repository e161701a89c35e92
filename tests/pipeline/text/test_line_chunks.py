from __future__ import annotations

import pytest

from pipeline.text.line_chunks import line_chunks
from schemas.deadline import time_limit


@pytest.mark.parametrize("text", ["", "a", "a\n", "line\n" * 30_000, "x" * 200_000 + "\n" + "y" * 10, "\n" * 70_000])
def test_chunks_end_at_line_ends_and_are_the_text(text: str) -> None:
    chunks = list(line_chunks(text))
    assert "".join(chunks) == text
    assert all(chunk.endswith("\n") for chunk in chunks[:-1])


def test_a_long_line_is_divided_on_request() -> None:
    chunks = list(line_chunks("x" * 250_000 + "\nend", max_chars=100_000))
    assert [len(chunk) for chunk in chunks] == [100_000, 100_000, 50_001, 3]


def test_there_is_a_checkpoint_before_each_chunk() -> None:
    calls: list[int] = []
    with time_limit(None, check=lambda: calls.append(1)):
        assert len(list(line_chunks("line\n" * 30_000))) == len(calls) > 1
