"""Encodes texts word by word and remembers the ids of words, for BPE models whose pieces do not cross words.

BPE merges the adjacent pair with the best score, the first of several with the same score. If no piece contains the
boundary between two words, no merge crosses it, and the merges on one side change neither the pairs on the other nor
their order. The ids of a text are then those of its words, one after the other. `pieces_are_within_words` tests the
pieces of a model. Unigram models have no such property: the rounding of their sums depends on what precedes.

A word is a run of spaces with the characters up to the next space, or a run of newlines. U+0000 is a word of its own;
it separates new words, of which many are encoded in one call. A known word costs one search in a dictionary.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile("\0|\n+| *[^ \n\0]+| +")
_CROSSING = re.compile("[^ ] |[^\n]\n|\n[^\n]|.\0|\0.", re.DOTALL)
_MOST_CHARS = 1 << 21  # of all remembered words, about 42 MB
_CALL_WORDS, _LONG_CHARS = 32, 64  # the time of BPE grows faster than the length of a text

Encode = Callable[[Sequence[str]], list[NDArray[Any]]]


def pieces_are_within_words(pieces: Iterable[str]) -> bool:
    """Return whether no piece contains a boundary between words. A space is a space here, not U+2581."""
    return not any(map(_CROSSING.search, pieces))


class WordCache:
    """Encodes texts as `encode` does, which returns int32 ids [n] of each text, and one id for U+0000."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._lock = threading.Lock()
        (self._separator,) = encode(["\0"])[0]
        self._clear()

    def encode(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        """Return the ids [n] of each text."""
        divided = [_WORD.findall(text) for text in texts]
        try:
            return self._found(divided)
        except KeyError:
            with self._lock:  # another thread must not clear what this one is about to find
                if self._chars > _MOST_CHARS:
                    self._clear()
                self._add(set().union(*divided).difference(self._ids))
                return self._found(divided)

    def _found(self, divided: Iterable[Sequence[str]]) -> list[NDArray[Any]]:
        find = self._ids.__getitem__
        return [np.frombuffer(bytearray().join(map(find, words)), np.int32) for words in divided]

    def _clear(self) -> None:
        self._ids = {"\0": np.int32(self._separator).tobytes()}
        self._chars = 0

    def _add(self, words: Collection[str]) -> None:
        """Encode and remember new words."""
        self._chars += sum(map(len, words))
        short = [word for word in words if len(word) < _LONG_CHARS]
        groups = [[word] for word in words if len(word) >= _LONG_CHARS]
        groups += [short[i : i + _CALL_WORDS] for i in range(0, len(short), _CALL_WORDS)]
        for group, ids in zip(groups, self._encode(["\0".join(group) for group in groups]), strict=True):
            start = 0
            for word, end in zip(group, [*np.flatnonzero(ids == self._separator), len(ids)], strict=True):
                self._ids[word] = ids[start:end].tobytes()
                start = end + 1
