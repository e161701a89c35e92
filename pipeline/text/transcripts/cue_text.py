"""Removes the formatting of subtitles: tags of SubRip and WebVTT, and override codes of SubStation."""

from __future__ import annotations

import html
import re

_WORD_TIME = r"<(?:\d{1,4}:)?\d{1,3}:\d{1,2}\.\d{1,9}>"
_TAG = re.compile(rf"</?(?:[bius]|[cv]|lang|ruby|rt|font|span)(?:[ .\t][^<>]*)?>|{_WORD_TIME}", re.IGNORECASE)
_BREAK = re.compile(r"<br ?/?>|\[br\]", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#\d+|#x[0-9a-f]+|[a-z][a-z0-9]*);", re.IGNORECASE)
_STRAY_OVERRIDE = re.compile(r"\{\\[^{}]*\}")  # {\an8} in SubRip
_OVERRIDE = re.compile(r"(?<!\\)\{[^}]*\}")
_DRAWING = re.compile(r"\\p[1-9]")


def has_word_times(text: str) -> bool:
    """Whether a WebVTT text has times for single words, as `to<00:00:01.500> the<00:00:02.000> show`."""
    return re.search(_WORD_TIME, text) is not None


def timed_text(text: str) -> str:
    """Return the text of a SubRip, WebVTT or SubViewer cue without formatting."""
    plain = _STRAY_OVERRIDE.sub("", _TAG.sub("", _BREAK.sub("\n", text)))
    return _ENTITY.sub(lambda match: html.unescape(match[0]), plain)


def substation_text(text: str) -> str:
    r"""Return the text of a SubStation event without formatting, "" for a drawing.

    FFmpeg writes the subtitles of all formats in this form, with `\{` for a brace, `\N` for a line break, and U+2060
    after a backslash, and may leave the tags of their own format.
    """
    if any(_DRAWING.search(override) for override in _OVERRIDE.findall(text)):
        return ""
    plain = _OVERRIDE.sub("", text)
    for code, character in (
        ("\\N", "\n"),
        ("\\n", "\n"),
        ("\\h", " "),
        ("\\{", "{"),
        ("\\}", "}"),
        ("\\\u2060", "\\"),
        ("\r", ""),
    ):
        plain = plain.replace(code, character)
    return _TAG.sub("", plain)


def clean_lines(text: str) -> str:
    """Return the lines of a text without blank ones and without repeated white space."""
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)
