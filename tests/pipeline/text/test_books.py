"""Books from file to chunks of clean text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.text.books import BookConfig, kept_ranges, load_book, read_book
from pipeline.text.cleaning.steps import STEPS
from schemas.deadline import time_limit
from schemas.errors import ConfigError, InputError, Reason
from tests.support.golden import check_golden
from tests.support.texts import story, wrapped

PLAIN = BookConfig(
    repair_text=False, strip_boilerplate=False, strip_running_headers=False, join_hyphens=False, join_lines=False
)


def rejection(path: Path, config: BookConfig = PLAIN) -> tuple[Reason, str]:
    with pytest.raises(InputError) as caught:
        list(read_book(path, config))
    return caught.value.reason, str(caught.value)


def test_files_that_cannot_be_opened_have_a_reason(tmp_path: Path) -> None:
    assert rejection(tmp_path / "nowhere.txt")[0] is Reason.MISSING
    assert rejection(tmp_path)[0] is Reason.UNREADABLE
    (tmp_path / "long.txt").write_text("x" * 101)
    assert rejection(tmp_path / "long.txt", BookConfig(max_bytes=100))[0] is Reason.TOO_LARGE
    (tmp_path / "blank.txt").write_text(" \n\t")
    assert rejection(tmp_path / "blank.txt")[0] is Reason.EMPTY
    with pytest.raises(ConfigError, match="max_bytes must be at least 1, got 0"):
        BookConfig(max_bytes=0)


def test_text_is_unchanged_without_cleaning(tmp_path: Path) -> None:
    text = "*** START OF THE PROJECT GUTENBERG EBOOK X ***\r\n\r\n  page \x0c1\r ﬁ&amp; exam-\nple \n\n\n\n\n"
    (tmp_path / "a.txt").write_bytes(text.encode())
    assert load_book(tmp_path / "a.txt", PLAIN).text == text.replace("\r\n", "\n").replace("\r", "\n")


def test_chunks_contain_everything_except_the_cuts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(wrapped(story(1)))
    text = load_book(tmp_path / "a.txt", BookConfig()).text
    assert text == story(1)
    cuts = [(100, 200), (150, 300), (1000, 1100)]
    chunks = list(read_book(tmp_path / "a.txt", BookConfig(), cuts=cuts, chunk_chars=64))
    assert "".join(chunks) == text[:100] + text[300:1000] + text[1100:]
    assert max(map(len, chunks)) == 64
    known = load_book(tmp_path / "a.txt", BookConfig()).content_id
    assert "".join(read_book(tmp_path / "a.txt", BookConfig(), content_id=known)) == text
    with pytest.raises(InputError, match="differs from the surveyed text") as caught:
        list(read_book(tmp_path / "a.txt", BookConfig(join_lines=False), content_id=known))
    assert caught.value.reason is Reason.CHANGED
    everything = [(0, len(text))]
    with pytest.raises(InputError, match="no text is left after the cuts"):
        list(read_book(tmp_path / "a.txt", BookConfig(), cuts=everything))


ranges = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted), max_size=6)


@given(cuts=ranges)
def test_every_character_is_kept_or_cut(cuts: list[list[int]]) -> None:
    kept = {i for a, b in kept_ranges(50, [(a, b) for a, b in cuts]) for i in range(a, b)}
    assert kept == set(range(50)) - {i for a, b in cuts for i in range(a, b)}


def test_every_cleaning_step_has_an_option_and_is_in_the_fingerprint() -> None:
    names = [step.name for step in STEPS]
    assert list(BookConfig().steps) == names
    assert PLAIN.steps == ()
    fingerprints = {BookConfig(**{name: False}).fingerprint_fields for name in names}  # type: ignore[arg-type]
    assert len(fingerprints | {BookConfig().fingerprint_fields}) == len(names) + 1


def test_clean_text_changes_only_with_the_version(tmp_path: Path) -> None:
    header = "The Project Gutenberg eBook of A Story\n\n*** START OF THE PROJECT GUTENBERG EBOOK A STORY ***\n\n"
    footer = "\n*** END OF THE PROJECT GUTENBERG EBOOK A STORY ***\n\nMuch law.\n"
    pages = [f"THE OLD MILL\n\n{wrapped(story(n, 4), 60)}\n{n}" for n in range(1, 9)]
    body = "\n\f".join(pages) + "\n\nThe caf\u00c3\u00a9 of the exam-\nple, an example. Call +44 20 7946 0958.\n"
    (tmp_path / "a.txt").write_text(header + body + footer)
    config = BookConfig(mask_pii=True)
    book = load_book(tmp_path / "a.txt", config)
    check_golden("clean_text", config.fingerprint_fields, {"text": book.text.split("\n"), "counts": dict(book.counts)})


def test_a_book_that_would_take_too_much_memory_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"a\n" * 20_000)
    with pytest.raises(
        InputError, match="20,000 lines takes more than 2 MiB of memory; raise books.max-memory-mb"
    ) as e:
        load_book(tmp_path / "a.txt", BookConfig(max_memory_mb=2))
    assert e.value.reason is Reason.MEMORY
    assert load_book(tmp_path / "a.txt", BookConfig(max_memory_mb=3)).text


def test_reading_a_book_ends_at_its_time_limit(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A line of a long book, which goes on.\n" * 100_000)
    with pytest.raises(InputError) as e, time_limit(0.01):
        load_book(tmp_path / "a.txt", BookConfig())
    assert e.value.reason is Reason.TIMEOUT
    with pytest.raises(ConfigError, match="time_limit_s must be above 0, got 0"):
        BookConfig(time_limit_s=0)
