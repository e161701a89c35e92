"""Decontamination: finds text that shares 13-grams of words with evaluation sets.

The rule is that of GPT-3 (Brown et al. 2020, appendix C), on case-insensitive words without punctuation: each shared
13-gram is removed from the text with 200 characters on either side. An evaluation set is a .txt file, or a .jsonl file,
of which every string in every row counts. The 13-grams are held as sorted 64-bit hashes, 8 bytes each. Texts of fewer
than 13 words have no 13-gram, and are not found.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.text.encoding import read_unicode
from pipeline.text.words import Words, shingles, split_words
from schemas.errors import ConfigError, InputError
from schemas.fingerprint import fingerprint, sha256_file
from schemas.json_values import load_json
from schemas.storage.location import Location

NGRAM_WORDS = 13
_MARGIN = 200  # characters
_MAX_BYTES = 1 << 30


class EvaluationSets(NamedTuple):
    """The 13-grams of all evaluation sets together."""

    ngrams: NDArray[np.uint64]  # [n], sorted, distinct
    sha256: str  # of the files, in any order

    def ranges(self, words: Words, characters: int) -> list[tuple[int, int, int]]:
        """Return what to remove from a text of `characters` characters: (start, end, number of 13-grams), in order."""
        own = shingles(words.hashes, NGRAM_WORDS)
        index = np.minimum(np.searchsorted(self.ngrams, own), len(self.ngrams) - 1)
        found: list[tuple[int, int, int]] = []
        for first in np.flatnonzero(self.ngrams[index] == own).tolist():
            start, end = _with_margin(words, first, characters)
            if found and start <= found[-1][1]:
                found[-1] = (found[-1][0], end, found[-1][2] + 1)
            else:
                found.append((start, end, 1))
        return found


def _with_margin(words: Words, first: int, characters: int) -> tuple[int, int]:
    """Return the range of the 13-gram that starts with word `first`, and its margins; no word is divided."""
    start = max(0, int(words.starts[first]) - _MARGIN)
    end = min(characters, int(words.ends[first + NGRAM_WORDS - 1]) + _MARGIN)
    start = int(words.starts[np.searchsorted(words.starts, start)]) if start else 0
    end = int(words.ends[np.searchsorted(words.ends, end)]) if end <= words.ends[-1] else characters
    return start, end


@functools.lru_cache(maxsize=4)
def load_sets(paths: tuple[Location, ...]) -> EvaluationSets | None:
    """Read evaluation sets, once per process; None if there are no paths.

    Raises ConfigError for a file that cannot be read, has another format, or has no text of 13 words.
    """
    if not paths:
        return None
    ngrams = []
    for path in paths:
        found = [shingles(split_words(text).hashes, NGRAM_WORDS) for text in _texts(path)]
        ngrams.append(np.unique(np.concatenate([np.zeros(0, np.uint64), *found])))
        if not len(ngrams[-1]):
            raise ConfigError(f"the evaluation set {path} has no text of {NGRAM_WORDS} words; leave it out")
    return EvaluationSets(np.unique(np.concatenate(ngrams)), fingerprint(sorted(map(sha256_file, paths))))


def _texts(path: Location) -> Iterator[str]:
    """Yield the texts of an evaluation set."""
    try:
        content = read_unicode(path.local(), max_bytes=_MAX_BYTES).text
    except (InputError, FileNotFoundError) as e:
        raise ConfigError(f"the evaluation set {path} cannot be read: {e}") from e
    if path.suffix == ".txt":
        yield content
    elif path.suffix == ".jsonl":
        for number, line in enumerate(content.split("\n"), start=1):
            try:
                yield from _strings(load_json(line)) if line.strip() else ()
            except (ValueError, RecursionError, InputError) as e:
                raise ConfigError(f"the evaluation set {path}, line {number}: not JSON ({e})") from e
    else:
        raise ConfigError(f"the evaluation set {path} must be a .txt or .jsonl file")


def _strings(value: Any) -> Iterator[str]:
    """Yield all strings in a JSON value, except for the keys of objects."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)
