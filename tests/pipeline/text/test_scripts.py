"""Ranges of scripts."""

from __future__ import annotations

import re
import unicodedata

import pytest

from pipeline.text.scripts import BY_CHARACTER, BY_MARK, SENTENCE_ENDS, SYLLABIC, UNPUNCTUATED, UNSPACED, marks


@pytest.mark.parametrize("letter", "漢㐀𠮷かカㄅꆈทລကកབᥐᦀᨠꪀꦲﾃ々")
def test_scripts_without_spaces_are_listed(letter: str) -> None:
    assert re.fullmatch(f"[{UNSPACED}]", letter)
    assert not re.fullmatch(f"[{SYLLABIC}]", letter)


@pytest.mark.parametrize("letter", "हকதമሀᎠ한ᐁග")
def test_scripts_of_syllables_are_listed(letter: str) -> None:
    assert re.fullmatch(f"[{SYLLABIC}]", letter)
    assert not re.fullmatch(f"[{UNSPACED}]", letter)


def test_a_script_is_divided_by_characters_or_by_marks() -> None:
    assert BY_CHARACTER + BY_MARK == UNSPACED
    assert all(re.fullmatch(f"[{BY_CHARACTER}]", letter) for letter in "漢㐀𠮷かカㄅꆈﾃ々")
    assert all(re.fullmatch(f"[{BY_MARK}]", letter) for letter in "ทລကកབᥐᦀᨠꪀꦲ")


@pytest.mark.parametrize("letter", "aéяαاא5ქՀ ")
def test_alphabets_and_digits_are_in_neither(letter: str) -> None:
    assert not re.fullmatch(f"[{UNSPACED}{SYLLABIC}{UNPUNCTUATED}]", letter)


def test_scripts_without_a_full_stop_have_no_spaces_between_words() -> None:
    for letter in "ทລᥐᨠꪀ":
        assert re.fullmatch(f"[{UNPUNCTUATED}]", letter)
        assert re.fullmatch(f"[{UNSPACED}]", letter)


def test_marks_are_the_combining_characters_and_joiners() -> None:
    pattern = re.compile(f"[{marks()}]")
    assert all(pattern.fullmatch(mark) for mark in "\u0301\u05b8\u064b\u093f\u0e31\u102f\u200d")
    assert not any(pattern.fullmatch(letter) for letter in "aéяह漢 -.")


def test_ends_of_sentences_are_single_marks() -> None:
    assert all(len(mark) == 1 and unicodedata.category(mark) == "Po" for mark in SENTENCE_ENDS)
    assert set(".?!。।။።؟") <= SENTENCE_ENDS
    assert not set(",;:、، ") & SENTENCE_ENDS
