"""Evaluation sets: which files are accepted, and which ranges of a text they remove."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.filters.decontamination import NGRAM_WORDS, load_sets
from pipeline.text.words import split_words
from schemas.errors import ConfigError
from schemas.storage.location import Location
from tests.support.texts import story

TEXT = story(1, 40)
WORDS = split_words(TEXT)


def question(first: int, count: int) -> str:
    """Return `count` words of the text, in capitals and without punctuation."""
    some = range(first, first + count)
    return " ".join(TEXT[WORDS.starts[i] : WORDS.ends[i]].upper() for i in some)


def write_set(path: Path, texts: list[str]) -> Location:
    path.write_text("\n".join(json.dumps({"id": i, "q": [{"text": text}]}) for i, text in enumerate(texts)))
    return Location.parse(path)


def test_shared_13_grams_are_removed_with_a_margin_and_whole_words(tmp_path: Path) -> None:
    sets = load_sets((write_set(tmp_path / "set.jsonl", [question(300, 20), "too short"]),))
    assert sets is not None
    assert len(sets.ngrams) == 20 - NGRAM_WORDS + 1
    ((start, end, count),) = sets.ranges(WORDS, len(TEXT))
    assert count == 8
    assert start in WORDS.starts
    assert end in WORDS.ends
    assert 180 <= WORDS.starts[300] - start <= 200
    assert 200 <= end - WORDS.ends[319] <= 220


def test_ranges_end_with_the_text(tmp_path: Path) -> None:
    sets = load_sets((write_set(tmp_path / "set.jsonl", [question(0, 13), question(len(WORDS.hashes) - 13, 13)]),))
    assert sets is not None
    (first, last) = sets.ranges(WORDS, len(TEXT))
    assert first[0] == 0
    assert last[1] == len(TEXT)


def test_other_texts_are_left_whole(tmp_path: Path) -> None:
    sets = load_sets((write_set(tmp_path / "set.jsonl", [question(300, 20)]),))
    assert sets is not None
    other = story(7, 40)
    assert sets.ranges(split_words(other), len(other)) == []
    assert sets.ranges(split_words(""), 0) == []


def test_the_order_of_the_sets_does_not_matter(tmp_path: Path) -> None:
    one, other = Location.parse(tmp_path / "a.txt"), write_set(tmp_path / "b.jsonl", [question(300, 20)])
    one.write(story(9, 3).encode())
    first, second = load_sets((one, other)), load_sets((other, one))
    assert first is not None
    assert second is not None
    assert first.sha256 == second.sha256
    assert first.ngrams.tolist() == second.ngrams.tolist()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "a", "must be a .txt or .jsonl file"),
        ("a.txt", "a b c", f"no text of {NGRAM_WORDS} words"),
        ("a.jsonl", "{", "line 1: not JSON"),
        ("gone.txt", None, "cannot be read: no file"),
    ],
)
def test_an_unusable_evaluation_set_raises(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_sets((Location.parse(tmp_path / name),))
    assert load_sets(()) is None
