from __future__ import annotations

import codecs
import os
from collections.abc import Callable
from pathlib import Path

import pysubs2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.text.transcripts.cues import Cue
from pipeline.text.transcripts.reading import TranscriptConfig, embedded_transcript, parse_transcript, read_transcript
from schemas.errors import ConfigError, InputError, Reason

SRT = """1
00:00:01,000 --> 00:00:02,500
<i>Who</i> is <font color="#fff">there</font>?

2
00:01:00,250 --> 01:00:00,000
{\\an8}It is me.
42

"""
VTT = """WEBVTT - a film
Kind: captions

STYLE
::cue { color: red }

NOTE
nobody says this

intro-1
00:01.000 --> 00:02.500 align:start position:0%
<v Roger Bingham>Fish &amp; chips <c.loud>now</c>
2

NOTE nor this

00:00:03.000 --> 00:00:04.000
1 &lt; 2, they <00:00:03.200><c>say</c><00:00:03.500>
"""


DEFAULT = TranscriptConfig()


def message(data: bytes | str, config: TranscriptConfig = DEFAULT) -> str:
    with pytest.raises(InputError) as caught:
        parse_transcript(data.encode() if isinstance(data, str) else data, config)
    assert caught.value.reason is Reason.BAD_TRANSCRIPT
    return str(caught.value)


def cues(data: bytes | str, config: TranscriptConfig = DEFAULT) -> list[Cue]:
    return list(parse_transcript(data.encode() if isinstance(data, str) else data, config).cues)


def test_subrip_is_read_without_tags_and_numbers() -> None:
    assert cues(SRT) == [
        Cue(1.0, 2.5, "Who is there?"),
        Cue(60.25, 3600.0, "It is me.\n42"),
    ]


def test_webvtt_is_read_without_notes_styles_and_identifiers() -> None:
    assert cues(VTT) == [
        Cue(1.0, 2.5, "Fish & chips now\n2"),
        Cue(3.0, 4.0, "1 < 2, they say"),
    ]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r", "\r\r\n"])
@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
        (codecs.BOM_UTF8 * 2, "utf-8"),
    ],
)
@pytest.mark.parametrize("text", [SRT, VTT])
def test_every_encoding_and_line_ending_gives_the_same_cues(
    text: str, mark: bytes, encoding: str, line_end: str
) -> None:
    data = mark + text.replace("\n", line_end).encode(encoding)
    assert cues(data) == cues(text)


lines = (
    st.text(st.sampled_from("abc 漢é!?12"), min_size=1, max_size=12)
    .map(str.strip)
    .filter(lambda s: s and not s.isdigit())
)
_CENTI = (10).__mul__  # SubStation has centiseconds
events = st.lists(
    st.tuples(
        st.integers(0, 10**6).map(_CENTI), st.integers(0, 10**4).map(_CENTI), st.lists(lines, min_size=1, max_size=3)
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda event: event[0],
)


@given(events=events)
@settings(deadline=None, max_examples=50)
def test_files_of_another_library_are_read_correctly(events: list[tuple[int, int, list[str]]]) -> None:
    written = pysubs2.SSAFile()
    for start, length, lines in events:
        written.append(pysubs2.SSAEvent(start=start, end=start + length, text="\\N".join(lines)))
    expected = [
        Cue(start / 1000, (start + length) / 1000, "\n".join(" ".join(line.split()) for line in lines))
        for start, length, lines in sorted(events)
    ]
    for name in ("srt", "vtt", "ass", "ssa"):
        found = parse_transcript(written.to_string(name).encode())
        if "repeated lines of rolling captions" not in found.notes:
            assert found.cues == tuple(expected)


def test_cues_are_ordered_and_what_was_changed_is_noted() -> None:
    text = (
        "00:00:09,000 --> 00:00:08,000\nbackwards\n\n"
        "-00:00:01,000 --> 00:00:05,000\nlong\n\n"
        "00:00:02,000 --> 00:00:02,000\nof no length\n\n"
        "-00:00:01,000 --> 00:00:05,000\nlong\n\n"
        "00:00:01,000 --> 00:00:05,000\nanother\n\n"
        "00:00:03,000 --> 00:00:04,000\n<i> </i>\n\n"
    )
    found = parse_transcript(text.encode())
    assert found.cues == (
        Cue(-1.0, 5.0, "long"),
        Cue(1.0, 5.0, "another"),
        Cue(2.0, 2.0, "of no length"),
        Cue(9.0, 9.0, "backwards"),
    )
    assert found.notes == {
        "with an end before the start": 1,
        "without a duration": 1,
        "out of order": 2,
        "repeated exactly": 1,
        "overlapping": 2,
    }


ROLLING = [
    (0, 2000, ["welcome back"]),
    (2000, 2010, ["welcome back"]),
    (2010, 4000, ["welcome back", "to the show"]),
    (4000, 4010, ["to the show"]),
    (4010, 6000, ["to the show", "of the week"]),
    (30000, 31000, ["of the week"]),
]


@pytest.mark.parametrize("name", ["srt", "vtt", "ass", "ssa"])
def test_rolling_captions_are_unrolled_in_every_format(name: str) -> None:
    written = pysubs2.SSAFile()
    for start, end, lines in ROLLING:
        written.append(pysubs2.SSAEvent(start=start, end=end, text="\\N".join(lines)))
    found = parse_transcript(written.to_string(name).encode())
    assert found.cues == (
        Cue(0.0, 2.0, "welcome back"),
        Cue(2.01, 4.0, "to the show"),
        Cue(4.01, 6.0, "of the week"),
        Cue(30.0, 31.0, "of the week"),
    )
    assert found.notes == {"repeated lines of rolling captions": 4}


def test_captions_of_speech_recognition_have_times_within_their_lines() -> None:
    text = (
        "WEBVTT\nKind: captions\nLanguage: en\n\n"
        "00:00:00.000 --> 00:00:02.000 align:start position:0%\n \n"
        "welcome<00:00:00.500><c> to</c><00:00:01.000><c> the</c><00:00:01.500><c> show</c>\n\n"
        "00:00:02.000 --> 00:00:02.010 align:start position:0%\nwelcome to the show\n \n\n"
        "00:00:02.010 --> 00:00:04.000 align:start position:0%\nwelcome to the show\n"
        "of<00:00:02.500><c> the</c><00:00:03.000><c> week</c>\n"
    )
    for data in (text, text.split("\n\n", 1)[1]):  # without its header it is read as SubRip
        assert cues(data) == [Cue(0.0, 2.0, "welcome to the show"), Cue(2.01, 4.0, "of the week")]


def test_events_of_a_subtitle_stream_are_unrolled() -> None:
    events = [(start / 1000, end / 1000, "\\N".join(lines)) for start, end, lines in ROLLING]
    assert [cue.text for cue in embedded_transcript(events).cues] == [
        "welcome back",
        "to the show",
        "of the week",
        "of the week",
    ]


def test_webvtt_without_cues_is_valid() -> None:
    assert cues("WEBVTT\n\nNOTE a silent film\n") == []


@pytest.mark.parametrize("data", [b"", b"\n\n", b"a letter, not a transcript", b"1\n2\n"])
def test_file_without_cues_is_rejected(data: bytes) -> None:
    assert "it has no cues" in message(data)


def test_other_encodings_must_be_configured() -> None:
    data = "1\n00:00:01,000 --> 00:00:02,000\ncafé\n".encode("cp1252")
    assert "byte 35 is not valid utf-8; convert the file to UTF-8 or set `encoding`" in message(data)
    assert cues(data, TranscriptConfig(encoding="cp1252")) == [Cue(1.0, 2.0, "café")]
    assert "neither UTF-8 nor cp1252" in message(b"\x81" + data, TranscriptConfig(encoding="cp1252"))
    for unknown in ("klingon", "base64"):
        with pytest.raises(ConfigError, match=f"encoding must be .* got '{unknown}'"):
            TranscriptConfig(encoding=unknown)


def test_nul_characters_at_the_end_are_dropped() -> None:
    found = parse_transcript(SRT.encode() + bytes(100))
    assert (found.cues, found.notes) == (
        parse_transcript(SRT.encode()).cues,
        {"NUL characters at the end dropped": 100},
    )
    assert "it has no cues" in message(bytes(100))


def test_binary_file_is_rejected() -> None:
    assert "NUL at character 3" in message(b"abc\0def")


def test_file_beyond_the_limit_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "film.en.srt"
    path.write_text(SRT)
    assert read_transcript(path) == parse_transcript(SRT.encode())
    with pytest.raises(InputError, match="the limit is 10") as caught:
        read_transcript(path, TranscriptConfig(max_bytes=10))
    assert caught.value.reason is Reason.BAD_TRANSCRIPT
    with pytest.raises(InputError, match="No such file") as caught:
        read_transcript(tmp_path / "absent.srt")
    assert caught.value.reason is Reason.BAD_TRANSCRIPT


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_a_folder_or_pipe_is_rejected(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "a.srt")
    with pytest.raises(InputError, match="not a regular file but a") as caught:
        read_transcript(tmp_path / "a.srt")
    assert caught.value.reason is Reason.BAD_TRANSCRIPT


def test_events_of_a_subtitle_stream_are_cleaned() -> None:
    events = [
        (2.0, 3.0, r"two\N{\b1} lines  here"),
        (2.0, 3.0, "two\nlines here"),
        (-0.5, 1.0, "first"),
        (5.0, 6.0, " "),
    ]
    found = embedded_transcript(events)
    assert found.cues == (Cue(-0.5, 1.0, "first"), Cue(2.0, 3.0, "two\nlines here"))
    assert found.notes == {"out of order": 1, "repeated exactly": 1}
    with pytest.raises(InputError, match="the times nan to 1"):
        embedded_transcript([(float("nan"), 1.0, "x")])


@given(data=st.binary(max_size=200) | st.text("0123456789:,.->WEBVT\n ", max_size=200).map(str.encode))
@settings(deadline=None, max_examples=200)
def test_any_bytes_are_cues_or_an_error(data: bytes) -> None:
    try:
        found = cues(data)
    except InputError:  # any other error fails the test
        assert "invalid transcript: " in message(data)
        return
    assert all(cue.text.strip() and cue.start_s <= cue.end_s for cue in found)
    assert found == sorted(found, key=lambda cue: (cue.start_s, cue.end_s))
