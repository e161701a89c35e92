"""Formatting is removed, and nothing else."""

from __future__ import annotations

import pytest

from pipeline.text.transcripts.cue_text import clean_lines, has_word_times, substation_text, timed_text


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("<i>Who</i> is <font color='#fff'>there</font>?", "Who is there?"),
        ("{\\an8}It is me.", "It is me."),
        ("<v Roger Bingham>Fish &amp; chips <c.loud>now</c></v>", "Fish & chips now"),
        ("they <00:00:03.200><c>say</c><00:03.500>", "they say"),
        ("three<br>four<BR />five[br]six", "three\nfour\nfive\nsix"),
        ("a <vision> of 1 < 2 > 0 <b>and</b> C:\\Names", "a <vision> of 1 < 2 > 0 and C:\\Names"),
        ("{a} &unknown; & &#65;&#x42;", "{a} &unknown; & AB"),
        ("<bold>I</bold> <unit>", "<bold>I</bold> <unit>"),
    ],
)
def test_tags_and_entities_of_timed_text(written: str, text: str) -> None:
    assert timed_text(written) == text


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("plain, with a comma", "plain, with a comma"),
        (r"{\an8}{\i1}up{\i0} here\Nand\hthere", "up here\nand there"),
        ("<i>it</i> <font color='red'>x</font> < y", "it x < y"),
        (r"{\p1}m 0 0 l 10 0{\p0}", ""),
        (r"a \{b\} {\i1}c", "a {b} c"),
        (r"{comment}text", "text"),
    ],
)
def test_overrides_of_substation(written: str, text: str) -> None:
    assert substation_text(written) == text


def test_times_of_words_are_recognized() -> None:
    assert has_word_times("to<00:00:02.500><c> the</c>")
    assert has_word_times("to<02.500>") is has_word_times("to <i>2:30</i>") is False


def test_lines_are_trimmed_and_blank_ones_removed() -> None:
    assert clean_lines(" one \n \n two\u00a0  words\t\n\n") == "one\ntwo words"
