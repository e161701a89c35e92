"""Whether decoded text can be text: a check on encodings that were detected rather than declared.

A wrong single-byte encoding turns letters into symbols within words, into capitals after small letters, or into letters
of another script. The share of such characters among those that are not ASCII tells a right from a wrong encoding.
Cost: 1 microsecond per character that is not ASCII, of which at most 20,000 are examined.
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata

import numpy as np

_SHIFTED = 4  # successive pairs of such characters
_MAX_COUNTED = 1 << 18  # characters
_MAX_EXAMINED = 20_000
_WITHIN_WORDS = frozenset("'’‘ʼ`´·-‐‑–—/…|\u00ad\u200c\u200d")
_SCRIPTS = ((0x0250, "Latin"), (0x0370, None), (0x0400, "Greek"), (0x0530, "Cyrillic"))  # up to a code point


@functools.cache
def impossible() -> re.Pattern[str]:
    """Return a pattern of what no text has: controls, and code points (below U+10000) that are not characters."""
    codes = (code for code in range(0x10000) if _is_impossible(code))  # beyond, a set would be searched linearly
    ranges = []
    for _, group in itertools.groupby(enumerate(codes), key=lambda pair: pair[1] - pair[0]):
        found = [code for _, code in group]
        ranges.append(f"\\U{found[0]:08x}-\\U{found[-1]:08x}")
    return re.compile(f"[{''.join(ranges)}]")


def has_shifted_characters(text: str) -> bool:
    """Whether a text in UTF-16 was read from the wrong byte on: several characters differ in their high bytes only."""
    codes = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), "<u2")
    differs = (codes[1:] & 0xFF == codes[:-1] & 0xFF) & (codes[1:] != codes[:-1])
    runs = np.lib.stride_tricks.sliding_window_view(differs, _SHIFTED) if len(differs) >= _SHIFTED else differs[:0]
    return bool(len(runs) and runs.all(axis=1).any())


def implausible_share(text: str) -> float:
    """Return the share of characters that are implausible in their place, among those that are not ASCII.

    It is 1 for Latin script in which most letters are not ASCII: no language is written so.
    """
    sample = text[:_MAX_COUNTED]
    if len(re.findall("[\u00c0-\u024f]", sample)) > len(re.findall("[A-Za-z]", sample)):
        return 1.0
    found = list(itertools.islice(re.finditer("[^\x00-\x7f]", text), _MAX_EXAMINED))
    opening = "" if "„" in text or "‚" in text else "“‘"  # these close German quotations
    return sum(_is_implausible(text, match.start(), opening) for match in found) / max(1, len(found))


def _is_implausible(text: str, at: int, opening: str) -> bool:
    character = text[at]
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    category = unicodedata.category(character)
    if character in opening and before.isalpha():
        return True
    if character in "’¶" and not before.isalpha() and after.isalpha() and _script(after) == "Greek":
        return True  # the letter Ά, which ISO 8859-7 and cp1253 encode differently
    if category[0] in "SPN" and character not in _WITHIN_WORDS and character < "\u2e80":
        return "\u2500" <= character < "\u25a0" or (before.isalpha() and after.isalpha())
    if category[0] != "L" or character >= "\u2e80":
        return False
    if character.isupper() and before.islower():
        return True
    script = _script(character)
    return any(c.isalpha() and _script(c) not in (script, None) for c in (before, after))


def _script(letter: str) -> str | int | None:
    """Return the script of a letter: a name or, for most, the number of its block of 128 characters."""
    code = ord(letter)
    for end, name in _SCRIPTS:
        if code < end:
            return name
    if 0x1E00 <= code < 0x2000:
        return "Latin" if code < 0x1F00 else "Greek"
    return "CJK" if code >= 0x2E80 else code >> 7


def _is_impossible(code: int) -> bool:
    if code < 0x20 or 0x7F <= code < 0xA0:
        return chr(code) not in "\t\n\v\f\r\x1a\x1b"
    return unicodedata.category(chr(code)) in ("Cn", "Cs")
