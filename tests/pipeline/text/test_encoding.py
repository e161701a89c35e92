"""Text files of every Unicode encoding, detection of others, and rejected files."""

from __future__ import annotations

import codecs
import random
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.text.encoding import decode, read_utf8
from schemas.errors import InputError, Reason

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


def reason(path: Path, max_bytes: int = 1 << 20) -> tuple[Reason, str]:
    with pytest.raises(InputError) as caught:
        list(read_utf8(path, max_bytes=max_bytes, chunk_chars=7))
    return caught.value.reason, str(caught.value)


@given(text=texts, encoding=st.sampled_from(sorted(ENCODINGS)), chunk_chars=st.integers(2, 40))
@settings(deadline=None, max_examples=150)
def test_text_is_read_with_normalized_line_endings(
    tmp_path_factory: pytest.TempPathFactory, text: str, encoding: str, chunk_chars: int
) -> None:
    path = write(tmp_path_factory.getbasetemp() / "book.txt", "." + text, encoding)
    chunks = list(read_utf8(path, max_bytes=1 << 20, chunk_chars=chunk_chars))
    assert "".join(chunks) == ("." + text).replace("\r\n", "\n").replace("\r", "\n")
    assert all(0 < len(chunk) <= chunk_chars for chunk in chunks)


@pytest.mark.parametrize("before", range(24))
def test_position_of_an_invalid_byte_is_reported(tmp_path: Path, before: int) -> None:
    head = ("é" * 24).encode()[: before * 2] + b"x" * (before % 3)
    (tmp_path / "latin.txt").write_bytes(head + b"caf\xe9 au lait")
    found, message = reason(tmp_path / "latin.txt")
    assert found is Reason.NOT_TEXT
    assert f"byte {len(head) + 3} is not valid UTF-8" in message


def test_truncated_character_at_the_end_is_reported(tmp_path: Path) -> None:
    (tmp_path / "cut.txt").write_bytes(b"all well until " + "漢".encode()[:2])
    assert reason(tmp_path / "cut.txt") == (Reason.NOT_TEXT, "byte 15 is not valid UTF-8; convert the file to UTF-8")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le"])
def test_nul_byte_is_rejected(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "binary.txt", "a book, é, at first\0", encoding)
    found, message = reason(path)
    assert found is Reason.NOT_TEXT
    offset = len(ENCODINGS[encoding]) + len("a book, é, at first".encode(encoding.removesuffix("-sig")))
    assert f"NUL at byte {offset}" in message


def test_utf_16_without_a_byte_order_mark_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_bytes("no mark".encode("utf-16-le"))
    assert reason(tmp_path / "book.txt")[0] is Reason.NOT_TEXT


def test_video_file_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "film.txt").write_bytes(b"\x00\x00\x00\x20ftypisom" + random.Random(0).randbytes(500))
    assert reason(tmp_path / "film.txt")[0] is Reason.NOT_TEXT


@pytest.mark.parametrize("data", [b"", b" \n\r\n\t", codecs.BOM_UTF8, codecs.BOM_UTF16_LE])
def test_file_of_white_space_only_is_empty(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "blank.txt").write_bytes(data)
    assert reason(tmp_path / "blank.txt")[0] is Reason.EMPTY


def test_file_beyond_the_limit_is_rejected_before_reading(tmp_path: Path) -> None:
    path = write(tmp_path / "long.txt", "x" * 101)
    chunks = read_utf8(path, max_bytes=100)
    with pytest.raises(InputError, match="101 bytes, the limit is 100") as caught:
        next(chunks)
    assert caught.value.reason is Reason.TOO_LARGE
    assert "".join(read_utf8(path, max_bytes=101)) == "x" * 101


def test_file_of_40_gigabytes_is_rejected_immediately(tmp_path: Path) -> None:
    with (tmp_path / "sparse.txt").open("wb") as f:
        f.truncate(40 << 30)
    assert reason(tmp_path / "sparse.txt", max_bytes=512 << 20)[0] is Reason.TOO_LARGE


def test_files_that_cannot_be_opened_have_a_reason(tmp_path: Path) -> None:
    assert reason(tmp_path / "nowhere.txt")[0] is Reason.MISSING
    assert reason(tmp_path)[0] is Reason.UNREADABLE


def test_long_file_is_read_in_bounded_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "long.txt", "a line of a long book\r\n" * 500_000)
    tracemalloc.start()
    total = sum(len(chunk) for chunk in read_utf8(path, max_bytes=1 << 30, chunk_chars=1 << 16))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 22 * 500_000
    assert peak < 2 << 20


FRENCH = "Il était une fois, dans une forêt éloignée, un garçon qui rêvait d’être poète. Où est-il passé ? À l’école. "
GERMAN = "Die Bäume standen im grünen Wald, und die Straße führte über die Brücke. Schöne Mädchen hörten zu. "
RUSSIAN = "Однажды весною, в час небывало жаркого заката, в Москве, на Патриарших прудах, появились два гражданина. "
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所で泣いていた。"
CHINESE = "话说天下大势，分久必合，合久必分。周末七国分争，并入于秦。及秦灭之后，楚、汉分争，又并入于汉。"
POLISH = (
    "Zażółć gęślą jaźń, powiedział król, a następnie poszedł w stronę zamku. Był późny wieczór i wszyscy już spali. "
)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (FRENCH, "cp1252"),
        (GERMAN, "latin-1"),
        (RUSSIAN, "koi8-r"),
        (RUSSIAN, "cp1251"),
        (JAPANESE, "shift_jis"),
        (CHINESE, "gb18030"),
        (POLISH, "cp1250"),
        (POLISH, "iso8859-2"),
        (FRENCH, "utf-8"),
        (FRENCH, "utf-16"),
    ],
)
def test_encoding_is_detected(text: str, encoding: str) -> None:
    text = text * 20
    assert decode(text.encode(encoding)).text == text


def test_encoding_of_a_single_accent_is_detected() -> None:
    text = "It was a bright cold day, and the clocks were striking. He said nothing.\n" * 300 + "The café was closed.\n"
    assert decode(text.encode("cp1252")) == (text, "cp1252")


def test_declared_encoding_has_priority_over_detection_but_not_over_utf_8() -> None:
    data = ("abc " * 30 + "ÿ").encode("iso8859-15")
    assert decode(data, declared="iso8859-5").encoding == "iso8859-5"
    assert decode("é".encode(), declared="iso8859-5") == ("é", "utf-8")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (FRENCH.encode("utf-16-le") * 9, "NUL at byte 1"),
        (random.Random(0).randbytes(5000).replace(b"\0", b"\1"), "neither UTF-8 nor in another known encoding"),
        (b"\xff\xd8\xff\xe0" + random.Random(1).randbytes(3000), "NUL at byte"),
        ((FRENCH * 9).encode() + b"\xff" + FRENCH.encode(), "byte 1,116 is not valid UTF-8"),
        (codecs.BOM_UTF16_LE + b"a\0b", "byte 4 is not valid UTF-16-LE"),
    ],
)
def test_binary_data_and_damaged_text_are_rejected(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        decode(data)
    assert caught.value.reason is Reason.NOT_TEXT
