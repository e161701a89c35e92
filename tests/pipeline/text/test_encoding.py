"""Text files of every encoding: marks, padding, damage, detection, and rejected files."""

from __future__ import annotations

import codecs
import contextlib
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.text.encoding import Decoded, byte_order_mark, decode, decode_unicode, read_unicode
from schemas.errors import InputError, Reason

MARKS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}
ENGLISH = "It was a bright cold day, and the clocks were striking. He said nothing.\n" * 40
FRENCH = "Il était une fois, dans une forêt éloignée, un garçon qui rêvait d’être poète. Où est-il passé ? À l’école. "
GERMAN = "Die Bäume standen im grünen Wald, und die Straße führte über die Brücke. Schöne Mädchen hörten zu. "
RUSSIAN = "Однажды весною, в час небывало жаркого заката, в Москве, на Патриарших прудах, появились два гражданина. "
GREEK = "Ήταν μια φορά ένας γέρος ψαράς. «Άλλη μια μέρα», είπε, και τράβηξε τη βάρκα στην άμμο. "
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所で泣いていた。"
CHINESE = "话说天下大势，分久必合，合久必分。周末七国分争，并入于秦。及秦灭之后，楚、汉分争，又并入于汉。"
KOREAN = "옛날 옛적에 깊은 산속에 늙은 나무꾼이 살았다. 그는 매일 아침 숲으로 가서 나무를 베었다. "
POLISH = (
    "Zażółć gęślą jaźń, powiedział król, a następnie poszedł w stronę zamku. Był późny wieczór i wszyscy już spali. "
)

texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"], exclude_characters="\ufeff"), min_size=1)


def rejection(data: bytes) -> str:
    with pytest.raises(InputError) as caught:
        decode(data)
    assert caught.value.reason is Reason.NOT_TEXT
    return str(caught.value)


@given(text=texts)
@settings(deadline=None, max_examples=80)
def test_every_text_in_utf8_is_decoded_unchanged(text: str) -> None:
    assert decode(text.encode()) == Decoded(text, "utf-8")
    assert decode(codecs.BOM_UTF8 + text.encode()) == Decoded(text, "utf-8")


@pytest.mark.parametrize("encoding", MARKS)
@pytest.mark.parametrize("text", [ENGLISH, FRENCH, RUSSIAN, JAPANESE, "🎞 é", ""])
def test_a_byte_order_mark_determines_the_encoding(encoding: str, text: str) -> None:
    assert decode(MARKS[encoding] + text.encode(encoding)) == Decoded(text, encoding)


@pytest.mark.parametrize("encoding", [name for name in MARKS if name != "utf-8"])
@pytest.mark.parametrize("text", [ENGLISH, FRENCH, RUSSIAN, JAPANESE + "\n" + JAPANESE])
def test_utf16_and_utf32_are_recognized_without_a_mark(encoding: str, text: str) -> None:
    assert decode(text.encode(encoding)) == Decoded(text, encoding)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (FRENCH, "cp1252"),
        (FRENCH, "mac_roman"),
        (FRENCH.replace("’", "'"), "iso8859-1"),
        (GERMAN, "latin-1"),
        (GERMAN, "cp850"),
        (RUSSIAN, "koi8-r"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "cp866"),
        (RUSSIAN, "iso8859-5"),
        (GREEK, "cp1253"),
        (GREEK, "iso8859-7"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
        (JAPANESE, "iso2022_jp"),
        (CHINESE, "gb18030"),
        (KOREAN, "euc_kr"),
        (POLISH, "cp1250"),
        (POLISH, "iso8859-2"),
    ],
)
def test_a_legacy_encoding_is_detected(text: str, encoding: str) -> None:
    text = text * 20
    assert decode(text.encode(encoding)).text == text
    padded = decode(text.encode(encoding) + bytes(9))
    assert (padded.text, padded.padding_bytes) == (text, 9)


def test_the_encoding_of_a_single_accent_is_detected() -> None:
    text = ENGLISH + "The café was closed.\n" + ENGLISH
    assert decode(text.encode("cp1252")) == Decoded(text, "cp1252")
    assert decode("Café".encode("latin-1")) == Decoded("Café", "cp1252")


def test_a_declared_encoding_has_priority_over_detection_but_not_over_utf8() -> None:
    data = ("abc " * 30 + "ÿ").encode("iso8859-15")
    assert decode(data, declared="iso8859-5").encoding == "iso8859-5"
    assert decode("é".encode(), declared="iso8859-5") == Decoded("é", "utf-8")
    assert decode(("é" * 9).encode() + b"caf\xe9 ", declared="iso8859-5") == Decoded("é" * 9 + "café ", "utf-8", 1)
    assert decode("“don’t”".encode("cp1252"), declared="iso8859-1") == Decoded("“don’t”", "cp1252")


def test_a_declared_encoding_that_gives_gibberish_is_not_used() -> None:
    data = (RUSSIAN * 20).encode("cp1251")
    assert decode(data, declared="iso8859-1") == Decoded(RUSSIAN * 20, "cp1251")


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_stray_bytes_in_utf8_are_mended_and_counted(mark: bytes) -> None:
    text = ENGLISH.replace("bright", "“bright”")
    damaged = text.encode().replace(b"said", b"caf\xe9 said", 2)
    decoded = decode(mark + damaged)
    assert decoded == Decoded(text.replace("said", "café said", 2), "utf-8", 2)
    assert decoded.counts == {"mended_bytes": 2.0}


@pytest.mark.parametrize("count", [1, 2, 5, 20, 300])
@pytest.mark.parametrize("quotes", [1, 2, 20])
def test_no_legacy_encoding_is_guessed_for_a_text_with_typical_utf8(count: int, quotes: int) -> None:
    text = ENGLISH.replace("cold", "“cold”", quotes)
    words = text.split(" ")
    for at in range(count):
        words[at % len(words)] += " caf\udce9"
    with contextlib.suppress(InputError):
        decoded = decode(" ".join(words).encode("utf-8", "surrogateescape"))
        assert decoded == Decoded(" ".join(words).replace("\udce9", "é"), "utf-8", count)


@pytest.mark.parametrize("encoding", MARKS)
def test_nuls_at_the_end_are_dropped_and_counted(encoding: str) -> None:
    width = len("x".encode(encoding))
    decoded = decode(MARKS[encoding] + FRENCH.encode(encoding) + bytes(512))
    assert decoded == Decoded(FRENCH, encoding, 0, 512)
    assert decoded.counts == {"padding_bytes": 512.0}
    unmarked = decode(ENGLISH.encode(encoding) + bytes(512))
    assert (unmarked.text, unmarked.encoding, unmarked.padding_bytes % width) == (ENGLISH, encoding, 0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a book, \0 in between", "NUL at byte 8: the file is binary or damaged"),
        (codecs.BOM_UTF8 + b"a\0b", "NUL at byte 4"),
        (codecs.BOM_UTF16_LE + "a\0b".encode("utf-16-le"), "byte 4 is not UTF-16-LE text"),
        (
            random.Random(0).randbytes(5000).replace(b"\0", b"\1"),
            "neither UTF-8 nor plausible in another known encoding",
        ),
        (b"\xff\xd8\xff\xe0" + random.Random(1).randbytes(3000), "NUL at byte"),
        (b"\x00\x00\x00\x20ftypisom" + random.Random(0).randbytes(500), "NUL at byte 0"),
        ((FRENCH * 9).encode() + b"\xff" + FRENCH.encode(), "byte 1,116 is not valid UTF-8"),
        (codecs.BOM_UTF16_LE + b"a\0\0\xd8b\0", "byte 4 is not valid UTF-16-LE"),
        (ENGLISH.encode()[:300] + b"\x8f\x90" + ENGLISH.encode(), "neither UTF-8 nor plausible"),
        ((RUSSIAN * 9).encode() + b" \xe9 " + RUSSIAN.encode(), "is not valid UTF-8"),
    ],
)
def test_binary_data_and_damaged_text_are_rejected(data: bytes, message: str) -> None:
    assert message in rejection(data)


@pytest.mark.parametrize("seed", range(60))
def test_damaged_utf8_is_never_decoded_in_another_encoding(seed: int) -> None:
    rng = random.Random(seed)
    language = rng.choice([ENGLISH.replace("bright", "“bright”"), FRENCH, GERMAN, POLISH, RUSSIAN, GREEK, JAPANESE])
    text = (language * 9)[: rng.choice([60, 200, 900])]
    data = bytearray(text.encode())
    for _ in range(rng.randint(1, 5)):
        at = rng.randrange(len(data))
        data[at : at + rng.randint(0, 1)] = rng.choice([b"", rng.randbytes(1), b"\xe9"])
    try:
        decoded = decode(bytes(data))
    except InputError:
        return
    if decoded.encoding == "utf-8":
        intact = data.decode("utf-8", "ignore")
        assert sorted(set(intact) - set(decoded.text)) == []
        assert len(decoded.text) - len(intact) <= decoded.mended_bytes
    else:  # the text happens to be ASCII in all but the damaged bytes
        assert decoded.encoding == "cp1252"
        assert sum(byte >= 0x80 for byte in data) <= 5


def test_unicode_alone_is_accepted_where_no_other_encoding_can_be() -> None:
    assert decode_unicode(b"\xe2\x80\x9ca\xe2\x80\x9d caf\xe9") == Decoded("“a” café", "utf-8", 1)
    with pytest.raises(InputError, match="byte 3 is not valid UTF-8; convert the file to UTF-8"):
        decode_unicode(b"caf\xe9")
    with pytest.raises(InputError, match="byte 0 is not valid UTF-8"):
        decode_unicode((RUSSIAN * 9).encode("cp1251"))


def test_a_file_is_read_with_normalized_line_endings(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(codecs.BOM_UTF16_LE + "a\r\nb\rc".encode("utf-16-le"))
    assert read_unicode(tmp_path / "a.txt", max_bytes=100) == Decoded("a\nb\nc", "utf-16-le")


@pytest.mark.parametrize("data", [b"", b" \n\r\n\t", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, bytes(100)])
def test_a_file_of_white_space_only_is_empty(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "blank.txt").write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_unicode(tmp_path / "blank.txt", max_bytes=100)
    assert caught.value.reason is Reason.EMPTY


def test_a_file_beyond_the_limit_is_rejected_before_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("x" * 101)
    with pytest.raises(InputError, match="101 bytes, the limit is 100") as caught:
        read_unicode(tmp_path / "long.txt", max_bytes=100)
    assert caught.value.reason is Reason.TOO_LARGE
    assert read_unicode(tmp_path / "long.txt", max_bytes=101).text == "x" * 101
    with (tmp_path / "sparse.txt").open("wb") as f:
        f.truncate(40 << 30)
    with pytest.raises(InputError) as caught:
        read_unicode(tmp_path / "sparse.txt", max_bytes=512 << 20)
    assert caught.value.reason is Reason.TOO_LARGE


def test_files_that_cannot_be_opened_have_a_reason(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "nowhere.txt", Reason.MISSING), (tmp_path, Reason.UNREADABLE)):
        with pytest.raises(InputError) as caught:
            read_unicode(path, max_bytes=100)
        assert caught.value.reason is reason


def test_the_mark_of_utf32_is_not_that_of_utf16() -> None:
    assert byte_order_mark(codecs.BOM_UTF32_LE + b"a\0\0\0") == (codecs.BOM_UTF32_LE, "utf-32-le")
    assert byte_order_mark(b"abc") == (b"", "utf-8")
