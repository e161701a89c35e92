"""Rolling captions are unrolled; repetition that does not roll is kept."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.text.transcripts.cues import Cue
from pipeline.text.transcripts.rolling import unroll

Shown = list[tuple[float, float, str]]


def texts(shown: Shown) -> list[str]:
    return [cue.text for cue in unroll([Cue(start, end, text.replace(" / ", "\n")) for start, end, text in shown]).cues]


def test_every_line_is_in_one_cue_at_the_time_it_appears() -> None:
    cues = [
        Cue(0.0, 2.0, "welcome to the series"),
        Cue(2.0, 2.01, "welcome to the series"),
        Cue(2.01, 4.0, "welcome to the series\non neural networks"),
        Cue(4.0, 4.01, "on neural networks"),
        Cue(4.01, 5.5, "on neural networks\nprogramming"),
    ]
    assert unroll(cues) == (
        [
            Cue(0.0, 2.0, "welcome to the series"),
            Cue(2.01, 4.0, "on neural networks"),
            Cue(4.01, 5.5, "programming"),
        ],
        4,
    )


@pytest.mark.parametrize("pause", [-0.5, 0.0, 0.04, 0.2])
@pytest.mark.parametrize("visible", [2, 3, 4])
def test_captions_of_several_lines_roll(visible: int, pause: float) -> None:
    lines = [f"line {number}" for number in range(9)]
    shown = [(2.0 * i, 2.0 * i + 2 - pause, " / ".join(lines[max(0, i - visible + 1) : i + 1])) for i in range(9)]
    assert texts(shown) == lines


def test_a_line_that_gets_more_words_is_one_line() -> None:
    assert texts(
        [
            (0, 1, "good"),
            (1, 2, "good evening"),
            (2, 3, "good evening / here"),
            (3, 4, "good evening / here is the"),
            (4, 5, "here is the news"),
            (5, 6, "here is the news / of today"),
        ]
    ) == ["good evening", "here is the news", "of today"]


def test_lines_without_spaces_between_words_grow() -> None:
    assert texts([(0, 1, "今日"), (1, 2, "今日は"), (2, 3, "今日はいい天気")]) == ["今日はいい天気"]


def test_a_line_that_is_said_again_while_captions_roll_is_kept() -> None:
    assert texts([(0, 1, "well"), (1, 2, "well / yes"), (2, 3, "yes / yes"), (3, 4, "yes / of course")]) == [
        "well",
        "yes",
        "yes",
        "of course",
    ]


@pytest.mark.parametrize(
    "shown",
    [
        [(1, 2, "Yes."), (2, 3, "Yes.")],
        [(0, 2, "Hallelujah"), (2, 4, "Hallelujah"), (4, 6, "Hallelujah")],
        [(0, 2, "La la la / La la la"), (2, 4, "La la la / La la la")],
        [(0, 2, "Hey Jude / La la la"), (2, 4, "La la la / Hey Jude"), (4, 6, "Hey Jude / La la la")],
        [(0, 2, "We will rock you"), (2, 4, "We will rock you / Sing it")],
        [(0, 1, "No."), (1, 2, "No. I will not.")],
        [(0, 1, "I"), (1, 2, "It is"), (2, 3, "Its")],
        [(0, 2, "one / two"), (3, 5, "two / three"), (6, 8, "three / four")],  # with pauses
        [(0, 2, "- Ready? / - Yes."), (2, 4, "- Yes. / - Go.")],
    ],
)
def test_repetition_that_does_not_roll_is_kept(shown: Shown) -> None:
    assert texts(shown) == [text.replace(" / ", "\n") for _, _, text in shown]


def test_every_run_rolls_in_files_with_times_of_words() -> None:
    cues = [Cue(0.0, 0.4, "yeah"), Cue(0.4, 3.0, "yeah\nwhat"), Cue(3.0, 4.0, "this"), Cue(4.0, 4.4, "this")]
    assert unroll(cues).removed_lines == 0
    assert [cue.text for cue in unroll(cues, have_word_times=True).cues] == ["yeah", "what", "this"]


def test_a_repetition_that_nobody_can_read_is_dropped() -> None:
    assert texts([(0, 2, "Yes."), (2, 2.04, "Yes."), (2.04, 4, "Yes.")]) == ["Yes.", "Yes."]


@given(
    lines=st.lists(st.integers().map("line {}".format), min_size=3, max_size=20, unique=True), visible=st.integers(2, 4)
)
@settings(deadline=None, max_examples=50)
def test_unrolling_gives_the_lines_from_which_rolling_captions_were_made(lines: list[str], visible: int) -> None:
    shown = [(float(i), i + 1.0, " / ".join(lines[max(0, i - visible + 1) : i + 1])) for i in range(len(lines))]
    assert texts(shown) == lines
