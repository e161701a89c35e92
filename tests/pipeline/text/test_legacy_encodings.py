"""Detection of encodings other than Unicode, and the check of what is detected."""

from __future__ import annotations

import random

import pytest

from pipeline.text.legacy_encodings import DetectedText, decode_declared, decode_escaped, decode_legacy, try_decode

RUSSIAN = "Однажды весною, в час небывало жаркого заката, в Москве появились два гражданина. " * 9
FRENCH = "Il était une fois, dans une forêt éloignée, un garçon qui rêvait d’être poète. " * 9
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。" * 9


def test_the_start_of_a_long_file_without_other_letters_is_not_what_is_examined() -> None:
    text = "plain text\n" * 50_000 + RUSSIAN
    assert decode_legacy(text.encode("koi8-r")) == DetectedText(text, "koi8-r")


def test_an_encoding_is_extended_to_the_one_that_contains_it() -> None:
    assert decode_declared("“don’t”".encode("cp1252"), "latin-1") == DetectedText("“don’t”", "cp1252")
    assert decode_declared("①".encode("cp932"), "shift_jis") == DetectedText("①", "cp932")


def test_a_declared_encoding_must_be_plausible() -> None:
    assert decode_declared(RUSSIAN.encode("cp1251"), "iso8859-1") is None
    assert decode_declared(RUSSIAN.encode("cp1251"), "windows-1251") == DetectedText(RUSSIAN, "cp1251")
    assert decode_declared(b"\x81", "cp1252") is None


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (JAPANESE, "iso2022_jp"),
        ("옛날 옛적에 깊은 산속에 늙은 나무꾼이 살았다. " * 3, "iso2022_kr"),
        ("话说天下大势，分久必合。" * 3, "hz"),
    ],
)
def test_escaped_encodings_that_are_ascii_otherwise_are_recognized(text: str, encoding: str) -> None:
    assert decode_escaped(text.encode(encoding)) == DetectedText(text, encoding)


@pytest.mark.parametrize(
    "data", [b"a shell prompt: ~{home}", b"\x1b[31mred\x1b[0m", b"print('\x1b(B')", b"", b"caf\xe9"]
)
def test_other_ascii_is_not_taken_for_an_escaped_encoding(data: bytes) -> None:
    assert decode_escaped(data) is None


@pytest.mark.parametrize(
    "data",
    [
        random.Random(0).randbytes(3000).replace(b"\0", b"\1"),
        bytes(random.Random(0).choices(range(128, 256), k=3000)),
        b"plain text " * 50 + b"\x8f\x90\x9d",
        "“é” ".encode() + FRENCH.encode("cp1252")[:60],
        JAPANESE.encode("cp932")[:301] + b"\xff" + JAPANESE.encode("cp932"),
    ],
)
def test_data_that_is_plausible_in_no_encoding_is_rejected(data: bytes) -> None:
    assert decode_legacy(data) is None


@pytest.mark.parametrize("seed", range(12))
def test_japanese_with_damage_is_not_decoded_as_chinese(seed: int) -> None:
    rng, data = random.Random(seed), bytearray(JAPANESE.encode("euc_jp"))
    del data[rng.randrange(len(data))]
    found = decode_legacy(bytes(data))
    assert found is None or found.encoding == "euc_jp"


def test_unknown_and_binary_encodings_decode_nothing() -> None:
    assert try_decode(b"a", "unknown") is None
    assert try_decode(b"a", "hex") is None
    assert try_decode(b"a\0", "ascii") is None
