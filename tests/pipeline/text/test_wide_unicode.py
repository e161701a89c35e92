"""UTF-16 and UTF-32 with and without a byte order mark."""

from __future__ import annotations

import random

import pytest

from pipeline.text.wide_unicode import WideText, decode_unmarked, decode_wide
from schemas.errors import InputError, Reason

ENCODINGS = ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]
TEXTS = [
    "It was a bright cold day… and the clocks were striking. " * 4,
    "Однажды весною, в час небывало жаркого заката. " * 4,
    "吾輩は猫である。名前はまだ無い。" * 9,
    "话说天下大势，分久必合，合久必分。\n" * 9,
]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("text", TEXTS)
def test_text_is_decoded_and_recognized_without_a_mark(encoding: str, text: str) -> None:
    data = text.encode(encoding)
    assert decode_wide(data, encoding) == decode_unmarked(data) == WideText(text, encoding, 0, 0)
    assert decode_wide(b"??" + data, encoding, start=2).text == text


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_padding_and_half_a_character_at_the_end_are_dropped(encoding: str) -> None:
    data, width = TEXTS[0].encode(encoding), int(encoding[4:6]) // 8
    assert decode_wide(data + bytes(3 * width), encoding) == WideText(TEXTS[0], encoding, 0, 3 * width)
    assert decode_wide(data[:-1], encoding) == WideText(TEXTS[0][:-1], encoding, width - 1, 0)


def test_half_a_surrogate_pair_at_the_end_is_dropped() -> None:
    assert decode_wide("a🎞".encode("utf-16-le")[:-2], "utf-16-le") == WideText("a", "utf-16-le", 2, 0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a\0\0\xd8b\0c\0", "byte 2 is not valid UTF-16-LE"),
        (b"a", "byte 0 is not valid UTF-16-LE"),
        ("a\0b".encode("utf-16-le"), "byte 2 is not UTF-16-LE text"),
        (TEXTS[0].encode("utf-16-le")[1:], "starts UTF-16-LE text in which a byte is lost"),
        (TEXTS[1].encode("utf-16-le")[:50] + TEXTS[1].encode("utf-16-le")[51:], "a byte"),
    ],
)
def test_damage_is_rejected_with_its_position(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        decode_wide(data, "utf-16-le")
    assert caught.value.reason is Reason.NOT_TEXT


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"plain text, \0 with a NUL",
        b"plain text, with two \0\0 NULs in it",
        "Однажды весною,\0 в час".encode(),
        random.Random(0).randbytes(4000),
        bytes(4000),
        TEXTS[0].encode("utf-16-le")[:-1],
        TEXTS[0].encode("utf-16-le")[1:],
        TEXTS[2].encode("cp932"),
    ],
)
def test_other_data_is_not_recognized(data: bytes) -> None:
    assert decode_unmarked(data) is None
