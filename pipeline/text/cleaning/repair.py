"""Repairs text with ftfy: wrongly decoded text, control characters, ligatures, line separators; and white space.

White space at line ends is removed and runs of blank lines are shortened. Quotation marks stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_CHUNK_CHARS = 1 << 16
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
        normalization="NFC",
    )
    changed = 0
    parts = []
    for chunk in _chunks(text):
        if not chunk.isascii() or _REPAIRABLE.search(chunk):
            fixed = ftfy.fix_text(chunk, config)
            changed += sum(a != b for a, b in zip(chunk.split("\n"), fixed.split("\n"), strict=False))
            chunk = fixed
        parts.append(chunk)
    text = "\n".join(line.rstrip(" \t\u00a0") for line in "".join(parts).split("\n"))
    text = re.sub(r"\n{4,}", "\n\n\n", text)
    return text.lstrip("\n\ufeff").rstrip() + "\n", float(changed)


def _chunks(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = text.rfind("\n", start, start + _CHUNK_CHARS) + 1 or text.find("\n", start + _CHUNK_CHARS) + 1
        end = end or len(text)
        yield text[start:end]
        start = end
