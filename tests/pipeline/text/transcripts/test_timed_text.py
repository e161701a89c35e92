"""SubRip, WebVTT and SubViewer, as they are written in practice."""

from __future__ import annotations

import pytest

from pipeline.text.transcripts.timed_text import is_webvtt, parse_timed_text
from schemas.errors import InputError, Reason


def parse(text: str) -> list[tuple[float, float, str]]:
    return [(start, end, body.strip()) for start, end, body in parse_timed_text(text.split("\n"))]


@pytest.mark.parametrize(
    ("line", "times"),
    [
        ("00:00:01,000 --> 00:00:02,000", (1, 2)),
        ("00:00:01.000 --> 00:00:02.000", (1, 2)),
        ("00:00:01:000 --> 00:00:02:000", (1, 2)),
        ("00:00:01;000 --> 00:00:02;000", (1, 2)),
        ("00.00.01,000 --> 00.00.02,000", (1, 2)),
        ("0:0:1.5-->0:0:2.25", (1.5, 2.25)),
        ("00:01 --> 00:02", (1, 2)),
        ("00:01.500 --> 01:00:00.000", (1.5, 3600)),
        ("00:00:01 --> 00:00:02", (1, 2)),
        ("00: 00: 01,000 -> 00: 00: 02,000", (1, 2)),
        ("00 : 00 : 01 , 000 --> 00 : 00 : 02 , 000", (1, 2)),
        ("00:00:01,000 -- > 00:00:02,000", (1, 2)),
        ("00:00:01,000 - -> 00:00:02,000", (1, 2)),
        ("00:00:01,000 ---> 00:00:02,000", (1, 2)),
        ("00:00:01,000 ==> 00:00:02,000", (1, 2)),
        ("00:00:01,000 → 00:00:02,000", (1, 2)),
        ("00:00:01,000 —> 00:00:02,000", (1, 2)),
        ("00:00:01,000 –> 00:00:02,000", (1, 2)),
        ("00:00:01,000 --&gt; 00:00:02,000", (1, 2)),
        ("00:00:01,000 - 00:00:02,000", (1, 2)),
        ("00:00:01,000 — 00:00:02,000", (1, 2)),
        ("００：００：０１，０００　－－＞　００：００：０２，０００", (1, 2)),
        ("00：00：01，000 ーー＞ 00：00：02，000", (1, 2)),
        ("\u200e00:00:01,000 --> \u202b00:00:02,000\u202c", (1, 2)),
        ("\ufeff00:00:01,000\u00a0-->\u00a000:00:02,000", (1, 2)),
        ("٠٠:٠٠:٠١,٠٠٠ --> ٠٠:٠٠:٠٢,٠٠٠", (1, 2)),
        ("-00:00:01,000 --> 00:00:01,500", (-1, 1.5)),
        ("0:00:01.000,0:00:02.000", (1, 2)),
        ("  00:00:01,000 --> 00:00:02,000  X1:40 X2:600 Y1:1 Y2:2", (1, 2)),
        ("00:01.000 --> 00:02.000 align:start position:0%,line-left", (1, 2)),
        ("00:00:01,123456 --> 00:00:02,9", (1.123, 2.9)),
        ("1000:00:01,000 --> 1000:00:02,000", (3600001, 3600002)),
    ],
)
def test_times_are_read_as_they_are_written_in_practice(line: str, times: tuple[float, float]) -> None:
    assert parse(f"1\n{line}\nfirst\n\n2\n00:00:03,000 --> 00:00:04,000\nsecond") == [
        (*times, "first"),
        (3, 4, "second"),
    ]


def test_text_after_the_times_is_text() -> None:
    assert parse("00:00:01,000 --> 00:00:02,000 Good morning\nthere") == [(1, 2, "Good morning\nthere")]


@pytest.mark.parametrize(
    "line",
    [
        "00:00:0x,000 --> 00:00:02,000",
        "00:00:01,000 --> later",
        "OO:OO:O1,OOO --> OO:OO:O2,OOO",
        "00:00:01,000 00:00:02,000",
        "OO:00:01,000 - OO:00:02,000",
        "00:00:01,000 to 00:00:02,000",
        "00:00:01:04 --> 00:00:02:04",
        "00:00:-1,000 --> 00:00:02,000",
        "00:00:01,000 --> 00:00:",
        "00:00:01,000 --> ",
        "1 --> 2",
    ],
)
@pytest.mark.parametrize("head", ["1\n00:00:01,000 --> 00:00:02,000\nwell\n\n2\n", "2\n"])
@pytest.mark.parametrize("is_vtt", [False, True])
def test_a_malformed_time_is_rejected_with_its_line(line: str, head: str, is_vtt: bool) -> None:
    text = f"{'WEBVTT' * is_vtt}\n\n{head}{line}\nnot well\n\n00:00:08,000 --> 00:00:09,000\nwell\n"
    with pytest.raises(InputError) as caught:
        parse(text)
    assert caught.value.reason is Reason.BAD_TRANSCRIPT
    assert f"line {text.splitlines().index(line) + 1} has a malformed time: {line.strip()!r}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2\nno time\n\n3\n00:00:03,000 --> 00:00:04,000\nthree", "line 2 is text before the first time: 'no time'"),
        (
            "1\n00:00:01,000 --> 00:00:02,000\none\n\n2\nno time\n\n3\n00:00:03,000 --> 00:00:04,000\nthree",
            "line 5 is the number of cue 2, but no time follows",
        ),
        ("WEBVTT\n\n00:01.000 --> 00:02.000\none\n\nno time\n", "line 6 is text without a time: 'no time'"),
        ("WEBVTT\n\nno time\nat all\n\n00:01.000 --> 00:02.000\none", "line 3 is text without a time: 'no time'"),
        ("WEBVTT\n\nlost\nname\n00:01.000 --> 00:02.000\none", "line 3 is text without a time: 'lost'"),
    ],
)
def test_text_without_a_time_is_rejected(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse(text)
    assert caught.value.reason is Reason.BAD_TRANSCRIPT


def test_numbers_and_blank_lines_may_be_missing() -> None:
    assert parse("00:01 --> 00:02\none\n\n\n00:03 --> 00:04\ntwo\n00:05 --> 00:06\nthree\n7\n00:07 --> 00:08\n") == [
        (1, 2, "one"),
        (3, 4, "two"),
        (5, 6, "three"),
        (7, 8, ""),
    ]


@pytest.mark.parametrize("head", ["", "WEBVTT\n\n"])
def test_a_blank_line_may_be_between_the_number_and_the_time(head: str) -> None:
    assert parse(f"{head}00:01 --> 00:02\none\n \n2\n00:03 --> 00:04\ntwo\n\n3\n\n00:05 --> 00:06\n7") == [
        (1, 2, "one"),
        (3, 4, "two"),
        (5, 6, "7"),
    ]


def test_text_may_have_blank_lines_and_numbers() -> None:
    text = "7\n0:00:01.5-->0:00:02\n\n one\n  two \n\n3\n8\n00:00:03,000 --> 00:00:04,000\nat 10:00 -> 11:00\n9\n"
    assert parse(text) == [(1.5, 2, "one\n  two \n\n3"), (3, 4, "at 10:00 -> 11:00\n9")]


@pytest.mark.parametrize(
    "head",
    [
        "WEBVTT",
        "WEBVTT - a film\nKind: captions\nLanguage: en",
        "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:900000",
        "WEBVTT\nStyle:\n::cue(c.a) { color: red;\n }\n##\n",
        "WEBVTT\n\nSTYLE\n::cue { color: red }\n\nREGION\nid:fred\nwidth:40%",
        "WEBVTT\n\nKind: captions\nLanguage: en",
        "WEBVTT\n\nNOTE\nnobody says this\n\nintro-1",
        "WEBVTT\n\n1",
    ],
)
def test_webvtt_headers_notes_styles_regions_and_identifiers_are_no_text(head: str) -> None:
    text = f"{head}\n\nname\n00:01.000 --> 00:02.000\none\n\nNOTE nor this\n\nWEBVTT\n\n00:03.000 --> 00:04.000\n \ntwo"
    if head.endswith("intro-1"):
        text = text.replace("intro-1\n\nname", "intro-1")
    assert is_webvtt(text.split("\n"))
    assert parse(text) == [(1, 2, "one"), (3, 4, "two")]
