"""Detects encodings other than Unicode with chardet.

chardet compares the data with the frequencies of letter pairs of many languages in each encoding; of the detectors that
benchmarks/text_encodings.py compares, it is wrong least. Its answer is checked: text with characters that are
implausible in their place is rejected, because a wrong encoding ruins a document and no later step notices it.

Cost: 20 ms.
"""

from __future__ import annotations

import codecs
import io
import re
from typing import NamedTuple

from pipeline.text.plausibility import implausible_share, impossible
from pipeline.text.utf8_repair import has_typical_characters, mend_cp1252

_SAMPLE_BYTES = 200_000
_MAX_IMPLAUSIBLE = 0.02
_FEW_BYTES = 10  # that are not ASCII: too few for frequencies
_KANA = re.compile("[\u3041-\u30ff]")
_MAX_KANA = 0.02  # in Chinese and Korean, whose encodings have the kana where EUC-JP has them
_ESCAPES = (b"\x1b$", b"\x1b(", b"~{")
# Encodings that contain another one and are often declared, or detected, by its name (WHATWG Encoding Standard).
_SUPERSETS = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
}


class DetectedText(NamedTuple):
    """A text and the encoding in which it is plausible."""

    text: str
    encoding: str


def decode_escaped(data: bytes) -> DetectedText | None:
    """Return the text of ASCII data with the escapes of ISO-2022 or HZ, None for other data."""
    if not (data.isascii() and any(escape in data for escape in _ESCAPES)):
        return None
    name = _detect(data)
    text = try_decode(data, name) if name else None
    return None if name is None or text is None or text.isascii() else DetectedText(text, name)


def decode_declared(data: bytes, declared: str) -> DetectedText | None:
    """Return the text of data in the encoding that its document declares, None if it is not plausible."""
    name = _superset(declared)
    text = try_decode(data, name)
    return None if text is None or implausible_share(text) > _MAX_IMPLAUSIBLE else DetectedText(text, name)


def decode_legacy(data: bytes) -> DetectedText | None:
    """Return the text of data in the encoding that is detected, None if none is plausible."""
    is_sparse = _high_bytes(data) <= _FEW_BYTES
    mended = mend_cp1252(data) if is_sparse else None
    name = _detect(_sample(data))
    if mended is not None and name != "mac-roman":  # whose quotation marks are capitals of cp1252
        return DetectedText(mended, "cp1252")
    text = try_decode(data, name) if name else None
    limit = 0.0 if is_sparse else _MAX_IMPLAUSIBLE
    if name is None or text is None or has_typical_characters(data) or not _is_plausible(text, name, limit):
        return None
    return DetectedText(text, name)


def _is_plausible(text: str, encoding: str, limit: float) -> bool:
    if impossible().search(text) or implausible_share(text) > limit:
        return False
    sample = text[:_SAMPLE_BYTES]
    return encoding not in ("gb18030", "big5", "cp949") or len(_KANA.findall(sample)) <= _MAX_KANA * len(sample)


def try_decode(data: bytes, encoding: str) -> str | None:
    """Return the text of data, None if the encoding is unknown or a byte is invalid in it."""
    try:
        text = data.decode(encoding)
    except (UnicodeDecodeError, LookupError, ValueError):
        return None
    return text if isinstance(text, str) and "\0" not in text else None


def _detect(data: bytes) -> str | None:
    import chardet  # takes 50 ms to import; most books are UTF-8

    eras = chardet.EncodingEra.ALL & ~chardet.EncodingEra.MAINFRAME
    found = chardet.detect(data, encoding_era=eras, no_match_encoding="ascii")
    return found["encoding"] and _superset(found["encoding"])


def _superset(encoding: str) -> str:
    name = codecs.lookup(encoding).name
    return _SUPERSETS.get(name, name)


def _high_bytes(data: bytes) -> int:
    return len(data) - len(data.decode("ascii", "ignore"))


def _sample(data: bytes) -> bytes:
    """Return the start of the data, or the first lines that are not ASCII where they make more of it."""
    if len(data) <= _SAMPLE_BYTES or _high_bytes(data[:_SAMPLE_BYTES]) > _SAMPLE_BYTES // 100:
        return data[:_SAMPLE_BYTES]
    lines, size = [], 0
    for line in io.BytesIO(data):
        if not line.isascii():
            lines.append(line)
            size += len(line)
            if size >= _SAMPLE_BYTES:
                break
    return b"".join(lines)
