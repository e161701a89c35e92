from __future__ import annotations

import codecs
from pathlib import Path

import pysubs2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.text.transcripts import Cue, TranscriptConfig, embedded_cues, parse_transcript, read_transcript
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


def test_subrip_is_read_without_tags_and_numbers() -> None:
    assert parse_transcript(SRT.encode()) == [
        Cue(1.0, 2.5, "Who is there?"),
        Cue(60.25, 3600.0, "It is me.\n42"),
    ]


def test_webvtt_is_read_without_notes_styles_and_identifiers() -> None:
    assert parse_transcript(VTT.encode()) == [
        Cue(1.0, 2.5, "Fish & chips now\n2"),
        Cue(3.0, 4.0, "1 < 2, they say"),
    ]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ],
)
@pytest.mark.parametrize("text", [SRT, VTT])
def test_every_encoding_and_line_ending_gives_the_same_cues(
    text: str, mark: bytes, encoding: str, line_end: str
) -> None:
    data = mark + text.replace("\n", line_end).encode(encoding)
    assert parse_transcript(data) == parse_transcript(text.encode())


lines = (
    st.text(st.sampled_from("abc 漢é!?12"), min_size=1, max_size=12)
    .map(str.strip)
    .filter(lambda s: s and not s.isdigit())
)
events = st.lists(
    st.tuples(st.integers(0, 10**7), st.integers(0, 10**5), st.lists(lines, min_size=1, max_size=3)),
    min_size=1,
    max_size=8,
    unique_by=lambda event: event[0],
)


@given(events=events)
@settings(deadline=None, max_examples=80)
def test_files_of_another_library_are_read_correctly(events: list[tuple[int, int, list[str]]]) -> None:
    written = pysubs2.SSAFile()
    for start, length, lines in events:
        written.append(pysubs2.SSAEvent(start=start, end=start + length, text="\\N".join(lines)))
    expected = [
        Cue(start / 1000, (start + length) / 1000, "\n".join(" ".join(line.split()) for line in lines))
        for start, length, lines in sorted(events)
    ]
    assert parse_transcript(written.to_string("srt").encode()) == expected
    # Unlike SubRip, WebVTT may roll: a repeated line is shown on, so only its text can be compared.
    vtt = parse_transcript(written.to_string("vtt").encode())
    assert {cue.start_s for cue in vtt} <= {cue.start_s for cue in expected}


def test_cues_are_ordered_and_can_overlap() -> None:
    text = (
        "00:00:09,000 --> 00:00:08,000\nbackwards\n\n"
        "00:00:01,000 --> 00:00:05,000\nlong\n\n"
        "00:00:02,000 --> 00:00:02,000\nof no length\n\n"
        "00:00:01,000 --> 00:00:05,000\nlong\n\n"
        "00:00:01,000 --> 00:00:05,000\nanother\n\n"
        "00:00:03,000 --> 00:00:04,000\n<i> </i>\n\n"
    )
    assert parse_transcript(text.encode()) == [
        Cue(1.0, 5.0, "long"),
        Cue(1.0, 5.0, "another"),
        Cue(2.0, 2.0, "of no length"),
        Cue(9.0, 9.0, "backwards"),
    ]


def test_malformed_subrip_that_players_accept_is_read() -> None:
    text = (
        "7\n0:00:01.5-->0:00:02 X1:40 X2:600\n\n one\n  two \n\n3\n8\n00:00:03,000 --> 00:00:04,000\nthree<br>four\n9\n"
    )
    assert parse_transcript(text.encode()) == [Cue(1.5, 2.0, "one\ntwo\n3"), Cue(3.0, 4.0, "three\nfour\n9")]


def test_words_in_angle_brackets_that_are_not_tags_are_kept() -> None:
    text = "1\n00:00:01,000 --> 00:00:02,000\na <vision> of 1 < 2 > 0 <b>and</b> C:\\Names\n"
    assert parse_transcript(text.encode())[0].text == "a <vision> of 1 < 2 > 0 and C:\\Names"


def test_rolling_captions_are_unrolled() -> None:
    text = (
        "WEBVTT\n\n"
        "00:00.000 --> 00:02.000\n \nwelcome<00:00:00.480><c> back</c>\n\n"
        "00:02.000 --> 00:02.010\nwelcome back\n \n\n"
        "00:02.010 --> 00:04.000\nwelcome back\nto<00:00:02.500><c> the</c><00:00:03.000><c> show</c>\n\n"
        "00:04.000 --> 00:04.010\nto the show\n \n\n"
        "00:30.000 --> 00:31.000\nto the show\n"
    )
    assert parse_transcript(text.encode()) == [
        Cue(0.0, 2.0, "welcome back"),
        Cue(2.01, 4.0, "to the show"),
        Cue(30.0, 31.0, "to the show"),
    ]


def test_webvtt_without_cues_is_valid() -> None:
    assert parse_transcript(b"WEBVTT\n\nNOTE a silent film\n") == []


@pytest.mark.parametrize("data", [b"", b"\n\n", b"a letter, not a transcript", b"[Script Info]\nTitle: x\n"])
def test_file_without_cues_is_rejected(data: bytes) -> None:
    assert "it has no cues" in message(data)


@pytest.mark.parametrize(
    "line",
    ["00:00:0x,000 --> 00:00:02,000", "00:00:01,000 --> later", "00:00:01,000 -> 00:00:02,000", "-1:00 --> 0:02"],
)
@pytest.mark.parametrize("head", ["", "WEBVTT\n\n"])
def test_malformed_time_is_rejected_with_its_line(line: str, head: str) -> None:
    text = f"{head}00:00:01.000 --> 00:00:02.000\nwell\n\n{line}\nnot well\n"
    assert f"line {text.splitlines().index(line) + 1} has a malformed time: '{line}'" in message(text)


def test_other_encodings_must_be_configured() -> None:
    data = "1\n00:00:01,000 --> 00:00:02,000\ncafé\n".encode("cp1252")
    assert "byte 35 is not valid utf-8; convert the file to UTF-8 or set `encoding`" in message(data)
    assert parse_transcript(data, TranscriptConfig(encoding="cp1252")) == [Cue(1.0, 2.0, "café")]
    assert "neither UTF-8 nor cp1252" in message(b"\x81" + data, TranscriptConfig(encoding="cp1252"))
    for unknown in ("klingon", "base64"):
        with pytest.raises(ConfigError, match=f"encoding must be .* got '{unknown}'"):
            TranscriptConfig(encoding=unknown)


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


def test_events_of_a_subtitle_stream_are_cleaned() -> None:
    events = [(2.0, 3.0, "two\n lines  here"), (2.0, 3.0, "two\nlines here"), (-0.5, 1.0, "first"), (5.0, 6.0, " ")]
    assert embedded_cues(events) == [Cue(0.0, 1.0, "first"), Cue(2.0, 3.0, "two\nlines here")]
    with pytest.raises(InputError, match="the times nan to 1"):
        embedded_cues([(float("nan"), 1.0, "x")])


@given(data=st.binary(max_size=200) | st.text("0123456789:,.->WEBVT\n ", max_size=200).map(str.encode))
@settings(deadline=None, max_examples=200)
def test_any_bytes_are_cues_or_an_error(data: bytes) -> None:
    try:
        cues = parse_transcript(data)
    except InputError:  # any other error fails the test
        assert "invalid transcript: " in message(data)
        return
    assert all(cue.text.strip() and 0 <= cue.start_s <= cue.end_s for cue in cues)
    assert cues == sorted(cues, key=lambda cue: (cue.start_s, cue.end_s))
