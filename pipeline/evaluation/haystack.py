"""Long text in the token ids of the evaluated model, cut and filled at sentence boundaries.

Lengths and depths count the model's own ids. Counting them with another tokenizer is the known defect of earlier needle
tests: the text is then cut at needles, and depths are wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from schemas.errors import ConfigError
from tokenizer.text.tokenizer import TextTokenizer

_SENTENCE_END = re.compile(r"""[.!?]["'”’)\]]*\s+""")


class Haystack:
    """A text, addressed by token number."""

    def __init__(self, text: str, tokenizer: TextTokenizer) -> None:
        ids = tokenizer.encode(text)
        self._bytes = tokenizer.surface(ids)
        self._offsets = tokenizer.byte_offsets(ids)
        ends = [match.end() for match in _SENTENCE_END.finditer(text)]
        sizes = np.cumsum([0, *(len(c.encode()) for c in text)]) if not text.isascii() else np.arange(len(text) + 1)
        skipped = len(tokenizer.prefix.encode())
        # The first word of a sentence is often in one token with the space before it.
        starts = np.searchsorted(self._offsets, sizes[ends] + skipped, side="right") - 1
        self._starts = np.unique(np.concatenate([[0], starts[starts < len(ids)]]))

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def start(self, share: float, length: int) -> int:
        """Return the first token of a sentence from which `length` tokens follow, at about `share` of what is possible.

        Raises ConfigError if the text is shorter.
        """
        last = len(self) - length
        if last < 0:
            raise ConfigError(
                f"the haystack has {len(self):,} tokens, {length:,} are needed: give longer texts with --haystack"
            )
        return self._boundary(round(share * last))

    def filled(self, start: int, length: int, inserted: Mapping[float, str]) -> Filled:
        """Return `length` tokens from `start` as text, with texts inserted at sentence boundaries.

        The keys of `inserted` are depths from 0 to 1, in any order; 0 is before the first sentence, 1 after the last.
        """
        stop, parts, at, depths = start + length, [], start, []
        for depth in sorted(inserted):
            here = stop if depth >= 1 else max(at, self._boundary(start + round(depth * length)), start)
            parts += [self._text(at, here), inserted[depth]]
            depths.append((here - start) / length if length else depth)
            at = here
        return Filled("".join([*parts, self._text(at, stop)]), tuple(depths))

    def _boundary(self, token: int) -> int:
        """Return the start of the last sentence that starts at or before a token."""
        return int(self._starts[np.searchsorted(self._starts, token, side="right") - 1])

    def _text(self, start: int, stop: int) -> str:
        return self._bytes[self._offsets[start] : self._offsets[stop]].decode(errors="ignore")


@dataclass(frozen=True)
class Filled:
    """A text, and the depths at which texts were inserted, in order."""

    text: str
    depths: tuple[float, ...]


@dataclass(frozen=True)
class Budget:
    """How long a prompt may be: `length` tokens less those of the template and of the reply."""

    tokenizer: TextTokenizer
    length: int
    reply_tokens: int
    template_tokens: int

    @property
    def prompt_tokens(self) -> int:
        """Tokens left for the text of the prompt. Raises ConfigError if there are none."""
        left = self.length - self.reply_tokens - self.template_tokens
        if left < 1:
            raise ConfigError(
                f"a length of {self.length} leaves no room: {self.reply_tokens} tokens are for the reply and "
                f"{self.template_tokens} for the chat template"
            )
        return left

    def count(self, text: str) -> int:
        """Return the number of tokens of a text."""
        return len(self.tokenizer.encode(text))
