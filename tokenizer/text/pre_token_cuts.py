"""Cuts a text where the library `tokenizers` would cut it anyway, so that the ids of blocks are those of the whole.

Merges never cross the boundaries that a pre-tokenizer finds. A *rule* is a pattern for positions that are such
boundaries in all known pre-tokenizers, for example a space between two words. `rules_of` tests with hundreds of
contexts which rules hold for a given tokenizer.

A block ends at the last such position within 4,096 characters, or else at the first within 65,536. Text without one,
such as 64 KB of base64 without a space, is cut after 65,536 characters; there, some ids differ from those of the whole.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from itertools import product

from tokenizer.text.chunking import joined
from tokenizer.text.model import END_VISION

BLOCK_CHARS, LONGEST_BLOCK_CHARS = 4096, 1 << 16
_TAIL = 256  # characters at the end of a block that are searched first
_HAN = "\u3041-\u30ff\u3400-\u9fff"

# Alternatives for the same places, the one that applies more often first.
_RULES = (
    (r"(?<=\S)(?= \S)", r"(?<=\S)(?= [^\W\d_])", r"(?<=[^\W\d_])(?= [^\W\d_])"),
    (r"(?<=\n)(?=\S)", r"(?<=\n)(?=[^\W\d_])", r"(?<=[^\W\d_]\n)(?=[^\W\d_])"),
    (rf"(?<=[{_HAN}])(?=[、。，：；？！][{_HAN}])",),
)
_LETTERS = ("a", "Zz", "é", "ß", "漢", "かな", "한", "ا", "न", "ก")
_OTHERS = ("7", "2026", "½", "٣", "\u093f", "\u0301", "😀", "\u200d", "'s", "'LL", "’t", "—", "。", "，", "！", "\x00")
_CONTEXTS = (*_LETTERS, *_OTHERS, *"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", ");", "//", "...", "--")
_BEFORE = (*_CONTEXTS, "\n", "\n\n", "\r\n", " \n", ".\n", "/\n", "a\n", "漢\n")
_AFTER = (*_CONTEXTS, *(" " + context for context in _CONTEXTS), "。漢", "，字", "！か")

Split = Callable[[str], list[str]]  # a text into pre-tokens


def rules_of(split: Split) -> tuple[re.Pattern[str], ...]:
    """Return the rules whose positions are always boundaries between pre-tokens."""
    chosen = (next((rule for rule in alternatives if _holds(rule, split)), None) for alternatives in _RULES)
    return tuple(re.compile(rule) for rule in chosen if rule)


def rules_of_tokens(tokens: Iterable[str]) -> tuple[re.Pattern[str], ...]:
    """Return the rules for a tokenizer without a pre-tokenizer: those whose positions are within none of the tokens."""
    text = "\0".join(tokens)
    chosen = (
        next((rule for rule in alternatives if not re.search(rf"[^\0]{rule}[^\0]", text)), None)
        for alternatives in _RULES
    )
    return tuple(re.compile(rule) for rule in chosen if rule)


def cut_blocks(chunks: Iterable[str], rules: tuple[re.Pattern[str], ...]) -> Iterator[str]:
    """Yield the non-empty blocks of the concatenated chunks."""
    text = ""
    for chunk in joined(chunks):
        text += chunk
        start = 0
        # One character more than the longest block, which the rules look at.
        while len(text) - start > LONGEST_BLOCK_CHARS + 2:
            end = _block_end(text, start, rules)
            yield text[start:end]
            start = end
        text = text[start:]
    start = 0
    while len(text) - start > BLOCK_CHARS:
        end = _block_end(text, start, rules)
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def _holds(rule: str, split: Split) -> bool:
    pattern = re.compile(rule)
    for before, after in product(_BEFORE, _AFTER):
        left = "ab" + before
        if pattern.match(left + after, len(left)) and split(left) + split(after) != split(left + after):
            return False
    return True


def _block_end(text: str, start: int, rules: tuple[re.Pattern[str], ...]) -> int:
    """Return the end of the block that begins at `start`."""
    near, far = start + BLOCK_CHARS, min(start + LONGEST_BLOCK_CHARS, len(text))
    for first in (near - _TAIL, start + 2):  # rules look at two characters before a position
        found = [match.start() for rule in rules for match in rule.finditer(text, first, near + 2)]
        if ends := [end for end in found if start < end <= near]:
            return max(ends)
    found = [match.start() for rule in rules if (match := rule.search(text, near, far + 2))]
    if ends := [end for end in found if end <= far]:
        return min(ends)
    return far if far == len(text) else _anywhere(text, far)


def _anywhere(text: str, end: int) -> int:
    """Return a position up to `end` that is not within a marker, "\\r\\n", or a character with its accents."""
    marker = text.rfind("<", end - len(END_VISION) + 1, end)
    end = marker if marker >= 0 else end
    for at in range(end, end - _TAIL, -1):
        if not unicodedata.combining(text[at]) and text[at - 1 : at + 1] != "\r\n":
            return at
    return end
