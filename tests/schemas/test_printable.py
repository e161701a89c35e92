"""Text from data, made safe to print."""

from __future__ import annotations

import json
import tomllib
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.printable import printable

HARMFUL = ("Cc", "Cs", "Zl", "Zp")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m\x07", "\\u001b[31m\\u0007"),
        ("\x9b2J\x7f\x00", "\\u009b2J\\u007f\\u0000"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("gnp.\u202eexe", "gnp.\\u202eexe"),
        ("\u2066\u2069\u200f\u061c", "\\u2066\\u2069\\u200f\\u061c"),
        ("a\u2028b\u2029c\x85d", "a\\u2028b\\u2029c\\u0085d"),
        ("caf\udce9", "caf\\udce9"),
        ("\ufeff\U000e0041", "\\ufeff\\U000e0041"),
    ],
)
def test_what_a_terminal_executes_or_misplaces_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "café",
        "日本語　全角",
        "العربية",
        "क\u200cर",
        "👩\u200d👧",
        "a\u00a0b",
        "e\u0301",
        "\\u001b",
        "\ue0b0",
    ],
)
def test_ordinary_unicode_stays(text: str) -> None:
    assert printable(text) == text


@given(st.text())
def test_no_text_leaves_a_control_character(text: str) -> None:
    shown = printable(text)
    assert not any(unicodedata.category(c) in HARMFUL for c in shown)
    shown.encode()
    assert printable(shown) == shown


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_json_and_toml_stay_valid(text: str) -> None:
    quoted = printable(json.dumps(text))
    assert json.loads(quoted) == text
    assert tomllib.loads(f"a = {printable(json.dumps(text, ensure_ascii=False))}") == {"a": text}


def test_a_message_keeps_its_own_newlines() -> None:
    assert printable("one\ntwo\x1b\r", keep="\n") == "one\ntwo\\u001b\\r"
