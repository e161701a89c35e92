"""The memory that a text takes while it is cleaned, surveyed and tokenized, estimated before it takes it.

Texts are processed in threads of the worker, where the memory of one cannot be measured, so the limit is one of an
estimate, and the same text is rejected everywhere. The weights are above what was measured for texts of the worst
shapes (docs/reliability.md). A character is 1, 2 or 4 bytes wide, as wide as the widest of its text, and is copied by
each step.
"""

from __future__ import annotations

import sys

from schemas.errors import InputError, Reason

_PER_BYTE = 4  # of the characters
_PER_LINE = 110
_PER_WORD = 55


def most_words(text: str, max_bytes: int) -> int:
    """Return how many words a text may have within `max_bytes` of memory.

    Raises InputError MEMORY if its characters and lines alone take more.
    """
    left = max_bytes - _PER_BYTE * sys.getsizeof(text) - _PER_LINE * text.count("\n")
    if left < 0:
        raise too_large(text, max_bytes)
    return left // _PER_WORD


def too_large(text: str, max_bytes: int) -> InputError:
    """Return the error of a text that would take more than `max_bytes` of memory."""
    lines = text.count("\n")
    return InputError(
        Reason.MEMORY,
        f"the text of {len(text):,} characters and {lines:,} lines takes more than {max_bytes >> 20:,} MiB of memory; "
        "raise books.max-memory-mb or split the file",
    )
