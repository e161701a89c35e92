"""The plausibility of decoded text."""

from __future__ import annotations

import pytest

from pipeline.text.plausibility import has_shifted_characters, implausible_share, impossible

TEXTS = {
    "fr": "Où était le garçon naïf ? À l’école, « hélas » ; c’est là-bas… Œuvre n° 3, à 5 €. ",
    "de": "„Süßes, schöne Säfte“, sagte Ännchen – und trank Öl. ",
    "pl": "Zażółć gęślą jaźń, powiedział król. „Późno” – rzekł. ŁÓDŹ. ",
    "ru": "«Ёлка», – сказал он. Однажды весною, в час небывало жаркого заката. № 5 ",
    "el": "«Άλλη μια μέρα», είπε· και τράβηξε τη βάρκα. ",
    "ja": "「吾輩は猫である。」名前はまだ無い。ＡＢＣ…",
    "ko": "옛날 옛적에 깊은 산속에 늙은 나무꾼이 살았다. ",
    "th": "กาลครั้งหนึ่งนานมาแล้ว มีชายชราคนหนึ่ง ",
    "he": "שלום לכולם, זה סיפור קצר על ילד אחד. ",
}


@pytest.mark.parametrize("language", TEXTS)
def test_text_in_its_own_encoding_is_plausible(language: str) -> None:
    assert implausible_share(TEXTS[language] * 3) == 0
    assert not impossible().search(TEXTS[language])
    assert not has_shifted_characters(TEXTS[language])


@pytest.mark.parametrize(
    ("language", "right", "wrong"),
    [
        ("fr", "cp1252", "mac_roman"),
        ("fr", "cp1252", "cp850"),
        ("fr", "mac_roman", "cp1252"),
        ("de", "cp850", "cp1252"),
        ("pl", "cp1250", "iso8859_2"),
        ("pl", "iso8859_2", "cp1252"),
        ("ru", "cp1251", "cp1252"),
        ("ru", "koi8_r", "cp1251"),
        ("ru", "cp866", "cp1251"),
        ("el", "cp1253", "iso8859_7"),
        ("el", "iso8859_7", "cp1253"),
        ("ja", "cp932", "cp1252"),
        ("ko", "cp949", "cp1251"),
        ("fr", "utf-8", "cp1252"),
        ("ru", "utf-8", "cp1251"),
    ],
)
def test_text_in_a_wrong_encoding_is_implausible(language: str, right: str, wrong: str) -> None:
    text = (TEXTS[language] * 3).encode(right, "ignore").decode(wrong, "replace")
    assert implausible_share(text) > 0.02 or impossible().search(text)


def test_ascii_and_nothing_are_plausible() -> None:
    assert implausible_share("") == implausible_share("It’s a “bright” day") == 0


def test_a_quotation_mark_that_opens_does_not_follow_a_letter() -> None:
    assert implausible_share("A letter from Zo‘ arrived.") == 1
    assert implausible_share("„Ja“, sagte er.") == 0


@pytest.mark.parametrize("text", ["a\x00b", "a\x07", "a\x85b", "a\u0378b", "\ufffe"])
def test_controls_and_code_points_without_a_character_are_impossible(text: str) -> None:
    assert impossible().search(text)


def test_the_text_after_a_lost_byte_is_shifted() -> None:
    for text in ("It was a bright cold day", "Однажды весною, в час заката"):
        data = text.encode("utf-16-le")
        assert has_shifted_characters(data[1:-1].decode("utf-16-le", "replace"))
    assert not has_shifted_characters("")
    assert not has_shifted_characters("aaaaaaa 一一一一一一")
