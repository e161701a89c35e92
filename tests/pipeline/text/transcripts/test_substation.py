"""SubStation Alpha files."""

from __future__ import annotations

import pytest

from pipeline.text.transcripts.substation import is_substation, parse_substation
from schemas.errors import InputError, Reason

ASS = r"""[Script Info]
; a comment
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname
Style: Default,Arial

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:01.50,0:00:02.00,Default,,0,0,0,,{\i1}Hello{\i0}, you\Nthere
Comment: 0,0:00:02.00,0:00:03.00,Default,,0,0,0,,nobody says this
Dialogue: 1,1:02:03.04,1:02:04.00,Default,,0,0,0,,{\p1}m 0 0 l 1 1{\p0}
"""


def test_dialogue_lines_are_events() -> None:
    lines = ASS.split("\n")
    assert is_substation(lines)
    assert list(parse_substation(lines)) == [(1.5, 2.0, "Hello, you\nthere"), (3723.04, 3724.0, "")]


def test_the_format_names_the_fields() -> None:
    lines = ["[Events]", "Format: Marked, Start, End, Text", "Dialogue: Marked=0,0:00:01,0:00:02.5,a, b"]
    assert is_substation(lines)
    assert list(parse_substation(lines)) == [(1.0, 2.5, "a, b")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Dialogue: 0,0:00:0x.00,0:00:02.00,Default,,0,0,0,,a", "line 2 has a malformed time: '0:00:0x.00'"),
        ("Dialogue: 0,0:00:01.00,0:00:02.00,a", "line 2 has fewer fields than layer, start, end"),
    ],
)
def test_a_dialogue_line_that_cannot_be_read_is_rejected(line: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        list(parse_substation(["[Events]", line]))
    assert caught.value.reason is Reason.BAD_TRANSCRIPT
