"""Passages: content-defined boundaries, sizes and coverage."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.text.passages import split_passages
from tests.support.texts import story


@given(st.text(max_size=300))
@settings(deadline=None)
def test_passages_cover_every_text_without_gaps(text: str) -> None:
    assert "".join(text[p.start : p.end] for p in split_passages(text)) == text


def test_passages_have_1000_to_4500_words() -> None:
    for text in (story(1, 400), story(1, 400).replace("\n", " ")):
        passages = split_passages(text)
        assert all(1000 <= p.words <= 4500 for p in passages[:-1])
        assert passages[-1].words <= 4500


def test_change_moves_only_nearby_boundaries() -> None:
    text = story(1, 400)
    ends = {text[p.end - 40 : p.end] for p in split_passages(text)}
    changed = "A new preface by another hand.\n\n" + text.replace("kettle", "teapot", 3)
    assert len(ends & {changed[p.end - 40 : p.end] for p in split_passages(changed)}) >= len(ends) - 3


def test_short_text_is_one_passage_and_empty_text_none() -> None:
    (passage,) = split_passages("Call me Ishmael.")
    assert passage == (0, 16, 3)
    assert split_passages("") == []
