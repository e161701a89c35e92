"""Mends text that is UTF-8 in all but a few bytes, so that no legacy encoding is guessed for it.

Such files are common: passages of a Latin-1 file were pasted into one in UTF-8, a download was cut within a character,
a database wrote surrogate pairs (CESU-8). A stray byte becomes the letter or quotation mark that it is in cp1252, if
that fits between its neighbors and the byte cannot be the rest of a damaged character; no byte is guessed otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from schemas.counted import counted
from schemas.deadline import checked
from schemas.errors import InputError, Reason

# Bytes that are not UTF-8, as `surrogateescape` decodes them.
_STRAYS = re.compile("[\udc80-\udcff]+")
_SURROGATE_PAIR = re.compile("\udced([\udca0-\udcaf])([\udc80-\udcbf])\udced([\udcb0-\udcbf])([\udc80-\udcbf])")
# Characters that are frequent in UTF-8, and whose bytes have no meaning together in another encoding of Latin script.
_TYPICAL = re.compile("[\u00a0-\u017f\u2010-\u203a\u20ac]")
_NOT_ASCII_RUN = re.compile("[^\x00-\x7f]+")
_LETTERS = frozenset("ŠŒŽšœžŸ") | {chr(c) for c in range(0xC0, 0x100)} - {"×", "÷"}
_OPENING, _CLOSING, _APOSTROPHE, _DASHES = "‘“", "”", "’", "–—"
_EVIDENCE = 8  # stray bytes per typical character, up to which a text is UTF-8
_FEW = 10
_EXAMINED = 1 << 20  # characters or bytes from which the script is told
_LEADS = {0xC2, 0xC3}  # first bytes of the most frequent characters


class MendedText(NamedTuple):
    """A text, and how many bytes of it were mended or, if they were the rest of a character, dropped."""

    text: str
    mended: int


def mend_utf8(data: bytes, *, is_other_declared: bool = False) -> MendedText | None:
    """Return the text of data that is UTF-8 in all but a few bytes; None if it is in another encoding.

    `is_other_declared`: the document declares another encoding, so more evidence for UTF-8 is needed. Raises InputError
    NOT_TEXT for UTF-8 with a byte that cannot be mended, with its position.
    """
    text, pairs = _SURROGATE_PAIR.subn(_joined_pair, data.decode("utf-8", "surrogateescape"))
    strays = list(_STRAYS.finditer(text))
    if not strays:
        return MendedText(text, 6 * pairs)
    if not _is_utf8(text, strays, is_other_declared=is_other_declared):
        return None
    parts, at, mended = [], 0, 6 * pairs
    mender = _Mender(text)
    for stray in checked(strays):
        start, end = stray.span()
        letter = mender.mend(start, end)
        if letter is None:
            raise not_utf8(text, start, sum(len(s[0]) for s in strays) - 1)
        parts += [text[at:start], letter]
        at, mended = end, mended + end - start
    return MendedText("".join([*parts, text[at:]]), mended)


def mend_cp1252(data: bytes) -> str | None:
    """Return the text of data that is ASCII in all but a few bytes, if each fits as a letter or quote of cp1252."""
    text = data.decode("ascii", "surrogateescape")
    mender = _Mender(text)
    is_fitting = all(mender.mend(*stray.span()) for stray in _STRAYS.finditer(text))
    return data.decode("cp1252") if is_fitting else None


def has_typical_characters(data: bytes) -> bool:
    """Whether data of Latin script that is not UTF-8 contains UTF-8: another encoding would ruin these characters."""
    text = data[:_EXAMINED].decode("utf-8", "surrogateescape")
    strays = sum(map(len, _STRAYS.findall(text)))
    return _is_latin_script(text, strays) and 20 * len(_TYPICAL.findall(text)) > strays


def not_utf8(text: str, start: int, others: int = 0) -> InputError:
    """Return the error for the stray byte at a character of a text that `surrogateescape` decoded."""
    at = len(text[:start].encode("utf-8", "surrogateescape"))
    more = f", nor {'is' if others == 1 else 'are'} {counted(others, 'other')}" if others else ""
    return InputError(Reason.NOT_TEXT, f"byte {at:,} is not valid UTF-8{more}; repair the file or convert it to UTF-8")


def _joined_pair(match: re.Match[str]) -> str:
    high, low = ((ord(a) & 0x0F) << 6 | ord(b) & 0x3F for a, b in (match.groups()[:2], match.groups()[2:]))
    return chr(0x10000 + (high << 10) + low)


def _is_utf8(text: str, strays: Sequence[re.Match[str]], *, is_other_declared: bool) -> bool:
    """Whether the valid characters outweigh the stray bytes.

    Other encodings have few runs of bytes that are valid UTF-8 by chance: at most one for two stray bytes in Thai, and
    next to none where stray bytes stand alone, as in the encodings of Latin script.
    """
    count = sum(len(stray[0]) for stray in strays)
    valid = len(text) - len(text.encode("ascii", "ignore")) - count
    if valid >= 4 * count:
        return True
    typical = sum(1 for _ in _TYPICAL.finditer(text))
    return not is_other_declared and _EVIDENCE * typical >= count and _is_latin_script(text, count)


def _is_latin_script(text: str, strays: int) -> bool:
    """Whether most letters are ASCII: stray bytes are few, or stand alone between ASCII characters."""
    if strays <= max(_FEW, len(text) // 20):
        return True
    runs = [run for run in _NOT_ASCII_RUN.findall(text[:_EXAMINED]) if _STRAYS.search(run)]
    return 2 * sum(len(run) == 1 for run in runs) >= len(runs)


class _Mender:
    """Finds what stray bytes of a text are."""

    def __init__(self, text: str) -> None:
        self._text = text
        characters = {c for c in set(text) if c >= "\x80" and not "\ud800" <= c <= "\udfff"}
        used = {byte for c in characters if c < "\u0800" for byte in c.encode()}
        self._halves = used | _LEADS  # a stray one of these may be half of a damaged character
        self._leads = {c.encode()[0] for c in characters}
        self._is_western = all(_is_cp1252(c) for c in characters if c.isalpha())

    def mend(self, start: int, end: int) -> str | None:
        """Return what stands for the stray bytes in [start, end): characters, or "" for the rest of one; or None."""
        text = self._text
        codes = [ord(c) - 0xDC00 for c in text[start:end]]
        is_cut = end == len(text) and _is_start(codes)
        is_rest = start == 0 and len(codes) <= 3 and max(codes) < 0xC0
        if (is_cut and codes[0] in self._leads) or (is_rest and len(codes) > 1):
            return ""
        if letters := self._fitting(start, codes):
            return letters
        return "" if is_rest or (is_cut and self._leads) else None

    def _fitting(self, start: int, codes: Sequence[int]) -> str | None:
        """Return the characters of stray bytes in cp1252, None if one of them does not fit."""
        letters = bytes(codes).decode("cp1252", "replace")
        around = self._text[max(0, start - 1) : start] + letters
        around = around.rjust(len(letters) + 1, "\n") + (
            self._text[start + len(codes) : start + len(codes) + 1] or "\n"
        )
        for i, (code, letter) in enumerate(zip(codes, letters, strict=True)):
            if code in self._halves or self._is_part(start + i, code):
                return None
            before, after = around[i], around[i + 2]
            if letter not in _LETTERS:
                is_fitting = _fits_as_punctuation(letter, before, after)
            else:
                is_fitting = self._is_western and _fits_as_letter(letter, before, after)
            if not is_fitting:
                return None
        return letters

    def _is_part(self, at: int, code: int) -> bool:
        """Whether a stray byte and another one near it can be what is left of one character."""
        if code >= 0xE0:
            return any("\udc80" <= c <= "\udcbf" for c in self._text[at + 1 : at + 4])
        return code < 0xC0 and any("\udcc0" <= c <= "\udcff" for c in self._text[max(0, at - 3) : at])


def _is_cp1252(character: str) -> bool:
    try:
        character.encode("cp1252")
    except UnicodeEncodeError:
        return False
    return True


def _is_start(codes: Sequence[int]) -> bool:
    """Whether bytes are the start of a character of UTF-8."""
    size = 2 if 0xC2 <= codes[0] <= 0xDF else 3 if 0xE0 <= codes[0] <= 0xEF else 4 if 0xF0 <= codes[0] <= 0xF4 else 0
    return len(codes) < size and all(0x80 <= code <= 0xBF for code in codes[1:])


def _is_latin(character: str) -> bool:
    return character.isalpha() and character < "\u0250"


def _fits_as_letter(letter: str, before: str, after: str) -> bool:
    if not (_is_latin(before) or _is_latin(after)):
        return letter in "àÀ" and before.isspace() and after.isspace()
    if any(c.isalnum() and not _is_latin(c) for c in (before, after)):
        return False
    if letter.isupper():
        return not before.islower() and not (after.islower() and before.isupper())
    return not after.isupper() and (letter != "ÿ" or _is_latin(before))


def _fits_as_punctuation(mark: str, before: str, after: str) -> bool:
    if mark == _APOSTROPHE:
        return _is_latin(before) and not after.isdigit()
    if mark in _OPENING:
        return not before.isalnum() and after.isalnum()
    if mark in _CLOSING:
        return bool(before) and not before.isspace() and not after.isalnum()
    if mark in _DASHES:
        return (before.isspace() and after.isspace()) or (before.isalnum() and after.isalnum())
    return mark == "…" and (before.isalnum() or before.isspace()) and not after.isalnum()
