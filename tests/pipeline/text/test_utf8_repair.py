"""Mending of text that is UTF-8 in all but a few bytes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.text.utf8_repair import MendedText, has_typical_characters, mend_cp1252, mend_utf8
from schemas.errors import InputError, Reason

QUOTED = "“One” two, “three” four, “five” six. "


def mend(text: str) -> MendedText | None:
    """Mend a text in which "\\udce9" stands for the byte 0xe9."""
    return mend_utf8((QUOTED + text).encode("utf-8", "surrogateescape"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("caf\udce9 au lait", "café au lait"),
        ("na\udcefve", "naïve"),
        ("\udcc9cole", "École"),
        ("GAR\udcc7ON", "GARÇON"),
        ("c\udc9cur", "cœur"),
        ("stra\udcdfe", "straße"),
        ("il va \udce0 Paris", "il va à Paris"),
        ("don\udc92t", "don’t"),
        ("d\udce9j\udce0 vu", "déjà vu"),
        ("cr\udce9\udce9e", "créée"),
        ("l\udc92\udce9t\udce9", "l’été"),
        ("the boys\udc92 hats", "the boys’ hats"),
        ("he said \udc93yes\udc94.", "he said “yes”."),
        ("one \udc96 two", "one – two"),
        ("and so on\udc85 ", "and so on… "),
        ("déjà vu, caf\udcea", "déjà vu, cafê"),
    ],
)
def test_a_stray_byte_that_fits_becomes_its_character_in_cp1252(text: str, expected: str) -> None:
    assert mend(text) == MendedText(QUOTED + expected, len([c for c in text if "\udc80" <= c <= "\udcff"]))


@pytest.mark.parametrize(
    ("before", "stray", "after"),
    [
        ("one ", b"\xe9", " two"),  # alone
        ("f9", b"\xe9", "x"),  # next to a digit
        ("caf", b"\xc9", " noir"),  # a capital after a small letter
        ("caf", b"\xe9", "Noir"),
        ("caf", b"\xe9\xa9", " noir"),  # the rest of one character
        ("caf", b"\xe9j\x92", "noir"),
        ("caf", b"\xc3\xe9", " noir"),
        ("слово", b"\xe9", "слово"),  # within another script
        ("caf", b"\xc3", " noir"),  # the first half of é
        ("déjà, cafo", b"\xa9", " noir"),  # the second half of é
        ("caf", b"\xa7", " noir"),  # not a letter
        ("caf", b"\x81", " noir"),  # nothing in cp1252
        ("gęślą jaź", b"\xf1", " "),  # cp1252 lacks the letters of this language
        ("a", b"\xed\xa0\x80", "b"),  # an unpaired surrogate
        ("", b"\xff\xfe", ""),
        ("", b"\xff", "Il"),
    ],
)
def test_a_stray_byte_that_could_be_something_else_is_an_error(before: str, stray: bytes, after: str) -> None:
    with pytest.raises(InputError, match=r"byte [\d,]+ is not valid UTF-8") as caught:
        mend_utf8((QUOTED + before).encode() + stray + after.encode())
    assert caught.value.reason is Reason.NOT_TEXT


def test_the_error_names_the_position_and_the_number_of_the_others() -> None:
    with pytest.raises(InputError, match=r"byte 9 is not valid UTF-8, nor are 2 others; repair the file"):
        mend_utf8("“é” \udcff \udcff\udcff".encode("utf-8", "surrogateescape"))


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_character_that_is_cut_at_either_end_is_dropped(cut: int) -> None:
    whole = ("🎞 “a” " * 9 + "🎞").encode()
    assert mend_utf8(whole[: cut - 4]) == MendedText("🎞 “a” " * 9, cut)
    assert mend_utf8(whole[cut:]) == MendedText((" “a” 🎞" * 9), 4 - cut)


def test_surrogate_pairs_of_cesu8_are_joined() -> None:
    data = "a 🎞 b".encode("utf-16-le")
    units = [int.from_bytes(data[i : i + 2], "little") for i in range(0, len(data), 2)]
    cesu8 = b"".join(chr(unit).encode("utf-8", "surrogatepass") for unit in units)
    assert mend_utf8(cesu8) == MendedText("a 🎞 b", 6)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Où était le garçon naïf ? À l’école, hélas. " * 9, "cp1252"),
        ("Der Mann aß Süßes, trank „Spaß“ und schöne Säfte. " * 9, "cp1252"),
        ("Однажды весною, в час небывало жаркого заката. " * 9, "cp866"),
        ("Однажды весною, в час небывало жаркого заката. " * 9, "koi8-r"),
        ("吾輩は猫である。名前はまだ無い。" * 9, "cp932"),
        ("话说天下大势，分久必合，合久必分。" * 9, "gb18030"),
        ("옛날 옛적에 깊은 산속에 늙은 나무꾼이 살았다. " * 9, "cp949"),
        ("กาลครั้งหนึ่งนานมาแล้ว มีชายชราคนหนึ่งอาศัยอยู่ในป่าลึก " * 9, "cp874"),
        ("שלום לכולם, זה סיפור קצר על ילד אחד. " * 9, "cp1255"),
    ],
)
def test_another_encoding_is_not_taken_for_utf8(text: str, encoding: str) -> None:
    data = text.encode(encoding)
    assert mend_utf8(data) is None
    assert not has_typical_characters(data)


def test_other_evidence_counts_less_where_another_encoding_is_declared() -> None:
    data = "“é” ".encode() + b"caf\xe9, caf\xe9, caf\xe9, caf\xe9"
    assert mend_utf8(data) is not None
    assert mend_utf8(data, is_other_declared=True) is None


def test_text_of_latin_script_with_utf8_in_it_is_told_apart() -> None:
    assert has_typical_characters("“é” ".encode() + b"caf\xe9 " * 30)
    assert not has_typical_characters(b"caf\xe9 " * 30)


def test_ascii_with_a_few_letters_of_cp1252_is_decoded() -> None:
    assert mend_cp1252(b"a caf\xe9, don\x92t") == "a café, don’t"
    assert mend_cp1252(b"a caf\x8e") is None
    assert mend_cp1252(b"\xe9") is None


@given(
    data=st.binary(min_size=1, max_size=60)
    | st.text(min_size=1, max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
@settings(deadline=None, max_examples=200)
def test_any_bytes_are_mended_rejected_or_left_to_others(data: bytes) -> None:
    with contextlib.suppress(InputError):
        found = mend_utf8(data)
        assert found is None or found.text.encode()
