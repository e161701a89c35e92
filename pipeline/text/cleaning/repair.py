"""Repairs text with ftfy: wrongly decoded text, control characters, ligatures, line separators; and white space.

White space at line ends is removed, runs of blank lines are shortened, and of the marks that combine with one character
32 are kept. Quotation marks stay as they are.
"""

from __future__ import annotations

import functools
import re
import sys
import unicodedata

from pipeline.text.line_chunks import line_chunks
from schemas.deadline import checkpoint

_MAX_DECODE_CHARS = 1_000_000  # ftfy divides longer lines as well
_REPAIRABLE = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f]|&[#a-zA-Z]")  # what ftfy can change in ASCII


def repair_text(text: str) -> tuple[str, float]:
    """Repair encoding errors and white space; also returns the number of lines changed by more than white space."""
    # ftfy takes 0.15 s to import; only workers that read books need it.
    import ftfy

    config = ftfy.TextFixerConfig(
        unescape_html="<" not in text,  # with tags in the text, entities are markup
        uncurl_quotes=False,
        fix_character_width=False,
        explain=False,
        max_decode_length=_MAX_DECODE_CHARS,
        normalization="NFC",
    )
    changed = 0
    parts = []
    for chunk in line_chunks(text, max_chars=_MAX_DECODE_CHARS):
        if not chunk.isascii() or _REPAIRABLE.search(chunk):
            chunk = chunk if chunk.isascii() else _long_run_of_marks().sub("", chunk)
            fixed = ftfy.fix_text(chunk, config)
            changed += sum(a != b for a, b in zip(chunk.split("\n"), fixed.split("\n"), strict=False))
            chunk = fixed
        parts.append(chunk)
    checkpoint()
    text = "\n".join(line.rstrip(" \t\u00a0") for line in "".join(parts).split("\n"))
    checkpoint()
    text = re.sub(r"\n{4,}", "\n\n\n", text)
    return text.lstrip("\n\ufeff").rstrip() + "\n", float(changed)


@functools.cache
def _long_run_of_marks() -> re.Pattern[str]:
    """Return a pattern for the marks after the 32 that combine with one character.

    Unicode's stream-safe format (UAX 15) allows 30. Normalization takes quadratic time in the length of a run.
    """
    marks = "".join(c for c in map(chr, range(0x300, sys.maxunicode + 1)) if unicodedata.combining(c))
    return re.compile(f"(?<=[{marks}]{{32}})[{marks}]+")
