from __future__ import annotations

import codecs
import random
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.books import BookConfig, read_book
from schemas.errors import ConfigError, InputError, Reason

ENCODINGS = {
    "utf-8": b"",
    "utf-8-sig": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}
characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff")
texts = st.lists(st.sampled_from(["\r", "\n", "\r\n", "é", "漢", "🎞", "word "]) | characters, max_size=60).map("".join)


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(ENCODINGS[encoding] + text.encode(encoding.removesuffix("-sig")))
    return path


def reason(path: Path, **options: int) -> tuple[Reason, str]:
    with pytest.raises(InputError) as caught:
        list(read_book(path, BookConfig(**options), chunk_chars=7))
    return caught.value.reason, str(caught.value)


@given(text=texts, encoding=st.sampled_from(sorted(ENCODINGS)), chunk_chars=st.integers(2, 40))
@settings(deadline=None, max_examples=150)
def test_text_comes_back_with_its_line_ends_made_one_kind(
    tmp_path_factory: pytest.TempPathFactory, text: str, encoding: str, chunk_chars: int
) -> None:
    path = write(tmp_path_factory.getbasetemp() / "book.txt", "." + text, encoding)
    chunks = list(read_book(path, BookConfig(), chunk_chars=chunk_chars))
    assert "".join(chunks) == ("." + text).replace("\r\n", "\n").replace("\r", "\n")
    assert all(0 < len(chunk) <= chunk_chars for chunk in chunks)


@pytest.mark.parametrize("before", range(24))
def test_a_byte_that_is_no_utf_8_is_named_wherever_it_stands(tmp_path: Path, before: int) -> None:
    head = ("é" * 24).encode()[: before * 2] + b"x" * (before % 3)
    (tmp_path / "latin.txt").write_bytes(head + b"caf\xe9 au lait")
    found, message = reason(tmp_path / "latin.txt")
    assert found is Reason.NOT_TEXT
    assert f"byte {len(head) + 3} is not UTF-8" in message


def test_a_character_cut_off_at_the_end_is_named(tmp_path: Path) -> None:
    (tmp_path / "cut.txt").write_bytes(b"all well until " + "漢".encode()[:2])
    assert reason(tmp_path / "cut.txt") == (Reason.NOT_TEXT, "byte 15 is not UTF-8: convert the file to UTF-8")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le"])
def test_a_nul_byte_means_a_binary_file(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "binary.txt", "a book, é, at first\0", encoding)
    found, message = reason(path)
    assert found is Reason.NOT_TEXT
    offset = len(ENCODINGS[encoding]) + len("a book, é, at first".encode(encoding.removesuffix("-sig")))
    assert f"a NUL at byte {offset}" in message


def test_utf_16_without_its_mark_is_not_taken_for_text(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_bytes("no mark".encode("utf-16-le"))
    assert reason(tmp_path / "book.txt")[0] is Reason.NOT_TEXT


def test_a_film_is_not_a_book(tmp_path: Path) -> None:
    (tmp_path / "film.txt").write_bytes(b"\x00\x00\x00\x20ftypisom" + random.Random(0).randbytes(500))
    assert reason(tmp_path / "film.txt")[0] is Reason.NOT_TEXT


@pytest.mark.parametrize("data", [b"", b" \n\r\n\t", codecs.BOM_UTF8, codecs.BOM_UTF16_LE])
def test_a_book_without_a_letter_is_empty(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "blank.txt").write_bytes(data)
    assert reason(tmp_path / "blank.txt")[0] is Reason.EMPTY


def test_a_book_past_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "long.txt", "x" * 101)
    chunks = read_book(path, BookConfig(max_bytes=100))
    with pytest.raises(InputError, match="101 bytes, the limit is 100") as caught:
        next(chunks)
    assert caught.value.reason is Reason.TOO_LARGE
    assert "".join(read_book(path, BookConfig(max_bytes=101))) == "x" * 101


def test_a_text_of_40_gigabytes_is_refused_at_once(tmp_path: Path) -> None:
    with (tmp_path / "sparse.txt").open("wb") as f:
        f.truncate(40 << 30)
    assert reason(tmp_path / "sparse.txt", max_bytes=512 << 20)[0] is Reason.TOO_LARGE


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    assert reason(tmp_path / "nowhere.txt")[0] is Reason.MISSING
    assert reason(tmp_path)[0] is Reason.UNREADABLE


def test_a_long_book_is_read_in_bounded_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "long.txt", "a line of a long book\r\n" * 500_000)
    tracemalloc.start()
    total = sum(len(chunk) for chunk in read_book(path, BookConfig(), chunk_chars=1 << 16))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 22 * 500_000
    assert peak < 2 << 20


def test_a_limit_that_cannot_be_right_is_named() -> None:
    with pytest.raises(ConfigError, match="max_bytes must be at least 1, got 0"):
        BookConfig(max_bytes=0)
