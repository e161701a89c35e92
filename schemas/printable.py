r"""Text that comes from data, made safe to print: names, titles, URLs, reasons, messages of other libraries.

A terminal executes control characters (`\x1b]52;…` writes to the clipboard, `\x9b2J` clears the screen), bidirectional
overrides show a text in another order than it has, and a line separator or newline adds a line to a log that no command
wrote. All of these become escapes that JSON and TOML know (`\u001b`). Ordinary Unicode stays: letters of every script,
joiners, no-break spaces, emoji.
"""

from __future__ import annotations

import json
import unicodedata
from typing import Any

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPED = frozenset(["Cc", "Cs", "Zl", "Zp"])  # controls, lone surrogates, line and paragraph separators
_BIDIRECTIONAL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_INVISIBLE = frozenset("\ufeff\ufff9\ufffa\ufffb\u2060\u2061\u2062\u2063\u2064\u180e")


def printable(text: str, *, keep: str = "") -> str:
    """Return `text` with what a terminal could execute or misplace escaped; `keep` has the controls to leave alone.

    Messages that Longreel composes may keep their own newlines; the data in them is escaped before.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in keep or not _is_harmful(c) else _escape(c) for c in text)


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Return a value as JSON that is safe to print."""
    return printable(json.dumps(value, indent=indent, allow_nan=False), keep="\n")


def _is_harmful(character: str) -> bool:
    return (
        unicodedata.category(character) in _ESCAPED
        or character in _BIDIRECTIONAL
        or character in _INVISIBLE
        or "\U000e0000" <= character <= "\U000e007f"  # tags: text that is not shown
    )


def _escape(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
